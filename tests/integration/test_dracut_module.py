# SPDX-License-Identifier: GPL-2.0-or-later
"""The shell around the program, without a machine: rooted copies of the scripts, fake commands."""
import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import world as w

TREE = Path(__file__).resolve().parents[2]
SCRIPTS = ["supervise", "refuse", "passphrase", "check-root", "wait-unlocked"]
HOOKS = ["cmdline", "pre-trigger", "settled", "finished", "pre-mount", "pre-pivot", "emergency"]
ABSOLUTE = re.compile(r"(?<![\w.}/-])/(?=(?:run|etc|dev|proc|sys|lib|usr/(?:lib|share)/measured|usr/bin/muctl)\b)")
SHELLS = [s for s in ("dash", "bash") if shutil.which(s)]
# Kinds of the table of doors, and where `muctl config` lists those that are shut.
KINDS = {"word": "words", "forbidden": "forbidden", "generator": "generators", "unit": "units", "module": "modules"}
PUBLIC = "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n"


def rooted(root, source, target):
    """A copy whose absolute paths, and whose PATH, lie below root."""
    text = ABSOLUTE.sub(f"{root}/", source.read_text())
    text = text.replace(f"{root}/dev/null", "/dev/null")
    text = text.replace("PATH=/usr/sbin", f"PATH={root}/bin:/usr/sbin")
    target.write_text(text)
    target.chmod(0o755)


def command(root, name, body):
    path = root / "bin" / name
    path.write_text(f'#!/bin/sh\necho "{name} $*" >>{root}/log\n{body}\n')
    path.chmod(0o755)


@pytest.fixture
def world(tmp_path):
    """A root with the scripts, and commands that record themselves and end nothing."""
    root = tmp_path / "root"
    for folder in ("bin", "run", "proc", "dev/mapper", "sys/dev/block", "sys/class/block",
                   "etc/measured-unlock", "usr/lib/measured-unlock", "hooks/initqueue/settled",
                   "hooks/initqueue/finished", "etc/udev/rules.d"):
        (root / folder).mkdir(parents=True)
    for name in [*SCRIPTS, *(f"{h}.sh" for h in HOOKS)]:
        rooted(root, TREE / "hook" / name, root / "usr/lib/measured-unlock" / name)
    (root / "dev/console").write_text("")
    (root / "log").write_text("")
    for name in ("poweroff", "reboot", "halt", "setsid", "cryptsetup"):
        command(root, name, "exit 1")
    command(root, "sleep", '[ "$1" != 60 ] || kill -9 "$PPID"')
    program(root)
    return root


def program(root, unlock="exit 0", fence="exit 0"):
    path = root / "usr/lib/measured-unlock/measured-unlock"
    path.write_text(f'#!/bin/sh\necho "measured-unlock $*" >>{root}/log\n'
                    f'case $1 in unlock) {unlock} ;; fence) {fence} ;; esac\n')
    path.chmod(0o755)


def muctl_config(*args):
    return subprocess.run([w.MUCTL, "config", *args], capture_output=True, text=True)


def configure_text(root, text):
    """The configuration, and what the dracut module writes of it into an image."""
    conf = root / "etc/measured-unlock/measured-unlock.conf"
    conf.write_text(text)
    (root / "usr/lib/measured-unlock/settings").write_text(muctl_config(conf).stdout)


def configure(root, *lines):
    configure_text(root, "\n".join(["[boot]", *lines, "[volume root]", "device = PARTLABEL=the root", "",
                                    "[ volume data ]", "device=/dev/vdb", "mapping = d1"]) + "\n")


def run(root, name, *args, env=None):
    done = subprocess.run([root / "usr/lib/measured-unlock" / name, *args], capture_output=True,
                          text=True, timeout=60, env={"PATH": os.environ["PATH"], **(env or {})})
    return done.returncode, (root / "log").read_text().splitlines(), (root / "dev/console").read_text()


def test_shellcheck():
    if not shutil.which("shellcheck"):
        pytest.skip("shellcheck is not installed")
    files = [TREE / "dracut-module/module-setup.sh", *sorted((TREE / "hook").iterdir())]
    done = subprocess.run(["shellcheck", "-P", "SCRIPTDIR", "-x", *files], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


def settings(root, shell="sh"):
    """What a script gets of the configuration: {name: value}"""
    text = muctl_config(root / "etc/measured-unlock/measured-unlock.conf").stdout
    names = re.findall(r"^(mu_[a-z_]+)=", text, re.M)
    shown = "".join(f'printf "%s\\0" "${name}";' for name in names)
    done = subprocess.run([shell, "-euc", f'cd "{root}/run"; {text}\n{shown}'], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return dict(zip(names, done.stdout.split("\0")[:-1], strict=True))


@pytest.mark.parametrize("shell", SHELLS)
def test_settings(world, shell):
    """Names with blanks and quotes, and what a shell would do with others, are what they were in the file."""
    odd = "PARTLABEL=a 'b' \"c\" $(touch x) `touch x` \\ *;&"
    (world / "etc/measured-unlock/measured-unlock.conf").write_text(
        f"[boot]\n\taction=reboot  \ntimeout = 300\n[volume root]\ndevice = {odd}\n"
        "[ volume data ]\ndevice=/dev/it's\nmapping = d1\nprovider = tpm2")
    found = settings(world, shell)
    assert found["mu_volumes"] == f"root {odd}\nd1 /dev/it's" and not (world / "run/x").exists()
    assert [found[f"mu_{name}"] for name in ("action", "fallback", "timeout", "network", "baseline", "vault_ca_file")] == [
        "reboot", "none", "300", "true", "/etc/measured-unlock/baseline.json", ""]


@pytest.mark.parametrize("lines, message", [
    (["action = reboot", "action = halt"], "action"), (["actions = halt"], "actions"), (["timeout = 1e3"], "timeout must be a number"),
    (["open = efivar"], "no door has this name"), (["[volume x]", "device = /dev/x", "provider = odd"], "no key-release provider 'odd'")])
def test_unusable_settings(world, lines, message):
    """As the program refuses them; then nothing is printed, and there is no image."""
    administer(world)
    configure_text(world, "\n".join(["[boot]", *lines, "[volume root]", "device = /dev/vda"]))
    done = muctl_config(world / "etc/measured-unlock/measured-unlock.conf")
    assert (done.returncode, done.stdout) == (4, "") and message in done.stderr
    for call in ("check", "install"):
        done = module(world, f"{call}\necho went on", "systemd")
        assert done.returncode == 1 and "went on" not in done.stdout
        assert "dfatal measured-unlock: " in done.stderr and message in done.stderr.replace("\nmuctl:   ", "")


def test_settings_as_json(world):
    configure(world, "open = imds")
    done = muctl_config("--json", world / "etc/measured-unlock/measured-unlock.conf")
    report = json.loads(done.stdout)
    assert report["volumes"] == [{"mapping": "root", "device": "PARTLABEL=the root", "provider": "aws-kms"},
                                 {"mapping": "d1", "device": "/dev/vdb", "provider": "aws-kms"}]
    assert report["network"] is True and report["timeout"] == 120
    for kind, name in KINDS.items():
        assert report[name] == doors(kind, "imds")


def test_supervise_success(world):
    configure(world)
    code, log, console = run(world, "supervise")
    assert (code, log, console) == (0, ["measured-unlock unlock"], "")
    assert (world / "run/measured-unlock/unlocked").exists()


@pytest.mark.parametrize("end,reason", [
    ("exit 1", "internal error, code 1"), ("exit 2", "refused: "), ("exit 3", "not ready in time"),
    ("exit 4", "configuration or the machine"), ("exit 5", "internal error, code 5"), ("exit 77", "code 77"),
    ("kill -SEGV $$", "died of signal 11"), ("kill -TERM $$", "died of signal 15"),
    ("kill -KILL $$", "killed"),
])
def test_supervise_refuses_every_other_end(world, end, reason):
    configure(world)
    program(world, unlock=end)
    code, log, console = run(world, "supervise")
    assert code != 0 and not (world / "run/measured-unlock/unlocked").exists()
    assert log[1].startswith("measured-unlock fence --reason ") and reason in log[1]
    assert log.index("poweroff -f") > 1
    assert "BOOT REFUSED" in console and reason in console
    assert max(map(len, console.splitlines())) < 100


def test_supervise_without_program(world):
    configure(world)
    (world / "usr/lib/measured-unlock/measured-unlock").unlink()
    code, log, console = run(world, "supervise")
    assert code != 0 and "poweroff -f" in log and "fence:  open" in console


@pytest.mark.parametrize("action,first", [("poweroff", "poweroff -f"), ("reboot", "reboot -f"),
                                          ("halt", "halt -f"), ("nonsense", "poweroff -f")])
@pytest.mark.parametrize("fence", ["exit 0", "exit 3", "exit 4", "kill -9 $$"])
def test_refuse_action(world, action, first, fence):
    configure(world, f"action = {action}")
    program(world, fence=fence)
    code, log, console = run(world, "refuse", "x" * 300)
    assert code == -9  # the fake sleep's doing: it never returns by itself
    ends = [line for line in log if line.split()[0] in ("poweroff", "reboot", "halt")]
    assert ends[0] == first and "poweroff -f" in ends and "reboot -f" in ends
    assert (world / "proc/sysrq-trigger").read_text() == "b\n"
    said = {"exit 0": "closed", "exit 4": "see above: the configuration or the TPM is unusable"}
    assert f"fence:  {said.get(fence, 'open')}\n" in console
    assert max(map(len, console.splitlines())) < 100


def test_refuse_without_configuration(world):
    _, log, console = run(world, "refuse", "why")
    assert log[1] == "sleep 1" and log[2] == "poweroff -f" and "action: poweroff" in console


@pytest.mark.parametrize("fallback,fence,shell", [("none", "exit 0", False), ("shell", "exit 0", True),
                                                  ("shell", "exit 3", False), ("shell", "exit 4", False),
                                                  ("passphrase", "exit 0", False)])
def test_shell_only_if_configured_and_fenced(world, fallback, fence, shell):
    configure(world, f"fallback = {fallback}")
    program(world, fence=fence)
    _, log, _ = run(world, "refuse", "why")
    started = [i for i, line in enumerate(log) if line.startswith("setsid")]
    assert bool(started) == shell
    assert not shell or 0 < started[0] < log.index("poweroff -f")


@pytest.mark.parametrize("fallback,fence,opens,unlocked", [
    ("passphrase", "exit 0", "exit 0", True), ("passphrase", "exit 0", "exit 2", False),
    ("passphrase", "exit 3", "exit 0", False), ("passphrase", "exit 4", "exit 0", False),
    ("none", "exit 0", "exit 0", False)])
def test_passphrase_only_if_configured_and_fenced(world, fallback, fence, opens, unlocked):
    configure(world, f"fallback = {fallback}")
    program(world, unlock="exit 2", fence=fence)
    command(world, "cryptsetup", opens)
    command(world, "blkid", "echo /dev/vda2")
    code, log, _ = run(world, "supervise")
    asked = [line for line in log if line.startswith("cryptsetup")]
    assert bool(asked) == (fallback == "passphrase" and fence == "exit 0")
    assert (code == 0) == unlocked == (world / "run/measured-unlock/unlocked").exists()
    if unlocked:
        assert [a.split()[-2:] for a in asked] == [["/dev/vda2", "root"], ["/dev/vdb", "d1"]]
        assert "poweroff -f" not in log
    else:
        assert "poweroff -f" in log


def block(root, number, name, dm=None, slaves=()):
    directory = root / "sys/devices" / name
    (directory / "slaves").mkdir(parents=True)
    for slave in slaves:
        (directory / "slaves" / slave).symlink_to(root / "sys/devices" / slave)
    if dm:
        (directory / "dm").mkdir()
        (directory / "dm/name").write_text(dm[0] + "\n")
        (directory / "dm/uuid").write_text(dm[1] + "\n")
    (root / "sys/dev/block" / number).symlink_to(directory)
    (root / "sys/class/block" / name).symlink_to(directory)


def mounts(root, *lines):
    (root / "proc/self").mkdir(exist_ok=True)
    (root / "proc/self/mountinfo").write_text("".join(
        f"30 1 {number} / {point} rw,relatime shared:1 - {kind} {source} rw\n"
        for point, number, kind, source in [("/", "0:2", "rootfs", "none"), *lines]))


HASH, OTHER_HASH = "ab" * 32, "cd" * 32
ROOT = ("/sysroot", "253:0", "ext4", "/dev/mapper/root")
MEMORY = ("/sysroot", "0:9", "tmpfs", "tmpfs")
PLAIN = ("254:1", "ext4", "/dev/vda1")
VERITY = ("253:2", "erofs", "/dev/dm-2")


def overlay(point, options):
    return point, "0:10", "overlay", f"overlay {options}"


def machine(world):
    """Devices: vda1 is plain; dm-0 is ours; dm-1 LUKS of somebody else; dm-2 dm-verity; dm-3 and dm-4 LVM; dm-5 has our name."""
    configure(world)
    block(world, "254:1", "vda1")
    block(world, "253:0", "dm-0", ("root", "CRYPT-LUKS2-00-root"), ["vda1"])
    block(world, "253:1", "dm-1", ("other", "CRYPT-LUKS2-00-other"), ["vda1"])
    block(world, "253:2", "dm-2", ("verity", "CRYPT-VERITY-00-verity"), ["vda1"])
    block(world, "253:3", "dm-3", ("vg-root", "LVM-00"), ["dm-0"])
    block(world, "253:4", "dm-4", ("vg-mixed", "LVM-01"), ["dm-0", "vda1"])
    block(world, "253:5", "dm-5", ("root", "LVM-02"), ["vda1"])
    for members in (["dm-0"], ["dm-3", "vda1"]):
        directory = world / "sys/fs/btrfs" / members[0] / "devices"
        directory.mkdir(parents=True)
        for member in members:
            (directory / member).symlink_to(world / "sys/devices" / member)
    command(world, "dmsetup", f"echo 0 8192 verity 1 254:1 254:2 4096 4096 1024 1 sha256 {HASH} 00")
    (world / "proc/cmdline").write_text(f"quiet usrhash={HASH} rw\n")


@pytest.mark.parametrize("mounted,code", [
    ([ROOT], 0),
    ([("/sysroot", "253:3", "xfs", "/dev/mapper/vg-root")], 0),      # LVM on ours
    ([("/sysroot", *VERITY)], 0),
    ([MEMORY, ("/sysroot/usr", *VERITY)], 0),
    ([("/sysroot", *PLAIN)], 2),                                     # a plain file system
    ([("/sysroot", "253:1", "ext4", "/dev/mapper/other")], 2),       # LUKS, not configured
    ([("/sysroot", "253:5", "ext4", "/dev/mapper/root")], 2),        # our name, not dm-crypt
    ([("/sysroot", "253:4", "xfs", "/dev/mapper/vg-mixed")], 2),     # LVM on ours and on another
    ([ROOT, ("/sysroot/usr", *PLAIN)], 2),
    ([("/sysroot", "0:11", "9p", "host")], 2),
    ([("/sysroot", "0:12", "btrfs", "/dev/dm-0")], 0),
    ([("/sysroot", "0:13", "btrfs", "/dev/dm-3")], 2),               # with a plain second device
    ([("/run", "0:20", "tmpfs", "tmpfs")], 3),
    ([("/sysrooted", *PLAIN), ROOT], 0),
    # Whatever lies below the root is looked at.
    ([ROOT, ("/sysroot/etc", *PLAIN)], 2),
    ([ROOT, ("/sysroot/boot", "254:1", "vfat", "/dev/vda1")], 2),
    ([ROOT, (r"/sysroot/srv/a\040b", *PLAIN)], 2),
    ([ROOT, (r"/sysroot/srv/a\040b", "253:0", "ext4", "/dev/mapper/root")], 0),
    ([ROOT, ROOT, ("/sysroot", *PLAIN)], 2),                         # one over another
    ([ROOT, ("/sysroot/etc", "0:21", "tmpfs", "tmpfs")], 2),
    ([ROOT, ("/sysroot/etc", "0:21", "fuse.x", "x")], 2),
    ([ROOT, ("/sysroot/etc", "0:4", "proc", "proc")], 2),
    ([ROOT, ("/sysroot/proc", "0:4", "proc", "proc"), ("/sysroot/sys", "0:5", "sysfs", "sysfs"),
      ("/sysroot/sys/fs/cgroup", "0:6", "cgroup2", "cgroup2"), ("/sysroot/dev", "0:7", "devtmpfs", "devtmpfs"),
      ("/sysroot/dev/pts", "0:8", "devpts", "devpts"), ("/sysroot/run", "0:20", "tmpfs", "tmpfs"),
      ("/sysroot/tmp", "0:21", "tmpfs", "tmpfs")], 0),
    ([ROOT, ("/sysroot/proc", *PLAIN)], 2),
    # Memory proves nothing.
    ([MEMORY], 2),
    ([MEMORY, ("/sysroot/usr", "0:22", "tmpfs", "tmpfs")], 2),
    ([MEMORY, ("/sysroot/usr", *VERITY), ("/sysroot/etc", *PLAIN)], 2),
    ([MEMORY, ("/sysroot/usr", *PLAIN)], 2),
    # An overlay counts as its layers do.
    ([overlay("/sysroot", "rw")], 2),
    ([("/run/lower", *VERITY), overlay("/sysroot", "ro,lowerdir=/run/lower/a:/run/lower/b")], 0),
    ([("/run/lower", *VERITY), ("/run", "0:20", "tmpfs", "tmpfs"),
      overlay("/sysroot", "ro,lowerdir=/run/lower,upperdir=/run/up,workdir=/run/work")], 0),
    ([("/run/lower", *VERITY), ("/run/plain", *PLAIN), overlay("/sysroot", "ro,lowerdir=/run/lower:/run/plain")], 2),
    ([("/run/lower", *VERITY), ("/run/plain", *PLAIN), overlay("/sysroot", "ro,lowerdir+=/run/lower,lowerdir+=/run/plain")], 2),
    ([("/run/lower", *VERITY), ("/run/plain", *PLAIN), overlay("/sysroot", "lowerdir=/run/lower,upperdir=/run/plain/u")], 2),
    ([("/run/lower", *VERITY), ("/run/lower", *PLAIN), overlay("/sysroot", "ro,lowerdir=/run/lower")], 2),
    ([("/run", "0:20", "tmpfs", "tmpfs"), overlay("/sysroot", "ro,lowerdir=/run/lower")], 2),
    ([("/run/lower", *VERITY), overlay("/sysroot", r"ro,lowerdir=/run/lower\\040x")], 2),
    ([("/run/lower", *VERITY), overlay("/sysroot", "ro,lowerdir=lower")], 2),
    ([ROOT, overlay("/sysroot/etc", "rw,lowerdir=/sysroot/etc,upperdir=/sysroot/var/etc,workdir=/sysroot/var/w")], 0),
])
def test_check_root(world, mounted, code):
    machine(world)
    mounts(world, *mounted)
    assert run(world, "check-root")[0] == code


@pytest.mark.parametrize("line,table,code", [
    (f"roothash={HASH}", None, 0),
    (f"usrhash={OTHER_HASH}", None, 2),
    ("quiet", None, 2),                                              # the hash is the attacker's
    (f"xusrhash={HASH}", None, 2),
    (f"usrhash={HASH}", "exit 1", 2),
    (f"usrhash={HASH}", f"echo 0 8192 linear 254:1 0 0 0 0 0 0 0 {HASH} 00", 2),
    (f"usrhash={HASH}", f"echo 0 8192 verity 1 254:1 254:2 4096 4096 1024 1 sha256 {HASH} 00 1 ignore_corruption", 2),
    (f"usrhash={HASH}", f"echo 0 8192 verity 1 254:1 254:2 4096 4096 1024 1 sha256 {OTHER_HASH} {HASH}", 2),
])
def test_verity_counts_with_its_hash_alone(world, line, table, code):
    machine(world)
    (world / "proc/cmdline").write_text(line + "\n")
    if table:
        command(world, "dmsetup", table)
    mounts(world, ("/sysroot", *VERITY))
    assert run(world, "check-root")[0] == code


def test_wait_unlocked(world):
    configure(world)
    state = world / "run/measured-unlock"
    env = {"hookdir": str(world / "hooks")}
    assert run(world, "wait-unlocked", "0", env=env)[0] == 1      # not started yet
    state.mkdir()
    (world / "proc/4242").mkdir()
    (state / "supervise.pid").write_text("4242\n")
    (world / "proc/4242/exe").write_text("")
    code, log, _ = run(world, "wait-unlocked", "5", env=env)
    assert code == 1 and log == ["sleep 0.02"] * 5
    (world / "hooks/initqueue/work").write_text("")
    assert run(world, "wait-unlocked", "5", env=env)[1] == log    # other work: not one turn
    (state / "unlocked").write_text("")
    assert run(world, "wait-unlocked", "5", env=env)[0] == 0
    (world / "proc/4242/exe").unlink()
    assert run(world, "wait-unlocked", "0", env=env)[0] == 0      # ended well
    (state / "unlocked").unlink()
    code, log, console = run(world, "wait-unlocked", "0", env=env)
    assert code == -9 and "poweroff -f" in log and "supervisor of measured-unlock died" in console


def source(root, hook, shell="dash"):
    """Source a hook as dracut does, under set -eu; return what it did and which names it left."""
    script = (f'set -eu; hookdir={root}/hooks; job=; before=; after=; names() {{ set | sed -n "s/^\\([A-Za-z_0-9]*\\)[=(].*/\\1/p"'
              f' | grep -vx "_\\|before\\|after\\|LINENO\\|OPTIND\\|PIPESTATUS\\|RANDOM\\|BASH.*" | sort; }}\n'
              f'before=$(names)\n. {root}/usr/lib/measured-unlock/{hook}.sh\nafter=$(names); wait\n'
              f'[ "$before" = "$after" ] || {{ echo "$after" | grep -vxF "$before"; exit 99; }}')
    return subprocess.run([shell, "-c", script], capture_output=True, text=True, timeout=60)


@pytest.mark.parametrize("shell", SHELLS)
@pytest.mark.parametrize("hook", HOOKS)
def test_hooks_leave_no_names(world, hook, shell):
    for script in ("supervise", "refuse", "check-root", "wait-unlocked"):
        path = world / "usr/lib/measured-unlock" / script
        path.write_text(f"#!/bin/sh\necho {script} >>{world}/log\n")
    done = source(world, hook, shell)
    assert done.returncode == 0, done.stdout + done.stderr
    called = {"cmdline": [], "pre-trigger": ["supervise"], "settled": ["wait-unlocked"],
              "finished": ["wait-unlocked"], "pre-mount": ["refuse"], "pre-pivot": ["check-root"],
              "emergency": ["refuse"]}[hook]
    assert (world / "log").read_text().split() == called


def test_crypt_module_is_disarmed(world):
    doomed = ["etc/crypttab", "etc/udev/rules.d/70-luks.rules", "hooks/initqueue/finished/90-crypt.sh"]
    for name in doomed:
        (world / name).write_text("x")
    assert source(world, "cmdline").returncode == 0
    assert [name for name in doomed if (world / name).exists()] == []


def test_gates_hold(world):
    configure(world)
    mounts(world, ("/sysroot", "254:1", "ext4", "/dev/vda1"))
    source(world, "pre-pivot")
    log = (world / "log").read_text()
    assert "fence --reason the root file system is not on a volume opened here" in log and "poweroff" in log
    (world / "log").write_text("")
    (world / "run/measured-unlock").mkdir()
    (world / "run/measured-unlock/unlocked").write_text("")
    source(world, "pre-mount")
    assert (world / "log").read_text() == ""


# dracut's functions, as far as module-setup.sh uses them.
STUBS = r"""
inst_simple() { [ -e "${sysroot-}$1" ] || return 1; mkdir -p "$initdir$(dirname "${2:-$1}")"; cp "${sysroot-}$1" "$initdir${2:-$1}"; }
inst_script() { inst_simple "$@"; }
inst_multiple() { echo "multiple $*" >>"$world/log"; local name; for name; do find_binary "$name" || return 1; done; }
inst_hook() { [ -e "$3" ] || return 1; echo "hook $1 $2 ${3##*/}" >>"$world/log"; }
instmods() { echo "instmods [$hostonly] $*" >>"$world/log"; }
dracut_need_initqueue() { echo need-initqueue >>"$world/log"; }
dracut_module_included() { case " $included " in *" $1 "*) return 0 ;; esac; return 1; }
dfatal() { echo "dfatal $*" >&2; }
dinfo() { echo "dinfo $*"; }
check_module() { case " $broken " in *" $1 "*) require_binaries "$program" ;; esac; }
require_binaries() { find_binary "$@"; }
find_binary() { case " $lacking " in *" $1 "*) return 1 ;; esac; }
"""
PATHS = r"""
dracut_module_path() { case " $modules " in *" $1 "*) echo "$world" ;; *) return 1 ;; esac; }
"""


def module(world, call, included="", modules="securityfs systemd-networkd network-legacy", stubs=STUBS + PATHS,
           **variables):
    directory = world / "module"
    if not directory.exists():
        directory.mkdir()
        for path in [*(TREE / "hook").iterdir(), *(TREE / "dracut-module").iterdir()]:
            shutil.copy(path, directory)
        rooted(world, directory / "module-setup.sh", directory / "module-setup.sh")
        # Where nothing is configured, files lie below the world, too.
        (world / "usr/bin").mkdir()
        (world / "usr/bin/muctl").write_text(f"#!/bin/sh\nout=$({w.MUCTL} \"$@\") || exit\n"
                                             f"echo \"$out\" | sed \"s,='/etc/,='{world}/etc/,\"\n")
        (world / "usr/bin/muctl").chmod(0o755)
        (world / "init").mkdir(exist_ok=True)
        (world / "usr/share/measured-unlock").mkdir(parents=True)
        (world / "usr/share/measured-unlock/amazon-roots.pem").write_text("roots")
    script = (f"set -eu\nworld={world} moddir={directory} initdir={world}/init hostonly=yes "
              f"dracutbasedir={world}/dracut included='{included}' modules='{modules}' "
              f"systemdsystemunitdir=/usr/lib/systemd/system systemdutildir={world}/systemd "
              "dracutmodules=all broken= lacking= program=\n"
              + "".join(f"{k}='{v}'\n" for k, v in variables.items()) + stubs +
              f". {directory}/module-setup.sh\n{call}\n")
    return subprocess.run(["bash", "-c", script], capture_output=True, text=True, timeout=60)


def administer(world):
    configure(world)
    etc = world / "etc/measured-unlock"
    (etc / "baseline.json").write_text('{"Measurements":{"HashAlgorithm":"SHA384"}}')
    (etc / "builder.pem").write_text(PUBLIC)


def image(world, name):
    path = world / "init" / name
    return path if path.exists() or path.is_symlink() else world / f"init{world}" / name


def test_check(world):
    assert module(world, "check").returncode == 255
    administer(world)
    assert module(world, "check").returncode == 0
    assert module(world, "check", mount_needs="1").returncode == 1


@pytest.mark.parametrize("variables,message", [
    ({"program": "pgrep", "lacking": "pgrep"}, "its module 'network-legacy' needs pgrep (package procps or procps-ng)"),
    ({"program": "dbus-daemon", "lacking": "dbus-daemon"}, "needs dbus-daemon (package dbus), which is not installed"),
    ({"program": "odd", "lacking": "odd"}, "needs odd, which is not installed"),
    ({"omit_dracutmodules": " network-legacy ", "program": "x", "lacking": "x"}, "told to omit its module 'network-legacy'"),
])
def test_an_image_without_its_network_fails(world, variables, message):
    """Where dracut would leave the module out, and succeed: test_dracut.py of vm-tests."""
    administer(world)
    done = module(world, "check\necho went on", **variables)
    assert (done.returncode, done.stdout) == (0, "went on\n"), "the premise: the stand-in finds the module"
    done = module(world, "check\necho went on", broken="network-legacy", **variables)
    assert done.returncode == 1 and "went on" not in done.stdout
    assert "dfatal measured-unlock: this image could not unlock: " in done.stderr and message in done.stderr


def test_an_image_for_which_dracut_has_no_network_module_fails(world):
    administer(world)
    done = module(world, "check", modules="", broken="network", program="x", lacking="x")
    assert done.returncode == 1 and "has no module 'network'; install the package dracut-network" in done.stderr


def test_dependencies_of_an_image_of_named_modules(world):
    """dracut takes none but the named ones and what these depend on."""
    administer(world)
    done = module(world, 'check\necho "$add_dracutmodules"', dracutmodules="base measured-unlock")
    assert done.stdout.split() == ["dm", "rootfs-block", "securityfs", "network-legacy", "network"]


def doors(kind, *opened):
    """The table, read in a third way."""
    lines = (TREE / "dracut-module/doors").read_text().splitlines()
    fields = [line.split(None, 4) for line in lines if line and not line.startswith("#")]
    return [f[1] for f in fields if f[0] == kind and f[2] not in opened]


def open_doors(world, *names):
    conf = world / "etc/measured-unlock/measured-unlock.conf"
    conf.write_text(conf.read_text().replace("[boot]\n", f"[boot]\nopen = {' '.join(names)}\n"))


@pytest.mark.parametrize("opened", [(), ("efivars",), ("credentials", "imds")])
def test_doors(world, opened):
    configure(world, f"open = {'  '.join(opened)}" if opened else "")
    found = settings(world)
    for kind, name in KINDS.items():
        assert found[f"mu_{name}"].split() == doors(kind, *opened) != []


def test_kernel_modules_are_left_out(world):
    administer(world)
    done = module(world, 'check\necho "$omit_drivers"', omit_drivers="^floppy$")
    assert done.stdout == "^floppy$|^efivarfs$|^qemu_fw_cfg$\n"
    open_doors(world, "efivars", "credentials")
    assert module(world, 'check\necho "${omit_drivers-none}"').stdout == "none\n"


@pytest.mark.parametrize("before", ["", "root=/dev/mapper/root", "root=x systemd.gpt_auto=0 efi=noruntime2"])
def test_words_of_a_uki(world, before):
    administer(world)
    done = module(world, 'install\necho "=$kernel_cmdline"', "systemd", uefi="yes", kernel_cmdline=before)
    line = done.stdout.splitlines()[-1][1:].split()
    assert line[:len(before.split())] == before.split() and sorted(line) == sorted({*doors("word"), *before.split()})
    assert "dinfo measured-unlock: added to the kernel command line: efi=noruntime" in done.stdout
    open_doors(world, "efivars", "swap")
    line = module(world, 'install\necho "=$kernel_cmdline"', "systemd", uefi="yes", kernel_cmdline="").stdout.split()
    assert "efi=noruntime" not in line and "systemd.swap=0" not in line and "systemd.gpt_auto=0" in line


def test_words_of_a_uki_whose_command_line_dracut_finds_itself(world):
    administer(world)
    done = module(world, 'install\necho "=${kernel_cmdline-}"', "systemd", uefi="yes", hostonly_cmdline="yes")
    assert done.stdout.endswith("=\n")
    assert image(world, "etc/cmdline.d/52-measured-unlock.conf").read_text().split() == doors("word")


def test_no_words_without_a_uki(world):
    administer(world)
    done = module(world, 'install\necho "=${kernel_cmdline-}"', "systemd")
    assert done.stdout == "=\n" and not image(world, "etc/cmdline.d/52-measured-unlock.conf").exists()


@pytest.mark.parametrize("line,bad", [("kgdboc=ttyS0 quiet", "kgdboc"), ("quiet efi=runtime", "efi=runtime"),
                                      ("quiet kgdbwait", "kgdbwait"), ("kgdbwaiter akgdboc=1", None)])
def test_forbidden_words_of_a_uki(world, line, bad):
    administer(world)
    done = module(world, "install\necho went on", "systemd", uefi="yes", kernel_cmdline=line)
    assert (done.returncode == 1) == (bad is not None) and ("went on" in done.stdout) == (bad is None)
    assert bad is None or f"kernel command line: take '{bad}' out" in done.stderr


def test_open_names_a_door(world):
    for name, good in (("efivars", True), ("efivar", False), ("-", False), ("efi=noruntime", False)):
        administer(world)
        open_doors(world, "swap", name)
        done = module(world, "install", "systemd")
        assert (done.returncode == 0) == good and (f"open = {name}: no door has this name" in done.stderr) != good


@pytest.mark.parametrize("included,modules,networkd,expected", [
    ("systemd", "systemd-networkd initqueue securityfs", True, "dm rootfs-block kernel-network-modules"),
    ("systemd systemd-networkd", "systemd-networkd", True, "dm rootfs-block systemd-networkd"),
    ("systemd network-manager", "systemd-networkd", True, "dm rootfs-block network-manager"),
    ("systemd", "network network-legacy", False, "dm rootfs-block network"),
    ("", "securityfs network-legacy", True, "dm rootfs-block securityfs network-legacy network"),
    ("", "initqueue network", True, "dm rootfs-block initqueue network"),
])
def test_depends(world, included, modules, networkd, expected):
    (world / "systemd").mkdir()
    if networkd:
        command(world, "systemd-networkd", "")
        (world / "bin/systemd-networkd").rename(world / "systemd/systemd-networkd")
    done = module(world, "depends", included, modules)
    assert (done.returncode, done.stdout.strip()) == (0, expected), done.stderr
    assert "crypt" not in done.stdout and "tpm2-tss" not in done.stdout


def test_depends_on_dracut_without_module_path(world):
    (world / "dracut/modules.d/35network-legacy").mkdir(parents=True)
    done = module(world, "depends", stubs=STUBS)
    assert (done.returncode, done.stdout.strip()) == (0, "dm rootfs-block network-legacy network"), done.stderr


def test_installkernel_is_not_host_only(world):
    done = module(world, "installkernel")
    line, = (world / "log").read_text().splitlines()
    assert done.returncode == 0 and line.startswith("instmods [] ")
    assert {"dm_crypt", "xts", "ena", "nvme", "=drivers/char/tpm"} <= set(line.split())


def test_install_systemd(world):
    administer(world)
    done = module(world, "install", "systemd systemd-networkd")
    assert done.returncode == 0, done.stderr
    for name in ("usr/lib/measured-unlock/measured-unlock", "usr/lib/measured-unlock/refuse",
                 "etc/measured-unlock/baseline.json", "etc/measured-unlock/builder.pem",
                 "etc/measured-unlock/ca.pem", "usr/lib/systemd/system/measured-unlock.service",
                 "usr/lib/systemd/network/zzz-measured-unlock.network"):
        assert image(world, name).is_file(), name
    for name in (*("system-generators/" + g for g in doors("generator")), *("system/" + u for u in doors("unit"))):
        assert os.readlink(image(world, "etc/systemd/" + name)) == "/dev/null"
    for unit in ("emergency", "rescue", "dracut-emergency"):
        text = image(world, f"etc/systemd/system/{unit}.service.d/measured-unlock.conf").read_text()
        assert "ExecStart=\nExecStart=/usr/lib/measured-unlock/refuse" in text
    text = image(world, "etc/systemd/system/measured-unlock.service.d/timeout.conf").read_text()
    assert text == "[Service]\nTimeoutStartSec=210\n"
    assert "169.254.169.253" in image(world, "etc/resolv.conf").read_text()
    log = (world / "log").read_text()
    assert all(hook not in log for hook in ("pre-trigger", "finished", "hook pre-pivot", "hook cleanup"))
    for waiting in ("initrd-root-fs.target", "initrd-parse-etc.service", "dracut-mount.service", "dracut-pre-pivot.service"):
        assert image(world, f"usr/lib/systemd/system/{waiting}.requires/measured-unlock-root.service").is_symlink()
    last = image(world, "etc/systemd/system/initrd-switch-root.service.d/measured-unlock.conf").read_text()
    assert "Requires=measured-unlock-switch.service\nAfter=measured-unlock-switch.service" in last
    assert image(world, "usr/lib/systemd/system/measured-unlock-switch.service").is_file()


@pytest.mark.parametrize("included, users, good", [
    ("systemd", "systemd-network:x:998:\n", True), ("systemd", "", False), ("systemd systemd-networkd", "", True),
    ("systemd network-manager", "", True), ("", "", True)])
def test_networkd_needs_no_module_of_dracut(world, included, users, good):
    """The one of dracut brings what runs before udev; an image that has it, or another network, is left as it is."""
    administer(world)
    (world / "systemd").mkdir()
    (world / "systemd/systemd-networkd").write_text("")
    (world / "systemd/systemd-networkd").chmod(0o755)
    for name in ("passwd", "group"):
        (world / "etc" / name).write_text("root:x:0:\n" + users)
    done = module(world, f"mkdir -p $initdir{world}/etc; install; echo mu_networkd=$mu_networkd", included)
    assert (done.returncode == 0) == good and ("no 'systemd-network'" in done.stderr) != good
    ours = f"{world}/systemd/systemd-networkd " in (world / "log").read_text()
    assert ours == (included == "systemd")
    if good:
        assert (f"mu_networkd={str('network-manager' not in included and 'systemd' in included).lower()}\n" in done.stdout)
        assert image(world, "usr/lib/systemd/network/zzz-measured-unlock.network").exists() == ("mu_networkd=true" in done.stdout)
        assert not ours or image(world, "etc/passwd").read_text() == users == image(world, "etc/group").read_text()


def test_open_doors_are_not_masked(world):
    administer(world)
    open_doors(world, "gpt-auto", "imds")
    assert module(world, "install", "systemd").returncode == 0
    masked = {p.name for p in image(world, "etc/systemd").glob("system*/*") if p.is_symlink()}
    assert masked == {*doors("generator", "gpt-auto", "imds"), *doors("unit", "gpt-auto", "imds")}
    assert "systemd-gpt-auto-generator" in doors("generator") and "systemd-imdsd.socket" in doors("unit")


def test_install_plain(world):
    administer(world)
    done = module(world, "install", "network-legacy")
    assert done.returncode == 0, done.stderr
    log = (world / "log").read_text().splitlines()
    assert {"hook pre-trigger 90 pre-trigger.sh", "hook initqueue/finished 90 finished.sh",
            "hook pre-mount 00 pre-mount.sh", "hook emergency 00 emergency.sh", "need-initqueue", "hook pre-pivot 00 pre-pivot.sh",
            "hook cleanup 99 pre-pivot.sh"} <= set(log)
    arguments = "".join(p.read_text() for p in sorted(image(world, "etc/cmdline.d").iterdir())).split()
    assert {"rd.luks=0", "rd.auto=0", "rd.neednet=1", "noresume", "rd.retry=210"} <= set(arguments)
    assert not image(world, "etc/systemd").exists()


@pytest.mark.parametrize("included, good", [("", False), ("systemd", True)])
def test_an_image_without_systemd_needs_switch_root(world, included, good):
    administer(world)
    done = module(world, "install", included, lacking="switch_root")
    assert (done.returncode == 0) == good
    assert ("needs switch_root (package util-linux, or util-linux-extra of Debian 14)" in done.stderr) != good


@pytest.mark.parametrize("configured", [False, True])
def test_other_unlockers_are_left_out(world, configured):
    """Of images that have measured-unlock alone; the file is in dracut.conf.d of every machine with the package."""
    if configured:
        administer(world)
    script = f'dracutsysrootdir={world}; omit_dracutmodules=" own "; . {TREE}/dracut-module/omit; echo $omit_dracutmodules'
    said = subprocess.run(["bash", "-euc", script], check=True, capture_output=True, text=True).stdout.split()
    assert ("own" in said) and ({"crypt", "systemd-cryptsetup"} <= set(said)) == configured


@pytest.mark.parametrize("providers, needed", [(["tpm2"], False), (["tpm2", "tpm2"], False), (["tpm2", "aws-kms"], True),
                                               (["tpm2", None], True), (["vault"], True), (["tpm2", "vault"], True)])
def test_network_is_waited_for_only_if_needed(world, providers, needed):
    administer(world)
    conf = world / "etc/measured-unlock/measured-unlock.conf"
    sections = (f"[volume v{i}]\ndevice = LABEL=v{i}\n" + (f"provider = {p}\n" if p else "")
                for i, p in enumerate(providers))
    conf.write_text("[boot]\n" + "".join(sections))
    done = module(world, "install", "network-legacy")
    assert done.returncode == 0, done.stderr
    arguments = "".join(p.read_text() for p in image(world, "etc/cmdline.d").iterdir()).split()
    assert ("rd.neednet=1" in arguments) == needed
    depended = module(world, "depends", "", "network-legacy").stdout.split()
    assert ("network-legacy" in depended) == needed and "dm" in depended


def test_install_takes_the_roots_of_vault(world):
    """Where a volume is of Vault; and fails where they are not there."""
    administer(world)
    etc = world / "etc/measured-unlock"
    section = f"[vault]\nca_file = {etc}/vault.pem\nverifier_ca_file = {etc}/verifier.pem\n"
    volume = "[volume root]\ndevice = LABEL=root\n"
    (etc / "measured-unlock.conf").write_text(section + volume)
    assert module(world, "install", "systemd").returncode == 0
    (etc / "measured-unlock.conf").write_text(section + volume + "provider = vault\n")
    (etc / "vault.pem").write_text("roots")
    done = module(world, "install", "systemd")
    assert done.returncode == 1 and "verifier_ca_file in [vault] is missing" in done.stderr
    (etc / "verifier.pem").write_text("roots")
    assert module(world, "install", "systemd").returncode == 0
    assert image(world, "etc/measured-unlock/vault.pem").is_file()
    assert image(world, "etc/measured-unlock/verifier.pem").is_file()


def test_install_keeps_a_resolv_conf(world):
    administer(world)
    (world / "init/etc").mkdir(parents=True)
    (world / "init/etc/resolv.conf").symlink_to("../run/elsewhere")
    assert module(world, "install", "systemd").returncode == 0
    assert os.readlink(world / "init/etc/resolv.conf") == "../run/elsewhere"


@pytest.mark.parametrize("name,text,message", [
    ("baseline.json", None, "baseline"), ("baseline.json", "", "baseline"), ("baseline.json", "{}", "not a baseline"),
    ("builder.pem", None, "builder's public key"), ("builder.pem", "junk", "not a public key"),
    ("builder.pem", PUBLIC + "-----BEGIN PRIVATE KEY-----\n", "private key"),
    ("measured-unlock.conf", None, "measured-unlock.conf"), ("measured-unlock.conf", "", "measured-unlock.conf"),
    ("measured-unlock.conf", "[boot]\n", "no [volume NAME]"),
])
def test_install_fails_loudly(world, name, text, message):
    administer(world)
    path = world / "etc/measured-unlock" / name
    path.unlink()
    if text is not None:
        path.write_text(text)
    done = module(world, "install\necho went on", "systemd")
    assert done.returncode == 1 and "went on" not in done.stdout
    assert "dfatal measured-unlock: " in done.stderr and message in done.stderr.replace("\nmuctl:   ", "")


def test_install_fails_without_program(world):
    administer(world)
    (world / "usr/lib/measured-unlock/measured-unlock").unlink()
    done = module(world, "install", "systemd")
    assert done.returncode == 1 and "measured-unlock is missing" in done.stderr


@pytest.mark.parametrize("name", ["measured-unlock.service", "measured-unlock-root.service",
                                  "measured-unlock-switch.service", "measured-unlock-refused.service"])
def test_units_parse(name):
    """Each directive stands in the section where systemd reads it, and every end leads to a refusal."""
    text = (TREE / "dracut-module" / name).read_text()
    unit, service = re.split(r"^\[Service\]$", text, maxsplit=1, flags=re.M)
    assert "DefaultDependencies=no" in unit and "ExecStart=/usr/lib/measured-unlock/" in service
    if name == "measured-unlock-refused.service":
        assert "SuccessAction=poweroff-immediate" in unit and "FailureAction=poweroff-immediate" in unit
    else:
        assert "OnFailure=measured-unlock-refused.service" in unit
        assert "Condition" not in unit  # what it looks at could be hidden by a mount, and the unit be skipped


def test_documented_doors_are_those_of_the_table():
    """docs/guide/dracut.md, docs/man/measured-unlock.conf.5 and the table say the same, in both directions."""
    what = {"word": "on the command line", "forbidden": "not on the command line", "generator": "generator masked",
            "unit": "unit masked", "module": "kernel module left out"}
    lines = (TREE / "dracut-module/doors").read_text().splitlines()
    table = [line.split(None, 4) for line in lines if line and line[0] != "#"]
    page = (TREE / "docs/guide/dracut.md").read_text()
    rows = re.findall(r"^\| (\S*) +\| ([a-z ]+) \| `(\S+)` \| (\S+) \| (.+) \|$", page, re.M)
    assert rows == [("" if n == "-" else n, what[k], v, s, r) for k, v, n, s, r in table]
    manual = (TREE / "docs/man/measured-unlock.conf.5").read_text()
    named = manual.partition("The names:\n")[2].partition(".TP")[0]
    assert re.findall(r"[a-z][a-z-]+", named.replace(".BR", "")) == list(dict.fromkeys(
        f[2] for f in table if f[2] != "-"))
