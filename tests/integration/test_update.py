# SPDX-License-Identifier: GPL-2.0-or-later
"""docs/guide/updating.md and docs/guide/recovery.md, command by command: old and new image overlap, and the way back in."""
import base64
import hashlib
import json
import os
import re
import shutil

import pytest
import world as w

OLD, NEW = b"the boot loader", b"the next image"
ADMIN_ARN = f"arn:aws:iam::{w.ACCOUNT}:role/key-admin"


def boot(world, image):
    """Power cycle with this image in the ESP, and measured-unlock."""
    world.tpm.fault("none")
    w.run(world.tpm.COMMAND, "reset", "--tcp", world.tpm.port)
    for pcr, data in world.tpm.measured:
        world.tpm.extend(pcr, image if pcr == 4 else data)
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


def typed(world, folder, lines):
    """Lines of a guide, in a folder that has what they name. The configured endpoint of KMS is the emulator's."""
    (folder / "bin").mkdir(exist_ok=True)
    (folder / "bin/muctl").write_text(f"""#!/bin/sh
[ "$1" != enroll ] || set -- "$@" --endpoint {world.aws.info['kms_endpoint']} --ca-file {world.aws.info['ca_file']}
exec {w.MUCTL} "$@"
""")
    (folder / "bin/muctl").chmod(0o755)
    for name, path in (("old.json", world.complete), ("baseline.json", world.complete), ("builder.key", world.signing_key),
                       ("builder.pem", world.builder_key)):
        shutil.copy(path, folder / name)
    (folder / "passphrase").write_bytes(w.PASSPHRASE)
    for wanted, have in (("/dev/disk/by-partlabel/root", world.volume), ("/dev/nvme1n1p2", world.volume), ("KEY-ARN", w.KEY_ARN),
                         ("/run/header.img", folder / "header.img"), ("/etc/measured-unlock/builder.pem", world.builder_key)):
        lines = lines.replace(wanted, str(have))
    w.run("sh", "-eux", "-c", lines, cwd=folder, env={**os.environ, **w.BUILDER_ENVIRONMENT, "PATH": f"{folder}/bin:{os.environ['PATH']}"})


def shell(text):
    return "".join(line[4:] for line in text.splitlines(True) if line.startswith("    "))


def test_update_as_typed(world, new, put, tmp_path):
    """"Widen the record", line by line: out to the builder, and back."""
    put(world.complete, new)
    shutil.copy(new, tmp_path / "new.json")
    guide = (w.TOP / "docs/guide/updating.md").read_text()
    lines = shell(guide[guide.index("**Widen the record.**"):guide.index("**Widen the key policy**")])
    assert "luksHeaderBackup" in lines and "luksHeaderRestore" in lines
    typed(world, tmp_path, lines)
    assert boot(world, OLD).returncode == 0
    assert boot(world, NEW).returncode == 0


def test_recovery_as_typed(world, tmp_path):
    """The look at the volume, and its enrolment anew, from the rescue instance; what asks AWS, or mounts, is left out."""
    guide = (w.TOP / "docs/guide/recovery.md").read_text()
    blocks = re.findall(r"(?:^    .*\n)+", guide, re.M)
    wanted = [b for b in blocks if not re.search(r"^    (aws|mount|cryptsetup open --key-file|cryptsetup luksHeaderRestore|muctl baseline) ?",
                                                 b, re.M)]
    assert len(wanted) == 2
    look, enroll = map(shell, wanted)
    typed(world, tmp_path, look)
    metadata = json.loads(w.run("cryptsetup", "luksDump", "--dump-json-metadata", world.volume).stdout)
    w.run("cryptsetup", "token", "remove", "--token-id", *metadata["tokens"], world.volume)
    assert boot(world, OLD).returncode == 2
    typed(world, tmp_path, enroll)
    assert boot(world, OLD).returncode == 0


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
    done = w.muctl("enroll", world.volume, "--volume", "root", "--key-arn", w.KEY_ARN, "--baseline", world.complete,
                   "--sign-key", world.signing_key, "--key-file", "-", "--endpoint", world.aws.info["kms_endpoint"], "--ca-file",
                   world.aws.info["ca_file"], input="a guess", check=False)
    assert done.returncode == 2 and "does not open the volume" in done.stderr
    assert world.volume.read_bytes() == before


# ---- which volume it is, and which version ----

def bare_enroll(world, device, *options, check=False, **more):
    """Without --volume, and without a configuration unless the options name one."""
    return w.muctl("enroll", device, "--key-arn", w.KEY_ARN, "--baseline", world.complete, "--sign-key",
                   world.signing_key, "--key-file", "-", "--endpoint", world.aws.info["kms_endpoint"], "--ca-file",
                   world.aws.info["ca_file"], *options, input=w.PASSPHRASE.decode(), check=check,
                   env={**os.environ, **w.BUILDER_ENVIRONMENT}, **more)


def shown(device):
    return json.loads(w.muctl("record", "show", device, "--json", check=False).stdout)


def test_no_name_is_guessed(world, tmp_path):
    done = bare_enroll(world, world.volume)  # no configuration: the root, and that is said
    assert done.returncode == 0 and "[volume root]" in done.stderr and shown(world.volume)["volume_name"] == "root"
    before = world.volume.read_bytes()
    world.configure({"root": world.volume, "data": tmp_path})
    done = bare_enroll(world, world.volume, "--config", world.config_path)
    assert done.returncode == 1 and "there are several" in done.stderr
    done = bare_enroll(world, world.volume, "--config", world.config_path, "--volume", "other")
    assert done.returncode == 4 and "no [volume other]" in done.stderr
    assert bare_enroll(world, world.volume, "--volume", "ro/ot").returncode == 1
    assert world.volume.read_bytes() == before
    world.configure({"data": world.volume})
    assert bare_enroll(world, world.volume, "--config", world.config_path).returncode == 0  # the twin: there is one
    assert shown(world.volume)["volume_name"] == "data"


def test_signing_anew_keeps_the_name(world):
    """--resign changes the baselines; a volume gets no other name by it."""
    before = shown(world.volume)
    resign = ["enroll", "--resign", world.volume, "--baseline", world.complete, "--sign-key", world.signing_key]
    done = w.muctl(*resign, "--volume", "data", check=False)
    assert done.returncode == 2 and "made for the volume 'root'" in done.stderr
    w.muctl(*resign)
    w.muctl(*resign, "--volume", "root")
    after = shown(world.volume)
    assert after["record_version"] == before["record_version"] + 2
    for name in ("volume_name", "volume_uuid", "volume_identity", "data_offset", "sector_size", "device_size"):
        assert after[name] == before[name]


def test_size_of_the_device_of_a_copied_header(world, tmp_path):
    """A copy of the header takes it from the record that is signed in it, or must be told."""
    header, size = tmp_path / "header.img", world.volume.stat().st_size
    w.run("cryptsetup", "luksHeaderBackup", world.volume, "--header-backup-file", header)
    world.enroll(header)
    assert shown(header)["device_size"] == size
    w.remove_token(header)
    done = world.enroll(header, check=False)
    assert done.returncode == 4 and "--device-size" in done.stderr
    world.enroll(header, "--device-size", str(size))
    assert shown(header)["device_size"] == size
    done = world.enroll(world.volume, "--device-size", str(size + 512), check=False)  # what is there is measured
    assert done.returncode == 4 and "--device-size is for copies" in done.stderr


def write_record(volume, **members):
    """What anybody who can write the disk can do: another record, with a signature that does not hold."""
    token = w.export_token(volume)
    record = {**json.loads(base64.b64decode(token["record"])), **members}
    w.remove_token(volume)
    w.import_token(volume, {**token, "record": base64.b64encode(json.dumps(record).encode()).decode()})


def test_version_is_not_counted_from_an_unsigned_record(world):
    """Else the next genuine record would have a version that no image's minimum ever reaches."""
    high = 9 * 10**18
    write_record(world.volume, record_version=high)
    assert shown(world.volume)["record_version"] == high  # the premise: it is there to be counted from
    before = world.volume.read_bytes()
    done = bare_enroll(world, world.volume, "--volume", "root")
    assert done.returncode == 2 and "--record-version" in done.stderr and "signature" in done.stderr
    assert world.volume.read_bytes() == before
    world.configure(minimum_record_version=5)
    assert bare_enroll(world, world.volume, "--config", world.config_path).returncode == 0
    assert shown(world.volume)["record_version"] == 5
    assert bare_enroll(world, world.volume, "--volume", "root").returncode == 0  # the twin: it is ours, and counts
    assert shown(world.volume)["record_version"] == 6
    write_record(world.volume, record_version=high)
    world.enroll(world.volume, "--record-version", "7")
    assert shown(world.volume)["record_version"] == 7


def test_version_does_not_jump(world):
    before = world.volume.read_bytes()
    done = world.enroll(world.volume, "--record-version", "1000002", check=False)
    assert done.returncode == 2 and "a step is at most" in done.stderr
    assert world.volume.read_bytes() == before
    world.enroll(world.volume, "--record-version", "1000001")
