# SPDX-License-Identifier: GPL-2.0-or-later
"""muctl monitor against a verifier that says what it is told to, and looks at what it is sent."""
import base64
import json
import os
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import fleet as f
import pytest
import relying
import tls
import world as w

GOOD = {"ok": True, "instance_id": w.INSTANCE_ID, "baseline": "web", "baseline_version": "7", "state": "running",
        "expires_in": 60, "token": "not for the screen"}
REFUSED = {"error": "refused", "detail": "PCR 4: expected 1111, found 2222",
           "checks": [{"name": "baseline", "result": "failed", "detail": "PCR 4: expected 1111, found 2222"}]}


@pytest.fixture(scope="module")
def tpm(tmp_path_factory):
    tpm = w.NitroTpm(tmp_path_factory.mktemp("tpm"))
    yield tpm
    tpm.stop()


class Verifier:
    """Answers that are left, (status, body) each, come before the good one."""

    def __init__(self, context):
        self.nonces, self.sent, self.challenge, self.attest = [], [], [], []
        verifier = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self):
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                status, answer = verifier.answer(self.path, body)
                text = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
                self.send_response(status)
                self.send_header("Content-Length", str(len(text)))
                self.end_headers()
                self.wfile.write(text)

            def log_message(self, *_):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.server.socket = context.wrap_socket(self.server.socket, server_side=True)
        self.url = f"https://localhost:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def answer(self, path, body):
        if path == "/v1/challenge":
            self.nonces.append(os.urandom(60))
            return self.challenge.pop(0) if self.challenge else (200, {"nonce": self.nonces[-1].hex(), "expires_in": 60})
        assert path == "/v1/attest"
        self.sent.append(body)
        return self.attest.pop(0) if self.attest else (200, GOOD)

    def stop(self):
        self.server.shutdown()
        self.server.server_close()


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    folder = tmp_path_factory.mktemp("ca")
    key, cert = tls.authority("monitor test CA")
    (folder / "ca.pem").write_bytes(tls.pem(cert))
    return folder / "ca.pem", tls.server(folder / "server.pem", "monitor test CA", key, ["localhost"], (-1, 30))


@pytest.fixture
def verifier(authority):
    verifier = Verifier(authority[1])
    yield verifier
    verifier.stop()


@pytest.fixture
def monitor(tpm, verifier, authority, tmp_path):
    def run(*options, url=verifier.url, timeout=20, ca=authority[0], more=""):
        config = tmp_path / "monitor.conf"
        config.write_text(f"[monitor]\nverifier = {url}\nca_file = {ca}\ntcti = {tpm.tcti}\ntimeout = {timeout}\n{more}\n")
        return w.muctl("monitor", "--config", config, *options, check=False)
    return run


def checked(tpm, document, nonce, tmp_path):
    path = tmp_path / "document"
    path.write_bytes(base64.b64decode(document))
    done = w.muctl("verify", path, "--root", tpm.root, "--nonce", nonce.hex(), "--json")
    return json.loads(done.stdout)


def test_good(monitor, verifier, tpm, tmp_path):
    done = monitor()
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"{w.INSTANCE_ID} is unaltered: baseline web 7, state running\n"
    assert [set(body) for body in verifier.sent] == [{"document"}]
    report = checked(tpm, verifier.sent[0]["document"], verifier.nonces[0], tmp_path)
    assert report["ok"] and not report.get("document", report).get("public_key")


def test_each_document_is_fresh(monitor, verifier, tpm, tmp_path):
    monitor()
    monitor()
    assert verifier.nonces[0] != verifier.nonces[1]
    for body, nonce in zip(verifier.sent, verifier.nonces):
        checked(tpm, body["document"], nonce, tmp_path)


def test_json_has_no_token(monitor, verifier):
    report = json.loads(monitor("--json").stdout)
    assert report == {**{k: v for k, v in GOOD.items() if k != "token"}, "verifier": verifier.url}


@pytest.mark.parametrize("wanted, by_hand, sent", [
    ("required", [], True), ("optional", [], True), (None, ["--identity"], True), (None, [], False)])
def test_identity_is_sent_where_it_is_wanted(monitor, verifier, tpm, tmp_path, wanted, by_hand, sent):
    aws = w.Aws(tmp_path / "aws", tpm.root, w.ZERO)
    try:
        challenge = {"nonce": os.urandom(60).hex(), "expires_in": 60, **({"identity": wanted} if wanted else {})}
        verifier.challenge = [(200, challenge)]
        done = monitor(*by_hand, more=f"imds = {aws.info['imds_endpoint']}")
        assert done.returncode == 0, done.stderr
        body, = verifier.sent
        assert ("identity" in body) == sent
        if sent:
            assert w.ACCOUNT.encode() in base64.b64decode(base64.b64decode(body["identity"]))
    finally:
        aws.stop()


def test_the_state_boot_is_not_enough(monitor, verifier):
    """The twin is every other test here: `running`. An open fence lets root ask for the key."""
    verifier.attest = [(200, {**GOOD, "state": "boot"})] * 2
    done = monitor()
    assert (done.returncode, done.stdout) == (2, "") and "in the state 'boot' alone: its fence is open" in done.stderr
    done = monitor("--json")
    assert done.returncode == 2 and json.loads(done.stdout)["ok"] is False and json.loads(done.stdout)["state"] == "boot"
    verifier.attest = [(200, {k: v for k, v in GOOD.items() if k != "state"})]
    assert monitor().returncode == 2


def test_refusal_names_what_differs(monitor, verifier):
    verifier.attest = [(403, REFUSED), (200, GOOD)]
    done = monitor()
    assert (done.returncode, done.stdout) == (2, "") and "PCR 4: expected 1111, found 2222" in done.stderr
    verifier.attest = [(403, REFUSED)]
    done = monitor("--json")
    assert done.returncode == 2
    assert json.loads(done.stdout) == {**REFUSED, "ok": False, "verifier": verifier.url}
    assert len(verifier.sent) == 2  # a refusal is not asked about again


@pytest.mark.parametrize("where, answer", [
    ("challenge", (503, {"error": "busy"})), ("challenge", (429, {"error": "rate"})), ("challenge", (502, b"<html>")),
    ("attest", (400, {"error": "nonce", "detail": "expired"})), ("attest", (503, {"error": "busy"}))])
def test_passing_trouble_is_waited_out(monitor, verifier, where, answer):
    getattr(verifier, where).append(answer)
    done = monitor()
    assert done.returncode == 0, done.stderr
    assert len(verifier.nonces) == 2


def test_not_in_time(monitor, verifier):
    verifier.attest = [(503, {"error": "busy", "detail": "the store is full"})] * 50
    started = time.monotonic()
    done = monitor(timeout=2)
    assert done.returncode == 3 and "the store is full" in done.stderr
    assert time.monotonic() - started < 10 * w.PATIENCE


def test_nobody_answers(monitor):
    done = monitor(url=f"https://127.0.0.1:{w.two_free_ports()}", timeout=1)
    assert done.returncode == 3 and "127.0.0.1" in done.stderr


@pytest.mark.parametrize("where, answer, code, says", [
    ("attest", (400, {"error": "malformed", "detail": "no document"}), 4, "no document"),
    ("challenge", (404, b"not here"), 4, "is there a 'mu-verifier serve' at this address?"),
    ("attest", (403, b"<html>"), 4, "HTTP 403"), ("attest", (401, b""), 4, "HTTP 401"),
    ("attest", (200, ["ok"]), 4, "not a JSON object"),
    ("challenge", (200, {"nonce": "xyz"}), 4, "nonce is not hex"),
    ("challenge", (200, {}), 4, "nonce"),
])
def test_what_no_waiting_helps(monitor, verifier, where, answer, code, says):
    getattr(verifier, where).extend([answer] * 20)
    done = monitor()
    assert done.returncode == code and says in done.stderr


def test_other_authority(monitor, tmp_path):
    (tmp_path / "other.pem").write_bytes(tls.pem(tls.authority("another")[1]))
    done = monitor(ca=tmp_path / "other.pem")
    assert done.returncode == 2 and "does not verify" in done.stderr


@pytest.mark.parametrize("options, code, says", [
    (["--verifier", "http://localhost"], 4, "is not https://"),
    (["--timeout", "0"], 1, "--timeout"),
    (["--config", "/nonexistent"], 4, "/nonexistent"),
])
def test_configuration(options, code, says):
    done = w.muctl("monitor", *options, check=False)
    assert done.returncode == code and says in done.stderr


def test_without_configuration(tmp_path):
    done = w.muctl("monitor", check=False)
    assert done.returncode == 4 and "--verifier URL" in done.stderr


def test_others_use_the_tpm(monitor, tpm):
    """swtpm serves one client at a time: who finds it taken tries again."""
    done = threading.Event()

    def other():
        while not done.is_set():
            tpm.tool("tpm2_getrandom", "8")

    thread = threading.Thread(target=other)
    thread.start()
    try:
        assert [monitor().returncode for _ in range(3)] == [0, 0, 0]
    finally:
        done.set()
        thread.join()


# ---- with the verifier and the watch ----

@pytest.fixture
def relying_party(tmp_path, tpm, store):
    """A machine that has booted and unlocked, and whoever watches over it."""
    tpm.reboot()
    w.muctl("baseline", "record", "--tcti", tpm.tcti, "-o", tmp_path / "complete.json")
    tpm.extend(15, b"the fence")
    party = relying.Party(tmp_path / "party", tpm.root, {"web": (tmp_path / "complete.json", "running")})
    party.write(store=store)
    verifier = relying.Verifier(party)
    watch = f.Watch(tmp_path, store)
    watch.once()

    def monitor():
        return w.muctl("monitor", "--verifier", verifier.url, "--ca-file", party.ca, "--tcti", tpm.tcti, check=False)
    yield monitor, watch
    verifier.stop()


def test_from_good_to_missing(relying_party, tpm):
    monitor, watch = relying_party
    done = monitor()
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"{w.INSTANCE_ID} is unaltered: baseline web web-1, state running\n"
    watch.once()
    assert watch.kinds() == [(w.INSTANCE_ID, "first-seen")]
    good = tpm.pcr(12)
    tpm.extend(12, b"a kernel command line from somewhere")
    done = monitor()
    assert done.returncode == 2 and f"PCR 12: expected {good[:16]}..., found {tpm.pcr(12)[:16]}..." in done.stderr
    watch.once()
    event, = watch.told()
    assert (event["instance_id"], event["event"]) == (w.INSTANCE_ID, "mismatch")
    assert f"PCR 12: expected {good[:16]}..., found {tpm.pcr(12)[:16]}..." in event["detail"]
    assert (event["baseline"], event["state"], event["address"]) == ("web", "running", "127.0.0.1")
    tpm.reboot()
    tpm.extend(15, b"the fence")
    assert monitor().returncode == 0
    watch.once()
    assert watch.kinds() == [(w.INSTANCE_ID, "recovered")]
    watch.sections["watch"]["silence"] = 1
    assert f.until(lambda: watch.once() and watch.kinds()) == [(w.INSTANCE_ID, "missing")]


def test_open_fence_is_not_the_running_state(relying_party, tpm):
    monitor, watch = relying_party
    tpm.reboot()
    done = monitor()
    assert done.returncode == 2 and "PCR 15" in done.stderr
    watch.once()
    assert [e["event"] for e in watch.told()] == ["first-seen", "mismatch"]


# ---- the units ----

UNITS = sorted((w.TOP / "unlock/packaging").glob("*/systemd/*"))


def test_units_are_valid(tmp_path):
    assert len(UNITS) > 4
    for unit in UNITS:
        text = unit.read_text()
        for program in w.MUCTL, w.MU_VERIFIER:
            text = text.replace(f"/usr/bin/{program.name}", str(program.resolve()))
        (tmp_path / unit.name).write_text(text)
    for unit in UNITS:
        done = w.run("systemd-analyze", "verify", "--man=no", tmp_path / unit.name, text=True, check=False)
        assert (done.returncode, done.stdout + done.stderr) == (0, ""), unit.name
