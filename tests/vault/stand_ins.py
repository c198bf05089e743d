# SPDX-License-Identifier: GPL-2.0-or-later
"""HTTPS servers for tests: a relay before Vault that lies on demand, and a verifier that does.

The verifier follows the interface of `mu-verifier serve` and is written with other libraries, as a second opinion on
tokens and their encryption."""
import base64
import http.client
import json
import os
import ssl
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

import attestation
import cbor2
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.concatkdf import ConcatKDFHash

ISSUER = "https://verifier.example"
HOP = {"connection", "content-length", "host", "transfer-encoding", "accept-encoding"}


def b64url(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *arguments):
        pass

    def respond(self, status, body, headers=()):
        self.send_response(status)
        for name, value in headers:
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def handle_one(self):
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        owner = self.server.owner
        owner.requests.append((self.command, self.path, dict(self.headers.items())))
        fault = owner.take_fault(self.path)
        if fault and fault[0] == "close":
            self.close_connection = True
            self.connection.close()
            return
        if fault:
            self.respond(fault[0], fault[1])
            return
        self.respond(*owner.answer(self.command, self.path, dict(self.headers.items()), body))

    do_GET = do_POST = do_PUT = handle_one


class Quiet(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request, client_address):
        """Clients that go away are what is tested."""


class Server:
    """Answers with `answer(method, path, headers, body)` -> (status, body, headers)."""

    def __init__(self, certificate, host="localhost", bind="127.0.0.1", port=0):
        self.http = Quiet((bind, port), Handler)
        self.http.owner = self
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate)
        self.http.socket = context.wrap_socket(self.http.socket, server_side=True)
        self.address = f"https://{host}:{self.http.server_port}"
        self.fresh()
        threading.Thread(target=self.http.serve_forever, daemon=True).start()

    def fresh(self):
        self.requests, self.faults = [], []

    def fault(self, path, status, body=b"", count=1):
        """The next `count` requests whose path holds `path` get this answer; status "close": none."""
        self.faults.append([path, (status, body if isinstance(body, bytes) else json.dumps(body).encode()), count])

    def take_fault(self, path):
        for fault in self.faults:
            if fault[0] in path and fault[2] > 0:
                fault[2] -= 1
                return fault[1]
        return None

    def asked(self, path):
        return [r for r in self.requests if path in r[1]]

    def stop(self):
        self.http.shutdown()
        self.http.server_close()


class Relay(Server):
    """Passes everything on to a Vault. `change` may alter an answer: change(method, path, object) -> object."""

    def __init__(self, certificate, target, ca):
        self.target, self.trust = urlsplit(target), ssl.create_default_context(cafile=ca)
        super().__init__(certificate)

    def fresh(self):
        super().fresh()
        self.change = None

    def answer(self, method, path, headers, body):
        connection = http.client.HTTPSConnection(self.target.hostname, self.target.port, context=self.trust)
        connection.request(method, path, body, {k: v for k, v in headers.items() if k.lower() not in HOP})
        answer = connection.getresponse()
        data = answer.read()
        connection.close()
        if self.change and data:
            data = json.dumps(self.change(method, path, json.loads(data))).encode()
        return answer.status, data, [("Content-Type", "application/json")]


def sign(claims, key):
    """RFC 7515 with ES384."""
    header = {"alg": "ES384", "kid": "1", "typ": "JWT"}
    text = f"{b64url(json.dumps(header).encode())}.{b64url(json.dumps(claims).encode())}"
    r, s = decode_dss_signature(key.sign(text.encode(), ec.ECDSA(hashes.SHA384())))
    return f"{text}.{b64url(r.to_bytes(48, 'big') + s.to_bytes(48, 'big'))}"


def jwk(public):
    numbers, size = public.public_numbers(), (public.curve.key_size + 7) // 8
    return {"kty": "EC", "crv": "P-" + str(public.curve.key_size), "x": b64url(numbers.x.to_bytes(size, "big")),
            "y": b64url(numbers.y.to_bytes(size, "big"))}


def encrypt(text, spki):
    """RFC 7516 with ECDH-ES (RFC 7518, 4.6) and A256GCM."""
    recipient = serialization.load_der_public_key(spki)
    own = ec.generate_private_key(recipient.curve)
    header = {"alg": "ECDH-ES", "enc": "A256GCM", "cty": "JWT", "epk": jwk(own.public_key())}
    protected = b64url(json.dumps(header).encode())
    info = b"".join(len(p).to_bytes(4, "big") + p for p in (b"A256GCM", b"", b"")) + (256).to_bytes(4, "big")
    key = ConcatKDFHash(hashes.SHA256(), 32, info).derive(own.exchange(ec.ECDH(), recipient))
    iv = os.urandom(12)
    sealed = AESGCM(key).encrypt(iv, text.encode(), protected.encode())
    return f"{protected}..{b64url(iv)}.{b64url(sealed[:-16])}.{b64url(sealed[-16:])}"


class Verifier(Server):
    def __init__(self, certificate, root, **options):
        self.root = x509.load_pem_x509_certificate(open(root, "rb").read())
        self.key = ec.generate_private_key(ec.SECP384R1())
        super().__init__(certificate, **options)

    def fresh(self):
        super().fresh()
        self.signing_key, self.baselines = self.key, []  # no baselines: whatever the PCRs are
        self.lifetime, self.nonce_life, self.recipient = 300, 60, None
        self.nonces, self.identities = {}, []

    def public_pem(self):
        return self.key.public_key().public_bytes(serialization.Encoding.PEM,
                                                  serialization.PublicFormat.SubjectPublicKeyInfo).decode()

    def answer(self, method, path, headers, body):
        if (method, path) == ("GET", "/.well-known/jwks.json"):
            key = {**jwk(self.key.public_key()), "kid": "1", "use": "sig", "alg": "ES384"}
            return 200, json.dumps({"keys": [key]}).encode()
        if (method, path) == ("GET", "/healthz"):
            return 200, b"ok"
        if (method, path) == ("POST", "/v1/challenge"):
            nonce = os.urandom(64).hex()
            self.nonces[nonce] = time.time() + self.nonce_life
            return 200, json.dumps({"nonce": nonce, "expires_in": 60, "identity": "required"}).encode()
        assert (method, path) == ("POST", "/v1/attest"), path
        sent = json.loads(body)
        if "identity" not in sent:
            return 403, json.dumps({"error": "refused", "detail": "no identity document"}).encode()
        status, answer = self.attest(base64.b64decode(sent["document"]), base64.b64decode(sent["identity"]))
        return status, json.dumps(answer).encode()

    def attest(self, document, identity):
        protected, _, signed, signature = cbor2.loads(document)
        payload = cbor2.loads(signed)
        try:
            leaf = attestation.check_chain(payload, self.root, attestation.datetime.now(attestation.timezone.utc))
            attestation.check_signature(leaf, protected, signed, signature)
        except attestation.BadDocument as error:
            return 403, {"error": "refused", "detail": str(error)}
        if self.nonces.get(payload["nonce"].hex(), 0) < time.time():
            return 400, {"error": "nonce", "detail": "too old"}
        pcrs = {i: v.hex() for i, v in payload["nitrotpm_pcrs"].items() if i < 16}
        if self.baselines and not any(all(pcrs[i] == v for i, v in b.items()) for b in self.baselines):
            return 403, {"error": "refused", "detail": "PCR 4 differs"}
        now = int(time.time())
        # Its signature is looked at by `mu-verifier serve` alone.
        signed_data = base64.b64decode(identity).decode("latin-1")
        who = json.JSONDecoder().raw_decode(signed_data, signed_data.index("{\n"))[0]
        self.identities.append(who)
        claims = {"iss": ISSUER, "aud": "vault", "sub": payload["module_id"], "iat": now, "nbf": now,
                  "exp": now + self.lifetime, "jti": os.urandom(8).hex(), "baseline": "golden", "baseline_version": "1",
                  "state": "boot", "account": who["accountId"], **{f"pcr{i}": v for i, v in pcrs.items()}}
        token = encrypt(sign(claims, self.signing_key), self.recipient or payload["public_key"])
        return 200, {"ok": True, "instance_id": payload["module_id"], "baseline": "golden", "baseline_version": "1",
                     "state": "boot", "expires_in": max(self.lifetime, 1), "token": token}
