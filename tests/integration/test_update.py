# SPDX-License-Identifier: GPL-2.0-or-later
"""docs/updating.md and docs/recovery.md, command by command: old and new image overlap, and the way back in."""
import hashlib
import json
import shutil

import pytest
import world as w

OLD, NEW = b"the boot loader", b"the next image"
ADMIN_ARN = f"arn:aws:iam::{w.ACCOUNT}:role/key-admin"


def boot(world, image):
    """Power cycle with this image in the ESP, and measured-unlock."""
    world.tpm.fault("none")
    w.run(world.tpm.COMMAND, "reset", "--tcp", world.tpm.port)
    world.tpm.extend(4, image)
    world.tpm.extend(7, b"secure boot is off")
    world.aws.fresh()
    return world.unlock()


@pytest.fixture
def new(world):
    """What `muctl baseline predict` says about the next image."""
    found = json.loads(world.complete.read_text())
    found["Measurements"]["PCR4"] = hashlib.sha384(bytes(48) + hashlib.sha384(NEW).digest()).hexdigest()
    path = world.folder / "new.json"
    path.write_text(json.dumps(found))
    return path


@pytest.fixture
def put(world):
    """Puts the key policy for these baselines; in the end the world's own comes back."""
    path = world.folder / "policy.json"

    def put(*baselines, key=w.KEY_ID):
        words = [word for b in baselines for word in ("--baseline", b)]
        w.muctl("policy", "kms", *words, "--principal", w.ROLE_ARN, "--admin", ADMIN_ARN, "--builder", w.BUILDER_ARN,
                "-o", path)
        w.muctl("policy", "lint", path)
        w.run(w.Aws.COMMAND, "key", "--dir", world.aws.folder, "--policy", path, key)
    yield put
    world.tpm.reboot()
    path.write_text(json.dumps(w.key_policy(world.tpm.pcr(4))))
    for key in (w.KEY_ID, w.OTHER_KEY_ID):
        w.run(w.Aws.COMMAND, "key", "--dir", world.aws.folder, "--policy", path, key)


def enroll_away(world, tmp_path, *baselines):
    """On the builder, from a copy of the header: neither the signing key nor KMS's Encrypt reaches the instance."""
    header = tmp_path / "header.img"
    header.unlink(missing_ok=True)
    w.run("cryptsetup", "luksHeaderBackup", world.volume, "--header-backup-file", header)
    first, *rest = baselines
    world.enroll(header, *(word for b in rest for word in ("--baseline", b)), baseline=first)
    w.muctl("record", "show", header, "--key", world.builder_key)
    w.muctl("header", "check", header)
    w.run("cryptsetup", "luksHeaderRestore", "-q", world.volume, "--header-backup-file", header)


def test_update_in_place(world, new, put, tmp_path):
    old = world.complete
    put(old)
    assert boot(world, OLD).returncode == 0
    assert boot(world, NEW).returncode == 2 and world.aws.decrypts() == []

    enroll_away(world, tmp_path, old, new)
    # The record alone does not let the new image in: the lock-out that the guide warns of.
    assert boot(world, OLD).returncode == 0
    assert boot(world, NEW).returncode == 2 and [r["decision"] for r in world.aws.decrypts()] == ["deny"]
    put(old, new)
    assert boot(world, OLD).returncode == 0
    assert boot(world, NEW).returncode == 0

    before = world.folder / "before.img"
    shutil.copy(world.volume, before)
    enroll_away(world, tmp_path, new)
    put(new)
    assert boot(world, NEW).returncode == 0
    assert boot(world, OLD).returncode == 2 and world.aws.decrypts() == []
    # Whoever brings back the old image with the volume of before passes the record, and not KMS.
    shutil.copy(before, world.volume)
    assert boot(world, OLD).returncode == 2 and [r["decision"] for r in world.aws.decrypts()] == ["deny"]


def test_only_policy_first_is_safe_too(world, new, put, tmp_path):
    """The other order: KMS would, the record does not yet."""
    put(world.complete, new)
    assert boot(world, OLD).returncode == 0
    assert boot(world, NEW).returncode == 2 and world.aws.decrypts() == []


def test_enrolling_needs_no_decrypt(world, new, put):
    """What the builder asked of KMS during an update."""
    put(world.complete, new)
    before = len(world.aws.log())
    world.enroll(world.volume, "--baseline", new)
    assert [(r["operation"], r["decision"]) for r in world.aws.log()[before:] if r.get("operation")] == [("Encrypt", "allow")]


def test_recovery_of_a_lost_record(world):
    """A volume whose record was deleted boots again once it is enrolled with the recovery passphrase."""
    metadata = json.loads(w.run("cryptsetup", "luksDump", "--dump-json-metadata", world.volume).stdout)
    (token,) = metadata["tokens"]
    w.run("cryptsetup", "token", "remove", "--token-id", token, world.volume)
    done = boot(world, OLD)
    assert done.returncode == 2 and "record" in done.stderr
    w.run("cryptsetup", "open", "--test-passphrase", "--key-file", "-", world.volume, input=w.PASSPHRASE)
    world.enroll(world.volume)
    assert boot(world, OLD).returncode == 0


def test_recovery_of_a_lost_key(world, put):
    """The KMS key is gone: another one, and the volume's record names it."""
    world.aws.fault("kms", "error", "DisabledException", operation="Decrypt")
    assert world.unlock().returncode == 2
    put(world.complete, key=w.OTHER_KEY_ID)
    world.enroll(world.volume, "--key-arn", w.KEY_ARN.replace(w.KEY_ID, w.OTHER_KEY_ID))
    assert boot(world, OLD).returncode == 0


def test_without_any_passphrase_there_is_no_way_back(world, tmp_path):
    """Why the recovery passphrase is to be kept: a wrong one is refused and nothing is written."""
    before = world.volume.read_bytes()
    done = w.muctl("enroll", world.volume, "--key-arn", w.KEY_ARN, "--baseline", world.complete, "--sign-key",
                   world.signing_key, "--key-file", "-", "--endpoint", world.aws.info["kms_endpoint"], "--ca-file",
                   world.aws.info["ca_file"], input="a guess", check=False)
    assert done.returncode == 2 and "does not open the volume" in done.stderr
    assert world.volume.read_bytes() == before
