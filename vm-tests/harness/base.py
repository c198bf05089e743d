# SPDX-License-Identifier: GPL-2.0-or-later
"""The guest's base: a small Debian tree, without anything of this project in it."""
import subprocess
from pathlib import Path

from . import cache, console, steps

SUITE = "trixie"
# Besides what any image needs: initramfs without systemd, a shell to look around, building images.
PACKAGES = "isc-dhcp-client procps login fdisk mtools"
UNWANTED = ["/usr/share/doc/*", "/usr/share/man/*", "/usr/share/locale/*", "/usr/share/info/*",
            "/usr/share/lintian/*", "/usr/share/bash-completion/*"]


def mirror():
    """The machine's own Debian mirror, as its apt knows it."""
    sites = subprocess.run(["apt-get", "indextargets", "--format", "$(SITE) $(ORIGIN) $(RELEASE)",
                            "Created-By: Packages"], check=True, capture_output=True, text=True)
    for line in sites.stdout.splitlines():
        site, _, rest = line.partition(" ")
        if rest.startswith("Debian ") and "security" not in rest:
            return site
    raise RuntimeError("apt knows no Debian mirror (run apt-get update, or see apt-get indextargets)")


def _make(directory):
    console.step("guest base: installing Debian %s (once)" % SUITE)
    steps.run(directory, "30-system", SYSTEM="debian:" + SUITE, PACKAGES=PACKAGES,
              KEYRING="/usr/share/keyrings/debian-archive-keyring.gpg",
              MIRROR=f"deb {mirror()} {SUITE} main",
              SYSTEM_OPTIONS=" ".join("--dpkgopt=path-exclude=" + p for p in UNWANTED))


def tree():
    """Path of the base tree (never write to it: see overlay in image.py)."""
    return cache.get("guest", [SUITE, PACKAGES, *UNWANTED, Path(__file__), *steps.paths("30-system")], _make,
                     keep=2) / "root"
