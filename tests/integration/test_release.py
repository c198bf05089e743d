# SPDX-License-Identifier: GPL-2.0-or-later
"""The aws-kms provider against IMDSv2, KMS and a NitroTPM: what is retried, what is refused, and what never is asked."""
import os
import socket
import subprocess
import time

import pytest
import world as w

OK, REFUSE, RETRY, CONFIG = 0, 2, 3, 4
DAY = 86400
DRIVER = w.BUILD / "integration/release_driver"
KEY = bytes(range(32))
UUID = "11111111-2222-3333-4444-555555555555"


class Machine:
    def __init__(self, folder):
        self.tpm = w.NitroTpm(folder / "tpm")
        self.tpm.reboot()
        self.aws = w.Aws(folder / "aws", self.tpm.root, self.tpm.pcr(4))
        self.defaults = {"tcti": self.tpm.tcti, "imds": self.aws.info["imds_endpoint"], "arn": w.KEY_ARN, "uuid": UUID,
                         "ca_file": self.aws.info["ca_file"], "kms_endpoint": self.aws.info["kms_endpoint"]}
        self.defaults["ciphertext"] = self.encrypt()

    def run(self, verb, **changes):
        words = [f"{k}={v}" for k, v in {**self.defaults, **changes}.items()]
        return subprocess.run([DRIVER, verb, *words], capture_output=True, timeout=60, input=changes.get("input", KEY),
                              env={**os.environ, **w.BUILDER_ENVIRONMENT, "https_proxy": "http://127.0.0.1:9",
                                   "http_proxy": "http://127.0.0.1:9", "SSL_CERT_FILE": "/nonexistent"})

    def encrypt(self):
        done = self.run("encrypt")
        assert done.returncode == OK, done.stderr
        return done.stdout.decode().strip()

    def released(self, **changes):
        done = self.run("release", **changes)
        assert done.returncode == OK, done.stderr
        lines = done.stdout.decode().splitlines()
        assert bytes.fromhex(lines[0]) == KEY
        return {line.split()[0] for line in lines[1:]}

    def failed(self, code, *says, verb="release", **changes):
        done = self.run(verb, **changes)
        text = done.stderr.decode()
        assert done.returncode == code, (done.returncode, text)
        assert done.stdout == b""
        for word in says:
            assert word in text, text
        return text

    def imds_requests(self):
        return [r for r in self.aws.log()[self.aws.seen:] if r["service"] == "imds"]


@pytest.fixture(scope="module")
def settled_machine(tmp_path_factory):
    machine = Machine(tmp_path_factory.mktemp("release"))
    yield machine
    machine.tpm.stop()
    machine.aws.stop()


@pytest.fixture
def machine(settled_machine):
    settled_machine.aws.fresh()
    settled_machine.tpm.fault("none")
    return settled_machine


def test_releases(machine):
    steps = machine.released()
    assert {"rsa-key", "instance-credentials", "document", "kms-decrypt"} <= steps
    (request,) = machine.aws.decrypts()
    assert request["decision"] == "allow" and w.ROLE in request["principal"]


def test_two_volumes_in_one_session(machine):
    machine.released(twice="yes")
    assert len(machine.aws.decrypts()) == 2
    assert len(machine.imds_requests()) == 3


@pytest.mark.parametrize("fault, value, operation", [
    ("status", "503", "/latest/api/token"), ("status", "429", "/latest/api/token"),
    ("status", "401", "/latest/meta-data/iam/security-credentials/"),
    ("status", "404", "/latest/meta-data/iam/security-credentials/"),
    ("status", "403", "/latest/api/token"), ("close", None, "/latest/api/token"),
    ("short-body", None, f"/latest/meta-data/iam/security-credentials/{w.ROLE}"),
    ("bad-json", None, f"/latest/meta-data/iam/security-credentials/{w.ROLE}"),
    ("code", "AssumeRoleUnauthorizedAccess", f"/latest/meta-data/iam/security-credentials/{w.ROLE}"),
    ("body", "two words", "/latest/api/token"), ("body", "../role", "/latest/meta-data/iam/security-credentials/")])
def test_imds_recovers(machine, fault, value, operation):
    machine.aws.fault("imds", fault, value, count="2", operation=operation)
    assert machine.run("credentials").returncode == OK
    asked = [r for r in machine.imds_requests() if r["operation"] == operation]
    assert [r["fault"] for r in asked[:2]] == [fault] * 2 and asked[-1]["fault"] is None


def test_expired_imds_token_is_renewed(machine):
    machine.aws.fault("imds", "status", "401", count="1", operation="/latest/meta-data/iam/security-credentials/")
    assert machine.run("credentials").returncode == OK
    tokens = [r for r in machine.imds_requests() if r["method"] == "PUT"]
    assert len(tokens) == 2


def test_imds_switched_off(machine):
    machine.aws.fault("imds", "status", "403")
    machine.failed(CONFIG, "enable the instance metadata service")


def test_no_role(machine):
    machine.aws.fault("imds", "status", "404", operation="/latest/meta-data/iam/security-credentials/")
    machine.failed(RETRY, "attach an instance profile", timeout=2)


def test_oversized_imds_answer(machine):
    machine.aws.fault("imds", "oversized", operation=f"/latest/meta-data/iam/security-credentials/{w.ROLE}")
    machine.failed(REFUSE, "more than 65536 bytes")


def test_nothing_listens(machine):
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        nowhere = f"127.0.0.1:{s.getsockname()[1]}"
        start = time.monotonic()
        machine.failed(RETRY, nowhere, verb="credentials", imds=f"http://{nowhere}", timeout=2)
        machine.failed(RETRY, nowhere, kms_endpoint=f"https://{nowhere}", timeout=2)
        assert 4 <= time.monotonic() - start < 20


def test_imds_comes_up_late(machine):
    """The address answers only after a second, as a network link that comes up."""
    port = int(machine.aws.info["imds_endpoint"].rpartition(":")[2])
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        late = s.getsockname()[1]
    relay = subprocess.Popen(["sh", "-c", f"sleep 1; exec /usr/bin/python3 -c '{RELAY}' {late} {port}"])
    try:
        start = time.monotonic()
        assert machine.run("credentials", imds=f"http://127.0.0.1:{late}").returncode == OK
        assert 1 <= time.monotonic() - start < 12
    finally:
        relay.terminate()
        relay.wait()


RELAY = """
import socket, sys, threading
def copy(a, b):
    while data := a.recv(65536):
        b.sendall(data)
    b.shutdown(socket.SHUT_WR)
server = socket.create_server(("127.0.0.1", int(sys.argv[1])))
while True:
    a = server.accept()[0]
    b = socket.create_connection(("127.0.0.1", int(sys.argv[2])))
    for pair in (a, b), (b, a):
        threading.Thread(target=copy, args=pair, daemon=True).start()
"""


@pytest.mark.parametrize("fault, value", [
    ("error", "ThrottlingException"), ("error", "KMSInternalException"), ("error", "KeyUnavailableException"),
    ("error", "DependencyTimeoutException"), ("status", "503"), ("status", "429"), ("close", None),
    ("short-body", None)])
def test_kms_recovers(machine, fault, value):
    machine.aws.fault("kms", fault, value, count="2", operation="Decrypt")
    machine.released()
    asked = [r["fault"] for r in machine.aws.decrypts()]
    assert asked[-1] is None and asked.count(fault) == 2


@pytest.mark.parametrize("fault, value, says", [
    ("error", "AccessDeniedException", "the key policy does not allow this"),
    ("error", "InvalidCiphertextException", "encryption context"), ("error", "IncorrectKeyException", "another key"),
    ("error", "DisabledException", "enable the key"), ("error", "KMSInvalidStateException", "being deleted"),
    ("error", "NotFoundException", "does not exist"), ("error", "ValidationException", "attestation document"),
    ("error", "SomethingNewException", "SomethingNewException"), ("status", "403", "HTTP 403"),
    ("status", "302", "HTTP 302"), ("key-id", w.KEY_ARN.replace(w.KEY_ID, w.OTHER_KEY_ID), w.OTHER_KEY_ID),
    ("plaintext-too", None, "answered with a plaintext"), ("no-cms", None, '"CiphertextForRecipient" is missing'),
    ("garbage-cms", None, "no CMS message"), ("truncated-cms", None, "no CMS message"),
    ("other-recipient", None, "could not be decrypted"), ("plaintext-length", "31", "could not be decrypted"),
    ("plaintext-length", "33", "could not be decrypted"), ("body", "{", "not JSON"), ("body", "[]", "KeyId"),
    ("oversized", "70000", "more than 65536 bytes")])
def test_kms_refusals_are_final(machine, fault, value, says):
    machine.aws.fault("kms", fault, value, operation="Decrypt")
    machine.failed(REFUSE, says)
    assert len(machine.aws.decrypts()) == 1


def test_content_type(machine):
    """A good answer is one whatever it is called: other servers of this protocol call it HTML."""
    machine.aws.fault("kms", "content-type", "text/html", operation="Decrypt")
    machine.released()


@pytest.mark.parametrize("pcr", [4, 12, 15])
def test_altered_boot_is_denied(machine, pcr):
    machine.tpm.extend(pcr, b"something else")
    try:
        machine.failed(REFUSE, "AccessDeniedException", "PCR values")
        assert [r["decision"] for r in machine.aws.decrypts()] == ["deny"]
    finally:
        machine.tpm.reboot()
    machine.released()


@pytest.mark.parametrize("fault", ["unknown-ca", "wrong-name", "expired-certificate"])
def test_tls_refusals(machine, fault):
    machine.aws.fault("tls", fault)
    text = machine.failed(REFUSE, machine.defaults["ca_file"], machine.defaults["kms_endpoint"], "certificate")
    assert ("clock" in text) == (fault == "expired-certificate")
    assert ("not in the CA file" in text) == (fault == "unknown-ca")
    assert machine.aws.decrypts() == []


def test_ca_file(machine, tmp_path):
    machine.failed(CONFIG, "/nonexistent.pem", ca_file="/nonexistent.pem")
    (tmp_path / "empty.pem").write_text("")
    machine.failed(CONFIG, "empty.pem", ca_file=tmp_path / "empty.pem")
    machine.failed(CONFIG, "https", kms_endpoint=machine.defaults["kms_endpoint"].replace("https", "http"))
    assert machine.aws.decrypts() == []


def test_deadline_ends_the_retries(machine):
    machine.aws.fault("kms", "error", "ThrottlingException", operation="Decrypt")
    start = time.monotonic()
    machine.failed(RETRY, "ThrottlingException", timeout=3)
    assert 2 < time.monotonic() - start < 15
    assert 2 < len(machine.aws.decrypts()) < 20


def test_slow_answer_is_given_up_at_the_deadline(machine):
    machine.aws.fault("kms", "delay", "20", operation="Decrypt")
    start = time.monotonic()
    machine.failed(RETRY, machine.defaults["kms_endpoint"], timeout=3)
    assert time.monotonic() - start < 15


def test_expired_credentials_are_renewed(machine):
    machine.aws.fault("kms", "error", "ExpiredTokenException", count="1", operation="Decrypt")
    machine.released()
    assert len([r for r in machine.imds_requests() if r["method"] == "PUT"]) == 2
    machine.aws.fresh()
    machine.aws.fault("kms", "error", "ExpiredTokenException", operation="Decrypt")
    machine.failed(RETRY, "expired", timeout=2)
    asked = len(machine.aws.decrypts())
    assert asked > 2
    assert len([r for r in machine.imds_requests() if r["method"] == "PUT"]) >= asked


def test_imds_goes_on_with_expired_credentials(machine):
    machine.aws.fault("imds", "expired", count="3", operation=f"/latest/meta-data/iam/security-credentials/{w.ROLE}")
    machine.released()
    assert [r.get("error") for r in machine.aws.decrypts()] == ["ExpiredTokenException"] * 3 + [None]


@pytest.fixture
def sends_a_date_once(machine):
    version = machine.run("version").stdout.decode()
    if version.startswith("7."):
        pytest.skip(f"libcurl {version.strip()} sends a given X-Amz-Date twice")


@pytest.mark.parametrize("seconds", [900, 5 * 3600])
def test_clock_ahead_is_corrected(machine, sends_a_date_once, seconds):
    machine.released(clock=seconds)
    assert [r.get("error") for r in machine.aws.decrypts()] == ["InvalidSignatureException", None]


@pytest.mark.parametrize("seconds", [900, 5 * 3600, 400 * DAY])
def test_clock_behind_catches_up_with_the_document(machine, sends_a_date_once, seconds):
    """400 days before the server's certificate became valid: a machine without a real-time clock."""
    machine.released(clock=-seconds)
    assert [r.get("error") for r in machine.aws.decrypts()] == [None]


def test_certificate_of_the_future(machine):
    """The twin: a clock that is right is not changed by a document, nor by what a server says."""
    machine.aws.fault("tls", "future-certificate")
    machine.failed(REFUSE, "not yet valid", "is this machine's clock right?")
    assert machine.aws.decrypts() == []


def test_time_never_goes_back(machine, sends_a_date_once):
    """A document of the past does not make an expired certificate valid."""
    machine.aws.fault("tls", "expired-certificate")
    machine.tpm.fault("stale", "--value", str(30 * DAY))
    machine.failed(REFUSE, "expired")
    assert machine.aws.decrypts() == []


@pytest.mark.parametrize("lie", [3600, -3600])
def test_clock_is_corrected_once(machine, lie):
    """A server whose own date is wrong is followed once and no further."""
    machine.aws.fault("kms", "date", lie)
    machine.failed(REFUSE, "InvalidSignatureException", clock=7200)
    assert len(machine.aws.decrypts()) == 2


def test_another_volumes_record(machine):
    machine.failed(REFUSE, "volume-uuid is not this volume's", record_uuid="other")
    machine.failed(REFUSE, "alias", arn=w.KEY_ARN.replace("key/" + w.KEY_ID, "alias/x"))
    assert machine.aws.decrypts() == []


def test_context_is_bound(machine):
    other = "99999999-2222-3333-4444-555555555555"
    machine.failed(REFUSE, "InvalidCiphertextException", uuid=other)


@pytest.mark.parametrize("fault, value, code, says", [
    ("error", "InvalidArgument", 5, "InvalidArgument"), ("truncated", None, REFUSE, "COSE_Sign1"),
    ("garbage", None, REFUSE, "answer"), ("enclave", None, REFUSE, "enclave"),
    ("wrong-public-key", None, REFUSE, "public key"), ("wrong-nonce", None, REFUSE, "nonce"),
    ("wrong-user-data", None, REFUSE, "user data"), ("short-pcr", None, REFUSE, "48 bytes"),
    ("empty-cabundle", None, REFUSE, "cabundle"), ("wrong-digest", None, REFUSE, "digest"),
    ("short-signature", None, REFUSE, "signature"), ("wrong-algorithm", None, REFUSE, "ES384"),
    ("duplicate-key", None, REFUSE, "twice")])
def test_bad_documents_are_not_sent(machine, fault, value, code, says):
    machine.tpm.fault(fault, *(["--value", value] if value else []))
    machine.failed(code, says)
    assert machine.aws.decrypts() == []


@pytest.mark.parametrize("fault, options", [
    ("tagged", []), ("definite", []), ("extra-key", []), ("error", ["--value", "InternalError", "--count", "2"])])
def test_other_documents_are_accepted(machine, fault, options):
    machine.tpm.fault(fault, *options)
    machine.released()


def test_stops_at_once(machine):
    """Threads in the middle of a slow answer and of waiting for one end when the boot fails elsewhere."""
    machine.aws.fault("imds", "delay", "10")
    done = machine.run("abandon", timeout=30)
    assert done.returncode == OK and int(done.stdout) < 5_000_000, "half of the answer's delay"


def test_no_secret_is_printed(machine):
    machine.aws.fault("kms", "error", "AccessDeniedException", operation="Decrypt")
    text = machine.failed(REFUSE, "AccessDenied")
    assert KEY.hex() not in text and w.BUILDER["secret"] not in text
