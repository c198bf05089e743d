# SPDX-License-Identifier: GPL-2.0-or-later
"""docs/packer: what can be said about the template and its scripts without EC2. The VM tests run the scripts."""
import os
import re
import shutil
import subprocess

import pytest
import world as w

PACKER = w.TOP / "docs/packer"
TEMPLATE = PACKER / "measured-unlock.pkr.hcl"
STEPS = sorted(p for p in (PACKER / "provision").iterdir())
# What Debian's Packer, 1.6.6 with the builders of its time, does not know yet; all else it checks.
NEWER = r"(?m)^ *(?:boot_mode|tpm_support|imds_support) .*\n|^ *metadata_options \{[^}]*\}\n"


def packer(*arguments):
    """Without a network: nothing is downloaded, nobody is told."""
    if not shutil.which("packer"):
        pytest.skip("packer is not installed (tests/setup installs it)")
    alone = ["unshare", "--net"] if os.geteuid() == 0 else []
    return subprocess.run([*alone, "packer", *map(str, arguments)], text=True, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, env={**os.environ, "CHECKPOINT_DISABLE": "1"})


@pytest.fixture
def old_template(tmp_path):
    """The template for a Packer that has the builder built in, and cannot be asked for newer settings."""
    shutil.copytree(PACKER / "provision", tmp_path / "provision")
    (tmp_path / "input").mkdir()
    text, removed = re.subn(NEWER, "", TEMPLATE.read_text())
    assert removed == 4, "the template lacks a setting that the image cannot do without"
    path = tmp_path / TEMPLATE.name
    path.write_text(text)
    return path


def validate(path):
    return packer("validate", "-var", "region=eu-west-1", "-var", "instance_profile=builder",
                  "-var", f"input={path.parent}/input/", path)


@pytest.mark.parametrize("name", sorted(p.name for p in PACKER.glob("*.hcl")))
def test_template_is_formatted(name):
    done = packer("fmt", "-check", "-diff", PACKER / name)
    assert done.returncode == 0, done.stdout


def test_template_syntax():
    done = packer("validate", "-syntax-only", TEMPLATE)
    assert done.returncode == 0, done.stdout


def test_template_is_valid(old_template):
    done = validate(old_template)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("old, new", [
    ("ami_virtualization_type", "ami_virtualisation_type"),
    ('source_device_name    = "/dev/xvdf"', 'source_device_name    = "/dev/xvdg"'),
    ("provision/50-esp", "provision/50-no-such-step")])
def test_validation_finds(old_template, old, new):
    """So that it means something when it finds nothing."""
    text = old_template.read_text()
    assert old in text
    old_template.write_text(text.replace(old, new))
    assert validate(old_template).returncode != 0


def test_image_is_registered_for_attestation():
    text = TEMPLATE.read_text()
    for setting in ('boot_mode = "uefi"', 'tpm_support = "v2.0"', 'imds_support = "v2.0"', "ena_support = true",
                    'http_tokens = "required"'):
        assert re.search(r"(?m)^ *" + setting.replace(" = ", " += ") + "$", text), setting


def test_template_runs_every_step_in_order():
    assert re.findall(r"provision/([^\"]+)", TEMPLATE.read_text()) == [p.name for p in STEPS]


def test_shellcheck():
    if not shutil.which("shellcheck"):
        pytest.skip("shellcheck is not installed")
    done = subprocess.run(["shellcheck", *STEPS, PACKER / "image.conf.example", PACKER / "customize.example"],
                          capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


def test_every_variable_is_documented():
    """Upper-case names are the variables file's."""
    documented = set(re.findall(r"(?m)^([A-Z_]+)=", (PACKER / "image.conf.example").read_text()))
    for step in STEPS:
        used = set(re.findall(r"\$\{?([A-Z][A-Z_]+)", step.read_text()))
        assert used <= documented, step.name


def test_disk_with_data_is_left_alone(tmp_path):
    disk, conf = tmp_path / "disk", tmp_path / "image.conf"
    data = bytes(1000) + b"somebody's" + bytes(2 << 20)
    disk.write_bytes(data)
    conf.write_text(f"WORK={tmp_path}\nVOLUME=root\nESP_MIB=64\nDISK={disk}\n")
    done = subprocess.run([PACKER / "provision/10-partition", conf], capture_output=True, text=True)
    assert done.returncode == 1 and "not blank" in done.stderr
    assert disk.read_bytes() == data
