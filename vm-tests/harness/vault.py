# SPDX-License-Identifier: GPL-2.0-or-later
"""A Vault and a `mu-verifier serve` around one machine, where AWS seems to be: the key of its volume is there."""
import json
import re
import shutil
import sys
import tempfile
import time
from pathlib import Path

from . import aws, luks
from .namespace import Namespace
from .workshop import MU_VERIFIER, MUCTL, TOP, VERSION, run

sys.path[:0] = [str(TOP / "tests/vault")]
import vault as real  # noqa: E402

HOST = "169.254.169.254"  # QEMU's gateway, which is 127.0.0.1 of the machine's namespace
VAULT_PORT, VERIFIER_PORT = 8200, 8443
VAULT, VERIFIER = f"https://{HOST}:{VAULT_PORT}", f"https://{HOST}:{VERIFIER_PORT}"
ISSUER, AUDIENCE = "https://verifier.example", "vault"
LOCAL = ["ip", "address", "add", f"{HOST}/32", "dev", "lo"]


def documented():
    return "\n".join(re.findall(r"^```sh\n(.*?)^```$", (TOP / "docs/guide/vault.md").read_text(), re.S | re.M))


class Verifier:
    def __init__(self, namespace, folder, certificate, root, baselines, regions="/nonexistent"):
        """baselines: those that it accepts, as state boot; regions: AWS's certificates for identity documents."""
        self.folder = folder
        folder.mkdir()
        keys = run(MU_VERIFIER, "init", folder / "keys")
        lines = ["[verifier]", f"listen = 0.0.0.0:{VERIFIER_PORT}", f"certificate = {certificate}",
                 f"certificate_key = {certificate}", f"issuer = {ISSUER}", f"root = {root}",
                 "identity = required", f"region_certificates = {regions}", f"[audience {AUDIENCE}]", keys]
        for i, path in enumerate(baselines):
            lines += [f"[baseline b{i}]", f"file = {path}", "state = boot"]
        (folder / "conf").write_text("\n".join(lines) + "\n")
        with open(folder / "log", "w") as log:
            self._process = namespace.spawn(MU_VERIFIER, "serve", "--config", folder / "conf", stderr=log)
        while not self.lines("listening"):
            assert self._process.poll() is None, (folder / "log").read_text()
            time.sleep(0.05)

    def lines(self, event):
        found = (json.loads(line) for line in (self.folder / "log").read_text().splitlines())
        return [line for line in found if line["event"] == event]

    def answers(self):
        return [line["status"] for line in self.lines("request") if line["path"] == "/v1/attest"]

    def close(self):
        self._process.terminate()
        self._process.wait()


class Site:
    """What an operator sets up once: Vault's storage, with policy, role and the key of one volume."""

    def __init__(self, shop):
        self.shop, self.folder = shop, Path(tempfile.mkdtemp(prefix="mu-vault-"))
        self.ca, self.certificate = shop.authorities / "aws/ca.pem", shop.authorities / "aws/server.pem"
        self.root = shop.nitrotpm_ca / "root.pem"

    def enroll(self, volume, *ukis):
        """In Vault's role is the first UKI; the record's signed baselines allow all."""
        namespace = Namespace(self.folder)
        baselines = [self.shop.baseline(uki) for uki in ukis]
        try:
            run(*namespace.command(*LOCAL))
            verifier = Verifier(namespace, self.folder / "verifier", self.certificate, self.root, baselines)
            server = self.start_vault(namespace, self.folder / "vault")
            server.shell(documented(), VERIFIER=VERIFIER, VERIFIER_CA=self.ca, ISSUER=ISSUER, AUDIENCE=AUDIENCE,
                         BASELINE=baselines[0], ACCOUNT=aws.ACCOUNT)
            words = [w for path in baselines for w in ("--baseline", path)]
            run(*namespace.command("env", f"VAULT_TOKEN={server.token}", MUCTL), "enroll", volume, "--volume", "root",
                "--provider", "vault",
                "--verifier", VERIFIER, "--vault", VAULT, "--vault-role", "root-volume", "--vault-kv", "secret/volumes/root",
                "--vault-wrap-ttl", 60, "--ca-file", self.ca, *words, "--sign-key", self.shop.signing_key, "--key-file", "-",
                "--record-version", VERSION, input=luks.PASSPHRASE.decode())
            self.keys = server.unseal_key, server.token
            server.stop()
            verifier.close()
        finally:
            namespace.close()
        return volume

    def start_vault(self, namespace, folder, keys=None):
        return real.Vault(folder, self.ca, self.certificate, host=HOST, bind="0.0.0.0", port=VAULT_PORT,
                          prefix=namespace.command(), keys=keys)

    def around(self, machine, *ukis):
        """Both in the namespace of a machine; the verifier accepts these."""
        namespace = machine.namespace
        run(*namespace.command(*LOCAL))
        shutil.copytree(self.folder / "vault", machine.directory / "vault")
        verifier = Verifier(namespace, machine.directory / "verifier", self.certificate, self.root,
                            [self.shop.baseline(uki) for uki in ukis], machine.aws.directory / "region-certificates")
        self.start_vault(namespace, machine.directory / "vault", self.keys)
        return verifier

    def close(self):
        shutil.rmtree(self.folder)
