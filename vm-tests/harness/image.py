# SPDX-License-Identifier: GPL-2.0-or-later
"""From the guest's base to bootable things: a root file system, an initramfs in a UKI.

Both are made in an overlay above the base by the steps of docs/examples/packer/provision, so that what boots
is what a user of these would get.
"""
import shutil
from pathlib import Path

from . import base, cache, console, steps, suites
from .architecture import CHOSEN

GUEST = Path(__file__).resolve().parent.parent / "guest"
SYSTEMD, PLAIN = "systemd", "plain"
CMDLINE = f"console={CHOSEN.console} panic=-1 quiet mitigations=off no_timer_check lsm=landlock init=/usr/sbin/guest-init"
# dracut 112 takes busybox for the shell if it is installed, which it is for measuring.py; its switch_root leaves /dev,
# /proc and /sys behind, for systemd to mount again.
NOT_OURS = ["busybox"]
OMIT = {SYSTEMD: NOT_OURS,
        PLAIN: [*NOT_OURS, "systemd", "systemd-initrd", "dracut-systemd", "systemd-ask-password"]}

# $work/root is the base, and stays as it is.
OVERLAY = """
mkdir -p "{work}/upper" "{work}/lower" "{work}/root"
mount -t overlay overlay -o "lowerdir={base},upperdir={work}/upper,workdir={work}/lower" "{work}/root"
"""
ROOTFS = """
size=$(du -sm "{work}/root" | cut -f1)
mke2fs -q -t ext4 -L root -b 4096 -d "{work}/root" "{work}/root.img" $((size * 5 / 4 + 24))M
"""
ARCHIVE = """
tar --create --file="{work}/root.tar" --directory="{root}" --numeric-owner --xattrs .
"""


def _build(work, tree, names, after="", before="", **values):
    """Run steps on an overlay of a base tree in the work directory."""
    steps.run(work, *names, before=(OVERLAY + before).format(work=work, base=tree), after=after.format(work=work, root=work / "root"), **values)
    for scratch in ("upper", "lower", "root", "muctl"):
        path = work / scratch
        shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)


def _system(kind, name, after, files, settings, suite=suites.DEFAULT, packages=""):
    """The guest's system as a file: a file system or an archive. packages: besides those of the suite's guests."""
    files = [GUEST / "rootfs", *files]
    names = ["35-configure", "37-bake"]
    tree = base.tree(suite, packages)

    def make(work):
        console.step(f"root file system ({kind})")
        _build(work, tree, names, after, FILES=" ".join(map(str, files)), CUSTOMIZE=GUEST / "customize", **settings)
    return cache.get(kind, [tree.parent.name, after, GUEST / "customize", *steps.paths(*names), *files,
                            *settings.values()], make) / name


def rootfs(*files, suite=suites.DEFAULT, packages="", **settings):
    """ext4 image of the guest. files: trees for 35-configure; settings: further variables of its."""
    return _system("rootfs", "root.img", ROOTFS, files, settings, suite, packages)


def archive(*files, **settings):
    """The same as a tar archive, to be unpacked by 30-system."""
    return _system("archive", "root.tar", ARCHIVE, files, settings)


def debian(suite, packages):
    """What 30-system made of the suite, as a tar archive."""
    tree = base.tree(suite, packages)

    def make(work):
        console.step("archive of Debian")
        steps.run(work, after=ARCHIVE.format(work=work, root=tree))
    return cache.get("debian", [tree.parent.name, ARCHIVE], make) / "root.tar"


def uki(kind, *files, suite=suites.DEFAULT, omit=(), packages="", words="", ours=True, options="", **settings):
    """A UKI whose initramfs is made by dracut with these trees in place; kind: SYSTEMD or PLAIN. omit: dracut modules.
    packages: besides those of the suite's guests. words: further ones of the command line. options: of dracut. Not ours:
    without measured-unlock, for comparison."""
    files = [GUEST / "image", *files]
    options = " ".join([*("--omit " + module for module in (*OMIT[kind], *omit)), options]).strip()
    names = ["35-configure", "37-bake", "40-image", "42-sign"] if ours else ["40-image"]
    line = f"{CMDLINE} {words}".strip()
    tree = base.tree(suite, packages)
    before = "" if ours else "".join(f'cp -a --no-preserve=ownership "{path}/." "{{work}}/root/"\n' for path in files)

    def make(work):
        console.step(f"initramfs ({kind}) and UKI by dracut")
        _build(work, tree, names, before=before, FILES=" ".join(map(str, files)), CMDLINE=line, DRACUT_OPTIONS=options, **settings)
    return cache.get("uki" if ours else "peer", [tree.parent.name, line, options, *steps.paths(*names), *files,
                             *settings.values()], make, keep=40) / "uki.efi"
