# SPDX-License-Identifier: GPL-2.0-or-later
"""muctl baseline and muctl eventlog against a TPM, OpenSSL and logs of real machines."""
import hashlib
import json
import re
import shutil
import struct
import uuid
from pathlib import Path

import pytest

import world as worlds
from event_log import BANKS, EV_EFI_ACTION, EV_IPL, EV_SEPARATOR, event, read_log, spec_id, write_log
from world import VECTORS, ZERO, make_builder_key, muctl, run


@pytest.fixture(scope="module")
def shared_tpm(tmp_path_factory):
    tpm = worlds.NitroTpm(tmp_path_factory.mktemp("tpm"))
    yield tpm
    tpm.stop()


@pytest.fixture
def tpm(shared_tpm):
    """After power on: nothing is measured yet."""
    run(shared_tpm.COMMAND, "reset", "--tcp", shared_tpm.port)
    return shared_tpm


USUAL = [(0, 0x8, b"firmware"), (7, EV_SEPARATOR, bytes(4)),
         (4, EV_EFI_ACTION, b"Calling EFI Application from Boot Option"), (4, EV_SEPARATOR, bytes(4))]
COMMAND_LINE = (12, EV_IPL, "init=/bin/sh\0".encode("utf-16-le"))


def boot(tpm, path, events):
    """What firmware does: extend, and write the log."""
    for pcr, _, data in events:
        tpm.extend(pcr, data)
    path.write_bytes(spec_id() + b"".join(event(*e) for e in events))
    return path


def record(tpm, path, *options):
    muctl("baseline", "record", "--tcti", tpm.tcti, "-o", path, *options)
    return path


def diff(*arguments):
    return muctl("baseline", "diff", *arguments, check=False)


def test_record_holds_what_the_tpm_has(tpm, tmp_path):
    boot(tpm, tmp_path / "log", USUAL)
    measurements = json.loads(record(tpm, tmp_path / "b.json").read_text())["Measurements"]
    assert measurements == {"HashAlgorithm": "SHA384", **{f"PCR{n}": tpm.pcr(n) for n in (2, 3, 4, 7, 12, 13, 14)}}
    assert measurements["PCR12"] == measurements["PCR13"] == measurements["PCR14"] == ZERO
    sha256 = json.loads(record(tpm, tmp_path / "c.json", "--bank", "sha256", "--pcr", "4").read_text())["Measurements"]
    assert sha256 == {"HashAlgorithm": "SHA256", "PCR4": tpm.pcr(4, "sha256")}


def test_pcr_1_only_with_a_warning(tpm, tmp_path):
    done = muctl("baseline", "record", "--tcti", tpm.tcti, "--pcr", "1,4")
    assert "PCR 1 is not constant" in done.stderr
    assert "PCR1" in json.loads(done.stdout)["Measurements"]
    assert muctl("baseline", "record", "--tcti", tpm.tcti).stderr == ""


def test_diff_with_the_running_machine(tpm, tmp_path):
    log = boot(tpm, tmp_path / "log", USUAL)
    baseline = record(tpm, tmp_path / "b.json")
    same = diff(baseline, "running", "--tcti", tpm.tcti, "--eventlog", log, "--json")
    assert same.returncode == 0 and json.loads(same.stdout)["same"] is True

    run(tpm.COMMAND, "reset", "--tcp", tpm.port)
    changed = boot(tpm, tmp_path / "changed", [*USUAL, COMMAND_LINE])
    done = diff(baseline, "running", "--tcti", tpm.tcti, "--eventlog", changed, "--json")
    report = json.loads(done.stdout)
    assert done.returncode == 2 and report["same"] is False
    assert report["differ"] == [{"pcr": 12, "a": ZERO, "b": tpm.pcr(12)}]
    assert any("command line was handed in from outside: init=/bin/sh" in line for line in report["explanation"])

    reference = diff(baseline, "running", "--tcti", tpm.tcti, "--eventlog", changed, "--reference", log)
    assert reference.returncode == 2
    assert "new: command line was handed in from outside: init=/bin/sh" in reference.stdout


def test_diff_does_not_believe_a_log_that_lacks_an_event(tpm, tmp_path):
    log = boot(tpm, tmp_path / "log", USUAL)
    baseline = record(tpm, tmp_path / "b.json")
    tpm.extend(4, b"not logged")
    done = diff(baseline, "running", "--tcti", tpm.tcti, "--eventlog", log)
    assert done.returncode == 2
    assert "does not lead to the value found" in done.stdout


def test_diff_of_two_files(tpm, tmp_path):
    one, two = record(tpm, tmp_path / "1"), record(tpm, tmp_path / "2", "--pcr", "2,3,4,12,13,14")
    assert diff(one, one).returncode == 0
    done = diff(one, two, "--json")
    assert done.returncode == 2
    assert json.loads(done.stdout)["differ"] == [{"pcr": 7, "a": ZERO, "b": None}]
    assert diff("running", "running").returncode == 1
    sha256 = record(tpm, tmp_path / "3", "--bank", "sha256")
    assert diff(one, sha256).returncode == 4


def test_sign_and_verify(tpm, tmp_path):
    private, public = make_builder_key(tmp_path)
    baseline = record(tpm, tmp_path / "b.json")
    signature = tmp_path / "b.json.sig"
    muctl("baseline", "sign", baseline, "--key", private)
    muctl("baseline", "verify", baseline, "--key", public)
    run("openssl", "dgst", "-sha384", "-verify", public, "-signature", signature, baseline)

    openssl = tmp_path / "openssl.sig"
    run("openssl", "dgst", "-sha384", "-sign", private, "-out", openssl, baseline)
    muctl("baseline", "verify", baseline, "--key", public, "--signature", openssl)

    baseline.write_text(baseline.read_text().replace("recorded", "Recorded"))
    assert muctl("baseline", "verify", baseline, "--key", public, check=False).returncode == 2


def test_only_baselines_are_signed(tmp_path):
    private, _ = make_builder_key(tmp_path)
    bad = tmp_path / "bad.json"
    bad.write_text('{"Measurements":{"HashAlgorithm":"SHA384"}}')
    assert muctl("baseline", "sign", bad, "--key", private, check=False).returncode == 4
    assert not (tmp_path / "bad.json.sig").exists()


@pytest.mark.parametrize("arguments, code", [
    (["predict"], 1), (["predict", "--image", "/dev/null"], 4), (["predict", "--image", "/nonexistent"], 4),
    (["record", "--pcr", "24"], 1), (["record", "--bank", "sha1"], 1), (["record", "--nonsense"], 1),
    (["record", "--tcti", "nonsense"], 4), (["diff", "/dev/null"], 1), (["diff", "/dev/null", "/dev/null"], 4),
    (["sign", "/dev/null"], 1), (["verify", "/dev/null"], 1)])
def test_bad_arguments(arguments, code):
    done = muctl("baseline", *arguments, check=False)
    assert done.returncode == code, done.stderr
    assert done.stderr.strip() and not done.stdout


def test_eventlog_and_tpm(tpm, tmp_path):
    log = boot(tpm, tmp_path / "log", USUAL)
    done = muctl("eventlog", log, "--json", "--tcti", tpm.tcti)
    report = json.loads(done.stdout)
    assert report["tpm"] == {"bank": "sha384", "explained": [0, 4, 7], "unexplained": []}
    assert report["pcrs"]["sha384"]["4"] == tpm.pcr(4)

    tpm.extend(4, b"not logged")
    done = muctl("eventlog", log, "--json", "--tcti", tpm.tcti, check=False)
    assert done.returncode == 2
    assert json.loads(done.stdout)["tpm"]["unexplained"] == [4]
    assert muctl("eventlog", log, "--no-tpm").returncode == 0


def test_eventlog_that_lacks_a_pcr(tpm, tmp_path):
    """A log whose end was cut off between two events does not pass for a whole one; what the system extends later may."""
    log = boot(tpm, tmp_path / "log", USUAL[:2])
    tpm.extend(10, b"IMA")
    done = muctl("eventlog", log, "--json", "--tcti", tpm.tcti)
    assert json.loads(done.stdout)["tpm"] == {"bank": "sha384", "explained": [0, 7], "unexplained": [10]}
    tpm.extend(4, b"not logged")
    done = muctl("eventlog", log, "--json", "--tcti", tpm.tcti, check=False)
    assert done.returncode == 2
    assert json.loads(done.stdout)["tpm"]["unexplained"] == [4, 10]


def test_eventlog_with_an_event_that_lacks_a_bank(tmp_path):
    data = b"only SHA-256"
    event_of_one = struct.pack("<III", 0, 0x8, 1) + struct.pack("<H", 0x0b) + hashlib.sha256(data).digest() + \
        struct.pack("<I", len(data)) + data
    log = tmp_path / "log"
    log.write_bytes(spec_id() + event_of_one + event(7, EV_SEPARATOR, bytes(4)))
    report = json.loads(muctl("eventlog", log, "--no-tpm", "--json").stdout)
    assert {bank: list(pcrs) for bank, pcrs in report["pcrs"].items()} == {"sha256": ["0", "7"], "sha384": ["7"]}
    assert list(report["events"][1]["digests"]) == ["sha256"]


def test_long_command_lines_are_shown_whole(tmp_path):
    line = "root=/dev/mapper/root " + " ".join(f"option{i}=value" for i in range(100))
    log = tmp_path / "log"
    log.write_bytes(spec_id() + event(12, EV_IPL, (line + "\0").encode("utf-16-le")))
    report = json.loads(muctl("eventlog", log, "--no-tpm", "--json").stdout)
    assert report["events"][1]["description"] == line


DATA = Path(__file__).resolve().parent.parent / "data/secureboot"
GLOBAL, DATABASE = "8be4df61-93ca-11d2-aa0d-00e098032b8c", "d719b2cb-3d3a-4596-a3bc-dad00e67656f"
KEYS = [f"--{name}={DATA / name}.esl" for name in ("PK", "KEK", "db")]


def predict(*arguments, check=True):
    return muctl("baseline", "predict", *arguments, check=check)


def replayed(log, bank="sha384"):
    return json.loads(muctl("eventlog", log, "--no-tpm", "--json").stdout)["pcrs"][bank]


@pytest.mark.parametrize("bank", ["sha256", "sha384"])
def test_predict_with_secure_boot(bank):
    report = json.loads(predict("--image", DATA / "direct.efi", *KEYS, "--pcr", "7", "--bank", bank).stdout)
    assert report["Measurements"] == {"HashAlgorithm": bank.upper(), "PCR7": replayed(DATA / "eventlog.bin", bank)["7"]}
    assert report["SecureBoot"] == "on"
    off = json.loads(predict("--image", DATA / "direct.efi", "--bank", bank).stdout)
    assert off["SecureBoot"] == "off"
    assert off["Measurements"]["PCR7"] != report["Measurements"]["PCR7"]


def test_predict_refuses_what_would_not_start():
    done = predict("--image", DATA / "issued.efi", *KEYS, check=False)
    assert done.returncode == 2 and "nothing in db" in done.stderr
    done = predict("--image", DATA / "direct.efi", *KEYS, "--dbx", DATA / "db.esl", check=False)
    assert done.returncode == 2 and "dbx forbids" in done.stderr
    done = predict("--image", DATA / "direct.efi", KEYS[0], check=False)
    assert done.returncode == 1 and "--db" in done.stderr
    done = predict("--image", DATA / "direct.efi", "--PK", DATA / "direct.efi", KEYS[2], check=False)
    assert done.returncode == 4 and "neither EFI signature lists" in done.stderr


def make_chain(folder):
    """Certificates of a root, of what it issued, and of the signer below that; and another root."""
    def make(name, issuer=None):
        key, pem = folder / f"{name}.key", folder / f"{name}.pem"
        ca = "CA:FALSE" if name == "signer" else "CA:TRUE"
        by = ["-CA", folder / f"{issuer}.pem", "-CAkey", folder / f"{issuer}.key"] if issuer else []
        run("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", f"/CN={name}", "-days", "10",
            "-addext", f"basicConstraints=critical,{ca}", "-keyout", key, "-out", pem, *by)
    make("root")
    make("between", "root")
    make("signer", "between")
    make("other")


def revocation(folder, name):
    """UEFI 2.10, 32.4.1: a list of one EFI_CERT_X509_SHA256, revoked from the year 2099 on."""
    run("openssl", "x509", "-in", folder / f"{name}.pem", "-outform", "DER", "-out", folder / f"{name}.der")
    run("openssl", "asn1parse", "-inform", "DER", "-in", folder / f"{name}.der", "-strparse", "4", "-noout",
        "-out", folder / "tbs")
    data = bytes(16) + hashlib.sha256((folder / "tbs").read_bytes()).digest() + struct.pack("<H14x", 2099)
    path = folder / f"{name}.dbx"
    path.write_bytes(uuid.UUID("3bd2a492-96c0-4079-b420-fcf98ef103ed").bytes_le +
                     struct.pack("<III", 28 + len(data), 0, len(data)) + data)
    return path


def test_predict_refuses_a_chain_with_a_revoked_certificate(tmp_path):
    """Whichever of it dbx names by its digest, of those that the signature brings along and that of db."""
    if not shutil.which("sbsign"):
        pytest.skip("sbsigntool is not installed (tests/setup installs it)")
    make_chain(tmp_path)
    image = tmp_path / "image.efi"
    run("sbsign", "--key", tmp_path / "signer.key", "--cert", tmp_path / "signer.pem",
        "--addcert", tmp_path / "between.pem", "--output", image, DATA / "direct.efi")
    muctl("secureboot", "list", tmp_path / "root.pem", "-o", tmp_path / "db.esl")

    def start(name=None):
        dbx = [f"--dbx={revocation(tmp_path, name)}"] if name else []
        return predict("--image", image, KEYS[0], f"--db={tmp_path / 'db.esl'}", "--pcr", "7", *dbx, check=False)
    assert start().returncode == start("other").returncode == 0
    for name in ("signer", "between", "root"):
        done = start(name)
        assert done.returncode == 2 and "dbx revokes" in done.stderr, name


def variable(guid, name, data):
    """PFP 10.2.6, UEFI_VARIABLE_DATA."""
    return uuid.UUID(guid).bytes_le + struct.pack("<QQ", len(name), len(data)) + name.encode("utf-16-le") + data


@pytest.mark.parametrize("names", [["db"], ["KEK"], ["dbx"], ["KEK", "db", "dbx"]])
def test_predict_of_keys_without_a_pk(names):
    """Setup mode: Secure Boot is off, and firmware measures the variables as they are (PFP 3.3.4.8)."""
    files = {"PK": None, "KEK": DATA / "KEK.esl", "db": DATA / "db.esl", "dbx": DATA / "leaf.esl"}
    given = {name: files[name].read_bytes() if name in names else b"" for name in files}
    pcr = bytes(48)
    events = [variable(GLOBAL, "SecureBoot", b"\0")]
    events += [variable(DATABASE if name in ("db", "dbx") else GLOBAL, name, data) for name, data in given.items()]
    for event in [*events, bytes(4)]:
        pcr = hashlib.sha384(pcr + hashlib.sha384(event).digest()).digest()
    options = [f"--{name}={files[name]}" for name in names]
    report = json.loads(predict("--image", DATA / "issued.efi", "--pcr", "4,7", *options).stdout)
    assert report["Measurements"]["PCR7"] == pcr.hex() and report["SecureBoot"] == "off"
    none = json.loads(predict("--image", DATA / "issued.efi", "--pcr", "4,7").stdout)
    assert report["Measurements"]["PCR4"] == none["Measurements"]["PCR4"]
    assert report["Measurements"]["PCR7"] != none["Measurements"]["PCR7"]


def test_predict_names_what_is_added_to_the_image(tmp_path):
    """systemd-stub measures what lies beside a UKI, and from the file alone that is not to be seen."""
    image = tmp_path / "esp/EFI/Linux/linux.efi"
    for folder in (image.parent, tmp_path / "esp/EFI/Linux/linux.efi.extra.d", tmp_path / "esp/loader/addons"):
        folder.mkdir(parents=True, exist_ok=True)
    image.write_bytes((DATA / "direct.efi").read_bytes())
    assert "beside" not in predict("--image", image, "--pcr", "4").stderr
    beside = [image.with_name("linux.efi.extra.d") / "serial.addon.efi", tmp_path / "esp/loader/addons/ALL.ADDON.EFI"]
    for path in beside:
        path.write_bytes(b"x")
    said = re.sub(r"muctl: |\s", "", predict("--image", image, "--pcr", "4").stderr)
    assert all(f"{path}liesbesidetheimage" in said for path in beside) and "PCR4and12" in said


def test_diff_with_an_image_as_reference(tpm, tmp_path):
    """The images say what PCR 4 should have been made of."""
    expected, log = tmp_path / "expected.json", DATA / "eventlog.bin"
    predict("--image", DATA / "direct.efi", "--pcr", "4", "-o", expected)
    found = tmp_path / "found.json"
    found.write_text(json.dumps({"Measurements": {"HashAlgorithm": "SHA384", "PCR4": replayed(log)["4"]}}))
    done = diff(expected, found, "--eventlog", log, "--reference", DATA / "direct.efi", "--json")
    lines = json.loads(done.stdout)["explanation"]
    assert done.returncode == 2
    assert lines[0] == "PCR 4: the event log explains it; against the reference:"
    assert lines[1].startswith("  image \\EFI\\BOOT\\BOOTX64.EFI is not the enrolled one (event 24: ")
    assert lines[-1].startswith("  new: UKI \\EFI\\Linux\\test.efi (event 25, ")
    assert all(len(line) < 100 for line in lines)


# ---- what changed, on logs of real boots ----

REAL = [DATA / "eventlog.bin", *(VECTORS / "eventlog/go-eventlog" / f"{name}.bin" for name in (
    "ubuntu-2104-no-secure-boot", "rhel8-uefi", "cos-101-amd-sev"))]


def replayed_by_hand(path, events, pcr):
    """Not by the program under test."""
    value = bytes(48)
    for at, kind, digests, _ in events:
        if at == pcr and kind != 0x3:
            value = hashlib.sha384(value + digests[0xc]).digest()
    path.write_text(json.dumps({"Measurements": {"HashAlgorithm": "SHA384", f"PCR{pcr}": value.hex()}}))
    return path


def told(folder, log, pcr, before, after, reference=True):
    """What diff says of a boot that measured `after` where `before` is enrolled."""
    header, _ = read_log(log)
    write_log(folder / "then", header, before)
    write_log(folder / "now", header, after)
    done = diff(replayed_by_hand(folder / "a", before, pcr), replayed_by_hand(folder / "b", after, pcr),
                "--eventlog", folder / "now", "--json", *(["--reference", folder / "then"] if reference else []))
    lines = json.loads(done.stdout)["explanation"]
    assert done.returncode == 2 and all(len(line) < 100 for line in lines)
    assert lines[0].startswith(f"PCR {pcr}: the event log explains it")
    return lines


def altered(event):
    pcr, kind, digests, data = event
    return pcr, kind, {a: bytes([d[0] ^ 1]) + d[1:] for a, d in digests.items()}, data


@pytest.mark.parametrize("log", REAL, ids=lambda p: p.stem)
def test_each_event_of_a_real_boot(log, tmp_path):
    """One of them altered, put in twice or left out: diff names it, and nothing else."""
    if not log.exists():
        pytest.skip("no event logs in MU_VECTORS")
    _, events = read_log(log)
    first = {pcr: next(i for i, e in enumerate(events) if e[0] == pcr) for pcr in (4, 7, 8, 9, 11)
             if any(e[0] == pcr for e in events)}
    seen = 0
    for pcr, start in first.items():
        mine = [i for i, e in enumerate(events) if e[0] == pcr and e[1] != 0x3]
        for i in {start, mine[len(mine) // 2], mine[-1]}:
            new = altered(events[i])
            head = new[2][0xc].hex()[:8]
            for after, words in (
                    (events[:i] + [new] + events[i + 1:], ["is not the enrolled one", "changed, now"]),
                    (events[:i] + [new] + events[i:], ["new: "]),
                    (events[:i] + events[i + 1:], ["missing: "])):
                lines = told(tmp_path, log, pcr, events, after)
                assert any(word in line for word in words for line in lines[1:]), lines
                assert len([x for x in lines if not x.startswith("      ")]) <= 3
                seen += head in "".join(lines)
            if len(mine) <= 64:     # without a reference: an event that was put in
                lines = told(tmp_path, log, pcr, events, events[:i] + [new] + events[i:], reference=False)
                assert lines[0].endswith("without this event it would match:") and "new: " in lines[1]
    assert seen


def test_the_image_is_named(tmp_path):
    """In the words of the manual page, from the log of a real boot."""
    log = DATA / "eventlog.bin"
    _, events = read_log(log)
    at = {text: next(i for i, e in enumerate(events) if e[0] == 4 and text.encode("utf-16-le") in e[3])
          for text in ("BOOTX64.EFI", "test.efi")}
    uki = events[:at["test.efi"]] + [altered(events[at["test.efi"]])] + events[at["test.efi"] + 1:]
    lines = told(tmp_path, log, 4, events, uki)
    assert lines[1].startswith("  UKI \\EFI\\Linux\\test.efi is not the enrolled one (event ")
    loader = events[:at["BOOTX64.EFI"]] + [altered(events[at["BOOTX64.EFI"]])] + events[at["BOOTX64.EFI"] + 1:]
    lines = told(tmp_path, log, 4, events, loader)
    assert lines[1].startswith("  image \\EFI\\BOOT\\BOOTX64.EFI is not the enrolled one (event ")
    line = "init=/bin/sh\0".encode("utf-16-le")
    outside = (12, EV_IPL, {a: hashlib.new(n, line).digest() for n, a in BANKS.items()}, line)
    for reference in True, False:
        lines = told(tmp_path, log, 12, events, events + [outside], reference)
        assert lines[1] == "  new: command line was handed in from outside: init=/bin/sh"


GENUINE = [Path("/usr/lib/shim/shimx64.efi.signed"), Path("/usr/lib/systemd/boot/efi/systemd-bootx64.efi")]


@pytest.mark.parametrize("image", GENUINE, ids=lambda path: path.name)
def test_pcr_4_of_genuine_images(image):
    """By default, what cannot be known of these alone is left out, and said; asked for, it is an error."""
    expected = VECTORS / "authenticode/expected.json"
    if not (expected.exists() and image.exists()):
        pytest.skip(f"no conformance vectors (MU_VECTORS), or no {image}")
    known = json.loads(expected.read_text())["images"][image.name]
    done = predict("--image", image)
    measurements = json.loads(done.stdout)["Measurements"]
    unknown = "7" if "shim" in image.name else "12"
    assert f"PCR {unknown} is left out: image 1" in done.stderr
    assert f"PCR{unknown}" not in measurements
    if b"systemd-boot 252.39-1~deb12u2 " in image.read_bytes() or "shim" in image.name:
        assert measurements["PCR4"] == known["pcr4_sha384_if_booted_directly"]
    done = predict("--image", image, "--pcr", f"4,{unknown}", check=False)
    assert done.returncode == 4 and "image 1" in done.stderr and not done.stdout


STUB = Path("/usr/lib/systemd/boot/efi/linuxx64.efi.stub")
MEASURE = Path("/usr/lib/systemd/systemd-measure")
SECTIONS = ["osrel", "pcrsig", "cmdline", "pcrpkey", "splash", "initrd", "linux"]


def make_uki(folder, **texts):
    """Each section holds its name and is placed after the stub's own, in an order that is not the measured one."""
    headers = run("objdump", "-h", STUB).stdout.decode()
    ends = [int(m[1], 16) + int(m[2], 16) for m in re.finditer(r"^ +\d+ \S+ +(\w+) +(\w+)", headers, re.M)]
    address, options = (max(ends) | 0xfff) + 1, []
    for name in SECTIONS:
        (folder / name).write_bytes(texts.get(name, name * 100).encode())
        options += ["--add-section", f".{name}={folder / name}", "--change-section-vma", f".{name}={address:#x}"]
        address += 0x1000
    run("objcopy", *options, STUB, folder / "uki.efi")
    run("objcopy", "-O", "binary", "--only-section=.sbat", STUB, folder / "sbat")
    return folder / "uki.efi"


@pytest.mark.skipif(not (STUB.exists() and MEASURE.exists()), reason="no systemd-boot-efi, or no systemd-measure")
@pytest.mark.parametrize("phase", ["enter-initrd", "enter-initrd:leave-initrd"])
def test_pcr_11_is_what_systemd_measure_says(tmp_path, phase):
    uki = make_uki(tmp_path)
    version = int(re.search(r"LoaderInfo: systemd-stub (\d+)", uki.read_bytes().decode("latin-1"))[1])
    measured = [name for name in SECTIONS if name != "pcrsig"] + (["sbat"] if version >= 254 else [])
    for bank in BANKS:
        said = run(MEASURE, "calculate", f"--bank={bank}", f"--phase={phase}",
                   *(f"--{name}={tmp_path / name}" for name in measured)).stdout.decode()
        predicted = predict("--image", uki, "--pcr", "11", "--phase", phase, "--bank", bank).stdout
        assert f"11:{bank}={json.loads(predicted)['Measurements']['PCR11']}" in said


@pytest.mark.skipif(not STUB.exists(), reason="no systemd-boot-efi")
@pytest.mark.parametrize("line, phase", [
    ("root=/dev/mapper/root", "enter-initrd"), ("root=x efi=noruntime", ""), ("efi=debug,noruntime quiet", ""),
    ('x="efi=noruntime"', "enter-initrd"), ("efi=noruntime systemd.tpm2_measured_os=1", "enter-initrd"),
    ("systemd.tpm2-measured-os=no", "")])
def test_pcr_11_has_the_phases_that_the_command_line_leaves(tmp_path, line, phase):
    uki = make_uki(tmp_path, cmdline=line)
    whole = json.loads(predict("--image", uki, "--pcr", "11").stdout)
    named = json.loads(predict("--image", uki, "--pcr", "11", "--phase", phase).stdout)
    assert whole == named and whole["Phase"] == phase
    other = predict("--image", uki, "--pcr", "11", "--phase", "" if phase else "enter-initrd").stdout
    assert json.loads(other)["Measurements"] != whole["Measurements"]


READABLE = VECTORS / "eventlog/tpm2-tools/event-pretty/event-gce-ubuntu-2104-log.bin.yaml"


@pytest.mark.skipif(not READABLE.exists(), reason="no conformance vectors (MU_VECTORS)")
def test_descriptions_hold_what_tpm2_tools_decodes():
    log = VECTORS / "eventlog/tpm2-tools" / READABLE.name.removesuffix(".yaml")
    described = [e["description"] for e in json.loads(muctl("eventlog", log, "--json").stdout)["events"]]
    decoded = re.split(r"^[- ] PCRIndex: ", READABLE.read_text().split("\npcrs:")[0], flags=re.M)[1:]
    texts = [(number, text.replace("\\0", "").replace("\\n", "\\x0a").strip())
             for number, event in enumerate(decoded, len(described) - len(decoded))
             for text in re.findall(r'(?:UnicodeName: |Description: "|String: (?:\|-\n\s+)?")(.*?)"?$', event, re.M)]
    assert len(texts) > 90
    assert [(number, text) for number, text in texts if text not in described[number]] == []


def known_logs():
    path = VECTORS / "eventlog/go-eventlog/known-pcrs.json"
    return json.loads(path.read_text()) if path.exists() else {}


@pytest.mark.skipif(not known_logs(), reason="no conformance vectors (MU_VECTORS)")
def test_genuine_logs():
    for name, banks in known_logs().items():
        report = json.loads(muctl("eventlog", VECTORS / "eventlog/go-eventlog" / name, "--json").stdout)
        assert report["format"] == ("crypto-agile" if "sha256" in banks else "sha1"), name
        assert [e["index"] for e in report["events"]] == list(range(len(report["events"])))
        for bank, pcrs in banks.items():
            assert {k: report["pcrs"][bank][k] for k in pcrs} == pcrs, name


@pytest.mark.parametrize("content", [b"", b"\0" * 100, b"x" * 31, spec_id() + event(4, 4, b"abc")[:-1]])
def test_bad_logs(tmp_path, content):
    log = tmp_path / "log"
    log.write_bytes(content)
    done = muctl("eventlog", log, check=False)
    assert done.returncode == 4 and "offset" in done.stderr, done.stderr
