# SPDX-License-Identifier: GPL-2.0-or-later
"""The suites of Debian that guests are made of, and what differs between them; what a guest really has is read from it."""
import os
import re

# Suite -> packages besides what any image needs: a network for dracut without systemd, a shell to look around, building images.
TABLE = {
    # What Amazon Linux 2023 and RHEL 9 have, too.
    "bookworm": "isc-dhcp-client procps login fdisk mtools",
    "trixie": "isc-dhcp-client procps login fdisk mtools",
    # There is no DHCP client that dracut knows; switch_root, which images without systemd need, is in util-linux-extra; tpm2-tools
    # are what brings libtss2 into the initramfs.
    "testing": "network-manager util-linux-extra procps login fdisk mtools tpm2-tools systemd-imds systemd-report",
}
NAMES = tuple(TABLE)
# Of `make vm SUITE=`: then nothing is tried on any other.
CHOSEN = os.environ.get("MU_SUITE") or None
DEFAULT = CHOSEN or "trixie"

PROGRAMS = {"dracut": "dracut", "systemd": "systemd", "cryptsetup": "cryptsetup-bin", "kernel": r"linux-image-\d[^\n]*"}


def versions(tree):
    """What dpkg has installed in a guest: program -> version."""
    status = (tree / "var/lib/dpkg/status").read_text()
    return {program: re.search(rf"^Package: {package}\n(?:.+\n)*?Version: (?:\d+:)?(\S+)", status, re.M)[1]
            for program, package in PROGRAMS.items()}


def _numbers(version):
    return [int(n) for n in re.findall(r"\d+", re.split("[-~+]", version)[0])]


def missing(suite, tree, *conditions):
    """Why a guest does not meet conditions such as "dracut < 111", or None. What follows a - or ~ does not count."""
    for condition in conditions:
        program, comparison, bound = condition.split()
        found = versions(tree)[program]
        newer = _numbers(found) >= _numbers(bound)
        if newer != {">=": True, "<": False}[comparison]:
            return f"{program} of {suite} is {found}, and this is about {condition}"
    return None
