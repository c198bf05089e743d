# SPDX-License-Identifier: GPL-2.0-or-later
"""What is to be found in the memory of measured-unlock, and what it gives up."""
import base64
import contextlib
import re
import signal
import subprocess
import time
from pathlib import Path

import pytest
import vault
import world as w
from vault_world import VaultWorld

CAP_IPC_LOCK, CAP_DAC_OVERRIDE, CAP_SYS_ADMIN, CAP_MKNOD = 14, 1, 21, 27


def volume_key(world, folder):
    path = folder / "volume-key"
    w.run("cryptsetup", "luksDump", "-q", "--dump-volume-key", "--volume-key-file", path, "--key-file", "-",
          world.volume, input=w.PASSPHRASE)
    return path.read_bytes()


def memory_of(pid):
    """All pages that it has, as another root process sees them; the large and empty are left out."""
    found = []
    maps = re.findall(r"^(\w+)-(\w+) .*\n(?:.*\n)*?Rss: +(\d+) kB", Path(f"/proc/{pid}/smaps").read_text(), re.M)
    with open(f"/proc/{pid}/mem", "rb", 0) as memory:
        for start, end in ((int(a, 16), int(b, 16)) for a, b, resident in maps if int(resident)):
            with contextlib.suppress(OSError, OverflowError, ValueError):
                memory.seek(start)
                found.append(memory.read(min(end - start, 32 << 20)))
    return b"".join(found)


def traced(world, *inject):
    """A boot under strace, which delays what it is told to delay; the pid of the program."""
    words = [f"--inject={i}" for i in inject]
    process = subprocess.Popen(["strace", "-f", "-qq", "-e", "trace=exit_group,write", *words, "-o", "/dev/null",
                                w.UNLOCK, "unlock", "--config", world.config_path, "--no-activate"],
                               stderr=subprocess.PIPE, text=True)
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    while True:
        for pid in children.read_text().split():  # strace has others at first
            with contextlib.suppress(FileNotFoundError):
                if Path(f"/proc/{pid}/exe").resolve() == w.UNLOCK.resolve():
                    return process, int(pid)
        time.sleep(0.01)


def found_in_memory(world, secrets):
    """-> names of what was there at any time of a boot that unlocks, and of what was there at its end"""
    process, pid = traced(world, "write:delay_enter=400ms", "exit_group:delay_enter=6s")
    early, late = set(), None
    while process.poll() is None:
        stopping = Path(f"/proc/{pid}/syscall").read_text().startswith("231 ")
        memory = memory_of(pid)
        found = {name for name, secret in secrets.items() if secret in memory}
        if stopping:
            late = found
            break
        early |= found
    _, said = process.communicate()
    assert process.returncode == 0, said
    return early, late


def test_the_memory_holds_no_key_at_the_end(world, tmp_path):
    """The premise is in the same run: while the fence is being closed, the volume key is there to be found."""
    early, late = found_in_memory(world, {"released": world.released_key(), "volume": volume_key(world, tmp_path)})
    assert "volume" in early
    assert late == set()


@pytest.fixture
def vw(tmp_path):
    world = VaultWorld(tmp_path)
    world.settle()
    world.fresh()
    yield world
    world.stop()


@pytest.mark.skipif(vault.why_not() is not None, reason=f"no Vault: {vault.why_not()}")
def test_the_memory_holds_no_key_of_vault_at_the_end(vw):
    """The same; here it passes through JSON."""
    text = vw.vault.run("kv", "get", "-field=key", "secret/volumes/root").stdout
    wanted = {"key": base64.b64decode(text), "text": text.encode(), "token": b'"client_token"'}
    early, late = found_in_memory(vw, wanted)
    assert "key" in early and late == set()


@pytest.fixture
def waiting(world):
    """A boot whose program waits for a slow KMS."""
    world.aws.fault("kms", "delay", "30", operation="Decrypt")
    process = subprocess.Popen([w.UNLOCK, "unlock", "--config", world.config_path, "--no-activate"],
                               stderr=subprocess.PIPE, text=True)
    said = ""
    while "signed by the image builder" not in said:
        line = process.stderr.readline()
        assert line, said
        said += line
    yield process
    process.kill()
    process.wait()


def test_privileges(waiting):
    process = waiting
    status = dict(line.split(":\t", 1) for line in Path(f"/proc/{process.pid}/status").read_text().splitlines()
                  if ":\t" in line)
    allowed = sum(1 << n for n in (CAP_IPC_LOCK, CAP_DAC_OVERRIDE, CAP_SYS_ADMIN, CAP_MKNOD))
    assert status["NoNewPrivs"] == "1"
    assert status["Seccomp"] == "2"
    for which in ("CapInh", "CapPrm", "CapEff"):
        assert int(status[which], 16) & ~allowed == 0
    assert int(status["VmLck"].split()[0]) > 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_ends_in_a_closed_fence(world, waiting, number):
    """Before KMS has answered, which alone would take longer."""
    waiting.send_signal(number)
    _, said = waiting.communicate(timeout=10)
    assert waiting.returncode == 3, said
    assert world.fence_closed()
    assert world.report()["result"] == "failed"
