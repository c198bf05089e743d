# SPDX-License-Identifier: GPL-2.0-or-later
"""The Debian package alone: dpkg puts it into a clean guest, whose dracut makes the initramfs that boots."""
import copy

import pytest

from harness import image
from harness.architecture import CHOSEN
from harness.workshop import make_package

# What docs/guide/updating.md does on the running instance: the header goes out and comes back while its volume
# is mounted, and another image takes the place of the one that is running.
UPDATE = f"""
set -eux
dpkg-query -W -f '${{db:Status-Status}} ${{Version}}\\n' measured-unlock
device=/dev/disk/by-partlabel/root
cryptsetup luksHeaderBackup $device --header-backup-file /run/header.img
muctl record show /run/header.img --key /etc/measured-unlock/builder.pem
muctl header check /run/header.img
cryptsetup luksHeaderRestore --batch-mode $device --header-backup-file /run/header.img
muctl record show $device --key /etc/measured-unlock/builder.pem
muctl header check $device
dd if=/dev/mapper/root of=/dev/null bs=1M count=8 iflag=direct
mount /dev/disk/by-partlabel/esp /mnt
cp /mnt/{CHOSEN.boot_file} /mnt/new.efi
mv /mnt/{CHOSEN.boot_file} /mnt/EFI/BOOT/old.efi
mv /mnt/new.efi /mnt/{CHOSEN.boot_file}
umount /mnt
"""


@pytest.mark.long
def test_package_boots(site):
    workshop = copy.copy(site.workshop)
    workshop.stage = make_package()
    uki = workshop.uki(image.SYSTEMD)
    volume = workshop.enroll(workshop.volume("packaged"), uki)
    with site.boot(uki=uki, volumes={"root": volume}, allow=[uki], check=UPDATE) as m:
        m.wait()
        assert m.booted, m.log()
        assert m.seen["check.status"] == b"0\n", m.seen["check.out"]
        assert b"installed 0." in m.seen["check.out"]
        assert m.seen["check.out"].count(b"signature        good") == 2
        assert [r["status"] for r in m.aws.requests("Decrypt")] == [200]
