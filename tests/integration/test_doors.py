# SPDX-License-Identifier: GPL-2.0-or-later
"""measured-unlock inside what looks like an initramfs: refused where a door was used that is not measured."""
import os
import re
import shlex
import subprocess
from pathlib import Path

import pytest

from world import UNLOCK

OPTIONS = "SystemdOptions-8cf2644b-4b0b-428f-9387-6d876050dc67"
CREDENTIAL = "mkdir -p run/credentials/@{0} && echo x >run/credentials/@{0}/fstab.extra"
REFUSED = 2


def may_mount():
    return os.geteuid() == 0 and subprocess.run(["unshare", "-m", "true"], capture_output=True).returncode == 0


pytestmark = pytest.mark.skipif(not may_mount(), reason="a mount namespace of one's own needs root")


def libraries():
    listed = subprocess.run(["ldd", UNLOCK], capture_output=True, text=True).stdout
    return sorted(set(re.findall(r"(/\S+)", listed)) - {str(UNLOCK)})


# The root is memory, and holds copies: a mount of the host's folders would be the very thing that is refused.
INSIDE = """set -eu
root={root}
mount --make-rprivate /
mount -t {root_type} none "$root"
cd "$root"
mkdir -p dev proc sys run/systemd tmp etc usr/bin sysroot squash
cp -rL --parents {files} .
mknod -m 666 dev/null c 1 3 && mknod -m 666 dev/random c 1 8 && mknod -m 666 dev/urandom c 1 9
mount -t proc proc proc
mount -t sysfs sysfs sys
mount -t tmpfs tmpfs run
mkdir -p run/systemd run/measured-unlock
{alter}
exec chroot . "$@"
"""


def unlock(world, alter="", root_type="tmpfs"):
    files = [UNLOCK.resolve(), *libraries(), world.folder, "/etc/ssl/openssl.cnf", "/etc/resolv.conf"]
    root = world.folder.parent / "inside"
    root.mkdir(exist_ok=True)
    program = world.folder.parent / "program"
    script = INSIDE.format(root=shlex.quote(str(root)), root_type=root_type, alter=alter,
                           files=" ".join(shlex.quote(str(f)) for f in files if Path(f).exists()))
    # The report lies in a root that is gone with the process: it is said on standard output instead.
    inner = f'{shlex.quote(str(UNLOCK.resolve()))} "$@"'
    program.write_text(f"#!/bin/sh\nexec unshare -m sh -c {shlex.quote(script)} sh {inner}\n")
    program.chmod(0o755)
    return world.unlock(program=program)


GOOD = {
    "bare": "",
    "systemd 252": "mkdir -p var/tmp && mount -t tmpfs tmpfs var/tmp; mount -t cgroup2 none sys/fs/cgroup || :;"
                   " mkdir run/lock && mount -t tmpfs tmpfs run/lock",
    "systemd 262, with credentials of units": "mkdir -p run/credentials/systemd-journald.service &&"
                                              " mount -t ramfs ramfs run/credentials/systemd-journald.service",
    "devices": "mkdir dev/shm dev/pts && mount -t tmpfs tmpfs dev/shm && mount -t devpts devpts dev/pts",
    "interfaces of a systemd that is not yet written": "mkdir -p run/systemd/new &&"
                                                       " mount -t tmpfs tmpfs run/systemd/new",
    "systemd 257, with /usr read-only": "mount --bind usr usr && mount -o remount,bind,ro usr",
    "empty folders": "mkdir -p run/credentials/@system run/credstore run/systemd/efivars",
}


@pytest.mark.parametrize("case", GOOD)
def test_good_initramfs(world, case):
    done = unlock(world, GOOD[case])
    assert done.returncode == 0, done.stderr
    assert len(world.aws.decrypts()) == 1


def test_good_initramfs_of_ramfs(world):
    assert unlock(world, root_type="ramfs").returncode == 0


DOORS = {
    "SystemdOptions": (f"mkdir run/systemd/efivars && echo x >run/systemd/efivars/{OPTIONS}", "efi=noruntime", "efivars"),
    "credentials of SMBIOS": (CREDENTIAL.format("system"), "systemd.import_credentials=no", "credentials"),
    "credentials of the ESP": (CREDENTIAL.format("encrypted"), "systemd.import_credentials=no", "credentials"),
    "credentials of an initramfs": (CREDENTIAL.format("initrd"), "systemd.import_credentials=no", "credentials"),
    "credentials of user data": ("mkdir run/credstore && echo x >run/credstore/a", "systemd.imds=0", "credentials"),
    "empty mount of credentials": ("mkdir -p run/credentials/@system && mount -t ramfs ramfs run/credentials/@system",
                                   "systemd.import_credentials=no", "credentials"),
}


@pytest.mark.parametrize("case", DOORS)
def test_used_door(world, case):
    alter, word, name = DOORS[case]
    done = unlock(world, alter)
    assert done.returncode == REFUSED and word in done.stderr, done.stderr
    assert world.aws.decrypts() == [] and world.fence_closed()
    world.fresh()                              # the premise: knowingly open, it is an unlock
    world.configure(open=name)
    done = unlock(world, alter)
    assert done.returncode == 0 and f"left open by this image: {name}" in done.stderr, done.stderr


MOUNTS = {
    "tmpfs over /usr/bin": "mount -t tmpfs tmpfs usr/bin",
    "tmpfs over /etc": "mount -t tmpfs tmpfs etc",
    "tmpfs over rules of udev": "mkdir -p run/udev/rules.d && mount -t tmpfs tmpfs run/udev/rules.d",
    "tmpfs over what systemd cached": "mkdir run/systemd/efivars && mount -t tmpfs tmpfs run/systemd/efivars",
    "tmpfs over all that systemd knows": "mount -t tmpfs tmpfs run/systemd",
    "tmpfs over credentials": "mkdir run/credentials && mount -t tmpfs tmpfs run/credentials",
    "units": "mkdir run/systemd/system && mount -t tmpfs tmpfs run/systemd/system",
    "bind mount": "mkdir run/evil && mount --bind run/evil usr/bin",
    "another folder of the initramfs": "mkdir evil && mount --bind evil usr/bin",
    "interface of the kernel elsewhere": "mount -t proc proc usr/bin",
    "overlay": "mkdir run/a run/b && mount -t overlay overlay -o lowerdir=run/a:run/b usr/bin",
    "disk": "mkdir mnt && mount --bind {host} mnt",
    "disk with a blank in its name": "mkdir 'run/a b' && mount --bind {host} 'run/a b'",
    "root before the unlock": "mount --bind {host} sysroot",
}


@pytest.mark.parametrize("case", MOUNTS)
def test_foreign_mount(world, case):
    done = unlock(world, MOUNTS[case].format(host=shlex.quote(str(world.folder))))
    assert done.returncode == REFUSED and "before the unlock, and not by this image" in done.stderr, done.stderr
    assert "a b" in done.stderr or case != "disk with a blank in its name"
    assert world.aws.decrypts() == [] and world.fence_closed()


def test_extensions_if_wanted(world):
    overlay = "mkdir run/a run/b && mount -t overlay overlay -o lowerdir=run/a:run/b opt"
    assert unlock(world, f"mkdir opt; {overlay}").returncode == REFUSED
    world.fresh()
    world.configure(open="swap extensions")
    assert unlock(world, f"mkdir opt; {overlay}").returncode == 0


def test_host_is_no_initramfs(world):
    assert world.unlock().returncode == 0
    assert world.report()["open_doors"] == []
    world.fresh()
    world.configure(open="efivars\tgpt-auto")
    assert world.unlock().returncode == 0
    assert world.report()["open_doors"] == ["efivars", "gpt-auto"]


@pytest.mark.parametrize("names", ["efivar", "efivars,swap", "-", "efivars nothing"])
def test_unknown_door(world, names):
    world.configure(open=names)
    done = world.unlock()
    assert done.returncode == 4 and "no door has this name" in done.stderr and "efivars, credentials" in done.stderr
