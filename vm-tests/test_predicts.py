# SPDX-License-Identifier: GPL-2.0-or-later
"""What muctl predicts of boot binaries is what the TPM of a machine that booted them holds, in each bank."""
import hashlib
import json
import subprocess
from pathlib import Path

import pytest

from harness import base, firmware, measuring, variables
from harness.architecture import CHOSEN
from harness.measuring import run

MUCTL = Path(__file__).resolve().parents[1] / "build/muctl"
EFI = "usr/lib/systemd/boot/efi/"
OLD = Path("/") / EFI  # of this machine: Debian 12 has systemd 252
BANKS = ("sha256", "sha384")
SHIM = Path("/usr/lib/shim/shimx64.efi.signed")
GRUB = Path("/usr/lib/grub/x86_64-efi-signed/grubx64.efi.signed")


def stub():
    return base.tree() / EFI / CHOSEN.stub


def loader():
    return base.tree() / EFI / CHOSEN.loader


def replayed(tmp_path, seen):
    """What the event log leads to; nothing where GRUB started the kernel past its EFI stub, which is who fetches the log."""
    if "eventlog" not in seen:
        return {bank: {} for bank in BANKS}
    log = tmp_path / "eventlog"
    log.write_bytes(seen["eventlog"])
    return json.loads(run(MUCTL, "eventlog", log, "--no-tpm", "--json"))["pcrs"]


def assert_predicted(tmp_path, seen, images, pcrs, *options):
    """Each PCR as predicted, held by the TPM, and led to by the event log."""
    logged = replayed(tmp_path, seen)
    held = dict(line.split(":", 1) for line in seen["pcrs"].decode().splitlines())
    for bank in BANKS:
        predicted = json.loads(run(MUCTL, "baseline", "predict", *(a for i in images for a in ("--image", i)), "--pcr",
                                   ",".join(map(str, pcrs)), "--bank", bank, "--phase", "", *options))["Measurements"]
        assert predicted.pop("HashAlgorithm") == bank.upper()
        assert predicted == {f"PCR{n}": held[f"/sys/class/tpm/tpm0/pcr-{bank}/{n}"].lower() for n in pcrs}
        both = [n for n in pcrs if str(n) in logged[bank]]
        assert [logged[bank][str(n)] for n in both] == [predicted[f"PCR{n}"] for n in both]


@pytest.fixture(scope="module")
def keys(tmp_path_factory):
    """Of an owner of the machine: folder with db.key, db.pem, *.esl; and a variable store with them."""
    folder = tmp_path_factory.mktemp("keys")
    lists = {}
    for name in ("PK", "KEK", "db"):
        run("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", f"/CN=test {name}", "-days", "3650",
            "-keyout", folder / f"{name}.key", "-out", folder / f"{name}.pem")
        der = run("openssl", "x509", "-in", folder / f"{name}.pem", "-outform", "DER")
        lists[name] = variables.signature_list(der)
        (folder / f"{name}.esl").write_bytes(lists[name])
    (folder / "vars.fd").write_bytes(variables.enrolled(firmware.empty(), lists))
    return folder


def options(keys):
    return [f"--{name}={keys / name}.esl" for name in ("PK", "KEK", "db")]


def signed(keys, path, image):
    run("sbsign", "--key", keys / "db.key", "--cert", keys / "db.pem", "--output", path, image)
    return path


def is_252(file):
    return not CHOSEN.is_foreign and file.exists() and b"LoaderInfo: systemd-boot 252." in file.read_bytes()


needs_252 = pytest.mark.skipif(not is_252(OLD / CHOSEN.loader), reason="systemd-boot-efi is not 252 (Debian 12)")


def test_uki(tmp_path):
    uki = measuring.uki(tmp_path / "uki.efi", stub(), uname=b"6.12", pcrpkey=b"-----BEGIN PUBLIC KEY-----")
    seen = measuring.boot(tmp_path, {measuring.PLACE: uki})
    assert "eventlog" in seen
    assert_predicted(tmp_path, seen, [uki], (4, 7, 11, 12))


def test_systemd_boot_and_uki(tmp_path):
    uki = measuring.uki(tmp_path / "uki.efi", stub())
    seen = measuring.boot(tmp_path, {measuring.PLACE: loader(), "EFI/Linux/test.efi": uki})
    assert_predicted(tmp_path, seen, [loader(), uki], (4, 7, 11, 12))


@pytest.mark.long
@needs_252
def test_systemd_boot_and_uki_of_252(tmp_path):
    """The boot loader hands the UKI its own command line, and both measure it."""
    images = [OLD / CHOSEN.loader, measuring.uki(tmp_path / "uki.efi", OLD / CHOSEN.stub)]
    seen = measuring.boot(tmp_path, {measuring.PLACE: images[0], "EFI/Linux/test.efi": images[1]})
    assert_predicted(tmp_path, seen, images, (4, 7, 11, 12))


def test_uki_with_secure_boot(tmp_path, keys):
    uki = signed(keys, tmp_path / "uki.efi", measuring.uki(tmp_path / "unsigned.efi", stub()))
    seen = measuring.boot(tmp_path, {measuring.PLACE: uki}, (keys / "vars.fd").read_bytes())
    assert_predicted(tmp_path, seen, [uki], (4, 7, 11, 12), *options(keys))


@pytest.mark.long
@needs_252
def test_systemd_boot_and_uki_of_252_with_secure_boot(tmp_path, keys):
    unsigned = measuring.uki(tmp_path / "unsigned.efi", OLD / CHOSEN.stub)
    images = [signed(keys, tmp_path / "loader.efi", OLD / CHOSEN.loader), signed(keys, tmp_path / "uki.efi", unsigned)]
    seen = measuring.boot(tmp_path, {measuring.PLACE: images[0], "EFI/Linux/test.efi": images[1]}, (keys / "vars.fd").read_bytes())
    assert_predicted(tmp_path, seen, images, (4, 7, 11, 12), *options(keys))


GRUB_CONFIG = f"linux /vmlinuz {measuring.CMDLINE}\ninitrd /initrd\nboot\n"


@pytest.mark.long
@pytest.mark.skipif(CHOSEN.is_foreign, reason="shim and GRUB are those of this machine's Debian")
@pytest.mark.parametrize("secure", [False, True], ids=["off", "on"])
def test_shim_grub_and_kernel(tmp_path, keys, secure):
    """Debian's own signatures below shim; this GRUB has shim check, and so measure, the kernel with Secure Boot, and twice."""
    shim = signed(keys, tmp_path / "shim.efi", SHIM)
    (tmp_path / "grub.cfg").write_text(GRUB_CONFIG)
    (tmp_path / "initrd").write_bytes(measuring.initrd())
    files = {measuring.PLACE: shim, "EFI/BOOT/grubx64.efi": GRUB, "EFI/debian/grub.cfg": tmp_path / "grub.cfg",
             "vmlinuz": measuring.kernel(), "initrd": tmp_path / "initrd"}
    seen = measuring.boot(tmp_path, files, (keys / "vars.fd").read_bytes() if secure else None)
    images = [shim, GRUB, *([measuring.kernel()] * 2 if secure else [])]
    assert_predicted(tmp_path, seen, images, (4, 11, 12), *(options(keys) if secure else []))


# Second opinions: systemd's own tools, of the guest's release

CHROOT = """
mount --bind "$2" "$1/mnt"
mount -t tmpfs none "$1/tmp" && mount -t proc none "$1/proc" && mount --rbind /dev "$1/dev"
mount -t tmpfs none "$1/sys" && mkdir -p "$1/sys/firmware/efi/efivars"
[ ! -d "$2/efivars" ] || mount --bind "$2/efivars" "$1/sys/firmware/efi/efivars"
root=$1; shift 2; exec chroot "$root" "$@"
"""


def guest_tool(folder, *argv):
    """Runs a program of the guest; folder is its /mnt, and folder/efivars the variables of its firmware."""
    return run("unshare", "--mount", "--propagation", "private", "sh", "-euc", CHROOT, "sh", base.tree(), folder, *argv).decode()


def pcrlock(folder, *arguments):
    """(pcr, {bank: digest}) for each measurement that systemd-pcrlock expects."""
    guest_tool(folder, "/usr/lib/systemd/systemd-pcrlock", *arguments, "--pcrlock=/mnt/out.pcrlock")
    records = json.loads((folder / "out.pcrlock").read_text())["records"]
    return [(r["pcr"], {d["hashAlg"]: bytes.fromhex(d["digest"]) for d in r["digests"]}) for r in records]


def extended(bank, digests):
    value = bytes(hashlib.new(bank).digest_size)
    for digest in digests:
        value = hashlib.new(bank, value + digest).digest()
    return value.hex()


def predict(images, pcr, bank, *options):
    done = run(MUCTL, "baseline", "predict", *(a for i in images for a in ("--image", i)), "--pcr", pcr, "--bank", bank, *options)
    return json.loads(done)["Measurements"][f"PCR{pcr}"]


@pytest.mark.needs("systemd >= 255")
@pytest.mark.parametrize("folder_of_stub", ["guest", pytest.param("host", marks=needs_252)])
def test_systemd_pcrlock_agrees_on_images(tmp_path, folder_of_stub):
    """It knows what a UKI measures, but not that firmware measures the kernel that stubs before 258 start."""
    stub_file = stub() if folder_of_stub == "guest" else OLD / CHOSEN.stub
    uki = measuring.uki(tmp_path / "uki.efi", stub_file, pcrpkey=b"key")
    # It hashes as if there were zeros up to a multiple of 8, as the format has it and signing puts there; firmware does not.
    uki.write_bytes(uki.read_bytes() + bytes(-uki.stat().st_size % 8))
    (tmp_path / "kernel").write_bytes(measuring.kernel().read_bytes())
    (tmp_path / "loader.efi").write_bytes(loader().read_bytes())
    parts = {name: pcrlock(tmp_path, verb, f"/mnt/{name}")
             for verb, name in (("lock-pe", "loader.efi"), ("lock-uki", "uki.efi"), ("lock-pe", "kernel"))}
    for bank in BANKS:
        first = [hashlib.new(bank, data).digest() for data in (b"Calling EFI Application from Boot Option", bytes(4))]
        pcr4 = [d[bank] for part in parts.values() for pcr, d in part if pcr == 4]
        assert predict([tmp_path / "loader.efi", uki], 4, bank) == extended(bank, first + pcr4)
        if folder_of_stub == "guest":  # 252 does not measure .sbat, which this version expects
            pcr11 = [d[bank] for pcr, d in parts["uki.efi"] if pcr == 11]
            assert predict([uki], 11, bank, "--phase", "") == extended(bank, pcr11)


def test_systemd_measure_agrees(tmp_path):
    texts = {"osrel": b"ID=x", "cmdline": b"quiet", "uname": b"6.12", "pcrpkey": b"key", "initrd": b"initrd" * 999}
    uki = measuring.uki(tmp_path / "uki.efi", stub(), **texts)
    (tmp_path / "linux").write_bytes(measuring.kernel().read_bytes())
    for name, text in texts.items():
        (tmp_path / name).write_bytes(text)
    run("objcopy", "-O", "binary", "--only-section=.sbat", uki, tmp_path / "sbat")
    for bank in BANKS:
        for phase in ("enter-initrd", "enter-initrd:leave-initrd"):
            said = guest_tool(tmp_path, "/usr/lib/systemd/systemd-measure", "calculate", f"--bank={bank}", f"--phase={phase}",
                              *(f"--{name}=/mnt/{name}" for name in ("linux", "sbat", *texts)))
            assert f"11:{bank}={predict([uki], 11, bank, '--phase', phase)}" in said


@pytest.mark.long
@pytest.mark.needs("systemd >= 255")
def test_systemd_pcrlock_agrees_on_variables(tmp_path, keys):
    """It expects the variables, not the separator after them, nor what let an image start."""
    folder = tmp_path / "efivars"
    folder.mkdir()
    lists = {name: (keys / f"{name}.esl").read_bytes() for name in ("PK", "KEK", "db")}
    attributes = variables.ATTRIBUTES | variables.AUTHENTICATED
    for name, content in {"SecureBoot": b"\1", **lists, "dbx": b""}.items():
        guid = variables.GUIDS.get(name, variables.GLOBAL)
        if content:
            (folder / f"{name}-{guid}").write_bytes(attributes.to_bytes(4, "little") + content)
    image = signed(keys, tmp_path / "image.efi", loader())
    digests = [d for pcr, d in pcrlock(tmp_path, "lock-secureboot-policy") if pcr == 7]
    assert len(digests) == 5
    entry = lists["db"][28:]
    authority = variables.DATABASE.bytes_le + (2).to_bytes(8, "little") + len(entry).to_bytes(8, "little") + \
        "db".encode("utf-16-le") + entry
    for bank in BANKS:
        rest = [hashlib.new(bank, data).digest() for data in (bytes(4), authority)]
        assert predict([image], 7, bank, *options(keys)) == extended(bank, [d[bank] for d in digests] + rest)
