# SPDX-License-Identifier: GPL-2.0-or-later
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


@pytest.fixture(params=["sqlite", "postgresql"])
def store(request, tmp_path):
    if request.param == "postgresql":
        return request.getfixturevalue("postgresql").database()
    return f"sqlite:{tmp_path}/fleet"
