# SPDX-License-Identifier: GPL-2.0-or-later
"""Images made by the guest's real dracut, without a boot: none that could not unlock, and the doors of those that could."""
import json
import re
import shutil
import subprocess

import pytest

from harness import base, image, steps, suites
from harness.workshop import BOOT, MUCTL, TOP

# $code is dracut's; /image is not there if it made none.
DRACUT = """
mount -t proc proc "{work}/root/proc"
mount --bind /dev "{work}/root/dev"
code=0
chroot "{work}/root" dracut --force --no-hostonly --no-kernel {options} /image >"{work}/said" 2>&1 || code=$?
echo "$code" >"{work}/code"
touch "{work}/holds"
[ ! -e "{work}/root/image" ] || chroot "{work}/root" lsinitrd /image >"{work}/holds"
umount "{work}/root/dev" "{work}/root/proc"
"""
MODULE = "usr/lib/dracut/modules.d/55measured-unlock/module-setup.sh"


@pytest.mark.guests(*suites.NAMES)
def test_documented_versions_are_the_guest_s(site):
    """At least these: suites get newer."""
    suite = site.workshop.suite
    row = next(line for line in (TOP / "docs/guide/dracut.md").read_text().splitlines() if line.startswith(f"| {suite} |"))
    majors = [re.split("[.-]", cell.strip())[0] for cell in row.split("|")[2:6]]
    claims = [f"{program} >= {major}" for program, major in zip(suites.PROGRAMS, majors, strict=True)]
    assert suites.missing(suite, base.tree(suite), *claims) is None


def dracut(site, work, kind, before="", options=""):
    """What dracut says, with which code, and what its image holds; before: shell, in the guest's root."""
    work.mkdir()
    options += "".join(f" --omit {module}" for module in image.OMIT[kind])
    tree = image.OVERLAY.format(work=work, base=base.tree(site.workshop.suite))
    after = f'cd "{work}/root"\n{before}\ncd /\n' + DRACUT.format(work=work, options=options)
    steps.run(work, "35-configure", "37-bake", before=tree, after=after, FILES=site.workshop.stage, **site.workshop.settings())
    said, code, holds = ((work / name).read_text() for name in ("said", "code", "holds"))
    for scratch in ("upper", "lower"):
        shutil.rmtree(work / scratch)
    return int(code), said, holds


@pytest.mark.parametrize("kind, programs, message", [
    (image.SYSTEMD, "usr/sbin/dmsetup", "its module 'dm' needs dmsetup (package dmsetup or device-mapper)"),
    pytest.param(image.PLAIN, "usr/bin/pgrep", "its module 'network-legacy' needs pgrep (package procps or procps-ng)",
                 marks=pytest.mark.needs("dracut < 111")),
    pytest.param(image.PLAIN, "usr/sbin/NetworkManager", "its module 'network' needs NetworkManager (package network-manager",
                 marks=pytest.mark.needs("dracut >= 111"))], ids=["dmsetup", "pgrep", "NetworkManager"])
def test_an_image_that_could_not_unlock_is_not_made(site, tmp_path, kind, programs, message):
    """The premise: dracut by itself succeeds, with an image without measured-unlock."""
    remove = f"rm -f {programs}"
    code, said, holds = dracut(site, tmp_path / "premise", kind, f"{remove}; sed -i '/^    mu_require_modules$/d' {MODULE}")
    assert code == 0 and "usr/sbin/modprobe" in holds and "measured-unlock" not in holds, said
    code, said, holds = dracut(site, tmp_path / "defence", kind, remove)
    assert code == 1 and holds == "" and f"measured-unlock: this image could not unlock: {message}" in said, said


@pytest.mark.long
def test_an_image_that_could_not_enter_its_root_is_not_made(site, tmp_path):
    """The premise: dracut by itself says that there is no switch_root, and succeeds."""
    remove = "rm -f usr/bin/switch_root usr/sbin/switch_root"
    code, said, holds = dracut(site, tmp_path / "premise", image.PLAIN, f"{remove}; sed -i '/^ *inst_multiple switch_root/d' {MODULE}")
    assert code == 0 and "measured-unlock" in holds and "switch_root" not in holds, said
    code, said, holds = dracut(site, tmp_path / "defence", image.PLAIN, remove)
    assert code == 1 and holds == "" and "measured-unlock: this image could not enter its root: it needs switch_root" in said, said


@pytest.mark.parametrize("before, message", [
    ("sed -i '$a fallback = shell' etc/measured-unlock/measured-unlock.conf", "fallback"),
    ("rm usr/bin/muctl", "/usr/bin/muctl is missing")], ids=["fallback", "muctl"])
def test_an_image_whose_configuration_is_not_read_is_not_made(site, tmp_path, before, message):
    """The premise: as it was, it makes one, which is what the other tests boot."""
    code, said, holds = dracut(site, tmp_path / "defence", image.SYSTEMD, before)
    assert code == 1 and holds == "" and message in said, said


def findings(site, uki, folder, boot=BOOT, name="image-doors"):
    """What doctor says of the doors of an image, or of something else, on a machine with this configuration."""
    etc = folder / "etc/measured-unlock"
    etc.mkdir(parents=True, exist_ok=True)
    shutil.copy(site.workshop.settings(boot=boot)["CONFIG"], etc / "measured-unlock.conf")
    done = subprocess.run([MUCTL, "doctor", "--build", "--json", "--root", folder, "--image", uki], capture_output=True, text=True)
    return [f for f in json.loads(done.stdout)["findings"] if f["name"] == name]


@pytest.mark.parametrize("kind", [image.SYSTEMD, image.PLAIN])
def test_doors_of_a_real_image_are_shut(site, tmp_path, kind):
    assert [f["result"] for f in findings(site, site.ukis[kind], tmp_path)] == ["ok"]


def test_doors_of_a_real_image_that_were_left_open(site, tmp_path):
    """The premise of the above: with `open =` the words, the masks and efivarfs are as the distribution has them (its dracut
    takes qemu_fw_cfg into images of any machine only)."""
    opened = BOOT + "\nopen = efivars credentials"
    uki = site.workshop.uki(boot=opened)
    assert [f["result"] for f in findings(site, uki, tmp_path, opened)] == ["warning", "warning", "ok"]
    said = {f["detail"].split()[0] for f in findings(site, uki, tmp_path) if f["result"] == "failure"}
    assert said == {"efi=noruntime", "efivarfs", "systemd-factory-reset-generator", "systemd.import_credentials=no"}


def unlockers(site, uki, folder):
    said = findings(site, uki, folder, name="image-prompt")
    return [f["result"] for f in said if "systemd-cryptsetup" in f["detail"]]


@pytest.mark.guests(*suites.NAMES)
@pytest.mark.parametrize("kind", [image.SYSTEMD, image.PLAIN])
def test_no_other_unlocker_in_a_real_image(site, tmp_path, kind):
    assert unlockers(site, site.ukis[kind], tmp_path) == []


@pytest.mark.long
def test_another_unlocker_if_it_is_asked_for(site, tmp_path):
    """The premise, and the way back: a file of the same name in /etc."""
    place = tmp_path / "tree/etc/dracut.conf.d"
    place.mkdir(parents=True)
    (place / "55-measured-unlock.conf").write_text('omit_dracutmodules+=" ifcfg "\n')
    uki = site.workshop.uki(trees=[tmp_path / "tree"])
    assert unlockers(site, uki, tmp_path / "root") == ["warning"]
