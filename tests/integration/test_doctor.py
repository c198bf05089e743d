# SPDX-License-Identifier: GPL-2.0-or-later
"""muctl doctor: each finding, and the flaw that it is there for."""
import json

import pytest
import world as w


def examine(world):
    done = w.muctl("doctor", "--config", world.config_path, "--tcti", world.tpm.tcti, "--json", check=False)
    assert done.returncode in (0, 4), done.stderr
    report = json.loads(done.stdout)
    assert report["ok"] == (done.returncode == 0)
    assert all(f.get("fix") for f in report["findings"] if f["result"] != "ok")
    return {f["name"]: f["result"] for f in report["findings"]}


def test_good_machine(world):
    good = ("tpm", "sha384-bank", "configuration", "fallback", "baseline", "builder-key", "volume root")
    found = examine(world)
    assert {name: found[name] for name in good} == dict.fromkeys(good, "ok")


def test_prompt_is_a_warning(world):
    world.configure(fallback="shell")
    assert examine(world)["fallback"] == "warning"


def test_circular_baseline(world):
    circular = world.folder / "circular.json"
    w.muctl("baseline", "record", "--pcr", "7,11,12", "--tcti", world.tpm.tcti, "-o", circular)
    world.configure(baseline=circular)
    assert examine(world)["baseline"] == "failure"


@pytest.mark.parametrize("key, name", [("baseline", "baseline"), ("builder_key", "builder-key")])
def test_missing_files(world, key, name):
    world.configure(**{key: "/no/such/file"})
    assert examine(world)[name] == "failure"


def test_bad_configuration(world):
    world.config_path.write_text("[boot]\nshell = yes\n")
    found = examine(world)
    assert found["configuration"] == "failure" and "volume root" not in found


def test_unsigned_volume(world, tmp_path):
    key, _ = w.make_builder_key(tmp_path)
    world.enroll(world.volume, key=key)
    assert examine(world)["volume root"] == "failure"


def test_no_tpm(world):
    done = w.muctl("doctor", "--config", world.config_path, "--tcti", "device:/dev/no-such-tpm", check=False)
    assert done.returncode == 4 and "FAILED tpm" in " ".join(done.stdout.split())
