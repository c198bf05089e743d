# SPDX-License-Identifier: GPL-2.0-or-later
"""From the guest's base to bootable things: a root file system, an initramfs in a UKI.

Both are made in an overlay above the base, in a private mount namespace, by the guest's own
tools (dracut, objcopy), so that what boots is what a Debian user would get.
"""
import shutil
import subprocess
from pathlib import Path

from . import base, cache, console

GUEST = Path(__file__).resolve().parent.parent / "guest"
SYSTEMD, PLAIN = "systemd", "plain"
CMDLINE = "console=ttyS0 panic=-1 quiet mitigations=off lsm=capability init=/usr/sbin/guest-init"

# $1 base tree, $2 work directory, $3... directories to copy over it; then the script on stdin
# runs with $root and $work set.
OVERLAY = r"""
set -eu
base=$1 work=$2; shift 2
root=$work/merged
mkdir -p "$work/upper" "$work/lower" "$root"
mount -t overlay overlay -o "lowerdir=$base,upperdir=$work/upper,workdir=$work/lower" "$root"
mount -t proc proc "$root/proc"
mount --rbind /dev "$root/dev"
for tree; do cp -a --remove-destination --no-preserve=ownership "$tree/." "$root/"; done
mkdir -p "$root/out" && mount --bind "$work" "$root/out"
"""

ROOTFS = r"""
umount "$root/out" && umount -l "$root/dev" "$root/proc"
rm -rf "$root"/boot/* "$root"/out "$root"/usr/lib/udev/hwdb.* \
    "$root"/usr/lib/modules/*/kernel/drivers/net/ethernet "$root"/var/cache/* "$root"/var/lib/dpkg/info
for unit in $units_off; do ln -sf /dev/null "$root/etc/systemd/system/$unit"; done
ln -sf /usr/lib/systemd/system/multi-user.target "$root/etc/systemd/system/default.target"
sed -i 's/^root:[^:]*:/root::/' "$root/etc/shadow"
echo measured-unlock >"$root/etc/hostname"
echo 0123456789abcdef0123456789abcdef >"$root/etc/machine-id"
size=$(du -sm "$root" | cut -f1)
mke2fs -q -t ext4 -L root -b 4096 -d "$root" "$work/root.img" $((size * 5 / 4 + 24))M
"""

UKI = r"""
kernel=$(ls "$root/usr/lib/modules")
cp "$conf" "$root/etc/dracut.conf.d/90-guest.conf"
chroot "$root" dracut --force --kver "$kernel" --kernel-image "/boot/vmlinuz-$kernel" --uefi \
    --kernel-cmdline "$cmdline" --add "$add" --omit "$omit" /out/uki.efi
"""

# Units of the guest that cost time in an emulated machine, on the way to a login.
UNITS_OFF = """
    systemd-hwdb-update.service systemd-firstboot.service ldconfig.service
    systemd-journal-catalog-update.service systemd-update-done.service systemd-binfmt.service
    systemd-tpm2-setup.service systemd-tpm2-setup-early.service systemd-pcrmachine.service
    systemd-pcrphase.service systemd-pcrphase-sysinit.service systemd-networkd.service
    systemd-hostnamed.socket modprobe@fuse.service modprobe@drm.service modprobe@efi_pstore.service
    getty-static.service getty@tty1.service apt-daily.timer apt-daily-upgrade.timer
    dpkg-db-backup.timer e2scrub_all.timer e2scrub_reap.service fstrim.timer
""".split()


def _run(script, work, trees, **variables):
    """Run script in an overlay of the base with the trees copied over it; log to work/log."""
    with open(work / "log", "w") as log:
        done = subprocess.run(["unshare", "--mount", "--propagation", "private", "sh", "-s", "--",
                               base.tree(), work, *trees], input=OVERLAY + script, text=True,
                              stdout=log, stderr=log,
                              env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", **variables})
    if done.returncode:
        raise RuntimeError(f"see {work}/log: " + (work / "log").read_text()[-2000:])
    for scratch in ("upper", "lower", "merged"):
        shutil.rmtree(work / scratch)


def rootfs(*trees):
    """ext4 image of the guest with the trees (e.g. of `make install DESTDIR=`) copied in."""
    def make(work):
        console.step("root file system")
        _run(ROOTFS, work, [GUEST / "rootfs", *trees], units_off=" ".join(UNITS_OFF))
    return cache.get("rootfs", [base.tree().parent.name, GUEST / "rootfs", ROOTFS, *UNITS_OFF, *trees],
                     make) / "root.img"


def uki(kind, root, *trees, cmdline="", add="dm network"):
    """A UKI whose initramfs is made by dracut with the trees in place; kind: SYSTEMD or PLAIN.

    root: the kernel's root= argument. The result depends on its inputs alone, so it is cached.
    """
    omit = "" if kind == SYSTEMD else "systemd systemd-initrd dracut-systemd systemd-ask-password"
    cmdline = f"{CMDLINE} root={root} {cmdline}".strip()
    conf = GUEST / "dracut.conf"

    def make(work):
        console.step(f"initramfs ({kind}) and UKI by dracut")
        _run(UKI, work, trees, conf=str(conf), cmdline=cmdline, add=add, omit=omit)
    return cache.get("uki", [base.tree().parent.name, conf, UKI, cmdline, add, omit, *trees],
                     make, keep=12) / "uki.efi"
