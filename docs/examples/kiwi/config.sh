#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-or-later
# In the system, once its packages are there: what ../packer does to one on the way to its unified kernel image, which is
# then /boot/uki.efi. KIWI leaves /image out of what it makes.
set -eu

ln -s / /image/root
sed 's,^WORK=.*,WORK=/image,' /image/in/image.conf >/image/image.conf
printf '%s\n' '' OUT=/boot MUCTL=/image/muctl >>/image/image.conf
for step in 35-configure 37-bake 40-image; do
    sh "/image/provision/$step" /image/image.conf
done
