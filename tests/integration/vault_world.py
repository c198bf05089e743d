# SPDX-License-Identifier: GPL-2.0-or-later
"""A world whose key is in a real Vault (tests/vault), which goes by the token of a verifier."""
import json
import os
import re

import stand_ins
import tls  # tests/aws
import vault as real
import world as w

OK, REFUSE = 0, 2
AUDIENCE = "vault"


def documented(name="vault.md"):
    """The commands of the documentation, one text."""
    return "\n".join(re.findall(r"^```sh\n(.*?)^```$", (w.TOP / "docs/guide" / name).read_text(), re.S | re.M))


class VaultWorld(w.World):
    provider = "vault"

    def start_kms(self):
        """There is none of KMS; IMDS is that of the emulator."""
        self.aws = w.Aws(self.folder / "aws", self.tpm.root, self.tpm.pcr(4))
        folder = self.folder / "tls"
        folder.mkdir()
        tls.make(folder, [w.REGION])
        self.ca, certificate = folder / "ca.pem", folder / "server.pem"
        self.vault = real.Vault(self.folder / "vault", self.ca, certificate)
        self.relay = stand_ins.Relay(certificate, self.vault.address, self.ca)
        self.golden4, golden = self.tpm.pcr(4), self.folder / "golden.json"
        w.muctl("baseline", "record", "--tcti", self.tpm.tcti, "-o", golden)
        self.start_verifier(certificate, golden)
        self.vault.shell(documented(), VERIFIER=self.verifier.address, VERIFIER_CA=self.verifier_ca, ISSUER=self.issuer,
                         AUDIENCE=AUDIENCE, BASELINE=golden, ACCOUNT=w.ACCOUNT)

    def start_verifier(self, certificate, golden):
        self.verifier, self.verifier_ca = stand_ins.Verifier(certificate, self.tpm.root), self.ca
        self.issuer = stand_ins.ISSUER

    def provider_lines(self):
        return ["[aws]", f"imds = {self.aws.info['imds_endpoint']}", "[vault]", f"ca_file = {self.ca}", f"verifier_ca_file = {self.verifier_ca}"]

    def enroll(self, volume, *options, check=True, baseline=None, key=None, source=("--vault-kv", "secret/volumes/root"),
               **environment):
        return w.muctl("enroll", volume, "--volume", "root", "--provider", "vault",
                       "--verifier", self.verifier.address, "--vault", self.relay.address, "--vault-role", "root-volume", *source, "--ca-file", self.ca,
                       "--baseline", baseline or self.complete, "--sign-key", key or self.signing_key,
                       "--key-file", "-", *options, input=w.PASSPHRASE.decode(), check=check,
                       env={**os.environ, "VAULT_TOKEN": self.vault.token, **environment})

    def fresh(self):
        super().fresh()
        self.verifier.fresh()
        self.verifier.baselines = [{4: self.golden4}]
        self.relay.fresh()

    def other(self, *options, **arguments):
        """Another volume, enrolled otherwise; it is what boots."""
        self.volume2 = w.make_volume(self.folder / "other.img")
        self.enroll(self.volume2, *options, **arguments)
        self.configure(volumes={"root": self.volume2})

    def record(self, volume=None):
        return json.loads(w.muctl("record", "show", volume or self.volume, "--json").stdout)["vault"]

    def refused(self, *says, code=REFUSE):
        done = self.unlock()
        assert done.returncode == code, done.stderr
        for words in says:
            assert words in done.stderr, done.stderr
        assert self.fence_closed()
        return done.stderr

    def unlocked(self):
        done = self.unlock()
        assert done.returncode == OK, done.stderr
        assert self.report()["result"] == "unlocked"
        return done.stderr

    def stop(self):
        super().stop()
        self.verifier.stop()
        self.relay.stop()
        self.vault.stop()


class OwnVerifierWorld(VaultWorld):
    """The same with `mu-verifier serve`, which has a certificate of another authority."""

    def start_verifier(self, certificate, golden):
        import relying
        party = relying.Party(self.folder / "party", self.tpm.root, {"golden": (golden, "boot")})
        party.settings = {"identity": "required", "region_certificates": self.aws.folder / "region-certificates"}
        party.write()
        self.verifier = relying.Verifier(party)
        self.verifier.address, self.verifier.fresh = self.verifier.url, lambda: None
        self.verifier_ca, self.issuer = party.ca, relying.ISSUER
