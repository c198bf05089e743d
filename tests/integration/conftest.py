# SPDX-License-Identifier: GPL-2.0-or-later
import subprocess
import sys
from pathlib import Path

import pytest

sys.dont_write_bytecode = True
HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), *(str(HERE.parent / name) for name in ("aws", "vault", "packer"))]

import fleet  # noqa: E402
import world as worlds  # noqa: E402


@pytest.fixture(scope="session")
def settled_world(tmp_path_factory):
    yield from worlds.settled(worlds.World(tmp_path_factory.mktemp("world")))


@pytest.fixture
def world(settled_world):
    settled_world.fresh()
    return settled_world


@pytest.fixture(scope="session")
def postgresql():
    if not fleet.SERVERS:
        pytest.skip("Debian's package postgresql is not installed")
    server = fleet.PostgreSql()
    yield server
    server.stop()


@pytest.fixture
def ordinary_tpm(tmp_path):
    """The TCTI of a TPM that is not a NitroTPM."""
    state, port = tmp_path / "ordinary-tpm", worlds.two_free_ports()
    state.mkdir()
    worlds.run("swtpm_setup", "--tpm2", "--tpmstate", state, "--pcr-banks", "sha384")
    process = subprocess.Popen(["swtpm", "socket", "--tpm2", "--tpmstate", f"dir={state}",
                                "--server", f"type=tcp,port={port},bindaddr=127.0.0.1,disconnect",
                                "--ctrl", f"type=tcp,port={port + 1},bindaddr=127.0.0.1",
                                "--flags", "not-need-init,startup-clear"])
    yield f"swtpm:host=127.0.0.1,port={port}"
    process.terminate()
    process.wait()


@pytest.fixture(params=["sqlite", "postgresql"])
def store(request, tmp_path):
    if request.param == "postgresql":
        return request.getfixturevalue("postgresql").database()
    return f"sqlite:{tmp_path}/fleet"
