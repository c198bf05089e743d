# SPDX-License-Identifier: GPL-2.0-or-later
"""Trouble that does not pass, in a whole boot: the class that fits, within the deadline, and the fence closed. What
passes again is in test_boot.py and test_release.py, each single failure in test_faults.py."""
import os
import re
import shutil
import socket
import subprocess
import sys
import time

import pytest
import world as w

OK, REFUSE, RETRY, CONFIG = 0, 2, 3, 4
TIMEOUT_S = 5    # the least that the configuration takes
GRACE_S = 10     # of a busy machine; far below what is asked for when nothing limits it
ROLES = "/latest/meta-data/iam/security-credentials/"


def ends(world, code, *, says="", asked=None):
    """The boot fails so, in time, and nothing can be had afterwards."""
    start = time.monotonic()
    done = world.unlock()
    took = time.monotonic() - start
    assert done.returncode == code, done.stderr
    assert says in " ".join(done.stderr.split()), done.stderr
    assert took < TIMEOUT_S + GRACE_S
    assert world.fence_closed()
    assert world.report()["result"] == ("refused" if code == REFUSE else "failed")
    if asked is not None:
        assert bool(world.aws.decrypts()) == asked
    return done


@pytest.fixture
def hasty(world):
    world.configure(timeout=TIMEOUT_S)
    return world


@pytest.mark.parametrize("operation, fault, value, code", [
    ("*", "status", 401, RETRY), ("*", "status", 403, CONFIG), ("*", "status", 404, RETRY), ("*", "status", 503, RETRY),
    (ROLES, "status", 401, RETRY), (ROLES, "status", 404, RETRY), (ROLES + w.ROLE, "status", 503, RETRY),
    ("*", "close", None, RETRY), ("*", "delay", 60, RETRY), ("*", "drip", 2, RETRY), ("*", "short-body", None, RETRY),
    (ROLES + w.ROLE, "code", "AssumeRoleUnauthorizedAccess", RETRY), (ROLES + w.ROLE, "bad-json", None, RETRY),
    ("*", "oversized", None, REFUSE)])
def test_imds(hasty, operation, fault, value, code):
    hasty.aws.fault("imds", fault, value, operation=operation)
    ends(hasty, code, asked=False)


@pytest.mark.parametrize("fault, value, code", [
    ("status", 400, REFUSE), ("status", 429, RETRY), ("status", 500, RETRY), ("status", 503, RETRY),
    ("delay", 60, RETRY), ("drip", 10, RETRY), ("close", None, RETRY), ("short-body", None, RETRY),
    ("oversized", None, REFUSE), ("body", "{}", REFUSE),
    ("error", "ExpiredTokenException", RETRY), ("error", "UnrecognizedClientException", REFUSE)])
def test_kms(hasty, fault, value, code):
    hasty.aws.fault("kms", fault, value, operation="Decrypt")
    ends(hasty, code, asked=True)


def test_imds_has_only_expired_credentials(hasty):
    hasty.aws.fault("imds", "expired")
    ends(hasty, RETRY, says="expired", asked=True)


@pytest.mark.parametrize("rc, code, says", [
    ("922", RETRY, "busy"), ("908", RETRY, "busy"), ("90a", RETRY, "testing"), ("921", RETRY, "wrong authorisations"),
    ("923", RETRY, "not available"), ("920", RETRY, "rate"), ("101", CONFIG, "failure mode"), ("14b", CONFIG, "full"),
    ("98e", REFUSE, "authorisation"), ("143", CONFIG, "not a NitroTPM")])
def test_tpm_answers(hasty, rc, code, says):
    """Of the attestation command; TPM 2.0 Part 2, table 17."""
    hasty.tpm.fault("rc", "--value", rc)
    ends(hasty, code, says=says, asked=False)


def test_tpm_is_busy_for_a_while(hasty):
    hasty.tpm.fault("rc", "--value", "922", "--count", "3")
    assert hasty.unlock().returncode == OK


def test_nv_full(hasty):
    """Filled by somebody else; the boot after making room is good."""
    defined = []
    for size in (8192, 1024, 64):
        for _ in range(64):
            index = f"0x{0x1500000 + len(defined):x}"
            if w.run("tpm2_nvdefine", index, "-C", "o", "-s", str(size), check=False,
                     env={**os.environ, "TPM2TOOLS_TCTI": hasty.tpm.tcti}).returncode != 0:
                break
            defined.append(index)
    try:
        assert defined
        ends(hasty, CONFIG, says="NV memory is full", asked=False)
    finally:
        for index in defined:
            hasty.tpm.tool("tpm2_nvundefine", index, "-C", "o")
    hasty.tpm.reboot()
    assert hasty.unlock().returncode == OK


def test_owner_has_a_password(hasty):
    hasty.tpm.tool("tpm2_changeauth", "-c", "owner", "secret")
    try:
        ends(hasty, CONFIG, says="owner hierarchy", asked=False)
    finally:
        hasty.tpm.tool("tpm2_changeauth", "-c", "owner", "-p", "secret", "")


# ---- names and links

NAMED = "kms.{}.amazonaws.com".format(w.REGION)


class Resolver:
    """Runs the boot program where /etc/resolv.conf names one server: a mount namespace of its own."""

    def __init__(self, folder, address):
        self.conf = folder / "resolv.conf"
        self.conf.write_text(f"nameserver {address}\noptions timeout:1 attempts:1\n")

    def unlock(self, world):
        shell = 'mount --bind "$0" /etc/resolv.conf && exec "$@"'
        return w.unfold(w.run("unshare", "-m", "sh", "-c", shell, self.conf, w.UNLOCK, "unlock", "--config",
                              world.config_path, "--no-activate", check=False, text=True, timeout=120))


@pytest.fixture
def named(world, tmp_path):
    """KMS by its name: an emulator at an address of its own, with port 443 and a name server."""
    if subprocess.run(["unshare", "-m", "true"], capture_output=True, check=False).returncode != 0:
        pytest.skip("no mount namespace can be made here")
    address = f"127.0.{os.getpid() >> 8 & 0xff}.{os.getpid() & 0xff | 2}"
    shutil.copytree(world.aws.folder, tmp_path / "aws", ignore=shutil.ignore_patterns("admin", "requests.jsonl"))

    class There(w.Aws):
        def __init__(self):
            self.folder, self.seen = tmp_path / "aws", 0
            w.Service.__init__(self, self.COMMAND, "run", "--dir", self.folder, "--config", self.folder / "config.json",
                               "--listen", address, "--kms-port", "443", "--dns-port", "53", "--dns-answer", address)
            self.info = w.json.loads(self.ready)
    there, here = There(), world.aws
    world.aws = there
    world.configure(timeout=TIMEOUT_S)
    text = world.config_path.read_text()
    world.config_path.write_text(re.sub("kms_endpoint = .*\n", "", text))
    world.resolver = Resolver(tmp_path, address)
    world.unlock, plain = (lambda: world.resolver.unlock(world)), world.unlock
    yield world
    world.aws, world.unlock = here, plain
    there.stop()


def test_kms_by_name(named):
    done = named.unlock()
    assert done.returncode == OK, done.stderr


@pytest.mark.parametrize("fault", ["drop", "servfail", "nxdomain"])
def test_dns_comes_back(named, fault):
    named.aws.fault("dns", fault, count="2")
    done = named.unlock()
    assert done.returncode == OK, done.stderr


@pytest.mark.parametrize("fault", ["drop", "servfail", "nxdomain"])
def test_dns_dead(named, fault):
    named.aws.fault("dns", fault)
    ends(named, RETRY, says=NAMED, asked=False)


def test_no_name_server(named, tmp_path):
    named.resolver = Resolver(tmp_path, "127.0.0.99")
    ends(named, RETRY, says=NAMED, asked=False)


RELAY = """
import socket, sys, threading, time
def copy(a, b):
    while data := a.recv(65536):
        b.sendall(data)
    b.shutdown(socket.SHUT_WR)
time.sleep(2)
server = socket.create_server(("127.0.0.1", int(sys.argv[1])))
while True:
    a = server.accept()[0]
    b = socket.create_connection(("127.0.0.1", int(sys.argv[2])))
    for pair in (a, b), (b, a):
        threading.Thread(target=copy, args=pair, daemon=True).start()
"""


def test_link_up_late(world):
    """Neither IMDS nor KMS can be reached for the first two seconds."""
    relays, text = [], world.config_path.read_text()
    for url in (world.aws.info["imds_endpoint"], world.aws.info["kms_endpoint"]):
        with socket.socket() as s:
            s.bind(("127.0.0.1", 0))
            late, port = s.getsockname()[1], url.rpartition(":")[2]
        relays.append(subprocess.Popen([sys.executable, "-c", RELAY, str(late), port]))
        text = text.replace(f":{port}\n", f":{late}\n")
    world.config_path.write_text(text)
    try:
        start = time.monotonic()
        done = world.unlock()
        assert done.returncode == OK, done.stderr
        assert time.monotonic() - start >= 1.5
    finally:
        for relay in relays:
            relay.terminate()
            relay.wait()


def test_device_appears_late(world):
    """And its node is first there without anything behind it."""
    late = world.folder / "late.img"
    late.unlink(missing_ok=True)
    late.symlink_to(world.folder / "nothing-yet")
    world.configure({"root": late})
    appear = subprocess.Popen(["sh", "-c", f"sleep 1; ln -sf {world.volume} {late}"])
    try:
        done = world.unlock()
        assert done.returncode == OK, done.stderr
    finally:
        appear.wait()
