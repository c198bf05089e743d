# SPDX-License-Identifier: GPL-2.0-or-later
"""nitro-tpm-pcr-compute beside `muctl baseline predict`, for images and keys that are made here. Where AWS's program is
known to be wrong, the test says in what, and docs/guide/key-policy.md tells users; that ours is right was seen in boots."""
import hashlib
import json
import re
import shutil
import struct
import uuid
from pathlib import Path

import aws_programs as programs
import made_image
import pytest
import world as w
from test_baseline import DATA, make_chain
from test_policy import ADMIN, BUILDER, ROLE
from test_secureboot import make_certificate
from test_verify import document, pki

OWNER = 28  # where the owner of the first entry of a signature list is
PCRS = ("PCR4", "PCR7", "PCR12")
KEYS = {name: DATA / f"{name}.esl" for name in ("PK", "KEK", "db")}
NO_SDMAGIC, BAD_DB = "Could not find .sdmagic section", "Could not parse signature database file"


@pytest.fixture(scope="module")
def compute():
    return programs.compute()


def options(images, keys):
    return [*(f"--image={path}" for path in images), *(f"--{name}={path}" for name, path in keys.items())]


def values(text):
    """PCR 4, 7 and 12 of a baseline, None for what it lacks."""
    return [json.loads(text)["Measurements"].get(pcr) for pcr in PCRS]


@pytest.fixture
def aws(compute):
    """-> what AWS has, or the first line of what it says instead."""
    def run(*images, **keys):
        done = w.run(compute, *options(images, keys), check=False, text=True, timeout=600, env={})
        return values(done.stdout) if done.returncode == 0 else done.stderr.splitlines()[0]
    return run


def ours(*images, **keys):
    """The same of muctl, or its exit code and message."""
    done = w.muctl("baseline", "predict", *options(images, keys), check=False)
    return values(done.stdout) if done.returncode == 0 else (done.returncode, done.stderr)


def extended(*events):
    value = bytes(48)
    for event in events:
        value = hashlib.sha384(value + hashlib.sha384(event).digest()).digest()
    return value.hex()


def pcr7(keys, *authorities):
    """By hand, with Secure Boot on. An authority is the entry of db by which the image was let in."""
    return extended(w.variable(w.GLOBAL, "SecureBoot", b"\1"),
                    *(w.variable(w.GLOBAL, name, keys[name].read_bytes()) for name in ("PK", "KEK")),
                    w.variable(w.DATABASE, "db", keys["db"].read_bytes()), w.variable(w.DATABASE, "dbx"), w.SEPARATOR,
                    *(w.variable(w.DATABASE, "db", entry) for entry in authorities))


def written(path, content):
    path.write_bytes(content)
    return path


def image(path, magic, **sections):
    magic = {".sdmagic": f"#### LoaderInfo: {magic} ####".encode()} if magic else {}
    return written(path, made_image.pe({**magic, **{f".{name}": data for name, data in sections.items()}}))


def uki(path, version, osrel=b"ID=debian\n", initrd=b"initrd"):
    return image(path, version and f"systemd-stub {version}", osrel=osrel, cmdline=b"root=x", initrd=initrd,
                 linux=made_image.pe({".text": b"kernel"}),
                 sbat=f"systemd-stub,1,The systemd Developers,systemd,{version or 257},https://systemd.io/\n".encode())


def signed(path, key, certificate, unsigned, *more):
    if not shutil.which("sbsign"):
        pytest.skip("sbsigntool is not installed (tests/setup installs it)")
    w.run("sbsign", "--key", key, "--cert", certificate, *more, "--output", path, unsigned)
    return path


# ---- both say the same ----

@pytest.mark.long
@pytest.mark.parametrize("version", ["252.39-1~deb12u2", "254.26", "257.9-1", "258", "262~rc1"])
def test_uki(aws, tmp_path, version):
    """Without Secure Boot, and signed; by itself, and after a systemd-boot that hands over no command line."""
    linux = uki(tmp_path / "linux.efi", version)
    boot = image(tmp_path / "boot.efi", "systemd-boot 257.9", text=b"loader")
    for images in (linux,), (boot, linux):
        assert aws(*images) == ours(*images)
    certificate = make_certificate(tmp_path, "signer")
    w.muctl("secureboot", "list", certificate, "-o", tmp_path / "db.esl")
    started = signed(tmp_path / "signed.efi", tmp_path / "signer.key", certificate, linux)
    keys = {**KEYS, "db": tmp_path / "db.esl"}
    assert aws(started, **keys) == ours(started, **keys)
    assert len({tuple(ours(linux)), tuple(ours(boot, linux)), tuple(ours(started, **keys))}) == 3


@pytest.mark.long
@pytest.mark.parametrize("name, keys", [
    ("direct", {}), ("direct", KEYS), ("direct", {**KEYS, "dbx": DATA / "leaf.esl"}),
    ("issued", {**KEYS, "db": DATA / "leaf.esl"}), ("direct", {"PK": KEYS["PK"], "db": KEYS["db"]}),
    ("direct", {"db": KEYS["db"]}), ("direct", {"KEK": KEYS["KEK"]})],
    ids=lambda value: value if isinstance(value, str) else "+".join(value) or "none")
def test_image_and_keys(aws, name, keys):
    assert aws(DATA / f"{name}.efi", **keys) == ours(DATA / f"{name}.efi", **keys)


@pytest.mark.long
def test_authority_that_the_signature_brings_along(aws, tmp_path):
    make_chain(tmp_path)
    started = signed(tmp_path / "image.efi", tmp_path / "signer.key", tmp_path / "signer.pem", DATA / "direct.efi",
                     "--addcert", tmp_path / "between.pem")
    w.muctl("secureboot", "list", tmp_path / "between.pem", "-o", tmp_path / "db.esl")
    keys = {**KEYS, "db": tmp_path / "db.esl"}
    assert aws(started, **keys) == ours(started, **keys)
    assert ours(started, **keys)[1] == pcr7(keys, keys["db"].read_bytes()[OWNER:])


@pytest.mark.long
def test_amazon_linux_2023_for_aarch64(aws, tmp_path):
    """No .sdmagic there: that it is systemd 252 is told by .osrel."""
    osrel = b'ID="amzn"\nNAME="Amazon Linux"\nVERSION="2023"\n'
    linux = image(tmp_path / "linux.efi", None, osrel=osrel, cmdline=b"root=x", initrd=b"initrd",
                  linux=made_image.pe({".text": b"kernel"}))
    content = bytearray(linux.read_bytes())
    struct.pack_into("<H", content, 68, 0xaa64)
    linux.write_bytes(content)
    assert aws(linux) == ours(linux)


# ---- AWS's program is wrong ----

def differs(theirs, mine):
    return [pcr for pcr, a, b in zip(PCRS, theirs, mine, strict=True) if a != b]


@pytest.mark.long
def test_wrong_with_an_authority_that_only_db_has(aws):
    """The CA is in db and not in the image's signature: firmware measures the entry of db all the same."""
    keys = {**KEYS, "db": DATA / "root.esl"}
    theirs, mine = aws(DATA / "issued.efi", **keys), ours(DATA / "issued.efi", **keys)
    assert differs(theirs, mine) == ["PCR7"] and theirs[1] == pcr7(keys)
    assert mine[1] == pcr7(keys, keys["db"].read_bytes()[OWNER:])


@pytest.mark.long
def test_wrong_with_a_digest_in_db(aws, tmp_path):
    """The digest is that which the image's signature is of."""
    sha256 = bytes.fromhex("300d060960864801650304020105000420")
    entry = uuid.UUID(int=1).bytes_le + re.search(sha256 + b"(.{32})", (DATA / "direct.efi").read_bytes(), re.S)[1]
    kind = uuid.UUID("c1c41626-504c-4092-aca9-41f936934328").bytes_le
    header = struct.pack("<III", OWNER + len(entry), 0, len(entry))
    keys = {**KEYS, "db": written(tmp_path / "db.esl", kind + header + entry)}
    theirs, mine = aws(DATA / "direct.efi", **keys), ours(DATA / "direct.efi", **keys)
    assert differs(theirs, mine) == ["PCR7"] and theirs[1] == pcr7(keys) and mine[1] == pcr7(keys, entry)


@pytest.mark.long
@pytest.mark.parametrize("version", ["252.39-1~deb12u2", "254.26"])
def test_wrong_with_an_old_systemd_boot(aws, tmp_path, version):
    """It hands the UKI its own command line, as if from outside, and both of them measure it into PCR 12."""
    boot = image(tmp_path / "boot.efi", f"systemd-boot {version}", text=b"loader")
    linux = uki(tmp_path / "linux.efi", "257")
    theirs, mine = aws(boot, linux), ours(boot, linux)
    assert differs(theirs, mine) == ["PCR12"] and theirs[2] == w.ZERO
    assert mine[2] == extended(*2 * ["root=x\0".encode("utf-16-le")])


@pytest.mark.long
def test_wrong_with_shim(aws):
    """Shim measures its own list and the machine owner's keys into PCR 7, as far as they are there."""
    shim = Path("/usr/lib/shim/shimx64.efi.signed")
    if not shim.exists():
        pytest.skip("shim-signed is not installed (tests/setup installs it)")
    theirs, mine = aws(shim, DATA / "direct.efi"), ours(shim, DATA / "direct.efi")
    assert differs(theirs, mine) == ["PCR7"] and mine[1] is None
    assert theirs[1] == aws(DATA / "direct.efi")[1], "as if there were none"


@pytest.mark.long
@pytest.mark.parametrize("second", ["KEK", "PK"])
def test_no_answer_with_two_lists_in_db(aws, tmp_path, second):
    keys = {**KEYS, "db": written(tmp_path / "db.esl", KEYS["db"].read_bytes() + KEYS[second].read_bytes())}
    assert BAD_DB in aws(DATA / "direct.efi", **keys)
    assert ours(DATA / "direct.efi", **keys)[1] == pcr7(keys, KEYS["db"].read_bytes()[OWNER:])


@pytest.mark.long
def test_no_answer_to_what_muctl_takes(aws, tmp_path):
    """A variable with its authentication, and a UKI whose stub is named in .sbat alone."""
    pkcs7 = uuid.UUID("4aafd29d-68df-49ee-8aa9-347d375665a7").bytes_le + b"\x30"
    header = bytes(16) + struct.pack("<IHH", 8 + len(pkcs7), 0x200, 0xef1) + pkcs7
    keys = {**KEYS, "db": written(tmp_path / "db.auth", header + KEYS["db"].read_bytes())}
    assert BAD_DB in aws(DATA / "direct.efi", **keys)
    assert ours(DATA / "direct.efi", **keys) == ours(DATA / "direct.efi", **KEYS)
    linux = uki(tmp_path / "linux.efi", None)
    assert NO_SDMAGIC in aws(linux)
    assert ours(linux)[1:] == ours(uki(tmp_path / "other.efi", "257"))[1:]


@pytest.mark.long
def test_answer_for_what_does_not_start(aws, tmp_path):
    unsigned = uki(tmp_path / "linux.efi", "257")
    for started in unsigned, DATA / "issued.efi":
        code, said = ours(started, **KEYS)
        assert code == 2 and "with Secure Boot" in said
        assert aws(started, **KEYS)[1] == pcr7(KEYS)


# ---- its JSON, as it is ----

@pytest.fixture
def theirs(compute, tmp_path):
    """Of an image with Secure Boot, and of one without."""
    for name, keys in ("on", KEYS), ("off", {}):
        done = w.run(compute, *options([DATA / "direct.efi"], keys), env={})
        (tmp_path / f"{name}.json").write_bytes(done.stdout)
    return tmp_path


@pytest.mark.long
def test_json_is_taken(theirs, world):
    on, off = theirs / "on.json", theirs / "off.json"
    same, private, public = theirs / "same.json", world.signing_key, world.builder_key
    w.muctl("baseline", "predict", *options([DATA / "direct.efi"], KEYS), "--pcr", "4,7,12", "-o", same)
    assert w.muctl("baseline", "diff", on, same, check=False).returncode == 0
    assert w.muctl("baseline", "diff", on, off, check=False).returncode == 2
    w.muctl("baseline", "sign", on, "--key", private)
    w.muctl("baseline", "verify", on, "--key", public)

    for baseline in on, off:
        text = w.muctl("policy", "kms", "--baseline", baseline, "--principal", ROLE, "--admin", ADMIN,
                       "--builder", BUILDER).stdout
        condition, = [s["Condition"] for s in json.loads(text)["Statement"] if s["Sid"] == "ReleaseToMeasuredBoot"]
        asked = {key: value for test in condition.values() for key, value in test.items()}
        assert [asked[w.NITRO + pcr[3:]] for pcr in PCRS] == values(baseline.read_text())

    volume = w.make_volume(theirs / "volume.img")
    world.enroll(volume, baseline=on)
    recorded = json.loads(w.muctl("record", "show", volume, "--json").stdout)
    assert values(on.read_text())[0] in json.dumps(recorded)
    done = world.enroll(volume, baseline=off, check=False)
    assert done.returncode == 4 and "--without-pcr" in done.stderr, "it lacks the PCRs of drivers and extensions"


@pytest.mark.long
def test_document_is_verified_with_it(theirs):
    measured = json.loads((theirs / "on.json").read_text())["Measurements"]
    root = pki.new_root()
    pki.save_root(root, theirs / "ca")
    for pcr4, code in (measured["PCR4"], 0), (w.ZERO, 2):
        pcrs = [bytes.fromhex({**measured, "PCR4": pcr4}.get(f"PCR{n}", w.ZERO)) for n in range(24)]
        draft = document.Draft(pki.Chain(root, w.REGION, w.INSTANCE_ID), pcrs,
                               {"user_data": None, "nonce": None, "public_key": None})
        found = w.muctl("verify", written(theirs / "document", draft.encode()), "--root", theirs / "ca/root.pem",
                        "--baseline", theirs / "on.json", "--json", check=False)
        failed = [c["name"] for c in json.loads(found.stdout)["checks"] if c["result"] == "failed"]
        assert (found.returncode, failed) == (code, ["baseline"] if code else []), found.stderr
