# SPDX-License-Identifier: GPL-2.0-or-later
"""docs/examples/kiwi and docs/examples/mkosi beside what Packer's steps do: KIWI's own verdict, and the same packages.
vm-tests/test_mkosi.py and vm-tests/test_kiwi.py build by them."""
import configparser
import json
import re
import shlex
import shutil
import sys
import xml.etree.ElementTree as xml

import aws_programs as programs
import pytest
import world as w

EXAMPLES = w.TOP / "docs/examples"
STEP = (EXAMPLES / "packer/provision/30-system").read_text()


@pytest.fixture
def kiwi(tmp_path):
    packages = programs.pip_install("kiwi.txt")

    def info(description, profile):
        """-> exit code, JSON, messages."""
        done = w.run(sys.executable, packages / "bin/kiwi-ng", "--profile", profile, "image", "info", "--description", description,
                     env={"PATH": "/usr/bin:/bin:/usr/sbin", "PYTHONPATH": str(packages), "HOME": str(tmp_path)}, check=False, text=True)
        return done.returncode, done.stdout[done.stdout.find("{"):], done.stdout + done.stderr
    return info


@pytest.mark.parametrize("profile", ["debian", "dnf"])
def test_kiwi_accepts_the_description(kiwi, profile):
    code, found, said = kiwi(EXAMPLES / "kiwi", profile)
    assert code == 0, said
    assert json.loads(found)["image"] == "measured-unlock" and f"Selected profiles: {profile}" in said


def test_kiwi_refuses_another_description(kiwi, tmp_path):
    description = shutil.copytree(EXAMPLES / "kiwi", tmp_path / "kiwi")
    config = description / "config.xml"
    config.write_text(config.read_text().replace("<packagemanager>apt<", "<packagemanager>cargo<"))
    code, _, said = kiwi(description, "debian")
    assert code != 0 and "packagemanager" in said


def packages_of_the_step(function):
    """What 30-system installs for any image: by mmdebstrap on Debian 13 and amd64, or by dnf."""
    body = re.search(rf"(?ms)^{function}\(\) {{\n(.*?)^}}$", STEP)[1]
    if function == "by_mmdebstrap":
        words = " ".join(re.search(pattern, body)[1] for pattern in (r'needed="([^"]*)"', r'trixie \| stable\) needed="\$needed ([^"]*)"'))
    else:
        words = re.search(r"(?ms)^\s+install (.*?)\$\{PACKAGES-\}", body)[1].replace("\\\n", " ")
    return {word.replace("$arch", "amd64") for word in shlex.split(words) if not word.startswith("/")}


def packages_of_kiwi(profile):
    image = xml.parse(EXAMPLES / "kiwi/config.xml").getroot()
    return {package.get("name") for section in image.iter("packages") if section.get("profiles") in (None, profile)
            for package in section.iter("package") if package.get("arch") in (None, "x86_64")}


@pytest.mark.parametrize("profile, function", [("debian", "by_mmdebstrap"), ("dnf", "by_dnf")])
def test_kiwi_installs_what_the_step_does(profile, function):
    wanted = packages_of_the_step(function)
    assert len(wanted) > 10
    assert wanted - packages_of_kiwi(profile) == set()


def test_mkosi_installs_what_the_step_does():
    recipe = configparser.ConfigParser()
    recipe.read(EXAMPLES / "mkosi/mkosi.conf")
    assert packages_of_the_step("by_mmdebstrap") - set(recipe["Content"]["Packages"].split()) == set()


def test_recipes_name_steps_that_there_are():
    """mkosi and bootc say which folder of steps, and all of the scripts which steps."""
    steps = {path.name for path in (EXAMPLES / "packer/provision").iterdir()}
    for script, count in (("mkosi/mkosi.postinst.chroot", 1), ("mkosi/finish", 3), ("kiwi/config.sh", 3), ("bootc/add-module", 2)):
        named = set(re.findall(r"\b\d\d-[a-z]+\b", (EXAMPLES / script).read_text()))
        assert len(named & steps) == count and named - steps <= {"50-measured"}, script
