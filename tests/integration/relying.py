# SPDX-License-Identifier: GPL-2.0-or-later
"""A relying party: a running `mu-verifier serve` with its keys and baselines, and those who ask it."""
import base64
import json
import re
import signal
import ssl
import subprocess
import sys
import time
import urllib.error
import urllib.request
from datetime import datetime, timezone

import jwt
import world as w
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from jwcrypto import jwe, jwk

sys.path[:0] = [str(w.TOP / "tests/nitrotpm"), str(w.TOP / "tests/aws")]

import document  # noqa: E402
import identity  # noqa: E402
import pki  # noqa: E402
import tls  # noqa: E402

ISSUER, AUDIENCE = "https://verifier.test", "vault"
ROOMY = {"requests_per_second": 100000, "burst": 100000, "connections_per_address": 200}


def spki(key):
    return key.public_key().public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)


def private_pem(key):
    return key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8,
                             serialization.NoEncryption())


def open_token(key, token):
    """-> header and plaintext of the JWE, by jwcrypto."""
    box = jwe.JWE()
    box.deserialize(token, jwk.JWK.from_pem(private_pem(key)))
    return json.loads(box.objects["protected"]), box.payload.decode()


class Party:
    """The folder: TLS, keys, baselines, configuration. `write()` after changing what is in it."""

    def __init__(self, folder, nitro_root, baselines):
        """baselines: name -> (file, state)"""
        self.folder, self.nitro_root, self.baselines = folder, nitro_root, dict(baselines)
        folder.mkdir(parents=True, exist_ok=True)
        self.renew_certificate()
        w.mu_verifier("init", folder / "keys")
        self.challenge_keys = {"first": folder / "keys/challenge.key"}
        self.signing_keys = {"first": folder / "keys/signing.key"}
        self.settings, self.limits, self.page, self.audiences = {}, {}, {}, {AUDIENCE: {}}
        self.config = folder / "verifier.conf"
        self.write()

    def renew_certificate(self, days=(-1, 365)):
        key, cert = tls.authority("measured-unlock test authority")
        self.ca = self.folder / "ca.pem"
        self.ca.write_bytes(tls.pem(cert))
        tls.server(self.folder / "server.pem", "measured-unlock test authority", key, ["127.0.0.1"], days)

    def write(self, **extra):
        server = self.folder / "server.pem"
        verifier = {"listen": "127.0.0.1:0", "certificate": server, "certificate_key": server, "issuer": ISSUER,
                    "root": self.nitro_root, **self.settings, **extra}
        lines = ["[verifier]", *(f"{k} = {v}" for k, v in verifier.items() if v is not None)]
        lines += ["[limits]", *(f"{k} = {v}" for k, v in {**ROOMY, **self.limits}.items())]
        lines += ["[page]", *(f"{k} = {v}" for k, v in self.page.items())] if self.page else []
        for name, keys in self.audiences.items():
            lines += [f"[audience {name}]", *(f"{k} = {v}" for k, v in keys.items())]
        for section, keys in ("challenge-key", self.challenge_keys), ("signing-key", self.signing_keys):
            lines += [line for name, path in keys.items() for line in (f"[{section} {name}]", f"file = {path}")]
        for name, (path, state) in self.baselines.items():
            lines += [f"[baseline {name}]", f"file = {path}", f"version = {name}-1", f"state = {state}"]
        self.config.write_text("\n".join(lines) + "\n")

    def new_key(self, kind, name):
        w.mu_verifier("init", self.folder / name)
        keys = {"challenge": self.challenge_keys, "signing": self.signing_keys}[kind]
        keys[name] = self.folder / name / f"{kind}.key"

    def check(self):
        return w.mu_verifier("check", "--config", self.config, check=False)


class Running:
    """A verifier that was started."""

    def __init__(self, party, log_path, process):
        self.party, self.log_path, self.process = party, log_path, process
        self.address = self.wait_for("listening")["detail"]
        self.url = "https://" + self.address
        self.port = int(self.address.rpartition(":")[2])

    def log(self):
        return [json.loads(line) for line in self.log_path.read_text().splitlines()]

    def wait_for(self, event, count=1):
        for _ in range(600 * w.PATIENCE):
            found = [line for line in self.log() if line["event"] == event]
            if len(found) >= count:
                return found[count - 1]
            assert self.process.poll() is None, self.log_path.read_text()
            time.sleep(0.02)
        raise AssertionError(f"no '{event}': {self.log_path.read_text()}")

    def reload(self, event="reloaded"):
        before = len([line for line in self.log() if line["event"] == event])
        self.process.send_signal(signal.SIGHUP)
        return self.wait_for(event, before + 1)

    def context(self):
        return ssl.create_default_context(cafile=str(self.party.ca))

    def ask(self, path, body=None, method=None):
        """-> status, JSON (or text)"""
        data = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
        request = urllib.request.Request(self.url + path, data, method=method)
        try:
            answer = urllib.request.urlopen(request, timeout=20 * w.PATIENCE, context=self.context())
        except urllib.error.HTTPError as e:
            answer = e
        with answer:
            text = answer.read().decode()
            return answer.status, json.loads(text) if answer.headers["Content-Type"] == "application/json" else text

    def nonce(self):
        status, answer = self.ask("/v1/challenge", {})
        assert status == 200 and answer.keys() - {"identity"} == {"nonce", "expires_in"}
        return bytes.fromhex(answer["nonce"])

    def attest(self, doc, **more):
        return self.ask("/v1/attest", {"document": base64.b64encode(doc).decode(), **more})

    def jwks(self):
        status, answer = self.ask("/.well-known/jwks.json")
        assert status == 200
        return answer["keys"]

    def claims(self, key, answer, audience=AUDIENCE):
        """The token opened by jwcrypto, verified by PyJWT with the published keys."""
        header, inner = open_token(key, answer["token"])
        assert header["cty"] == "JWT" and header["enc"] == "A256GCM"
        kid = jwt.get_unverified_header(inner)["kid"]
        published = next(k for k in self.jwks() if k["kid"] == kid)
        return jwt.decode(inner, jwt.PyJWK(published).key, algorithms=[published["alg"]], audience=audience,
                          issuer=ISSUER, options={"require": ["exp", "iat", "nbf", "sub", "jti"]})

    def metric(self, name, **labels):
        text = self.ask("/metrics")[1]
        wanted = "{" + ",".join(f'{k}="{v}"' for k, v in labels.items()) + "}" if labels else ""
        found = re.search(rf"^measured_unlock_verifier_{name}{re.escape(wanted)} (\S+)$", text, re.M)
        return float(found[1]) if found else None

    def stop(self):
        self.process.terminate()
        assert self.process.wait(30) == 0


class Verifier(Running):
    """One that this starts."""

    def __init__(self, party, program=(w.MU_VERIFIER,)):
        log_path = party.folder / f"log-{time.monotonic_ns()}"
        with open(log_path, "wb") as log:
            process = subprocess.Popen([*map(str, program), "serve", "--config", str(party.config)], stderr=log)
        super().__init__(party, log_path, process)


class Fleet:
    """Documents by another hand, of any instance, nonce, time and PCRs."""

    def __init__(self, folder):
        self.root = pki.new_root()
        pki.save_root(self.root, folder)
        self.root_pem = folder / "root.pem"
        self.chains = {}

    def draft(self, nonce, pcrs, public_key=None, instance=w.INSTANCE_ID):
        chain = self.chains.setdefault(instance, pki.Chain(self.root, w.REGION, instance))
        return document.Draft(chain, pcrs, {"user_data": None, "nonce": nonce, "public_key": public_key})


def baseline(path, pcrs, *numbers):
    path.write_text(json.dumps({"Measurements": {"HashAlgorithm": "SHA384",
                                                 **{f"PCR{n}": pcrs[n].hex() for n in numbers}}}))
    return path


def identity_party(party, mode):
    region = identity.Region()
    region.publish(party.folder / "regions", w.REGION)
    party.settings.update(identity=mode, region_certificates=party.folder / "regions")
    party.write()
    return region


def identity_text(region, instance=w.INSTANCE_ID, account=w.ACCOUNT):
    text = json.dumps({"accountId": account, "imageId": "ami-0c7217cdde317cfec", "instanceId": instance,
                       "instanceType": "m6i.large", "pendingTime": "2026-02-15T14:12:11Z", "region": w.REGION}).encode()
    return base64.b64encode(identity.folded(identity.pkcs7(text, region.rsa2048)).encode()).decode()


def now_s():
    return datetime.now(timezone.utc).timestamp()


def p384():
    return ec.generate_private_key(ec.SECP384R1())
