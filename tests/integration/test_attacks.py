# SPDX-License-Identifier: GPL-2.0-or-later
"""Known attacks on automatic unlocking, in pairs: the premise, with one defence taken out of the real program
(tests/attacks/weak.c), and the defence. docs/guide/threat-model.md has the ledger."""
import base64
import json
import os
import signal
import subprocess

import emulator
import forge_luks
import pytest
import world as w
from test_boot import ask_kms_as_root

WEAK = w.BUILD / "attacks/weak"
OK, REFUSE, CONFIG = 0, 2, 4
NULL_CIPHER, AES = ("weak: libcryptsetup is given " + c for c in ("cipher_null-ecb", "aes-xts-plain64"))


def unlock(world, without="", swap_in=None):
    """A boot by the program without these defences; with none named, it is the real one."""
    env = {**os.environ, "MU_WITHOUT": without, **({"MU_SWAP_IN": str(swap_in)} if swap_in else {})}
    return world.unlock(program=WEAK, env=env)


def pair(world, *defences, says, swap_in=None):
    """Without all of these defences the attack unlocks; each alone refuses, in its own words."""
    done = unlock(world, ",".join(defences), swap_in)
    assert done.returncode == OK, done.stderr
    for defence, words in zip(defences, [says] if isinstance(says, str) else says):
        again(world)
        done = unlock(world, ",".join(d for d in defences if d != defence), swap_in)
        assert done.returncode == REFUSE, done.stderr
        assert words in " ".join(done.stderr.split()), done.stderr
        assert world.fence_closed()


def again(world):
    """Another power cycle of the attacked machine."""
    world.tpm.reboot()
    world.aws.fresh()


def put_policy(world, policy, key=w.KEY_ID):
    path = world.folder / "attack-policy.json"
    path.write_text(json.dumps(policy))
    w.run(w.Aws.COMMAND, "key", "--dir", world.aws.folder, "--policy", path, key)


@pytest.fixture
def policy(world):
    """The key's policy to be changed; in the end it is what it was."""
    world.tpm.reboot()
    good = w.key_policy(world.tpm.pcr(4))
    yield json.loads(json.dumps(good))
    for key in (w.KEY_ID, w.OTHER_KEY_ID):
        put_policy(world, good, key)


def as_role(world):
    return emulator.Emulator.kms(world.aws, emulator.Emulator.role_keys(world.aws))


def decrypt(world, document):
    record = w.aws_kms(world.volume)
    return as_role(world).decrypt(
        CiphertextBlob=base64.b64decode(record["ciphertext"]), KeyId=record["key_arn"],
        EncryptionContext=record["encryption_context"],
        Recipient={"KeyEncryptionAlgorithm": "RSAES_OAEP_SHA_256", "AttestationDocument": document}
    )["CiphertextForRecipient"]


def document(world, folder, *options):
    """A document for a key of the attacker's own."""
    key, spki = emulator.rsa_key()
    (folder / "spki").write_bytes(spki)
    w.muctl("attest", "--public-key", folder / "spki", "--tcti", world.tpm.tcti, "-o", folder / "document", *options)
    return key, (folder / "document").read_bytes()


def denied(function, *arguments):
    with pytest.raises(Exception, match="AccessDenied"):
        function(*arguments)


def test_the_weak_program_is_the_real_one(world):
    """With no defence left out it unlocks, and refuses what the other refuses."""
    assert unlock(world).returncode == OK
    assert world.fence_closed()
    again(world)
    world.tpm.extend(12, b"init=/bin/sh")
    assert unlock(world).returncode == REFUSE


# ---- the volume: header, record, identity ----

def test_null_cipher(world):
    """CVE-2025-59054, CVE-2025-58356: the data segment of the enrolled volume is declared to be plain text."""
    forge_luks.write(forge_luks.FORGERIES["segment null cipher"][1], world.pristine, world.volume)
    done = unlock(world, "header,second-opinion")
    assert done.returncode == OK and NULL_CIPHER in done.stderr, done.stderr
    again(world)
    pair(world, "header", "second-opinion", says=("segment-cipher", "reads the LUKS2 header differently"))


def test_header_changed_after_the_check(world, tmp_path):
    """TOCTOU. What libcryptsetup is given is the copy that was checked, whatever the disk says by then."""
    evil = tmp_path / "evil.img"
    forge_luks.write(forge_luks.FORGERIES["segment null cipher"][1], world.pristine, evil)
    done = unlock(world, "copy,second-opinion", evil)
    assert done.returncode == OK and NULL_CIPHER in done.stderr, done.stderr
    world.fresh()
    done = unlock(world, "second-opinion", evil)
    assert AES in done.stderr and NULL_CIPHER not in done.stderr
    assert done.returncode == OK
    world.fresh()
    done = unlock(world, "copy", evil)
    assert done.returncode == REFUSE and "reads the LUKS2 header differently" in done.stderr


def attackers_volume(world, folder, key):
    """Same UUID, the genuine record, and a key slot of the same number that this key opens."""
    uuid = w.run("cryptsetup", "luksUUID", world.volume).stdout.decode().strip()
    slot = json.loads(w.muctl("record", "show", world.volume, "--json").stdout)["keyslot"]
    volume, key_file = w.make_volume(folder / "other.img"), folder / "slot-key"
    key_file.write_bytes(key)
    w.run("cryptsetup", "luksUUID", "-q", "--uuid", uuid, volume)
    w.run("cryptsetup", "luksAddKey", "-q", "--key-slot", str(slot), "--pbkdf", "pbkdf2", "--pbkdf-force-iterations",
          "1000", "--key-file", "-", "--keyfile-size", str(len(w.PASSPHRASE)), volume, key_file, input=w.PASSPHRASE)
    w.import_token(volume, w.export_token(world.volume))
    return volume


def test_volume_substitution(world, tmp_path):
    """By one who once learned the released key: his own file system behind the genuine record."""
    world.configure({"root": attackers_volume(world, tmp_path, world.released_key())})
    pair(world, "identity", says="volume identity differs")


def test_evil_record(world, tmp_path):
    """A volume, a key in KMS and a record, all the attacker's; the genuine boot chain would run his system."""
    volume = w.make_volume(tmp_path / "evil.img")
    key, _ = w.make_builder_key(tmp_path)
    w.muctl("enroll", volume, "--volume", "root", "--key-arn", w.KEY_ARN.replace(w.KEY_ID, w.OTHER_KEY_ID),
            "--baseline", world.complete, "--sign-key", key, "--key-file", "-", "--endpoint", world.aws.info["kms_endpoint"], "--ca-file",
            world.aws.info["ca_file"], input=w.PASSPHRASE.decode(), env={**os.environ, **w.BUILDER_ENVIRONMENT})
    world.configure({"root": volume})
    pair(world, "signature", says="signature")


def test_second_disk_of_the_same_name(world, tmp_path):
    """The udev link goes to whichever disk came last: here to one with the enrolled volume's UUID and record."""
    link = tmp_path / "by-partlabel-root"
    link.symlink_to(attackers_volume(world, tmp_path, b"known to the attacker alone....."))
    world.configure({"root": link})
    done = unlock(world, "identity,record,signature")
    assert done.returncode == REFUSE and "does not open key slot" in done.stderr  # KMS's key is not his
    link.unlink()
    link.symlink_to(attackers_volume(world, tmp_path, world.released_key()))
    again(world)
    pair(world, "identity", says="volume identity differs")


def test_rollback(world):
    """The record of an older image comes back from a snapshot."""
    world.configure(minimum_record_version=1000)
    pair(world, "record", says="older than 1000")


# ---- the volume: name and geometry ----

@pytest.fixture
def data(world, tmp_path):
    """A second volume of the same builder, enrolled as what it is."""
    volume = w.make_volume(tmp_path / "data.img")
    world.enroll(volume, "--volume", "data")
    world.configure({"root": world.volume, "data": volume})
    return volume


def test_root_and_data_exchanged(world, data):
    """Two partition labels. What stands behind /dev/mapper/root would be what a service may write."""
    assert unlock(world).returncode == OK
    again(world)
    world.configure({"root": data, "data": world.volume})
    pair(world, "name", says="made for the volume 'data', and this one is configured as 'root'")


def test_copy_of_root_as_data(world, data, tmp_path):
    """One volume under two names: what is read only as root would be written as data."""
    (tmp_path / "copy.img").write_bytes(world.volume.read_bytes())
    world.configure({"root": world.volume, "data": tmp_path / "copy.img"})
    pair(world, "name", says="made for the volume 'root', and this one is configured as 'data'")


def segment(world, **members):
    """The header, with right checksums, says this of the segment; all else is as it was enrolled."""
    for name, value in members.items():
        forge_luks.write(forge_luks.in_json(forge_luks.put(f"{forge_luks.SEGMENT}/{name}", value)), world.pristine,
                         world.volume)


def offset_of(volume):
    return int(json.loads(w.run("cryptsetup", "luksDump", "--dump-json-metadata", volume).stdout)
               ["segments"]["0"]["offset"])


@pytest.mark.parametrize("further", [4096, 1 << 20])
def test_data_moved(world, further):
    """The volume reads as noise, and whoever makes a file system on noise has emptied it."""
    segment(world, offset=str(offset_of(world.volume) + further))
    pair(world, "geometry", says="data began at byte")


def test_other_sectors(world):
    segment(world, sector_size=512)
    pair(world, "geometry", says="sectors had 4096 bytes")


def test_smaller_device(world):
    """A part of the volume is cut off."""
    with world.volume.open("r+b") as volume:
        volume.truncate(volume.seek(0, 2) - (4 << 20))
    pair(world, "geometry", says="a part of the volume is gone")


def test_larger_device_opens(world):
    """An enlarged EBS volume is no attack: what is new at its end is no part of anything yet."""
    with world.volume.open("r+b") as volume:
        volume.truncate(volume.seek(0, 2) + (4 << 20))
    assert unlock(world).returncode == OK


# ---- the boot chain ----

def test_command_line_overlay(world, policy):
    """GHSA-xrv8-2pf5-f3q7: PCR 4 does not move, PCR 12 does. Two gates: the baseline here, the key policy there."""
    def attack(without):
        again(world)
        world.tpm.extend(12, b"init=/bin/sh")
        return unlock(world, without)
    release = next(s for s in policy["Statement"] if s["Sid"] == "release")
    del release["Condition"]["StringEquals"][w.NITRO + "12"]

    done = attack("baseline")
    assert done.returncode == REFUSE and "AccessDenied" in done.stderr  # KMS
    put_policy(world, policy)
    done = attack("")
    assert done.returncode == REFUSE and "PCR 12" in done.stderr
    assert attack("baseline").returncode == OK  # the premise


def test_extending_sha256_alone(world, tmp_path):
    """A fence that is closed in the SHA-256 bank alone is open for KMS, which reads SHA-384."""
    world.tpm.extend(15, b"fence", banks=("sha256",))
    assert ask_kms_as_root(world, tmp_path)["CiphertextForRecipient"]  # the premise
    world.fresh()
    assert unlock(world).returncode == OK
    assert world.fence_closed()  # in both
    denied(ask_kms_as_root, world, tmp_path)


def test_resettable_pcrs(world):
    """PCR 16 and 23 go back to zero for whoever asks; the fence cannot be one of them."""
    for pcr in (16, 23):
        world.tpm.extend(pcr, b"fence")
        assert world.tpm.pcr(pcr) != w.ZERO
        world.tpm.tool("tpm2_pcrreset", str(pcr))
        assert world.tpm.pcr(pcr) == w.ZERO  # the premise
        world.configure(fence_pcr=pcr)
        assert unlock(world).returncode == 4
    world.fresh()
    assert unlock(world).returncode == OK
    assert w.run("tpm2_pcrreset", "15", check=False,
                 env={**os.environ, "TPM2TOOLS_TCTI": world.tpm.tcti}).returncode != 0
    assert world.fence_closed()


# ---- asking once more ----

def test_kexec(world, tmp_path):
    """Another kernel without a reset of the machine: every PCR is as it was. Only the fence tells."""
    assert unlock(world, "fence").returncode == OK
    assert unlock(world, "fence").returncode == OK  # the premise: the second kernel gets the key as well
    again(world)
    assert unlock(world).returncode == OK
    done = unlock(world)
    assert done.returncode == REFUSE and "PCR 15" in done.stderr
    done = unlock(world, "fence-check")  # a kernel of the attacker's does not look
    assert done.returncode == REFUSE and "AccessDenied" in done.stderr


def test_prompt_or_shell_without_a_fence(world, tmp_path):
    """What hook/refuse does before it gives a prompt or a shell. Without it, who has either has the key."""
    fence = [WEAK, "fence", "--config", world.config_path]
    w.run(*fence, env={**os.environ, "MU_WITHOUT": "fence"})
    assert ask_kms_as_root(world, tmp_path)["CiphertextForRecipient"]  # the premise
    w.run(*fence)
    denied(ask_kms_as_root, world, tmp_path)


@pytest.mark.parametrize("arguments", [("unlock", "--no-activate"), ("fence",)])
def test_unusable_configuration(world, arguments):
    """A typo beside `fence_pcr = 14`: which PCR the key policy names, the program can't know. The premise: the default one
    alone leaves that open, and `fallback = shell` could be given beside it."""
    world.configure(fence_pcr=14, fallback="shell", typo="1")
    env = {**os.environ, "MU_DEFAULT_TPM": world.tpm.tcti}
    boot = [WEAK, *arguments, "--config", world.config_path]
    done = w.run(*boot, env={**env, "MU_WITHOUT": "fence-all"}, check=False)
    assert done.returncode == CONFIG and world.fence_closed() and world.tpm.pcr(14) == emulator.ZERO
    done = w.run(*boot, env=env, check=False, text=True)
    assert done.returncode == CONFIG and "typo" in done.stderr, done.stderr
    assert [pcr for pcr in range(8, 16) for bank in ("sha256", "sha384") if not world.tpm.pcr(pcr, bank).strip("0")] == []


def test_killed_before_the_fence(world, tmp_path):
    """The premise: what kill -9 leaves behind is an open fence. hook/supervise closes it, whatever the program did."""
    world.aws.fault("kms", "delay", "30", operation="Decrypt")
    process = subprocess.Popen([w.UNLOCK, "unlock", "--config", world.config_path, "--no-activate"],
                               stderr=subprocess.PIPE, text=True)
    while "signed by the image builder" not in process.stderr.readline():
        assert process.poll() is None
    process.send_signal(signal.SIGKILL)
    process.communicate()
    world.aws.fault("none")
    assert ask_kms_as_root(world, tmp_path)["CiphertextForRecipient"]
    w.run(w.UNLOCK, "fence", "--config", world.config_path)
    denied(ask_kms_as_root, world, tmp_path)


# ---- documents and policies ----

def test_replayed_document(world, tmp_path):
    """KMS takes a document again; what it answers is for the key in it, which measured-unlock never lets out."""
    key, recorded = document(world, tmp_path)
    assert unlock(world).returncode == OK  # the fence is closed from here on
    answer = decrypt(world, recorded)
    assert emulator.open_cms(answer, key, tmp_path) == world.released_key()  # the premise: who has the key of it
    other, _ = emulator.rsa_key()
    with pytest.raises(Exception):
        emulator.open_cms(answer, other, tmp_path)
    denied(decrypt, world, document(world, tmp_path)[1])  # a new one shows the fence


def test_recorded_document_without_a_nonce(world, tmp_path):
    """A relying party that asked for nothing is told so; one that sent a nonce sees the recording."""
    document(world, tmp_path, "--nonce", "00" * 16)
    verify = ["verify", tmp_path / "document", "--root", world.tpm.root, "--json"]
    done = w.muctl(*verify)  # the premise
    checks = {c["name"]: c["result"] for c in json.loads(done.stdout)["checks"]}
    assert checks["nonce"] == "not-done"
    assert w.muctl(*verify, "--nonce", "ff" * 16, check=False).returncode == REFUSE
    assert w.muctl(*verify, "--require-all", check=False).returncode == REFUSE
    assert w.muctl(*verify, "--nonce", "00" * 16).returncode == OK


def test_second_allow(world, policy):
    """An Allow without conditions beside the good one: the Deny holds against it, and lint names it."""
    record = w.aws_kms(world.volume)

    def without_document():
        return as_role(world).decrypt(CiphertextBlob=base64.b64decode(record["ciphertext"]), KeyId=record["key_arn"],
                                      EncryptionContext=record["encryption_context"])
    policy["Statement"].append({"Sid": "oops", "Effect": "Allow", "Principal": {"AWS": w.ROLE_ARN},
                                "Action": "kms:Decrypt", "Resource": "*"})
    put_policy(world, policy)
    denied(without_document)
    done = w.muctl("policy", "lint", "-", "--json", check=False, input=json.dumps(policy))
    assert done.returncode == REFUSE
    assert "oops" in {f["statement"] for f in json.loads(done.stdout)["findings"]}
    policy["Statement"] = [s for s in policy["Statement"] if s["Effect"] == "Allow"]
    put_policy(world, policy)
    assert without_document()["Plaintext"] == world.released_key()  # the premise


CREDENTIALS = "/latest/meta-data/iam/security-credentials/"


def test_user_data_is_never_asked_for(world):
    """What IMDS is asked for in a boot: a token, and the role's credentials."""
    assert unlock(world).returncode == OK
    asked = {r["operation"] for r in world.aws.log()[world.aws.seen:] if r["service"] == "imds"}
    assert asked == {"/latest/api/token", CREDENTIALS, CREDENTIALS + w.ROLE}


def test_credentials_of_somebody_else(world):
    """Who can answer for IMDS can hand out credentials of his own. The premise is test_the_weak_program_is_the_real_one."""
    keys = {"Code": "Success", "Type": "AWS-HMAC", "Expiration": "2036-01-01T00:00:00Z", "Token": "somebodys-token",
            "AccessKeyId": w.BUILDER["access_key"], "SecretAccessKey": w.BUILDER["secret"]}
    world.aws.fault("imds", "body", json.dumps(keys), operation=CREDENTIALS + w.ROLE)
    done = unlock(world)
    assert done.returncode == REFUSE, done.stderr
    assert world.fence_closed()
    assert [r["status"] for r in world.aws.decrypts()] in ([400], [403])
