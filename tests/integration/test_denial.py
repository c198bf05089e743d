# SPDX-License-Identifier: GPL-2.0-or-later
"""What one sender can take from a verifier: processor time by half a handshake, and its connections by many addresses."""
import contextlib
import json
import os
import socket
import subprocess
import sys
import time

import pytest
import relying
import world as w

PCRS = [bytes([n]) * 48 for n in range(24)]
PCRS[12] = PCRS[15] = bytes(48)
CROWD = 20
# The record layer's header and the beginning of a ClientHello of 512 bytes (RFC 8446, 4.1.2 and 5.1).
HALF_A_HELLO = bytes.fromhex("1603010200" "010001fc0303") + bytes(89)


@pytest.fixture
def party(tmp_path):
    fleet = relying.Fleet(tmp_path)
    return relying.Party(tmp_path / "party", fleet.root_pem,
                         {"web": (relying.baseline(tmp_path / "web.json", PCRS, 4, 7, 12), "boot")})


def cpu_seconds(pid):
    """Of a whole process, by its clock (CPUCLOCK_SCHED of clock_getres(2), as clock_getcpuclockid(3) makes it)."""
    return time.clock_gettime((~pid << 3) | 2)


@contextlib.contextmanager
def spinning():
    """A process that does nothing but run: what somebody who spins would get of this machine just now."""
    process = subprocess.Popen([sys.executable, "-c", "print(flush=True)\nwhile True: pass"], stdout=subprocess.PIPE)
    process.stdout.readline()
    try:
        yield process.pid
    finally:
        process.kill()
        process.communicate()


def share_of_a_spinner(pid, seconds=2):
    """How much of what a spinning process got in the same time."""
    with spinning() as other:
        before = cpu_seconds(pid), cpu_seconds(other)
        time.sleep(seconds)
        return (cpu_seconds(pid) - before[0]) / (cpu_seconds(other) - before[1])


def test_the_measure_sees_a_spinner():
    with spinning() as pid:
        assert share_of_a_spinner(pid) > 0.2


def test_half_a_handshake_costs_nothing(party):
    """libmicrohttpd 1.0.1 with epoll spins until the handshake's timeout."""
    party.limits = {"timeout": 60}
    party.write()
    verifier = relying.Verifier(party)
    with contextlib.ExitStack() as stack:
        stack.callback(verifier.stop)
        waiting = [stack.enter_context(socket.create_connection(("127.0.0.1", verifier.port))) for _ in range(8)]
        for s in waiting:
            s.sendall(HALF_A_HELLO)
        assert verifier.ask("/healthz")[0] == 200  # it has come to those before
        share = share_of_a_spinner(verifier.process.pid)
        assert share < 0.02, share
        for s in waiting:  # and all of them did wait
            s.setblocking(False)
            with pytest.raises(BlockingIOError):
                s.recv(1)


def crowd(party, **limits):
    party.limits = {"timeout": 60, "threads": 1, "connections": CROWD, **limits}
    party.write(listen="[::]:0")
    alone = ["unshare", "--net", *(["--map-root-user"] if os.getuid() else [])]
    if subprocess.run([*alone, "true"], capture_output=True, check=False).returncode != 0:
        pytest.skip("no network namespace can be made here")
    done = w.run(*alone, sys.executable, w.TOP / "tests/integration/crowd.py", w.MU_VERIFIER, party.config, CROWD, text=True)
    return json.loads(done.stdout)


def test_many_addresses_of_one_subnet_take_all_connections(party):
    """The premise: that many connections are all there are."""
    assert crowd(party, connections_per_address=CROWD + 1) == {"held": CROWD, "stranger": False}


def test_connections_are_counted_by_subnet(party):
    assert crowd(party, connections_per_address=4) == {"held": 4, "stranger": True}
