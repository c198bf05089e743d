# SPDX-License-Identifier: GPL-2.0-or-later
"""The LUKS2 header policy, against headers that are wrong in exactly one thing."""
import json
import lzma
import subprocess

import forge_luks
import pytest
import world as w

UUID = "0b3a1c5e-7c1d-4d0f-9a52-5f0c8e6d1a77"


@pytest.fixture(scope="session")
def good(tmp_path_factory):
    """16 KiB headers, two key slots and room for four, data from 2 MiB on."""
    folder = tmp_path_factory.mktemp("header")
    image, key = folder / "good.img", folder / "key"
    key.write_text("correct horse")
    with open(image, "wb") as f:
        f.truncate(3 << 20)
    quick = ["--batch-mode", "--key-file", key, "--pbkdf", "pbkdf2", "--pbkdf-force-iterations", "1000"]
    w.run("cryptsetup", "luksFormat", *quick, "--type", "luks2", "--uuid", UUID, "--cipher", "aes-xts-plain64",
          "--key-size", "512", "--sector-size", "512", "--luks2-metadata-size", "16k", "--luks2-keyslots-size", "1008k",
          "--offset", "4096", image)
    w.run("cryptsetup", "luksAddKey", *quick, image, key)
    return image


def check(image):
    done = w.muctl("header", "check", image, "--json", check=False)
    report = json.loads(done.stdout)
    failed = {r["name"] for r in report["rules"] if r["result"] == "failed"}
    assert report["ok"] == (not failed) == (done.returncode == 0)
    assert done.returncode in (0, 2)
    assert all(r["detail"] for r in report["rules"] if r["name"] in failed)
    return failed, report


def test_good(good):
    assert check(good)[0] == set()


@pytest.mark.parametrize("name", forge_luks.FORGERIES)
def test_forged(name, good, tmp_path):
    rule, forge = forge_luks.FORGERIES[name]
    forge_luks.write(forge, good, tmp_path / "bad.img")
    failed, report = check(tmp_path / "bad.img")
    assert rule in failed, report
    assert check(good)[0] == set()


@pytest.mark.parametrize("name", forge_luks.ACCEPTED)
def test_accepted(name, good, tmp_path):
    forge_luks.write(forge_luks.ACCEPTED[name], good, tmp_path / "other.img")
    assert check(tmp_path / "other.img")[0] == set()


def test_every_rule_has_a_forgery(good):
    assert {r["name"] for r in check(good)[1]["rules"]} == {rule for rule, _ in forge_luks.FORGERIES.values()}


def test_header_backup(good, tmp_path):
    w.run("cryptsetup", "luksHeaderBackup", good, "--header-backup-file", tmp_path / "header")
    assert check(tmp_path / "header")[0] == set()


def test_luks1(tmp_path, good):
    image = tmp_path / "luks1.img"
    with open(image, "wb") as f:
        f.truncate(4 << 20)
    w.run("cryptsetup", "luksFormat", "--batch-mode", "--type", "luks1", "--key-file", good.parent / "key",
          "--pbkdf-force-iterations", "1000", image)
    failed, report = check(image)
    assert failed == {"header-readable"} and "convert" in report["rules"][0]["detail"]


def test_absent(tmp_path):
    assert w.muctl("header", "check", tmp_path / "none", check=False).returncode == 3
    assert w.muctl("header", "check", tmp_path, check=False).returncode == 4
    assert w.muctl("header", "check", check=False).returncode == 1


@pytest.mark.parametrize("name, rule", [("good", None), ("seg-cipher-null", "segment-cipher"),
                                        ("slot-cipher-null", "keyslot-cipher")])
def test_genuine(name, rule, tmp_path):
    """Images made elsewhere; cryptsetup 2.6.1 opens the one whose segment has the null cipher."""
    packed = w.VECTORS / "luks-headers" / f"{name}.img.xz"
    if not packed.exists():
        pytest.skip(f"{packed} is not there")
    image = tmp_path / f"{name}.img"
    image.write_bytes(lzma.decompress(packed.read_bytes()))
    assert check(image)[0] == ({rule} if rule else set())


def test_premise(good, tmp_path):
    """libcryptsetup alone does accept a null cipher on the data."""
    forge_luks.write(forge_luks.FORGERIES["segment null cipher"][1], good, tmp_path / "bad.img")
    done = subprocess.run(["cryptsetup", "open", "--test-passphrase", "--key-file", good.parent / "key",
                           tmp_path / "bad.img"], capture_output=True)
    assert done.returncode == 0, done.stderr
