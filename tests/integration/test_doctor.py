# SPDX-License-Identifier: GPL-2.0-or-later
"""muctl doctor: a healthy machine, and for each line a flaw that changes that line alone."""
import hashlib
import json
import os
import shutil
import struct

import made_image as m
import pytest
import world as w

OK, WARNING, FAILURE = "ok", "warning", "failure"
REFUSE, RETRY, CONFIG = 2, 3, 4
ETC = "etc/measured-unlock"
ORDER = [OK, WARNING, FAILURE]
OF_THE_HOST = {"firmware", "running-cmdline", "tpm"}


class Machine:
    """A root with everything installed, its image, and the devices of the world."""

    def __init__(self, world, folder):
        self.world, self.folder, self.root = world, folder, folder / "root"
        folder.mkdir()
        m.install(self.root)
        self.etc = self.root / ETC
        self.etc.mkdir(parents=True)
        for name, source in (("baseline.json", world.baked), ("builder.pem", world.builder_key),
                             ("ca.pem", world.aws.info["ca_file"])):
            shutil.copy(source, self.etc / name)
        self.log = folder / "log"
        self.log.write_bytes(event_log({4: b"the boot loader", 7: b"secure boot is off"}))
        self.image = folder / "image.efi"
        self.configure()
        self.build()

    def configure(self, device=None, **boot):
        aws = self.world.aws.info
        lines = ["[boot]", *(f"{k} = {v}" for k, v in boot.items()),
                 "[tpm]", f"tcti = {self.world.tpm.tcti}", f"eventlog = {self.log}",
                 "[aws]", f"imds = {aws['imds_endpoint']}", f"kms_endpoint = {aws['kms_endpoint']}",
                 "[volume root]", f"device = {device or self.world.volume}"]
        (self.etc / "measured-unlock.conf").write_text("\n".join(lines) + "\n")

    def build(self, alter=None, systemd=True, cmdline="root=/dev/mapper/root quiet"):
        tree = m.tree(self.root, self.folder / "tree", systemd)
        if alter:
            alter(tree)
        return m.uki(self.image, m.initramfs(tree), cmdline)

    def command(self, *options, image=True, role="--instance"):
        options = [role, *options] if role else options
        options = [*options, "--image", self.image] if image else options
        return w.muctl("doctor", "--root", self.root, *options, check=False)

    def examine(self, *options, **how):
        """Exit code, and for each name the worst result."""
        done = self.command("--json", *options, **how)
        report = json.loads(done.stdout)
        assert report["ok"] == (done.returncode == 0)
        assert all(f.get("fix") for f in report["findings"] if f["result"] != OK)
        assert all(set(f) >= {"name", "result", "detail"} for f in report["findings"])
        worst = {}
        for f in report["findings"]:
            worst[f["name"]] = max(worst.get(f["name"], OK), f["result"], key=ORDER.index)
        return done.returncode, worst

    def detail(self, name, *options, **how):
        findings = json.loads(self.command("--json", *options, **how).stdout)["findings"]
        return " ".join(f["detail"] + " " + f.get("fix", "") for f in findings if f["name"] == name)


def event_log(events):
    """TCG PFP 10.2: a crypto-agile log with SHA-384 alone."""
    def event1(pcr, kind, data):
        return struct.pack("<II20sI", pcr, kind, b"", len(data)) + data
    out = event1(0, 3, b"Spec ID Event03\0" + struct.pack("<IBBBBIHHB", 0, 0, 2, 0, 2, 1, 0xc, 48, 0))
    for pcr, data in events.items():
        out += struct.pack("<IIIH", pcr, 0x80000003, 1, 0xc) + hashlib.sha384(data).digest()
        out += struct.pack("<I", len(data)) + data
    return out


def enroll_image(machine):
    """The record admits what runs, and the image."""
    predicted = machine.folder / "image.json"
    w.muctl("baseline", "predict", "--image", machine.image, "--pcr", "4,12", "-o", predicted)
    machine.world.enroll(machine.world.volume, "--baseline", predicted)


@pytest.fixture(scope="module")
def prototype(settled_world, tmp_path_factory):
    """A machine without a flaw, made once; where it lies, its volume, and what is said of it."""
    folder = tmp_path_factory.mktemp("doctor")
    settled_world.fresh()
    machine = Machine(settled_world, folder / "machine")
    enroll_image(machine)
    machine.saved = folder / "saved"
    shutil.copytree(machine.folder, machine.saved, symlinks=True)
    shutil.copy(settled_world.volume, folder / "volume")
    machine.enrolled = folder / "volume"
    machine.before, machine.touched = machine.examine()[1], False
    return machine


@pytest.fixture
def healthy(settled_world, prototype):
    """The machine as it was, and a function that says which lines a flaw has changed. See `instance`."""
    if prototype.touched:
        settled_world.fresh()
        prototype.touched = False
    shutil.rmtree(prototype.folder)
    shutil.copytree(prototype.saved, prototype.folder, symlinks=True)
    shutil.copy(prototype.enrolled, settled_world.volume)

    def changed(*options, **how):
        code, after = prototype.examine(*options, **how)
        return code, {n: r for n, r in after.items() if r != prototype.before.get(n) and n not in OF_THE_HOST}
    prototype.changed = changed
    return prototype


@pytest.fixture
def instance(healthy):
    """For tests that alter the TPM or what KMS and IMDS answer: the next one gets them as they were."""
    healthy.touched = True
    return healthy


def test_good_machine(healthy):
    """Nothing but what was not asked for, and what the host and the emulator's name make of it."""
    code, found = healthy.examine()
    assert code == 0 and FAILURE not in found.values()
    assert {n for n, r in found.items() if r != OK} - OF_THE_HOST == {"policy", "credentials", "kms", "key"}


def test_text(healthy):
    """Short lines, each with a mark, and a fix below what is not ok."""
    shutil.copy(healthy.world.baked, healthy.etc / "builder.pem")
    done = healthy.command()
    lines = done.stdout.splitlines()
    assert done.returncode == CONFIG and max(map(len, lines)) < 100
    heads = [line for line in lines if line[:1].strip()]
    assert all(line.startswith(("ok     ", "warn   ", "FAILED ")) for line in heads)
    assert any(line.startswith("FAILED builder-key ") for line in heads)
    assert len([line for line in lines if " -> " in line]) == len([h for h in heads if not h.startswith("ok")])


# ---- configuration and files ----

def test_fallback(healthy):
    healthy.configure(fallback="shell")
    healthy.build(lambda tree: None)
    enroll_image(healthy)
    assert healthy.changed() == (0, {"fallback": WARNING})


@pytest.mark.parametrize("content", ["[boot]\nshell = yes\n", ""])
def test_bad_configuration(healthy, content):
    (healthy.etc / "measured-unlock.conf").write_text(content)
    code, found = healthy.examine("--tcti", healthy.world.tpm.tcti)
    assert code == CONFIG and found["configuration"] == FAILURE and found["nitrotpm"] == OK
    assert "not done" in healthy.detail("volume-record") and OK not in (found["baseline"], found["volume-record"])


def alter_pcrs(machine, *pcrs):
    """Another baked baseline; the image holds it, too."""
    path = machine.etc / "baseline.json"
    w.muctl("baseline", "record", "--pcr", ",".join(str(p) for p in pcrs), "--tcti", machine.world.tpm.tcti, "-o", path)
    machine.build()
    enroll_image(machine)


@pytest.mark.parametrize("pcrs, result, says", [
    ((7, 9, 12), FAILURE, "circular: it names PCR 9"), ((7, 11, 12), FAILURE, "circular: it names PCR 11"),
    ((4, 7, 12), FAILURE, "circular: it names PCR 4"), ((7,), FAILURE, "lacks PCR 12"), ((12,), WARNING, "lacks PCR 7"),
    ((1, 7, 12), FAILURE, "PCR 1 is not constant"), ((0, 3, 7, 12), WARNING, "PCR 0, 3"), ((7, 12, 15), FAILURE, "fence")])
def test_baseline(healthy, pcrs, result, says):
    alter_pcrs(healthy, *pcrs)
    code, found = healthy.changed()
    assert found == {"baseline": result} and code == (CONFIG if result == FAILURE else 0)
    assert says in healthy.detail("baseline")


def test_pcr4_beside_a_boot_loader(healthy):
    """A plain initramfs is not measured into PCR 4."""
    alter_pcrs(healthy, 4, 7, 12)
    healthy.image.write_bytes(m.initramfs(m.tree(healthy.root, healthy.folder / "tree")))
    assert healthy.examine()[1]["baseline"] == OK


def test_missing_baseline(healthy):
    (healthy.etc / "baseline.json").unlink()
    code, found = healthy.changed()
    assert code == CONFIG and found == {"baseline": FAILURE, "image-configuration": FAILURE, "running-baseline": WARNING}


def test_private_key(healthy):
    path = healthy.etc / "builder.pem"
    path.write_text(path.read_text() + healthy.world.signing_key.read_text())
    code, found = healthy.changed()  # the dracut module makes no image with it
    assert code == CONFIG and found == {"builder-key": FAILURE, "image-configuration": FAILURE}
    assert "private key" in healthy.detail("builder-key")


def test_ca_file_without_certificates(healthy):
    (healthy.etc / "ca.pem").write_text("nothing\n")
    healthy.build()
    enroll_image(healthy)
    assert healthy.changed() == (CONFIG, {"ca-file": FAILURE})


def test_module_not_installed(healthy):
    (healthy.root / m.MODULE / "module-setup.sh").unlink()
    assert healthy.changed() == (0, {"dracut-module": WARNING})
    code, found = healthy.examine(role="--build")
    assert (code, found["dracut-module"]) == (CONFIG, FAILURE)


# ---- inside the image ----

def replace(path, text="something else\n"):
    def alter(tree):
        (tree / path).unlink()
        (tree / path).write_text(text)
    return alter


def remove(path):
    return lambda tree: (tree / path).unlink()


def write(path, text="x\n"):
    def alter(tree):
        (tree / path).parent.mkdir(parents=True, exist_ok=True)
        (tree / path).write_text(text)
    return alter


FLAWS = {
    "no program": (remove("usr/lib/measured-unlock/measured-unlock"), "image-program", FAILURE),
    "other program": (replace("usr/lib/measured-unlock/measured-unlock"), "image-program", FAILURE),
    "no configuration": (remove(f"{ETC}/measured-unlock.conf"), "image-configuration", FAILURE),
    "other configuration": (replace(f"{ETC}/measured-unlock.conf"), "image-configuration", FAILURE),
    "other baseline": (replace(f"{ETC}/baseline.json"), "image-configuration", FAILURE),
    "other builder": (replace(f"{ETC}/builder.pem"), "image-configuration", FAILURE),
    "no CA file": (remove(f"{ETC}/ca.pem"), "image-configuration", FAILURE),
    "no hook": (remove(f"{m.HOOKS}/pre-pivot/00-pre-pivot.sh"), "image-hooks", FAILURE),
    "other refuse": (replace("usr/lib/measured-unlock/refuse"), "image-hooks", FAILURE),
    "no unit": (remove(f"{m.UNITS}/measured-unlock.service"), "image-units", FAILURE),
    "not required": (remove(f"{m.UNITS}/initrd.target.requires/measured-unlock.service"), "image-units", FAILURE),
    "root mounted before": (remove("etc/systemd/system/sysroot.mount.d/measured-unlock.conf"), "image-units", FAILURE),
    "asks for a passphrase": (remove("etc/systemd/system-generators/systemd-cryptsetup-generator"), "image-prompt",
                              FAILURE),
    "clevis": (write("usr/bin/clevis"), "image-prompt", FAILURE),
    "crypttab": (write("etc/crypttab", "root /dev/vda2 none\n"), "image-prompt", WARNING),
    "emergency shell": (remove("etc/systemd/system/emergency.service.d/measured-unlock.conf"), "image-shell", FAILURE),
    "debug shell": (remove("etc/systemd/system/debug-shell.service"), "image-shell", FAILURE),
    "dracut's shell": (replace("etc/cmdline.d/50-measured-unlock.conf", "rd.luks=0 rd.emergency=poweroff\n"),
                       "image-shell", FAILURE),
    "host's crypt options": (write("etc/cmdline.d/90crypt.conf", "rd.luks.uuid=luks-1\n"), "image-cmdline", WARNING),
}


@pytest.mark.parametrize("flaw", FLAWS)
def test_image_flaw(healthy, flaw):
    alter, name, result = FLAWS[flaw]
    healthy.build(alter)
    enroll_image(healthy)
    assert healthy.changed() == (CONFIG if result == FAILURE else 0, {name: result})


@pytest.mark.parametrize("cmdline, result", [
    ("root=/dev/vda2", FAILURE), ("root=PARTLABEL=root", FAILURE), ("root=/dev/mapper/other", WARNING), ("quiet", WARNING),
    ("root=UUID=0123", OK), ("root=/dev/mapper/root rd.shell", WARNING), ("root=/dev/mapper/root rd.shell=0", OK),
    ("root=/dev/mapper/root rd.luks.uuid=luks-1", WARNING), ("root=/dev/mapper/root systemd.debug_shell", FAILURE),
    ("root=/dev/mapper/root rd.systemd.mask=measured-unlock.service", FAILURE)])
def test_command_line(healthy, cmdline, result):
    healthy.build(cmdline=cmdline)
    enroll_image(healthy)
    assert healthy.changed()[1] == ({} if result == OK else {"image-cmdline": result})


@pytest.mark.parametrize("how", m.COMPRESS)
def test_compression(healthy, how):
    if how != "none" and not shutil.which(m.COMPRESS[how][0]):
        pytest.skip(f"{m.COMPRESS[how][0]} is not installed")
    initrd = m.early(healthy.folder / "early") + m.initramfs(healthy.folder / "tree", how)
    m.uki(healthy.image, initrd)
    enroll_image(healthy)
    assert healthy.changed() == (0, {})


def test_plain_initramfs_without_systemd(healthy):
    healthy.build(systemd=False)
    healthy.image.write_bytes(m.initramfs(healthy.folder / "tree"))
    code, found = healthy.examine()
    assert code == 0 and "image-units" not in found and found["image-hooks"] == found["image-shell"] == OK
    (healthy.folder / "tree" / m.HOOKS / "pre-mount/00-pre-mount.sh").unlink()
    healthy.image.write_bytes(m.initramfs(healthy.folder / "tree"))
    assert healthy.examine()[1]["image-hooks"] == FAILURE


def test_links_in_the_image(healthy):
    """dracut links equal files together; an administrator may link what he likes."""
    def alter(tree):
        first = tree / "usr/lib/measured-unlock/refuse"
        os.link(first, tree / "usr/lib/measured-unlock/zzz")
        (tree / "aaa").mkdir()
        (tree / ETC / "builder.pem").rename(tree / "aaa/key.pem")
        (tree / ETC / "builder.pem").symlink_to("../../aaa/./key.pem")
    healthy.build(alter)
    enroll_image(healthy)
    assert healthy.changed() == (0, {})


def test_later_archive_replaces_a_file(healthy):
    """As the kernel has it: the last one counts, and no compressed archive hides it."""
    replace("usr/lib/measured-unlock/refuse")(healthy.folder / "tree")
    evil = m.archive(healthy.folder / "tree")
    good = m.tree(healthy.root, healthy.folder / "tree")
    m.uki(healthy.image, m.archive(good) + evil)
    enroll_image(healthy)
    assert healthy.changed() == (CONFIG, {"image-hooks": FAILURE})
    m.uki(healthy.image, m.initramfs(good) + evil)
    enroll_image(healthy)
    assert healthy.changed()[1] == {"image": WARNING}


@pytest.mark.parametrize("data, says", [
    (b"", "holds no files"), (b"\0" * 4096, "holds no files"), (b"junk" * 100, "neither a cpio archive nor compressed"),
    (b"070701" + b"0" * 99, "bad entry at offset 0"), (b"070701" + b"f" * 200, "bad entry"),
    (b"\x28\xb5\x2f\xfd junk", "holds no files"), (m.pe({".text": b"a boot loader"}), "no .initrd section")])
def test_not_an_image(healthy, data, says):
    healthy.image.write_bytes(data)
    code, found = healthy.examine()
    assert (code, found["image"]) == (CONFIG, FAILURE) and says in healthy.detail("image")


def test_cut_image(healthy):
    healthy.image.write_bytes(m.initramfs(healthy.folder / "tree")[:-1000])
    assert healthy.examine()[1]["image"] != OK


def test_missing_decompressor(healthy):
    """In a root that holds nothing else, the package to install is named."""
    if os.geteuid() != 0 or b"/ld-linux" in w.MUCTL.read_bytes()[:4096]:
        pytest.skip("needs chroot(8), so root, and a static muctl")
    shutil.copy(w.MUCTL, healthy.root / "muctl")
    shutil.copy(healthy.image, healthy.root / "image.efi")
    done = w.run("chroot", healthy.root, "/muctl", "doctor", "--build", "--image", "/image.efi", check=False, text=True)
    assert done.returncode == CONFIG and "install the package zstd" in " ".join(done.stdout.split())


def test_image_without_measured_unlock(healthy):
    healthy.image.write_bytes(m.early(healthy.folder / "early"))
    assert healthy.examine()[0] == CONFIG and "measured-unlock is not in it" in healthy.detail("image")


def test_finds_images(healthy):
    """In /boot and on the EFI system partition; another system's image does no harm beside a good one."""
    assert "not done" in healthy.detail("image", image=False)
    boot = healthy.root / "boot/efi/EFI"
    (boot / "Linux").mkdir(parents=True)
    (boot / "BOOT").mkdir()
    other = healthy.root / "boot/initrd.img-6.1"
    other.write_bytes(m.early(healthy.folder / "early"))
    code, found = healthy.examine(image=False)
    assert (code, found["image"]) == (CONFIG, FAILURE)
    (boot / "BOOT/BOOTX64.EFI").write_bytes(m.pe({".text": b"a boot loader"}))
    shutil.copy(healthy.image, boot / "Linux/image.efi")
    code, found = healthy.examine(image=False)
    assert (code, found["image"], found["image-units"]) == (0, WARNING, OK)
    other.unlink()
    assert healthy.examine(image=False)[1]["image"] == OK


def test_image_that_is_not_enrolled(healthy):
    """Only the image has changed: what runs is still admitted, the next boot would not be."""
    healthy.build(cmdline="root=/dev/mapper/root rd.shell=0")
    assert healthy.changed() == (0, {"volume-image": WARNING})


def test_real_images(healthy):
    """What dracut itself made for the VM tests: everything in it is found, and equal where it is of this tree."""
    cache = w.Path(os.environ.get("MU_CACHE", w.Path.home() / ".cache/measured-unlock"))
    images = sorted(cache.glob("uki-*/uki.efi"), key=lambda p: p.stat().st_mtime)
    if not images:
        pytest.skip("no image of a VM test is in the cache")
    code, found = healthy.examine("--image", images[-1], role="--build", image=False)
    assert found["image"] == OK
    assert found["image-prompt"] == found["image-shell"] == OK


# ---- the running instance ----

def test_no_tpm(healthy):
    code, found = healthy.examine("--tcti", "device:/dev/no-such-tpm")
    assert (code, found["tpm"], found["nitrotpm"]) == (CONFIG, FAILURE, WARNING)


def test_build_machine_has_no_tpm(healthy):
    code, found = healthy.examine(role=None)
    assert (code, found["tpm"], found["volume-record"]) == (0, WARNING, OK)
    assert "not done: only the instance can tell" in healthy.detail("tpm", role=None)


def test_banks(healthy, tmp_path):
    assert "sha256 sha384" in healthy.detail("sha384-bank")
    tpm = w.NitroTpm(tmp_path / "tpm", "--banks", "sha1,sha256")
    try:
        code, found = healthy.examine("--tcti", tpm.tcti)
    finally:
        tpm.stop()
    assert (code, found["sha384-bank"]) == (CONFIG, FAILURE)


def test_event_log(healthy):
    healthy.log.write_bytes(event_log({4: b"another boot loader", 7: b"secure boot is off"}))
    assert healthy.changed() == (0, {"event-log": WARNING}) and "PCR 4" in healthy.detail("event-log")
    healthy.log.write_bytes(event_log({4: b"the boot loader"})[:-3])
    assert healthy.changed() == (0, {"event-log": WARNING}) and "offset" in healthy.detail("event-log")


def test_running_machine_differs_from_the_baseline(instance):
    instance.world.tpm.extend(7, b"other keys")
    code, found = instance.changed()
    assert code == REFUSE
    assert found == {"event-log": WARNING, "running-baseline": FAILURE, "running-record": FAILURE}


def test_running_machine_differs_from_the_record(instance):
    instance.world.tpm.extend(4, b"a boot kit")
    assert instance.changed() == (REFUSE, {"event-log": WARNING, "running-record": FAILURE})


def test_monitoring(healthy):
    """No boot fails for want of it."""
    assert "not set up" in healthy.detail("monitoring")
    config = healthy.etc / "monitor.conf"
    config.write_text("[monitor]\nverifier = https://verifier.example\nca_file = /ca.pem\n")
    assert healthy.changed() == (0, {"monitoring": WARNING})
    assert "systemctl enable" in healthy.detail("monitoring")
    wants = healthy.root / "etc/systemd/system/timers.target.wants"
    wants.mkdir(parents=True)
    (wants / "measured-unlock-monitor.timer").symlink_to("/usr/lib/systemd/system/measured-unlock-monitor.timer")
    assert healthy.changed() == (0, {}) and "https://verifier.example" in healthy.detail("monitoring")
    config.write_text("[monitor]\nverifier = http://verifier.example\n")
    assert healthy.changed() == (0, {"monitoring": WARNING}) and "is not https" in healthy.detail("monitoring")
    config.unlink()
    assert healthy.changed() == (0, {"monitoring": WARNING}) and "there is no" in healthy.detail("monitoring")


# ---- volumes ----

def test_header(healthy):
    with open(healthy.world.volume, "r+b") as volume:
        volume.seek(0x3000)
        volume.write(b"X")
    code, found = healthy.changed()
    assert code == REFUSE and found.pop("volume-header") == FAILURE
    assert found == dict.fromkeys(("volume-record", "volume-baseline", "volume-image", "running-record"), WARNING)


def test_record_of_another_builder(healthy, tmp_path):
    key, _ = w.make_builder_key(tmp_path)
    healthy.world.enroll(healthy.world.volume, key=key)
    code, found = healthy.changed()
    assert code == REFUSE and found.pop("volume-record") == FAILURE and set(found.values()) == {WARNING}


def test_record_version(healthy):
    healthy.configure(minimum_record_version=9)
    healthy.build()
    code, found = healthy.changed()
    assert code == REFUSE and found["volume-record"] == FAILURE and "version" in healthy.detail("volume-record")


def test_incomplete_baseline_in_the_record(healthy):
    """PCR 15 becomes the fence's value only by configuration: the record names PCR 14."""
    path = healthy.folder / "with14.json"
    w.muctl("baseline", "record", "--pcr", "4,7,12,14", "--tcti", healthy.world.tpm.tcti, "-o", path)
    healthy.world.enroll(healthy.world.volume, "--baseline", path)
    healthy.configure(fence_pcr=14)
    healthy.build()
    code, found = healthy.examine()
    assert (code, found["volume-baseline"]) == (CONFIG, FAILURE) and "PCR 14" in healthy.detail("volume-baseline")


def test_missing_device(healthy):
    healthy.configure(device="/dev/disk/by-uuid/no-such-device")
    healthy.build()
    code, found = healthy.examine()
    assert (code, found["volume-header"]) == (RETRY, FAILURE)
    code, found = healthy.examine(role="--build")
    assert (code, found["volume-header"]) == (0, WARNING)


# ---- key policy ----

def test_policy(healthy):
    policy, bad = healthy.folder / "policy.json", healthy.folder / "bad.json"
    w.muctl("policy", "kms", "--baseline", healthy.world.complete, "--principal", w.ROLE_ARN, "--admin",
            f"arn:aws:iam::{w.ACCOUNT}:role/admin", "-o", policy)
    assert healthy.changed("--policy", policy) == (0, {"policy": OK})
    text = json.loads(policy.read_text())
    text["Statement"].append({"Sid": "hole", "Effect": "Allow", "Principal": {"AWS": w.ROLE_ARN}, "Resource": "*",
                              "Action": "kms:Decrypt"})
    bad.write_text(json.dumps(text))
    assert healthy.changed("--policy", bad) == (REFUSE, {"policy": FAILURE})
    assert "hole" in healthy.detail("policy", "--policy", bad)
    bad.write_text("not json")
    assert healthy.changed("--policy", bad) == (CONFIG, {"policy": FAILURE})


# ---- with the network ----

ONLINE = {"credentials": OK, "kms": OK, "key": OK}


def test_online_with_the_fence_open(healthy):
    """The machine before its unlock: the whole way to the key slot."""
    code, found = healthy.changed("--online")
    assert (code, found) == (0, {**ONLINE, "clock": OK})
    assert "opens key slot" in healthy.detail("key", "--online") and not healthy.world.fence_closed()


def test_online_after_boot(instance):
    """A running instance: KMS denies, which is right. The twin: a policy that forgets the fence."""
    w.run(w.UNLOCK, "fence", "--config", instance.etc / "measured-unlock.conf")
    assert instance.changed("--online") == (0, {**ONLINE, "clock": OK})
    assert "denied, as it must be" in instance.detail("key", "--online")


def put_policy(world, folder, policy):
    path = folder / "kms.json"
    path.write_text(json.dumps(policy))
    w.run(world.aws.COMMAND, "key", "--dir", world.aws.folder, w.KEY_ID, "--policy", path)


def test_policy_that_forgets_the_fence(instance):
    w.run(w.UNLOCK, "fence", "--config", instance.etc / "measured-unlock.conf")
    good = w.key_policy(instance.world.tpm.pcr(4))
    bad = json.loads(json.dumps(good))
    del bad["Statement"][1]["Condition"]["StringEquals"][w.NITRO + "15"]
    put_policy(instance.world, instance.folder, bad)
    try:
        code, found = instance.changed("--online")
    finally:
        put_policy(instance.world, instance.folder, good)
    assert (code, found) == (REFUSE, {**ONLINE, "clock": OK, "key": FAILURE})


@pytest.mark.parametrize("skew, result", [(30, OK), (100, WARNING), (-100, WARNING), (400, FAILURE), (-400, FAILURE)])
def test_clock(instance, skew, result):
    instance.world.aws.fault("kms", "date", skew, operation="ping")
    code, found = instance.changed("--online")
    assert found == {**ONLINE, "clock": result} and code == (CONFIG if result == FAILURE else 0)


def test_key_denied(instance):
    instance.world.aws.fault("kms", "error", "AccessDeniedException", operation="Decrypt")
    code, found = instance.changed("--online")
    assert (code, found) == (REFUSE, {**ONLINE, "clock": OK, "key": FAILURE})


def test_key_slot_gone(healthy):
    record = json.loads(w.muctl("record", "show", healthy.world.volume, "--json").stdout)
    offset = json.loads(w.run("cryptsetup", "luksDump", "--dump-json-metadata", healthy.world.volume).stdout)
    area = int(offset["keyslots"][str(record["keyslot"])]["area"]["offset"])
    with open(healthy.world.volume, "r+b") as volume:
        volume.seek(area)
        volume.write(bytes(4096))
    code, found = healthy.changed("--online")
    assert (code, found) == (REFUSE, {**ONLINE, "clock": OK, "key": FAILURE})


def test_no_credentials(instance):
    instance.world.aws.fault("imds", "status", 404)
    code, found = instance.changed("--online")
    assert (code, found) == (RETRY, {"kms": OK, "clock": OK, "credentials": FAILURE})


def test_certificate_of_another_authority(instance):
    instance.world.aws.fault("tls", "unknown-ca")
    code, found = instance.changed("--online")
    assert code == REFUSE and found["kms"] == FAILURE and found["credentials"] == OK
