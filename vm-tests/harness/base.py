# SPDX-License-Identifier: GPL-2.0-or-later
"""The guest's base: a small Debian tree, without anything of this project in it."""
import subprocess
from pathlib import Path

from . import cache, console

SUITE = "trixie"
KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"
PACKAGES = """
    linux-image-cloud-amd64 systemd-boot-efi systemd-sysv udev dracut dracut-network
    cryptsetup-bin systemd-cryptsetup dmsetup kmod iproute2 isc-dhcp-client
    e2fsprogs binutils procps zstd login
""".split()
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
    command = ["mmdebstrap", "--quiet", "--mode=root", "--variant=essential",
               "--keyring=" + KEYRING, "--include=" + ",".join(PACKAGES),
               *["--dpkgopt=path-exclude=" + p for p in UNWANTED],
               SUITE, str(directory / "root"), f"deb {mirror()} {SUITE} main"]
    # The kernel package would run dracut; the images are made later, each with its own settings.
    env = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "INITRD": "No", "LC_ALL": "C.UTF-8"}
    with open(directory / "log", "w") as log:
        subprocess.run(command, check=True, stdout=log, stderr=log, env=env)


def tree():
    """Path of the base tree (never write to it: see overlay in image.py)."""
    return cache.get("guest", [SUITE, *PACKAGES, *UNWANTED, Path(__file__)], _make, keep=1) / "root"
