#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""`muctl report sign` as systemd starts it: a connection of Varlink on its standard input and output. systemd-report itself
asks it in vm-tests/test_testing.py."""
import base64
import hashlib
import json
import os
import socket
import subprocess

import pytest

import world as w

SERVICE, SIGN = "org.varlink.service", "io.systemd.Report.Signer.Sign"
DIGEST = hashlib.sha256(b"a report").hexdigest()


@pytest.fixture(scope="module")
def tpm(tmp_path_factory):
    service = w.NitroTpm(tmp_path_factory.mktemp("tpm"))
    yield service
    service.stop()


def converse(said, tcti="device:/nonexistent/tpm"):
    """-> exit code, answers, message"""
    done = subprocess.run([w.MUCTL, "report", "sign", "--tcti", tcti], input=said, capture_output=True, timeout=300)
    assert not done.stdout or done.stdout.endswith(b"\0")
    return done.returncode, [json.loads(a) for a in done.stdout.split(b"\0")[:-1]], done.stderr.decode()


def message(method, parameters=None, **more):
    return json.dumps({"method": method, **({} if parameters is None else {"parameters": parameters}), **more}).encode() + b"\0"


def ask(method, parameters=None, tcti="device:/nonexistent/tpm"):
    code, answers, _ = converse(message(method, parameters), tcti)
    assert code == 0 and len(answers) == 1
    return answers[0]


def sign(tcti, digest=DIGEST, algorithm="SHA256"):
    return ask(SIGN, {"digest": digest, "algorithm": algorithm}, tcti)


def test_signs(tpm, tmp_path):
    document = tmp_path / "document"
    document.write_bytes(base64.b64decode(sign(tpm.tcti)["parameters"]["data"][0]["document"], validate=True))
    verify = ["verify", document, "--root", tpm.root, "--nonce"]
    w.muctl(*verify, DIGEST)
    assert w.muctl(*verify, hashlib.sha256(b"another report").hexdigest(), check=False).returncode == 2


def test_calls_one_after_the_other(tpm):
    """On one connection, in the order of the answers; one that wants no answer gets none."""
    server, client = socket.socketpair()
    with server, client:
        process = subprocess.Popen([w.MUCTL, "report", "sign", "--tcti", tpm.tcti], stdin=server, stdout=server)
        server.close()
        client.sendall(message(f"{SERVICE}.GetInfo", oneway=True) + message(f"{SERVICE}.GetInfo") +
                       message(SIGN, {"digest": DIGEST, "algorithm": "SHA256"}))
        client.shutdown(socket.SHUT_WR)
        with client.makefile("rb") as stream:
            answers = stream.read().split(b"\0")
        assert process.wait(300) == 0
    info, signature, rest = answers
    assert json.loads(info)["parameters"]["interfaces"] == [SERVICE, "io.systemd.Report.Signer"]
    assert json.loads(signature)["parameters"]["data"] and rest == b""


def test_interfaces_are_described():
    for interface in ask(f"{SERVICE}.GetInfo")["parameters"]["interfaces"]:
        described = ask(f"{SERVICE}.GetInterfaceDescription", {"interface": interface})["parameters"]["description"]
        assert f"\ninterface {interface}\n" in "\n" + described
    for method in ("GetInfo", "GetInterfaceDescription"):
        assert f"method {method}(" in ask(f"{SERVICE}.GetInterfaceDescription", {"interface": SERVICE})["parameters"]["description"]


@pytest.mark.parametrize("method, parameters, error, of", [
    ("io.example.Other", None, "MethodNotFound", {"method": "io.example.Other"}),
    (SIGN, None, "InvalidParameter", {"parameter": "algorithm"}),
    (SIGN, {"digest": DIGEST, "algorithm": "SHA1"}, "InvalidParameter", {"parameter": "algorithm"}),
    (SIGN, {"digest": DIGEST, "algorithm": 256}, "InvalidParameter", {"parameter": "algorithm"}),
    (SIGN, {"digest": DIGEST[2:], "algorithm": "SHA256"}, "InvalidParameter", {"parameter": "digest"}),
    (SIGN, {"digest": DIGEST + "00", "algorithm": "SHA256"}, "InvalidParameter", {"parameter": "digest"}),
    (SIGN, {"digest": DIGEST[:-1] + "g", "algorithm": "SHA256"}, "InvalidParameter", {"parameter": "digest"}),
    (f"{SERVICE}.GetInterfaceDescription", {}, "InvalidParameter", {"parameter": "interface"}),
    (f"{SERVICE}.GetInterfaceDescription", {"interface": "io.example"}, "InterfaceNotFound", {"interface": "io.example"}),
], ids=str)
def test_errors_of_varlink(method, parameters, error, of):
    """They end the call and not the connection."""
    code, answers, _ = converse(message(method, parameters) + message(f"{SERVICE}.GetInfo"))
    assert code == 0 and answers[0] == {"error": f"{SERVICE}.{error}", "parameters": of} and "error" not in answers[1]


@pytest.mark.parametrize("said, says", [
    (b"\0", "empty"), (b"{}\0", "method"), (b"[]\0", "method"), (b"{\0", "the message"), (b'{"method":"x"}', "cut off"),
    (b'{"method":"x","method":"y"}\0', "the message"), (b'{"method":"x","parameters":[]}\0', "parameters"), (b'{"method":5}\0', "method"),
    (b'{"method":"' + b"x" * 300 + b'"}\0', "method"), (b" " * 65537, "65536"), (b"\xff\0", "the message"),
], ids=lambda v: repr(v)[:24])
def test_what_is_not_varlink_ends_the_connection(said, says):
    code, answers, error = converse(said)
    assert code == 2 and answers == [] and says in error


def test_no_nitrotpm_is_no_signature(ordinary_tpm):
    """For the sake of other signers: at an error, systemd-report --sign=require-all gives up."""
    assert sign(ordinary_tpm) == {"parameters": {"data": []}}


def test_a_tpm_that_cannot_be_asked_is_an_error():
    """And not one that is not there."""
    answer = sign("device:/nonexistent/tpm")
    assert answer == {"error": "io.systemd.System", "parameters": {"errno": 5, "origin": "linux"}}


def test_nobody_to_answer():
    """SIGPIPE is ignored, as in a service of systemd."""
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run([w.MUCTL, "report", "sign"], input=message(f"{SERVICE}.GetInfo"), stdout=writer, stderr=subprocess.PIPE,
                          restore_signals=False)
    os.close(writer)
    assert done.returncode == 3 and b"does not take the answer" in done.stderr
