# SPDX-License-Identifier: GPL-2.0-or-later
"""Images: the builder's manifest, its approval, and what follows for the next attestation."""
import base64
import hashlib
import json
import os
import shutil
import sqlite3
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import aws_programs
import fleet as watching
import made_image
import pytest
import relying
import test_audit as cloudtrail
import tls
import vault as real
import world as w
from cryptography import exceptions
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519

TYPE = "application/vnd.in-toto+json"
PREDICATE = "tag:measured-unlock,2026:image:v1"
DATA = w.TOP / "tests/data/secureboot"
BANKS = ("sha256", "sha384")
CLOSED = hashlib.sha384(b"closed").digest()


class Builder:
    """A key, images, and manifests of them."""

    def __init__(self, folder):
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self.key = relying.p384()
        self.private, self.public = folder / "builder.key", folder / "builder.pem"
        self.save(self.key, self.private, self.public)
        self.loader = {}
        for n in "12":
            self.loader[n] = folder / f"boot{n}.efi"
            self.loader[n].write_bytes(made_image.pe({".text": b"loader" + n.encode(), ".sdmagic":
                                                      b"#### LoaderInfo: systemd-boot 257.%s ####" % n.encode()}))
        self.uki = {n: made_image.uki(folder / f"linux{n}.efi", b"initrd" + n.encode()) for n in "123"}

    @staticmethod
    def save(key, private, public=None):
        private.write_bytes(relying.private_pem(key))
        if public:
            public.write_bytes(key.public_key().public_bytes(serialization.Encoding.PEM,
                                                             serialization.PublicFormat.SubjectPublicKeyInfo))

    def manifest(self, version, *images, name="web", key=None, loader=False, options=(), check=True):
        """-> the path of the manifest"""
        path = self.folder / f"{name}-{version}.json"
        option = "--boot-loader" if loader else "--image"
        done = w.muctl("image", "manifest", *(a for image in images for a in (option, image)), "--name", name, "--version",
                       version, "--source", "git+https://example.org/web@1f3a", "--built-by", "ci.example.org/4711",
                       "--sign-key", key or self.private, "-o", path, *options, check=check)
        return path if check else done

    def sign(self, statement, payload_type=TYPE, keyid="k", key=None, **more):
        """An envelope by hand."""
        payload = statement if isinstance(statement, bytes) else json.dumps(statement).encode()
        sig = (key or self.key).sign(pae(payload, payload_type), ec.ECDSA(hashes.SHA384()))
        return {"payloadType": payload_type, "payload": base64.b64encode(payload).decode(),
                "signatures": [{"keyid": keyid, "sig": base64.b64encode(sig).decode()}], **more}


def pae(payload, payload_type=TYPE):
    """DSSE, protocol.md, "Signature Definition"."""
    return b"DSSEv1 %d %s %d %s" % (len(payload_type), payload_type.encode(), len(payload), payload)


def statement(path):
    return json.loads(base64.b64decode(json.loads(path.read_text())["payload"]))


def predicate(path):
    return statement(path)["predicate"]


def predicted(*images, bank="sha384", options=()):
    done = w.muctl("baseline", "predict", *(a for image in images for a in ("--image", image)), "--bank", bank, *options)
    return json.loads(done.stdout)["Measurements"]


def pcrs_of(*images, options=(), running=False):
    """As a machine has them that booted these."""
    values = predicted(*images, options=options)
    found = [hashlib.sha384(bytes([n])).digest() for n in range(24)]
    found[15] = CLOSED if running else bytes(48)
    for n in range(24):
        found[n] = bytes.fromhex(values[f"PCR{n}"]) if f"PCR{n}" in values else found[n]
    return found


@pytest.fixture(scope="module")
def builder(tmp_path_factory):
    return Builder(tmp_path_factory.mktemp("builder"))


@pytest.fixture(scope="module")
def fleet(tmp_path_factory):
    return relying.Fleet(tmp_path_factory.mktemp("ca"))


class Approver:
    """A verifier that takes approved images from its store, and the person who approves them."""

    def __init__(self, folder, fleet, builder, store=None, baselines=None):
        self.fleet, self.folder = fleet, folder
        self.store = store or f"sqlite:{folder}/store"
        self.party = relying.Party(folder / "party", fleet.root_pem, baselines or {"none": ("/nothing", "boot")})
        self.party.baselines = baselines or {}
        self.party.settings.update(store=self.store, builder_key=builder.public)
        self.party.write()
        self.verifier = relying.Verifier(self.party)

    def image(self, verb, *arguments, check=True, user="ada"):
        env = {k: v for k, v in os.environ.items() if k not in ("SUDO_USER", "USER")}
        return w.mu_verifier("image", verb, "--config", self.party.config, *arguments, check=check,
                             env={**env, "LOGNAME": user})

    def approve(self, path, *options, check=True):
        return self.image("approve", path, "--why", "change 4711", *options, check=check)

    def list(self, *arguments):
        return json.loads(self.image("list", "--json", *arguments).stdout)

    def attest(self, pcrs, instance=w.INSTANCE_ID, key=None, **more):
        draft = self.fleet.draft(self.verifier.nonce(), pcrs, relying.spki(key) if key else None, instance)
        return self.verifier.attest(draft.encode(), **more)

    def sql(self, *commands):
        with closing(sqlite3.connect(self.folder / "store")) as db:
            for command in commands:
                db.execute(*command)
            db.commit()


@pytest.fixture
def approver(tmp_path, fleet, builder):
    approver = Approver(tmp_path, fleet, builder)
    yield approver
    approver.verifier.stop()


# ---- the manifest ----

@pytest.mark.parametrize("kind", ["P-384", "P-256", "Ed25519"])
def test_signature_by_another_hand(builder, tmp_path, kind):
    key = {"P-384": lambda: ec.generate_private_key(ec.SECP384R1()), "P-256": lambda: ec.generate_private_key(ec.SECP256R1()),
           "Ed25519": ed25519.Ed25519PrivateKey.generate}[kind]()
    Builder.save(key, tmp_path / "key", tmp_path / "pem")
    envelope = json.loads(builder.manifest(f"by-{kind}", builder.uki["1"], key=tmp_path / "key").read_text())
    assert envelope.keys() == {"payloadType", "payload", "signatures"} and envelope["payloadType"] == TYPE
    [signature] = envelope["signatures"]
    assert signature["keyid"] == hashlib.sha256(relying.spki(key)).hexdigest()
    payload, sig = base64.b64decode(envelope["payload"]), base64.b64decode(signature["sig"])
    how = [] if kind == "Ed25519" else [ec.ECDSA(hashes.SHA384())]
    key.public_key().verify(sig, pae(payload), *how)
    with pytest.raises(exceptions.InvalidSignature):
        key.public_key().verify(sig, payload, *how)
    if kind != "Ed25519":
        (tmp_path / "pae").write_bytes(pae(payload))
        (tmp_path / "sig").write_bytes(sig)
        w.run("openssl", "dgst", "-sha384", "-verify", tmp_path / "pem", "-signature", tmp_path / "sig", tmp_path / "pae")


def test_key_that_is_not_a_file(builder):
    """The other places of a key are those of test_signers.py: it is the same signer."""
    how = f"exec:openssl pkeyutl -sign -inkey {builder.private}"
    envelope = json.loads(builder.manifest("1", builder.uki["1"], name="exec", key=how,
                                           options=["--builder-key", builder.public]).read_text())
    payload, sig = base64.b64decode(envelope["payload"]), base64.b64decode(envelope["signatures"][0]["sig"])
    builder.key.public_key().verify(sig, pae(payload), ec.ECDSA(hashes.SHA384()))
    done = builder.manifest("1", builder.uki["1"], name="exec", key=how, check=False)
    assert done.returncode == 1 and "--builder-key" in done.stderr


def test_libraries_of_the_formats_take_it(builder):
    packages = aws_programs.pip_install("intoto.txt").parent
    script = """
import json, sys
import google.protobuf.json_format as jf
from in_toto_attestation.v1 import statement_pb2
from in_toto_attestation.v1.statement import Statement
from securesystemslib.dsse import Envelope
from securesystemslib.signer import SSlibKey
envelope = json.load(open(sys.argv[1]))
keyid = envelope["signatures"][0]["keyid"]
envelope = Envelope.from_dict(envelope)
key = SSlibKey(keyid, "ecdsa", "ecdsa-sha2-nistp384", {"public": open(sys.argv[2]).read()})
assert keyid in envelope.verify([key], 1)
statement = Statement.copy_from_pb(jf.Parse(envelope.payload, statement_pb2.Statement()))
statement.validate()
print(statement.pb.predicate_type, [s.name for s in statement.pb.subject])
"""
    path = builder.manifest("1", builder.uki["1"])
    done = w.run("/usr/bin/python3", "-c", script, path, builder.public, text=True,
                 env={**os.environ, "PYTHONPATH": str(packages / "packages")})
    assert done.stdout == f"{PREDICATE} ['linux1.efi']\n"
    stranger = builder.folder / "stranger.pem"
    Builder.save(relying.p384(), builder.folder / "stranger.key", stranger)
    assert w.run("/usr/bin/python3", "-c", script, path, stranger, check=False,
                 env={**os.environ, "PYTHONPATH": str(packages / "packages")}).returncode != 0


def test_what_it_says(builder):
    sbom = builder.folder / "sbom.json"
    sbom.write_text("{}")
    path = builder.manifest("7", builder.uki["1"], options=["--sbom", sbom, "--record-version", 3, "--ami",
                                                            "eu-west-1=ami-0123456789abcdef0"])
    said = statement(path)
    assert said["_type"] == "https://in-toto.io/Statement/v1" and said["predicateType"] == PREDICATE

    def digests(file):
        return {bank: hashlib.new(bank, file.read_bytes()).hexdigest() for bank in BANKS}
    assert said["subject"] == [{"name": "linux1.efi", "digest": digests(builder.uki["1"])}]
    p = said["predicate"]
    assert {k: p[k] for k in ("kind", "name", "version", "source", "builder", "recordVersion", "amis", "bootLoader")} == {
        "kind": "image", "name": "web", "version": "7", "source": "git+https://example.org/web@1f3a",
        "builder": "ci.example.org/4711", "recordVersion": 3, "amis": {"eu-west-1": "ami-0123456789abcdef0"},
        "bootLoader": "any"}
    assert p["sbom"] == {"name": "sbom.json", "digest": digests(sbom)}
    assert p["secureBoot"] == {"state": "off"}
    payload = json.loads(path.read_text())["payload"]
    again = builder.manifest("7", builder.uki["1"], options=["--sbom", sbom, "--record-version", 3, "--ami",
                                                             "eu-west-1=ami-0123456789abcdef0"])
    assert json.loads(again.read_text())["payload"] == payload


@pytest.mark.parametrize("keys", [False, True], ids=["off", "on"])
def test_values_are_those_of_predict(builder, keys):
    """Also that the events lead to them, by another hand."""
    options = [f"--{name}={DATA / name}.esl" for name in ("PK", "KEK", "db")] if keys else []
    image = DATA / "direct.efi" if keys else builder.uki["1"]
    p = predicate(builder.manifest(f"predicted-{keys}", image, name="values", options=options))
    assert p["secureBoot"]["state"] == ("on" if keys else "off")
    if keys:
        assert p["secureBoot"]["db"]["sha256"] == hashlib.sha256((DATA / "db.esl").read_bytes()).hexdigest()
    for bank, baseline in zip(BANKS, p["baselines"]):
        values = baseline["Measurements"]
        assert values == predicted(image, bank=bank, options=options) and "PCR4" in values and "PCR7" in values
        for name in values.keys() - {"HashAlgorithm"}:
            pcr = bytes(hashlib.new(bank).digest_size)
            for event in p["events"]:
                if event["pcr"] == int(name[3:]):
                    pcr = hashlib.new(bank, pcr + bytes.fromhex(event[bank])).digest()
            assert pcr.hex() == values[name], name


def test_phases_are_those_of_predict(builder):
    image = builder.folder / "phases.efi"
    made_image.uki(image, b"initrd", "root=/dev/mapper/root")
    phases = predicate(builder.manifest("1", image, name="phases"))["phases"]
    assert [p.get("phase", "") for p in phases] == ["", "enter-initrd", "enter-initrd:leave-initrd",
                                                   "enter-initrd:leave-initrd:sysinit",
                                                   "enter-initrd:leave-initrd:sysinit:ready"]
    for phase in phases:
        for bank in BANKS:
            options = ["--pcr", "11", "--phase", phase.get("phase", "")]
            assert phase[bank] == predicted(image, bank=bank, options=options)["PCR11"]


def test_chain_and_boot_loader_by_itself(builder):
    chain = predicate(builder.manifest("chain", builder.loader["1"], builder.uki["1"]))
    assert chain["bootLoader"] == "own"
    assert chain["baselines"][1]["Measurements"] == predicted(builder.loader["1"], builder.uki["1"])
    loader = predicate(builder.manifest("257.1", builder.loader["1"], name="sd-boot", loader=True))
    assert loader["kind"] == "boot-loader" and "baselines" not in loader and {e["pcr"] for e in loader["events"]} == {4, 7}


@pytest.mark.parametrize("old", [b"254", b"249"])
def test_boot_loader_that_decides_pcr_12(builder, old):
    image = builder.folder / "old.efi"
    image.write_bytes(made_image.pe({".sdmagic": b"#### LoaderInfo: systemd-boot %s ####" % old}))
    done = builder.manifest("1", image, name="old", loader=True, check=False)
    assert done.returncode == 4 and "PCR 12 depends on both" in done.stderr
    done = builder.manifest("1", builder.uki["1"], name="old", loader=True, check=False)
    assert done.returncode == 4 and "this is a UKI" in done.stderr


@pytest.mark.parametrize("options,words", [
    (["--ami", "eu-west-1"], "is not REGION=AMI"), (["--ami", "a=ami-1", "--ami", "a=ami-2"], "twice"),
    (["--without-pcr", "4"], "leaves 2, 3, 13 or 14"), (["--boot-loader", "/dev/null"], "--image FILE is needed")])
def test_wrong_options(builder, options, words):
    done = builder.manifest("1", builder.uki["1"], name="wrong", options=options, check=False)
    assert done.returncode == 1 and words in done.stderr
    assert builder.manifest("a b", builder.uki["1"], name="wrong", check=False).returncode == 1
    assert builder.manifest("1", "/dev/null", name="wrong", check=False).returncode == 4


# ---- approving ----

def test_from_approval_to_revocation(approver, builder):
    path, other = builder.manifest("1", builder.uki["1"]), builder.manifest("2", builder.uki["2"])
    pcrs = pcrs_of(builder.uki["1"])
    status, answer = approver.attest(pcrs)
    assert (status, answer["error"]) == (403, "refused") and "no image is approved" in answer["detail"]
    done = approver.approve(path)
    assert done.stdout.startswith("approved web 1 (")
    identity = hashlib.sha256(base64.b64decode(json.loads(path.read_text())["payload"])).hexdigest()
    key = relying.p384()
    status, answer = approver.attest(pcrs, key=key)
    assert status == 200 and answer["image"] == identity and "boot_loader" not in answer
    assert (answer["baseline"], answer["baseline_version"], answer["state"]) == ("web", "1", "boot")
    assert approver.verifier.claims(key, answer)["image"] == identity
    assert approver.attest(pcrs_of(builder.uki["1"], running=True))[1]["state"] == "running"
    status, answer = approver.attest(pcrs_of(builder.uki["2"]))
    assert status == 403 and "closest is web (boot): PCR 4" in answer["detail"]
    approver.approve(other)
    assert approver.attest(pcrs_of(builder.uki["2"]))[0] == 200
    approver.image("revoke", "web:1", "--why", "CVE-2026-4711", user="grace")
    status, answer = approver.attest(pcrs)
    assert (status, answer["error"]) == (403, "refused")
    assert answer["detail"].startswith("web 1 was revoked at 20") and answer["detail"].endswith("by grace: CVE-2026-4711")
    assert approver.attest(pcrs_of(builder.uki["2"]))[0] == 200
    approver.approve(path)
    assert approver.attest(pcrs)[0] == 200


def test_list_show_and_log(approver, builder):
    one, two = builder.manifest("1", builder.uki["1"]), builder.manifest("2", builder.uki["2"])
    until = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + 86400))
    approver.approve(one, "--until", until)
    approver.approve(two, "--by", "ci.example.org")
    for n in range(3):
        assert approver.attest(pcrs_of(builder.uki["1"]), f"i-0000000000000000{n}")[0] == 200
    assert approver.attest(pcrs_of(builder.uki["2"]), "i-00000000000000009")[0] == 200
    listed = approver.list()
    assert [(i["name"], i["version"], i["kind"], i["state"], i["instances"], i["by"], i["why"]) for i in listed] == [
        ("web", "1", "image", "approved", 3, "ada", "change 4711"),
        ("web", "2", "image", "approved", 1, "ci.example.org", "change 4711")]
    assert listed[0]["until"] == until.replace("Z", ".000Z") and listed[1]["until"] is None
    assert approver.attest(pcrs_of(builder.uki["2"]), "i-00000000000000000")[0] == 200
    assert [i["instances"] for i in approver.list()] == [2, 2]
    for of in (listed[0]["id"], listed[0]["id"][:8], "web:1"):
        found = json.loads(w.mu_verifier("list", "--json", "--store", approver.store, "--image", of).stdout)
        assert [i["instance_id"][-1] for i in found] == ["1", "2"] and {i["image"] for i in found} == {listed[0]["id"]}
    assert w.mu_verifier("list", "--json", "--store", approver.store, "--image", listed[0]["id"][:7]).stdout == "[]\n"
    assert "which ran on 2 instances" in approver.image("revoke", listed[0]["id"][:12], "--why", "old").stdout
    assert "revoked already" in approver.image("revoke", "web:1", "--why", "old").stdout
    assert [i["state"] for i in approver.list("web:1")] == ["revoked"]
    log = approver.list("--log")
    assert [(a["act"], a["version"], a["by"], a["why"]) for a in log] == [
        ("approve", "1", "ada", "change 4711"), ("approve", "2", "ci.example.org", "change 4711"),
        ("revoke", "1", "ada", "old")]
    text = approver.image("list").stdout.splitlines()
    assert len(text) == 3 and text[0].split()[:3] == ["NAME", "VERSION", "KIND"] and "expired" not in text[1]
    assert len(approver.image("list", "--log").stdout.splitlines()) == 3
    assert json.loads(approver.image("show", "web:2").stdout) == statement(two)
    copy = approver.folder / "copy"
    approver.image("show", "web:2", "-o", copy)
    assert copy.read_bytes() == two.read_bytes()
    done = approver.image("show", "web", check=False)
    assert done.returncode == 1 and "names 2 images" in done.stderr
    assert approver.image("show", "db:2", check=False).returncode == 4
    assert approver.image("revoke", "db", "--why", "x", check=False).returncode == 4


def test_approval_that_has_ended(approver, builder):
    """The end is written into the store's past, as it would stand there later."""
    path = builder.manifest("1", builder.uki["1"])
    approver.approve(path)
    assert approver.attest(pcrs_of(builder.uki["1"]))[0] == 200
    approver.sql(("INSERT INTO image_act SELECT id + 1, image, kind, name, version, envelope, act, 1000, 2000, author, why "
                  "FROM image_act", ()), ("UPDATE meta SET value = value + 1 WHERE name = 'act'", ()))
    assert [i["state"] for i in approver.list()] == ["expired"]
    status, answer = approver.attest(pcrs_of(builder.uki["1"]))
    assert status == 403 and answer["detail"] == "the approval of web 1 ended at 1970-01-01T00:00:02.000Z"
    done = approver.approve(path, "--until", "2020-01-01T00:00:00Z", check=False)
    assert done.returncode == 1 and "has passed" in done.stderr
    until = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + 86400))
    approver.approve(path, "--until", until)
    assert approver.attest(pcrs_of(builder.uki["1"]))[0] == 200


def test_old_and_new_boot_loader_with_old_and_new_uki(approver, builder):
    def boot(loader, uki):
        status, answer = approver.attest(pcrs_of(builder.loader[loader], builder.uki[uki]))
        return status == 200 and (answer["baseline_version"], answer["boot_loader"])
    ukis = {n: builder.manifest(n, builder.uki[n]) for n in "12"}
    loaders = {n: builder.manifest(f"257.{n}", builder.loader[n], name="sd-boot", loader=True) for n in "12"}
    approver.approve(ukis["1"])
    assert not boot("1", "1")
    approver.approve(loaders["1"])
    first = next(i["id"] for i in approver.list() if i["kind"] == "boot-loader")
    assert boot("1", "1") == ("1", first) and not boot("1", "2") and not boot("2", "1")
    approver.approve(loaders["2"])
    approver.approve(ukis["2"])
    assert all(boot(loader, uki) for loader in "12" for uki in "12") and not boot("1", "3")
    assert boot("2", "2")
    counts = {(i["name"], i["version"]): i["instances"] for i in approver.list()}
    assert counts == {("web", "1"): 0, ("web", "2"): 1, ("sd-boot", "257.1"): 0, ("sd-boot", "257.2"): 1}
    assert approver.attest(pcrs_of(builder.uki["1"]))[0] == 200  # started by the firmware itself
    approver.image("revoke", "sd-boot:257.1", "--why", "a hole")
    assert not boot("1", "1") and not boot("1", "2") and boot("2", "1") and boot("2", "2")
    answer = approver.attest(pcrs_of(builder.loader["1"], builder.uki["2"]))[1]
    assert answer["detail"].startswith("sd-boot 257.1, which started web 2, was revoked at ")


def test_chain_is_for_no_other_boot_loader(approver, builder):
    approver.approve(builder.manifest("chain", builder.loader["1"], builder.uki["1"]))
    approver.approve(builder.manifest("257.2", builder.loader["2"], name="sd-boot", loader=True))
    assert approver.attest(pcrs_of(builder.loader["1"], builder.uki["1"]))[0] == 200
    assert approver.attest(pcrs_of(builder.loader["2"], builder.uki["1"]))[0] == 403
    assert approver.attest(pcrs_of(builder.uki["1"]))[0] == 403


@pytest.mark.parametrize("same", [True, False], ids=["one certificate", "two"])
def test_combinations_with_secure_boot(approver, builder, tmp_path, same):
    """What db let each start is in PCR 7, once if it is the same entry."""
    if not shutil.which("sbsign"):
        pytest.skip("sbsigntool is not installed (tests/setup installs it)")
    signed = {}
    for name, file, signer in ("loader", builder.loader["1"], "a"), ("uki", builder.uki["1"], "a" if same else "b"):
        if not (tmp_path / f"{signer}.pem").exists():
            w.run("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", f"/CN={signer}", "-days", "10",
                  "-keyout", tmp_path / f"{signer}.key", "-out", tmp_path / f"{signer}.pem")
        signed[name] = tmp_path / f"{name}.efi"
        w.run("sbsign", "--key", tmp_path / f"{signer}.key", "--cert", tmp_path / f"{signer}.pem", "--output", signed[name],
              file)
    w.muctl("secureboot", "list", *sorted(tmp_path.glob("?.pem")), "-o", tmp_path / "db.esl")
    options = [f"--PK={DATA / 'PK.esl'}", f"--db={tmp_path / 'db.esl'}"]
    approver.approve(builder.manifest("sb", signed["uki"], options=options))
    approver.approve(builder.manifest("sb", signed["loader"], name="sd-boot", loader=True, options=options))
    pcrs = pcrs_of(signed["loader"], signed["uki"], options=options)
    assert approver.attest(pcrs)[0] == 200
    assert approver.attest([*pcrs[:7], pcrs_of(signed["uki"])[7], *pcrs[8:]])[0] == 403
    approver.approve(builder.manifest("off", builder.loader["2"], name="sd-boot", loader=True))
    assert approver.attest(pcrs_of(builder.loader["2"], signed["uki"]))[0] == 403  # predicted for other keys


# ---- what is not approved ----

def altered(builder, change):
    said = statement(builder.manifest("good", builder.uki["3"], name="bad"))
    change(said)
    return builder.sign(said)


def swap_value(said):
    values = said["predicate"]["baselines"][1]["Measurements"]
    values["PCR4"] = "ab" * 48


BAD = {
    # name: (what makes the text from the builder, exit code, words)
    "signed by a stranger": (lambda b: b.sign(statement(b.manifest("good", b.uki["3"], name="bad")), key=relying.p384()), 2,
                             "no trusted builder signed this"),
    "payload of another": (lambda b: {**json.loads(b.manifest("good", b.uki["3"], name="bad").read_text()),
                                      "payload": base64.b64encode(b"{}").decode()}, 2, "no trusted builder"),
    "signed without PAE": (lambda b: (e := json.loads(b.manifest("good", b.uki["3"], name="bad").read_text())) and {
        **e, "signatures": [{"sig": base64.b64encode(b.key.sign(base64.b64decode(e["payload"]),
                                                                ec.ECDSA(hashes.SHA384()))).decode()}]}, 2, "no trusted"),
    "no signature": (lambda b: {**b.sign({}), "signatures": []}, 4, "0 signatures"),
    "two signatures": (lambda b: {**(e := b.sign({})), "signatures": 2 * e["signatures"]}, 4, "2 signatures"),
    "signature of another type": (lambda b: {**b.sign({}), "signatures": ["x"]}, 4, "not an object"),
    "other payloadType": (lambda b: b.sign({}, "application/json"), 4, "payloadType is"),
    "unknown member": (lambda b: b.sign({}, more=1), 4, 'unknown member "more"'),
    "cut": (lambda b: b.manifest("good", b.uki["3"], name="bad").read_bytes()[:-100], 4, ""),
    "doubled member": (lambda b: b.manifest("good", b.uki["3"], name="bad").read_text().replace(
        '"payloadType"', '"payloadType":"x","payloadType"', 1).encode(), 4, "two members of one name"),
    "doubled in the statement": (lambda b: b.sign(json.dumps(statement(b.manifest("good", b.uki["3"], name="bad"))).replace(
        '"name": "bad"', '"name": "bad","name": "bad"').encode()), 4, "two members of one"),
    "two envelopes": (lambda b: 2 * b.manifest("good", b.uki["3"], name="bad").read_bytes(), 4, ""),
    "huge": (lambda b: b'{"payload":"' + b"A" * 400000 + b'"}', 4, "larger"),
    "empty": (lambda b: b"", 4, ""),
    "a baseline": (lambda b: json.dumps({"Measurements": predicted(b.uki["1"])}).encode(), 4, "unknown member"),
    "statement of another type": (lambda b: altered(b, lambda s: s.update(_type="https://in-toto.io/Statement/v0.1")), 4,
                                  "_type is"),
    "other predicateType": (lambda b: altered(b, lambda s: s.update(predicateType="https://slsa.dev/provenance/v1")), 4,
                            "no manifest of an image"),
    "unknown member of the predicate": (lambda b: altered(b, lambda s: s["predicate"].update(x=1)), 4, 'member "x"'),
    "value that no events lead to": (lambda b: altered(b, swap_value), 4, "do not lead to the sha384 values"),
    "event of another PCR": (lambda b: altered(b, lambda s: s["predicate"]["events"][0].update(pcr=9)), 4, "PCR 9"),
    "no PCR 12": (lambda b: altered(b, lambda s: [m["Measurements"].pop("PCR12") for m in s["predicate"]["baselines"]]), 4,
                  "PCR 12"),
    "no subject": (lambda b: altered(b, lambda s: s.update(subject=[])), 4, '"subject" has 0 elements'),
    "version with a space": (lambda b: altered(b, lambda s: s["predicate"].update(version="1 2")), 4, "are words"),
    "AMI of another form": (lambda b: altered(b, lambda s: s["predicate"].update(amis={"eu": "x"})), 4, '"amis"'),
}


@pytest.fixture(scope="module")
def shared(tmp_path_factory, fleet, builder):
    """One that has approved an image, and whose store these tests must not change."""
    approver = Approver(tmp_path_factory.mktemp("shared"), fleet, builder)
    approver.approve(builder.manifest("1", builder.uki["1"]))
    yield approver
    approver.verifier.stop()


@pytest.mark.parametrize("name", BAD)
def test_bad_manifest(shared, builder, tmp_path, name):
    make, code, words = BAD[name]
    text, before = make(builder), shared.list("--log")
    path = tmp_path / "manifest.json"
    path.write_bytes(text if isinstance(text, bytes) else json.dumps(text).encode())
    done = shared.approve(path, check=False)
    assert done.returncode == code and words in done.stderr, done.stderr
    assert shared.list("--log") == before


def test_good_twin_of_the_bad_ones(approver, builder, tmp_path):
    path = tmp_path / "manifest.json"
    path.write_text(json.dumps(altered(builder, lambda s: None)))
    with open(path) as file:
        w.mu_verifier("image", "approve", "--store", approver.store, "--builder-key", builder.public, "-", "--why", "x",
                      "--by", "ada", stdin=file)
    assert approver.attest(pcrs_of(builder.uki["3"]))[0] == 200


def test_same_version_of_other_files(shared, builder):
    other = Builder.manifest(builder, "1", builder.uki["2"])
    done = shared.approve(other, check=False)
    assert done.returncode == 2 and "another version" in done.stderr
    shared.approve(builder.manifest("1", builder.uki["1"], options=["--ami", "eu-west-1=ami-0123456789abcdef0"]))


@pytest.mark.parametrize("options,words", [([], "--why is needed"), (["--why", "a\nb"], "--why is at most"),
                                           (["--why", "x", "--until", "soon"], "--until 'soon'"),
                                           (["--why", "x", "--by", ""], "--by is needed")])
def test_who_until_when_and_why(shared, builder, options, words):
    before = shared.list("--log")
    done = shared.image("approve", builder.folder / "web-1.json", *options, check=False)
    assert done.returncode == 1 and words in done.stderr and shared.list("--log") == before


def test_revoking_a_version_is_about_all_that_was_said_of_it(approver, builder):
    approver.approve(builder.manifest("1", builder.uki["1"]))
    approver.approve(builder.manifest("1", builder.uki["1"], options=["--ami", "eu-west-1=ami-0123456789abcdef0"]))
    assert [i["state"] for i in approver.list()] == ["approved"] * 2
    approver.image("revoke", approver.list()[0]["id"], "--why", "x")
    assert approver.attest(pcrs_of(builder.uki["1"]))[0] == 200
    approver.image("revoke", "web:1", "--why", "x")
    assert approver.attest(pcrs_of(builder.uki["1"]))[0] == 403


def test_nobody_is_the_author(shared, builder):
    env = {k: v for k, v in os.environ.items() if k not in ("SUDO_USER", "USER", "LOGNAME")}
    done = w.mu_verifier("image", "approve", "--config", shared.party.config, builder.folder / "web-1.json", "--why", "x",
                         check=False, env=env)
    assert done.returncode == 1 and "--by is needed" in done.stderr
    done = w.mu_verifier("image", "approve", "--config", shared.party.config, builder.folder / "web-1.json", "--why", "x",
                         check=False, env={**env, "LOGNAME": "measured-unlock", "SUDO_USER": "ada"})
    assert done.returncode == 0 and shared.list("--log")[-1]["by"] == "ada"


def test_writing_to_the_store_approves_nothing(approver, builder):
    """An attacker who can write there still lacks the builder's key."""
    forged = json.dumps(builder.sign(statement(builder.manifest("9", builder.uki["2"])), key=relying.p384()))
    payload = base64.b64decode(json.loads(forged)["payload"])
    true = builder.manifest("1", builder.uki["1"]).read_text()
    add = "INSERT INTO image_act VALUES (?, ?, 'image', 'web', '9', ?, 'approve', 1, 0, 'x', 'x')"
    approver.sql((add, (1, hashlib.sha256(payload).hexdigest(), forged)), (add, (2, "00", true)),
                 ("UPDATE meta SET value = 2 WHERE name = 'act'", ()))
    assert approver.attest(pcrs_of(builder.uki["2"]))[0] == 403 and approver.attest(pcrs_of(builder.uki["1"]))[0] == 403
    left_out = [line for line in approver.verifier.log() if line["event"] == "image-left-out"]
    assert "no trusted builder" in left_out[0]["detail"] and "not the one of that id" in left_out[1]["detail"]
    approver.approve(builder.manifest("1", builder.uki["1"]))
    assert approver.attest(pcrs_of(builder.uki["1"]))[0] == 200


# ---- beside files ----

def test_files_of_baselines_go_on_working(tmp_path, fleet, builder):
    file = relying.baseline(tmp_path / "file.json", pcrs_of(builder.uki["2"]), 2, 3, 4, 7, 12, 13, 14)
    approver = Approver(tmp_path, fleet, builder, baselines={"file": (file, "boot")})
    try:
        answer = approver.attest(pcrs_of(builder.uki["2"]))[1]
        assert answer["baseline"] == "file" and "image" not in answer
        approver.approve(builder.manifest("1", builder.uki["1"]))
        assert approver.attest(pcrs_of(builder.uki["1"]))[1]["baseline"] == "web"
        assert approver.attest(pcrs_of(builder.uki["2"]))[1]["baseline"] == "file"
        approver.image("revoke", "web", "--why", "x")
        assert approver.attest(pcrs_of(builder.uki["2"]))[0] == 200
        assert approver.attest(pcrs_of(builder.uki["1"]))[0] == 403
    finally:
        approver.verifier.stop()


def test_reload_keeps_what_is_approved(approver, builder):
    approver.approve(builder.manifest("1", builder.uki["1"]))
    approver.verifier.reload()
    assert approver.attest(pcrs_of(builder.uki["1"]))[0] == 200
    builder_key = approver.folder / "other.pem"
    Builder.save(relying.p384(), approver.folder / "other.key", builder_key)
    approver.party.settings["builder_key"] = builder_key
    approver.party.write()
    approver.verifier.reload()
    assert approver.attest(pcrs_of(builder.uki["1"]))[0] == 403


def test_from_one_builders_key_to_the_next(approver, builder, tmp_path):
    """The same statement, signed by the new key and approved again: nothing about the image changes."""
    key, both = tmp_path / "new.key", tmp_path / "both.pem"
    Builder.save(relying.p384(), key, tmp_path / "new.pem")
    approver.approve(builder.manifest("1", builder.uki["1"]))
    signed_again = builder.manifest("1", builder.uki["1"], key=key)
    assert approver.approve(signed_again, check=False).returncode == 2
    both.write_bytes(builder.public.read_bytes() + (tmp_path / "new.pem").read_bytes())
    for trusted, act in (both, True), (tmp_path / "new.pem", False):
        approver.party.settings["builder_key"] = trusted
        approver.party.write()
        if act:
            approver.approve(signed_again)
        approver.verifier.reload()
        assert approver.attest(pcrs_of(builder.uki["1"]))[0] == 200
    assert len(approver.list()) == 1 and len(approver.list("--log")) == 2


def test_configuration(approver):
    approver.party.settings["store"] = None
    approver.party.write()
    done = approver.party.check()
    assert done.returncode == 4 and "add store =" in done.stderr
    approver.party.settings.update(store=approver.store, builder_key="/nonexistent")
    approver.party.write()
    assert approver.party.check().returncode == 4


def test_watch_tells_of_a_revoked_image(approver, builder, tmp_path):
    approver.approve(builder.manifest("1", builder.uki["1"]))
    assert approver.attest(pcrs_of(builder.uki["1"], running=True))[0] == 200
    watch = watching.Watch(tmp_path, approver.store)
    watch.once()
    assert watch.kinds() == [(w.INSTANCE_ID, "first-seen")]
    approver.image("revoke", "web", "--why", "CVE-2026-4711")
    assert approver.attest(pcrs_of(builder.uki["1"], running=True))[0] == 403
    watch.once()
    [event] = watch.told()
    assert event["event"] == "mismatch" and "was revoked" in event["detail"] and "CVE-2026-4711" in event["detail"]
    assert (event["baseline"], event["baseline_version"]) == ("web", "1")


def test_image_that_nobody_approved_is_told(approver, builder, tmp_path):
    assert approver.attest(pcrs_of(builder.uki["1"], running=True))[0] == 403
    watch = watching.Watch(tmp_path, approver.store)
    watch.once()
    assert (w.INSTANCE_ID, "mismatch") in watch.kinds()


# ---- PostgreSQL ----

def test_postgresql(tmp_path, fleet, builder, postgresql):
    approver = Approver(tmp_path, fleet, builder, store=postgresql.database())
    try:
        path = builder.manifest("1", builder.uki["1"])
        approver.approve(path)
        assert approver.attest(pcrs_of(builder.uki["1"]))[0] == 200
        assert [i["instances"] for i in approver.list()] == [1]
        for command in ("UPDATE image_act SET until_ms = 0", "DELETE FROM image_act", "TRUNCATE image_act"):
            with pytest.raises(AssertionError, match="is append-only"):
                postgresql.sql(approver.store, command)
        approver.image("revoke", "web", "--why", "CVE")
        assert approver.attest(pcrs_of(builder.uki["1"]))[0] == 403
        assert [a["act"] for a in approver.list("--log")] == ["approve", "revoke"]
        approver.approve(path)
        assert approver.attest(pcrs_of(builder.uki["1"]))[0] == 200
        postgresql.halt()
        assert approver.attest(pcrs_of(builder.uki["1"]))[0] == 200  # what was read last holds for a while
        assert "images" in [line["event"] for line in approver.verifier.log()]
        postgresql.start()
    finally:
        approver.verifier.stop()


def test_an_act_shows_on_every_verifier_at_once(tmp_path, fleet, builder, postgresql):
    """Each has its threads and connections, and had the image before."""
    first = Approver(tmp_path / "first", fleet, builder, store=postgresql.database())
    approvers = [first, Approver(tmp_path / "second", fleet, builder, store=first.store)]
    try:
        path, good = builder.manifest("1", builder.uki["1"]), pcrs_of(builder.uki["1"])
        for verb, expected in (("approve", 200), ("revoke", 403), ("approve", 200), ("revoke", 403)):
            if verb == "approve":
                first.approve(path)
            else:
                first.image("revoke", "web", "--why", "CVE")
            with ThreadPoolExecutor(8) as pool:
                asked = pool.map(lambda a: a.attest(good)[0], [*approvers] * 4)
                assert set(asked) == {expected}
    finally:
        for approver in approvers:
            approver.verifier.stop()


def test_store_that_never_could_be_read(tmp_path, fleet, builder, postgresql):
    approver = Approver(tmp_path, fleet, builder, store=postgresql.database())
    try:
        postgresql.halt()
        status, answer = approver.attest(pcrs_of(builder.uki["1"]))
        assert (status, answer["error"]) == (503, "unavailable")
        postgresql.start()
    finally:
        approver.verifier.stop()


# ---- what is written from manifests ----

ROLES = ["--principal", "arn:aws:iam::111122223333:role/web", "--admin", "arn:aws:iam::111122223333:role/key-admin"]


def images_of(builder, *paths):
    return [a for path in paths for a in ("--images", path)] + ["--builder-key", builder.public]


def test_key_policy_is_that_of_the_baselines(builder, tmp_path):
    """All combinations, as if each had been predicted and named."""
    ukis = [builder.manifest(n, builder.uki[n]) for n in "12"]
    loaders = [builder.manifest(f"257.{n}", builder.loader[n], name="sd-boot", loader=True) for n in "12"]
    done = w.muctl("policy", "kms", *images_of(builder, *ukis, *loaders), *ROLES)
    baselines = []
    for uki in "12":
        for i, chain in enumerate(([builder.uki[uki]], [builder.loader["1"], builder.uki[uki]],
                                   [builder.loader["2"], builder.uki[uki]])):
            path = tmp_path / f"{uki}{i}.json"
            path.write_text(json.dumps({"Measurements": predicted(*chain)}))
            baselines += ["--baseline", path]
    assert json.loads(done.stdout) == json.loads(w.muctl("policy", "kms", *baselines, *ROLES).stdout)
    (tmp_path / "policy.json").write_text(done.stdout)
    w.muctl("policy", "lint", tmp_path / "policy.json")
    [release] = [s for s in json.loads(done.stdout)["Statement"] if s["Sid"] == "ReleaseToMeasuredBoot"]
    assert len(release["Condition"]["StringEquals"]["kms:RecipientAttestation:NitroTPMPCR4"]) == 6


@pytest.mark.parametrize("options,code,words", [
    ([], 1, "needs --builder-key"), (["--builder-key", "STRANGER"], 2, "no trusted builder"),
    (["--builder-key", "BUILDER", "--baseline", "/dev/null"], 1, "not both")])
def test_key_policy_of_wrong_manifests(builder, tmp_path, options, code, words):
    Builder.save(relying.p384(), tmp_path / "stranger.key", tmp_path / "stranger.pem")
    files = {"STRANGER": tmp_path / "stranger.pem", "BUILDER": builder.public}
    path = builder.manifest("1", builder.uki["1"])
    done = w.muctl("policy", "kms", "--images", path, *ROLES, *(files.get(o, o) for o in options), check=False)
    assert done.returncode == code and words in done.stderr and done.stdout == ""
    loader = builder.manifest("257.1", builder.loader["1"], name="sd-boot", loader=True)
    done = w.muctl("policy", "kms", *images_of(builder, loader), *ROLES, check=False)
    assert done.returncode == 4 and "boot loaders alone" in done.stderr


@pytest.fixture
def vault(tmp_path):
    if (reason := real.why_not()) is not None:
        pytest.skip(f"no Vault: {reason}")
    (tmp_path / "tls").mkdir()
    tls.make(tmp_path / "tls", [w.REGION])
    server = real.Vault(tmp_path / "vault", tmp_path / "tls/ca.pem", tmp_path / "tls/server.pem")
    yield server
    server.stop()


def test_vault_takes_the_role(approver, builder, vault):
    """The verifier has approved more than the role lets in; who shows no account is nobody's."""
    party = approver.party
    shown = {"identity": relying.identity_text(relying.identity_party(party, "optional"))}
    approver.verifier.reload()
    one, loader = (builder.manifest("1", builder.uki["1"]),
                   builder.manifest("257.1", builder.loader["1"], name="sd-boot", loader=True))
    role = w.muctl("policy", "vault", *images_of(builder, one, loader), "--account", w.ACCOUNT, "--audience",
                   relying.AUDIENCE, "--policy", "root-volume").stdout
    for path in one, loader, builder.manifest("2", builder.uki["2"]):
        approver.approve(path)
    vault.run("auth", "enable", "jwt")
    vault.run("write", "auth/jwt/config", f"jwks_url={approver.verifier.url}/.well-known/jwks.json",
              f"jwks_ca_pem=@{party.ca}", f"bound_issuer={relying.ISSUER}", "jwt_supported_algs=ES384")
    vault.run("write", "auth/jwt/role/web", "-", input=role)

    def login(*images, running=False, **more):
        key = relying.p384()
        status, answer = approver.attest(pcrs_of(*images, running=running), key=key, **more)
        assert status == 200
        token = relying.open_token(key, answer["token"])[1]
        done = vault.run("write", "-format=json", "auth/jwt/login", "role=web", f"jwt={token}", check=False)
        return done.returncode == 0 and json.loads(done.stdout)["auth"]["token_policies"]
    assert "root-volume" in login(builder.uki["1"], **shown)
    assert "root-volume" in login(builder.loader["1"], builder.uki["1"], **shown)
    assert not login(builder.uki["2"], **shown)
    assert not login(builder.uki["1"], running=True, **shown)
    assert not login(builder.uki["1"])


def test_audit_knows_what_was_approved_when(approver, builder, tmp_path):
    """The acts are at 10:00 and 12:00 of one day; calls come before, between and after."""
    def day(hour):
        return f"2026-11-29T{hour:02}:00:00Z", 1795946400000 + (hour - 10) * 3600000

    approver.approve(builder.manifest("1", builder.uki["1"]))
    approver.approve(builder.manifest("257.1", builder.loader["1"], name="sd-boot", loader=True))
    for number, (name, act, hour) in enumerate((("web", "approve", 10), ("sd-boot", "approve", 11), ("web", "revoke", 12)), 3):
        approver.sql(("INSERT INTO image_act SELECT ?, image, kind, name, version, envelope, ?, ?, 0, 'ada', 'x' FROM image_act "
                      "WHERE name = ? LIMIT 1", (number, act, day(hour)[1], name)))

    def audit(hour, *images, options=("--builder-key", builder.public)):
        shown = {n: pcrs_of(*images)[n].hex() for n in (2, 3, 4, 7, 12, 13, 14, 15)}
        log = tmp_path / "log.json"
        log.write_text(json.dumps({"Records": [cloudtrail.record("Decrypt", shown, eventTime=day(hour)[0])]}))
        done = w.mu_verifier("audit", "--store", approver.store, *options, "--json", log, check=False)
        return done.returncode, [f["detail"] for f in json.loads(done.stdout)["findings"]] if done.stdout else done.stderr
    both = builder.loader["1"], builder.uki["1"]
    late = ["it booted web 1, which was not approved then"]
    assert audit(9, builder.uki["1"]) == (2, late) and audit(10, builder.uki["1"]) == (0, [])
    assert audit(10, *both) == (2, late) and audit(11, *both) == (0, [])
    assert audit(12, builder.uki["1"]) == (2, late) and audit(12, *both) == (2, late)
    code, [why] = audit(11, builder.uki["2"])
    assert code == 2 and "or approved image" in why
    code, why = audit(11, builder.uki["1"], options=())
    assert code == 1 and "go together" in why


def test_vault_role(builder):
    one, loader = (builder.manifest("1", builder.uki["1"]),
                   builder.manifest("257.1", builder.loader["1"], name="sd-boot", loader=True))
    done = w.muctl("policy", "vault", *images_of(builder, one, loader), "--account", "111122223333", "--account",
                   "444455556666", "--audience", relying.AUDIENCE, "--policy", "root-volume")
    role = json.loads(done.stdout)
    assert {k: role[k] for k in ("role_type", "user_claim", "bound_audiences", "token_policies")} == {
        "role_type": "jwt", "user_claim": "sub", "bound_audiences": ["vault"], "token_policies": ["root-volume"]}
    values = [predicted(builder.uki["1"]), predicted(builder.loader["1"], builder.uki["1"])]
    assert role["bound_claims"] == {
        **{f"pcr{n}": values[0][f"PCR{n}"] for n in (2, 3, 7, 12, 13, 14)}, "pcr4": [v["PCR4"] for v in values],
        "pcr15": "00" * 48, "image": hashlib.sha256(base64.b64decode(json.loads(one.read_text())["payload"])).hexdigest(),
        "account": ["111122223333", "444455556666"], "state": "boot"}
    done = w.muctl("policy", "vault", *images_of(builder, one), "--account", "*", "--audience", "x", "--policy", "y",
                   check=False)
    assert done.returncode == 1 and "12 digits" in done.stderr
    assert w.muctl("policy", "vault", *images_of(builder, one), check=False).returncode == 1
