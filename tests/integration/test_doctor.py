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
        self.log.write_bytes(event_log({4: b"the boot loader", 7: b"secure boot is on"}))
        self.image = folder / "image.efi"
        (self.root / "proc").mkdir()
        (self.root / "proc/cmdline").write_text("root=/dev/mapper/root " + m.WORDS)
        self.configure()
        self.build()

    def configure(self, device=None, **boot):
        aws = self.world.aws.info
        lines = ["[boot]", *(f"{k} = {v}" for k, v in boot.items()),
                 "[tpm]", f"tcti = {self.world.tpm.tcti}", f"eventlog = {self.log}",
                 "[aws]", f"imds = {aws['imds_endpoint']}", f"kms_endpoint = {aws['kms_endpoint']}",
                 "[volume root]", f"device = {device or self.world.volume}"]
        (self.etc / "measured-unlock.conf").write_text("\n".join(lines) + "\n")

    def build(self, alter=None, systemd=True, cmdline="root=/dev/mapper/root quiet", words=m.WORDS):
        tree = m.tree(self.root, self.folder / "tree", systemd)
        if alter:
            alter(tree)
        return m.uki(self.image, m.initramfs(tree), f"{words} {cmdline}")

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

    def findings(self, name, *options, **how):
        report = json.loads(self.command("--json", *options, **how).stdout)
        return [f for f in report["findings"] if f["name"] == name]

    def detail(self, name, *options, **how):
        return " ".join(f["detail"] + " " + f.get("fix", "") for f in self.findings(name, *options, **how))


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
    w.muctl("baseline", "predict", "--image", machine.image, "--pcr", "2,3,4,12,13,14", "-o", predicted)
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
    ((4, 7, 12), FAILURE, "circular: it names PCR 4"), ((7,), FAILURE, "lacks PCR 12"),
    ((2, 3, 12, 13, 14), WARNING, "lacks PCR 7"), ((3, 12, 13, 14), FAILURE, "lacks PCR 2: "),
    ((1, 7, 12), FAILURE, "PCR 1 is not constant"), ((0, 7, 12), WARNING, "PCR 0: equal"), ((7, 12, 15), FAILURE, "fence")])
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
    "no hook": (remove(f"{m.HOOKS}/initqueue/settled/99-settled.sh"), "image-hooks", FAILURE),
    "other refuse": (replace("usr/lib/measured-unlock/refuse"), "image-hooks", FAILURE),
    "no unit": (remove(f"{m.UNITS}/measured-unlock.service"), "image-units", FAILURE),
    "not required": (remove(f"{m.UNITS}/initrd.target.requires/measured-unlock.service"), "image-units", FAILURE),
    "no look at the root": (remove(f"{m.UNITS}/dracut-pre-pivot.service.requires/measured-unlock-root.service"), "image-units",
                            FAILURE),
    "no last look": (remove(f"{m.UNITS}/measured-unlock-switch.service"), "image-units", FAILURE),
    "another unlocker": (write("usr/bin/systemd-cryptsetup"), "image-prompt", WARNING),
    "switch without a last look": (remove("etc/systemd/system/initrd-switch-root.service.d/measured-unlock.conf"),
                                   "image-units", FAILURE),
    "root mounted before": (remove("etc/systemd/system/sysroot.mount.d/measured-unlock.conf"), "image-units", FAILURE),
    "clevis": (write("usr/bin/clevis"), "image-prompt", FAILURE),
    "crypttab": (write("etc/crypttab", "root /dev/vda2 none\n"), "image-prompt", WARNING),
    "emergency shell": (remove("etc/systemd/system/emergency.service.d/measured-unlock.conf"), "image-shell", FAILURE),
    "asks for a passphrase": (remove("etc/systemd/system-generators/systemd-cryptsetup-generator"), "image-doors", FAILURE),
    "debug shell": (remove("etc/systemd/system/debug-shell.service"), "image-doors", FAILURE),
    "another unit in the place of a mask": (replace("etc/systemd/system/systemd-pcrosseparator.service"), "image-doors",
                                            FAILURE),
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


ROOT = "root=/dev/mapper/root "
# What `words` on a good command line is worth. Values in quotes are one word to the kernel and to dracut ("), or to systemd
# (" and '): what stands inside them leads nowhere.
WORDS = {
    FAILURE: ["systemd.debug-shell", "systemd.debug_shell=1", "systemd.wants=debug-shell.service", "systemd.break=pre-basic",
              "systemd.confirm_spawn=yes", "systemd.mask=measured-unlock-root.service", "init=/bin/sh", "rd.cmdline=ask",
              '"systemd.debug_shell"', "root=live:/dev/sr0", "root=nfs:10.0.0.1:/", "-- root=/dev/sda1",
              'root="PARTLABEL=Arch Linux"', "x='a root=/dev/sda1 b'"],
    WARNING: ["init=/sbin/init", "rdinit=/x", "initrd=\\\\other", "bootconfig", "systemd.unit=x.target", "rd.systemd.unit=x.target",
              "rd.systemd.mask=x.service", "systemd.wants=x.service", "systemd.run=/bin/true", "systemd.run='a b'", "emergency",
              "rescue", "single", "s", "S", "1", "3", "-b", "-s", "rd.rescue", "rd.break", "rd.break=pre-mount", "rdbreak",
              "rd.systemd.break=pre-mount", "rd.systemd.debug_shell", "systemd.crash-shell", "systemd.set_credential=a:b",
              "systemd.set-credential-binary=a:Yg==", "systemd.import_credentials=yes", "systemd.import-credentials",
              "systemd.setenv=A=b", "LD_PRELOAD=/x", "SYSTEMD_PROC_CMDLINE=ro", "SYSTEMD_LOG_LEVEL=debug", "--unit", "-- x",
              "rd.systemd.mount-extra=tmpfs:/etc:tmpfs", "systemd.mount-extra=/dev/sda1:/etc", "systemd.swap-extra=/dev/sda2",
              "systemd.volatile=overlay", "systemd.gpt_auto=1", "netroot=nbd:10.0.0.1:1", "rd.overlay", "rd.live.image",
              "ip=eth0:ibft", "luks.uuid=1", "rd.luks.name=1=x", "resume=/dev/sda2", "module.sig_enforce=0",
              "initcall_blacklist=tpm_init", "acpi_rsdp=0x1", "systemd.random-seed=AAAA", "ds=nocloud;s=http://x/",
              "rd.emergency=shell", "systemd.firstboot", "sysctl.kernel.core_pattern=|/x"],
    OK: ['dyndbg="file x.c +p; root=/dev/sda1"', 'x="a systemd.debug_shell b"', 'x="a rd.break init=/bin/sh"', "rd.shell=0",
         "systemd.debug_shell=0", "systemd.import_credentials=no", "rd.luks=0 rd.auto=0 noresume", "rd.emergency=poweroff",
         "initcall_blacklist=efivarfs_init", "systemd.gpt-auto=no systemd.swap=0", "efi=noruntime", "quiet rw console=ttyS0",
         "rd.systemd.debug_shell=off", "systemd.firstboot=no", "ip=dhcp", "rd.lvm.lv=vg/root", "TERM=linux", "module.sig_enforce=1",
         "lockdown=confidentiality", "root=LABEL=x", "root=/dev/disk/by-uuid/1", "rd.debug", "rd_break"],
}


@pytest.mark.parametrize("words, result", [(words, result) for result in WORDS for words in WORDS[result]])
def test_word_of_the_command_line(healthy, words, result):
    healthy.build(cmdline=ROOT + words)
    enroll_image(healthy)
    changed = healthy.changed()[1]
    changed.pop("image-doors", None)  # of some of them the table says more
    assert changed == ({} if result == OK else {"image-cmdline": result})


SHUT = [door for door in m.doors("word", "forbidden", "generator", "unit", "module")]


def open_door(machine, door):
    """The image without what shuts one door."""
    kind, value = door[:2]
    words = m.WORDS.split()
    if kind == "word":
        return machine.build(words=" ".join(word for word in words if word != value))
    if kind == "forbidden":
        return machine.build(words=f"{m.WORDS} {value}")
    if kind == "module":
        return machine.build(write(f"usr/lib/modules/6.12.0/kernel/fs/{value.replace('_', '-')}.ko.xz"))
    return machine.build(remove(f"etc/systemd/system{'-generators' if kind == 'generator' else ''}/{value}"))


@pytest.mark.parametrize("door", SHUT, ids=lambda door: door[1])
def test_every_door_of_the_table(healthy, door):
    open_door(healthy, door)
    finding, = healthy.findings("image-doors")
    assert finding["result"] == FAILURE and finding["detail"].startswith(door[1] + " ")
    assert finding["detail"].endswith(f": {door[4]} ({door[3]})")
    assert (f"'open = {door[2]}' in [boot]" in finding["fix"]) == (door[2] != "-")
    if door[2] != "-":
        healthy.configure(open=door[2])
        if door[0] in ("word", "forbidden", "module"):
            open_door(healthy, door)
        else:
            healthy.build()
        warning, rest = healthy.findings("image-doors")
        assert (warning["result"], rest["result"]) == (WARNING, OK)
        assert warning["detail"].startswith(f"'open = {door[2]}': ")


@pytest.mark.parametrize("words, good", [
    ("{} quiet", True), ("{} systemd.gpt-auto=no", True), ("{} rd.systemd.gpt_auto=0", True), ("{} efi=debug", True),
    ("{} rd.systemd.gpt_auto=1", False), ("{} systemd.gpt-auto=1", False), ("systemd.gpt_auto=1 {}", False),
    ("{} systemd.import_credentials", False), ("{} efi=debug,runtime", False), ("{} x='efi=runtime kgdbwait'", True),
    ('x="{}"', False), ("-- {}", False), ("{} -- kgdbwait", True), ("{} sysrq-always-enabled", False)])
def test_words_in_other_forms(healthy, words, good):
    healthy.build(words=words.format(m.WORDS))
    assert {f["result"] for f in healthy.findings("image-doors")} == {OK if good else FAILURE}


def test_words_of_the_running_machine(healthy):
    (healthy.root / "proc/cmdline").write_text(m.WORDS.replace("efi=noruntime", "quiet"))
    assert healthy.changed() == (CONFIG, {"running-doors": FAILURE})
    assert "efi=noruntime is missing from /proc/cmdline" in healthy.detail("running-doors")


def test_an_initramfs_does_not_show_its_command_line(healthy):
    healthy.build(write("usr/lib/modules/6.12.0/kernel/fs/efivarfs.ko"))
    healthy.image.write_bytes(m.initramfs(healthy.folder / "tree"))
    assert healthy.examine()[1]["image-doors"] == FAILURE
    healthy.build()
    healthy.image.write_bytes(m.initramfs(healthy.folder / "tree"))
    assert healthy.examine()[1]["image-doors"] == WARNING and "not done" in healthy.detail("image-doors")


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


def parts(systemd):
    """{path in an image: finding} of dracut-module/parts, for the images that made_image makes."""
    lines = (w.TOP / "dracut-module/parts").read_text().splitlines()
    rows = [line.split() for line in lines if line and line[0] != "#"]
    kinds = ("always", "systemd", "networkd") if systemd else ("always", "plain")
    return {path.replace("hooks/", f"{m.HOOKS}/", 1) if kind == "hook" else path: finding
            for when, kind, _, path, finding in rows if when in kinds}


# What install() takes from elsewhere, and what it makes in some images.
ELSEWHERE = {"usr/lib/measured-unlock/measured-unlock", "etc/resolv.conf", "etc/cmdline.d/51-measured-unlock.conf",
             *(f"{ETC}/{name}" for name in ("measured-unlock.conf", "baseline.json", "builder.pem", "ca.pem"))}


@pytest.mark.parametrize("systemd", [True, False], ids=["systemd", "plain"])
def test_what_is_in_an_image_is_in_the_table(healthy, systemd):
    """In both directions: install() makes each part and nothing else, and doctor misses each one."""
    healthy.build(systemd=systemd)
    tree, table = healthy.folder / "tree", parts(systemd)
    masks = {f"etc/systemd/{'system' if kind == 'unit' else 'system-generators'}/{name}"
             for kind, name, *_ in m.doors("unit", "generator")}
    found = {str(p.relative_to(tree)) for p in tree.rglob("*") if p.is_symlink() or p.is_file()}
    assert found - ELSEWHERE - masks - m.OF_OTHERS == set(table) and len(table) > 12
    for path, finding in table.items():
        (tree / path).rename(healthy.folder / "part")
        healthy.image.write_bytes(m.initramfs(tree))
        assert healthy.examine()[1][finding] == FAILURE, path
        (healthy.folder / "part").rename(tree / path)


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
    assert healthy.changed() == (CONFIG, {"image-hooks": FAILURE})


@pytest.mark.parametrize("second, zeros", [("none", 0), ("zstd", 509), ("lzma", 4)])
@pytest.mark.parametrize("first", m.COMPRESS)
def test_archives_in_any_order(healthy, first, second, zeros):
    """What follows a compressed archive is seen, however it is compressed and padded."""
    for how in (first, second):
        if how != "none" and not shutil.which(m.COMPRESS[how][0]):
            pytest.skip(f"{m.COMPRESS[how][0]} is not installed")
    (healthy.folder / "late").mkdir()
    late = healthy.folder / "late/usr/lib/measured-unlock/refuse"
    late.parent.mkdir(parents=True)
    shutil.copy(healthy.folder / "tree/usr/lib/measured-unlock/refuse", late)
    found = []
    for text in (late.read_text(), "exec sh\n"):
        late.write_text(text)
        m.uki(healthy.image, m.early(healthy.folder / "early") + m.initramfs(healthy.folder / "tree", first) +
              bytes(zeros) + m.initramfs(healthy.folder / "late", second) + bytes(zeros))
        shutil.rmtree(healthy.folder / "early")
        result = healthy.examine()[1]
        found.append((result["image"], result["image-hooks"], result["image-units"]))
    assert found == [(OK, OK, OK), (OK, FAILURE, OK)]


def test_what_cannot_be_seen_is_not_called_missing(healthy):
    """A part that muctl cannot read may hold what was not found, and replace what was."""
    good, bzip2 = (m.initramfs(healthy.folder / "tree", how) for how in ("zstd", "bzip2"))
    other = b"unknown" * 99
    for data in (good + other, bzip2 + other, good[:-20] + bytes(20), m.early(healthy.folder / "early") + other):
        m.uki(healthy.image, data)
        assert healthy.examine()[1]["image"] != OK
        said = healthy.detail("image")
        assert "not done" in said and "is not in it" not in said


SQUASHED = {"squashfs-root.img": b"hsqs" + bytes(4092), "squash-root.img": b"hsqs" + bytes(4092),
            "erofs-root.img": bytes(1024) + bytes.fromhex("e2e1f5e0") + bytes(3068)}


@pytest.mark.parametrize("name", SQUASHED)
def test_squashed_root(healthy, name):
    """dracut's squash modules leave the file system that holds everything, and what mounts it."""
    folder = healthy.folder / "squashed"
    write("init")(folder)
    healthy.image.write_bytes(m.initramfs(folder))
    assert "is not in it" in healthy.detail("image")
    (folder / name).write_bytes(SQUASHED[name])
    healthy.image.write_bytes(m.initramfs(folder))
    code, found = healthy.examine()
    said = healthy.detail("image")
    assert (code, found["image"]) == (CONFIG, FAILURE)
    assert name in said and "not done" in said and "--omit" in said and "is not in it" not in said
    boot = healthy.root / "boot"
    boot.mkdir()
    shutil.copy(healthy.image, boot / "initramfs-6.12.img")
    assert healthy.examine(image=False)[1]["image"] == FAILURE
    assert "is in none" not in healthy.detail("image", image=False)


def test_each_profile_of_a_uki(healthy):
    """The base belongs to each of them; one that says something of its own is judged by that."""
    initrd = m.initramfs(healthy.folder / "tree")
    main, line = [(".profile", b"ID=main\nTITLE=Main\n")], f"root=/dev/mapper/root {m.WORDS}"
    m.profiles(healthy.image, initrd, main)
    assert healthy.examine()[1]["image"] == OK

    def second(*sections, name=b"TITLE='Debug Mode'\n"):
        m.profiles(healthy.image, initrd, main, [(".profile", name), *sections])
        found = healthy.examine()[1]
        return [found[name] for name in ("image", "image-cmdline", "image-doors", "image-hooks")]
    assert second() == second((".cmdline", line.encode())) == [WARNING, OK, OK, OK]
    assert "PCR 11 alone" in healthy.detail("image")
    assert second((".cmdline", f"{line} systemd.debug_shell=1".encode())) == [WARNING, FAILURE, OK, OK]
    assert ".cmdline of the profile 'Debug Mode': 'systemd.debug_shell=1'" in healthy.detail("image-cmdline")
    assert second((".cmdline", b"root=/dev/mapper/root"), name=b"ID=short\n") == [WARNING, OK, FAILURE, OK]
    assert "is missing from .cmdline of the profile 'short'" in healthy.detail("image-doors")
    replace("usr/lib/measured-unlock/refuse")(healthy.folder / "tree")
    assert second((".initrd", m.initramfs(healthy.folder / "tree"))) == [WARNING, OK, OK, FAILURE]
    assert second((".initrd", m.initramfs(healthy.folder / "tree")[:100]))[0] == FAILURE
    assert "not done: the profile 'Debug Mode'" in healthy.detail("image")


def test_companions_of_a_uki(healthy):
    """systemd-stub adds what lies beside an image: found in any case, named, and an add-on's command line judged."""
    esp = healthy.root / "boot/efi"
    image = esp / "EFI/Linux/linux+3-1.efi"
    for folder in ("EFI/Linux/LINUX.EFI.EXTRA.D", "loader/addons", "loader/credentials"):
        (esp / folder).mkdir(parents=True)
    shutil.copy(healthy.image, image)
    before = healthy.examine(image=False)[1]
    assert before["image"] == OK and "image-addons" not in before
    extra = esp / "EFI/Linux/LINUX.EFI.EXTRA.D"
    (extra / "readme.txt").write_text("nothing")
    assert "image-addons" not in healthy.examine(image=False)[1]
    told = {extra / "SERIAL.ADDON.EFI": "PCR 4 and 12", extra / "a.cred": "PCR 12", extra / "b.confext.raw": "PCR 12",
            extra / "c.raw": "PCR 13", esp / "loader/addons/all.addon.efi": "PCR 4 and 12",
            esp / "loader/credentials/d.cred": "PCR 12"}
    for path in told:
        path.write_bytes(m.pe({".cmdline": b"console=ttyS0"}))
    assert healthy.examine(image=False)[1]["image-addons"] == WARNING
    said = [f["detail"] for f in healthy.findings("image-addons", image=False) if f["result"] == WARNING]
    assert len(said) == len(told)
    assert all(any(str(path) in text and pcrs in text for text in said) for path, pcrs in told.items())
    (esp / "loader/addons/all.addon.efi").write_bytes(m.pe({".cmdline": b"init=/bin/sh"}))
    assert healthy.examine(image=False)[1]["image-addons"] == FAILURE
    (extra / "SERIAL.ADDON.EFI").write_bytes(m.pe({".initrd": m.early(healthy.folder / "early")}))
    assert "SERIAL.ADDON.EFI: it has an initrd" in healthy.detail("image-addons", image=False)
    assert "all.addon.efi: 'init=/bin/sh'" in healthy.detail("image-addons", image=False)
    (esp / "loader/addons/all.addon.efi").write_bytes(m.pe({".cmdline": b"init=/bin/sh"})[:-600])
    assert "not done" in healthy.detail("image-addons", image=False)


@pytest.mark.parametrize("name", ["EFI/Linux/linux.efi", "EFI/LINUX/LINUX.EFI", "efi/linux/Linux.Efi",
                                  "EFI/BOOT/bootx64.efi", "Efi/Boot/BOOTAA64.EFI"])
@pytest.mark.parametrize("where", ["boot/efi", "boot", "efi"])
def test_names_on_the_esp(healthy, where, name):
    """FAT knows no case, and the folder of a test, or of a build, does."""
    path = healthy.root / where / name
    path.parent.mkdir(parents=True)
    shutil.copy(healthy.image, path)
    assert healthy.examine(image=False)[1]["image"] == OK
    assert str(path) in healthy.detail("image", image=False)


@pytest.mark.parametrize("data, says", [
    (b"", "holds no files"), (b"\0" * 4096, "holds no files"), (b"junk" * 100, "neither a cpio archive nor compressed"),
    (b"070701" + b"0" * 99, "bad entry at offset 0"), (b"070701" + b"f" * 200, "bad entry"),
    (b"\x28\xb5\x2f\xfd junk", "damaged or cut"), (m.pe({".text": b"a boot loader"}), "no .initrd section")])
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


def test_image_enrolled_for_secure_boot(healthy):
    """Its record has another PCR 4: the kernel inside a UKI is measured by itself only without Secure Boot."""
    keys = [f"--{name}={w.TOP / 'tests/data/secureboot' / name}.esl" for name in ("PK", "KEK", "db")]
    predicted = {}
    for name, options in (("off", []), ("on", keys)):
        predicted[name] = healthy.folder / f"{name}.json"
        w.muctl("baseline", "predict", "--image", healthy.image, "--pcr", "2,3,4,12,13,14", "-o", predicted[name], *options)
    assert len({path.read_text() for path in predicted.values()}) == 2
    healthy.world.enroll(healthy.world.volume, "--baseline", predicted["on"])
    assert healthy.examine()[1]["volume-image"] == OK
    healthy.build(cmdline="root=/dev/mapper/root other")
    assert healthy.examine()[1]["volume-image"] == WARNING


def test_image_behind_a_boot_loader(healthy):
    """In EFI/Linux: what firmware starts first is measured, too. The twin: another loader there."""
    boot = healthy.root / "boot/efi/EFI"
    for folder in ("Linux", "BOOT"):
        (boot / folder).mkdir(parents=True)
    loader, image = boot / "BOOT/BOOTX64.EFI", w.Path(shutil.copy(healthy.image, boot / "Linux/linux-1.efi"))
    loader.write_bytes(m.pe({".sdmagic": b"#### LoaderInfo: systemd-boot 257.9 ####", ".text": b"loader"}))
    predicted = healthy.folder / "behind.json"
    w.muctl("baseline", "predict", "--image", loader, "--image", image, "--pcr", "2,3,4,12,13,14", "-o", predicted)
    healthy.world.enroll(healthy.world.volume, "--baseline", predicted)
    assert healthy.examine(image=False)[1]["volume-image"] == OK
    loader.write_bytes(m.pe({".sdmagic": b"#### LoaderInfo: systemd-boot 258 ####", ".text": b"loader"}))
    assert healthy.examine(image=False)[1]["volume-image"] == WARNING
    assert f"started by {loader}" in healthy.detail("volume-image", image=False)


def test_real_images(healthy):
    """What dracut itself made for the VM tests: everything in it is found, and equal where it is of this tree."""
    cache = w.Path(os.environ.get("MU_CACHE", w.Path.home() / ".cache/measured-unlock"))
    images = sorted(cache.glob("uki-*/uki.efi"), key=lambda p: p.stat().st_mtime)
    if not images:
        pytest.skip("no image of a VM test is in the cache")
    code, found = healthy.examine("--image", images[-1], role="--build", image=False)
    assert found["image"] == OK
    # A warning: the newest may be the one in which vm-tests/test_dracut.py has systemd-cryptsetup by intention.
    assert found["image-prompt"] in (OK, WARNING) and found["image-shell"] == OK


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
    healthy.log.write_bytes(event_log({4: b"another boot loader", 7: b"secure boot is on"}))
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
    healthy.world.enroll(healthy.world.volume, "--record-version", "2", key=key)
    code, found = healthy.changed()
    assert code == REFUSE and found.pop("volume-record") == FAILURE and set(found.values()) == {WARNING}


def test_record_version(healthy):
    healthy.configure(minimum_record_version=9)
    healthy.build()
    code, found = healthy.changed()
    assert code == REFUSE and found["volume-record"] == FAILURE and "version" in healthy.detail("volume-record")


def test_incomplete_baseline_in_the_record(healthy):
    """PCR 15 becomes the fence's value only by configuration: the record names PCR 11."""
    path = healthy.folder / "with11.json"
    w.muctl("baseline", "record", "--pcr", "2,3,4,7,11,12,13,14", "--tcti", healthy.world.tpm.tcti, "-o", path)
    healthy.world.enroll(healthy.world.volume, "--baseline", path)
    healthy.configure(fence_pcr=11)
    healthy.build()
    code, found = healthy.examine()
    assert (code, found["volume-baseline"]) == (CONFIG, FAILURE) and "PCR 11" in healthy.detail("volume-baseline")


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
    policy.write_text(json.dumps({"Policy": json.dumps(text), "PolicyName": "default"}))  # aws kms get-key-policy
    assert healthy.changed("--policy", policy) == (0, {"policy": OK})
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


@pytest.mark.parametrize("until, result", [("2999-01-01T00:00:00Z", OK), ("2026-01-01T00:00:00Z", FAILURE)])
def test_credentials_of_the_builder(instance, tmp_path, until, result):
    """As `aws configure export-credentials` prints them; the role of the machine does not stand in for those that expired."""
    path = tmp_path / "exported"
    path.write_text(json.dumps({"Version": 1, "AccessKeyId": "AKIA", "SecretAccessKey": "S", "SessionToken": "T", "Expiration": until}))
    path.chmod(0o600)
    found, = instance.findings("credentials", "--online", "--credentials", path, role=None)
    assert found["result"] == result
    assert found["detail"] == f"of {path}" if result == OK else "expired at 2026-01-01" in found["detail"]
    assert instance.command("--credentials", path, role=None).returncode == 1
    assert instance.command("--online", "--credentials", path).returncode == 1


def test_certificate_of_another_authority(instance):
    instance.world.aws.fault("tls", "unknown-ca")
    code, found = instance.changed("--online")
    assert code == REFUSE and found["kms"] == FAILURE and found["credentials"] == OK
