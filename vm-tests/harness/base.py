# SPDX-License-Identifier: GPL-2.0-or-later
"""The guest's base: a small Debian tree, without anything of this project in it."""
import subprocess
from pathlib import Path

from . import architecture, cache, console, steps, suites

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


def tree(suite=suites.DEFAULT, more=""):
    """Path of the base tree (never write to it: see overlay in image.py). more: packages."""
    packages = f"{suites.TABLE[suite]} busybox-static {more}".strip()  # for measuring.py
    architecture.let_programs_run()

    def make(directory):
        console.step(f"guest base: installing Debian {suite} for {architecture.CHOSEN.name} (once)")
        # What is installed here never leaves the test, and a mirror that is behind is good enough for it.
        steps.run(directory, "30-system", SYSTEM="debian:" + suite, ARCH=architecture.CHOSEN.name, PACKAGES=packages,
                  KEYRING="/usr/share/keyrings/debian-archive-keyring.gpg",
                  MIRROR=f"deb [check-valid-until=no] {mirror()} {suite} main",
                  SYSTEM_OPTIONS=" ".join("--dpkgopt=path-exclude=" + p for p in UNWANTED))
    return cache.get("guest", [suite, architecture.CHOSEN.name, packages, *UNWANTED, Path(__file__), *steps.paths("30-system")], make, keep=8) / "root"
