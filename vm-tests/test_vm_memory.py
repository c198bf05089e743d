# SPDX-License-Identifier: GPL-2.0-or-later
"""The memory of a whole machine after the unlock."""
import base64
import json
import sys

import pytest

from harness import aws, luks
from harness.architecture import CHOSEN
from harness.workshop import MUCTL, TOP, run

sys.path.append(str(TOP / "tests/aws"))
import kms  # noqa: E402

READY = "mu-ready"


def released_key(machine, volume):
    record = json.loads(run(MUCTL, "record", "show", volume, "--json"))["aws-kms"]

    class Key:
        material = (machine.aws.directory / f"key-{aws.KEY_ID}").read_bytes()
    return kms.unseal(Key, base64.b64decode(record["keys"][0]["ciphertext"]), record["encryption_context"])


@pytest.mark.long
def test_no_released_key_in_memory_after_unlock(site, tmp_path):
    """The premise is the volume key, which dm-crypt needs: it is there, and found in the same way."""
    volume, dump = site.volume(), tmp_path / "memory"
    with site.boot(volumes={"root": volume}, check=f"echo {READY} >/dev/{CHOSEN.console}; sleep 600") as m:
        m.wait_serial(READY)
        m.qmp("stop")
        m.qmp("pmemsave", val=CHOSEN.ram, size=1024 << 20, filename=str(dump))
        memory = dump.read_bytes()
        dump.unlink()
        key = luks.volume_key(volume)
        assert key[:32] in memory or key[32:] in memory
        assert released_key(m, volume) not in memory
