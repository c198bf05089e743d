# SPDX-License-Identifier: GPL-2.0-or-later
"""A data volume that the attested instance makes itself on a blank device. Each refusal's twin is test_made_and_opened."""
import base64
import json
import os
import shutil

import emulator
import forge_luks
import pytest
import world as w
from test_attacks import WEAK, as_role, denied, document, put_policy

OK, REFUSE, RETRY, CONFIG = 0, 2, 3, 4
SIZE = "64M"
MIB = 1 << 20
DATA_OFFSET = 16 * MIB
CONTEXT = "kms:EncryptionContext:"


def data_policy(pcr4, sealed=True):
    """By hand; what `muctl policy kms --data-volumes` writes is in test_policy_that_muctl_writes."""
    policy = w.key_policy(pcr4)
    attested = policy["Statement"][1]["Condition"]["StringEquals"]
    policy["Statement"] += [
        {"Sid": "make", "Effect": "Allow", "Principal": {"AWS": w.ROLE_ARN}, "Resource": "*",
         "Action": "kms:GenerateDataKey",
         "Condition": {"StringEquals": {**attested, CONTEXT + "made-by": "instance"}}},
        {"Sid": "unattested-make", "Effect": "Deny", "Principal": "*", "Resource": "*",
         "Action": "kms:GenerateDataKey*", "Condition": {"Null": {w.NITRO + "4": "true"}}}]
    if sealed:
        policy["Statement"].append({"Sid": "forged", "Effect": "Deny", "Principal": "*", "Resource": "*",
                                    "Action": "kms:Encrypt", "Condition": {"Null": {CONTEXT + "made-by": "false"}}})
    return policy


@pytest.fixture
def data(world):
    """A world whose key policy lets instances make volumes, and a blank device for one."""
    good = w.key_policy(world.tpm.pcr(4))
    put_policy(world, data_policy(world.tpm.pcr(4)))
    world.data = configure(world, make_blank(world))
    world.aws.fresh()
    yield world
    put_policy(world, good)


def make_blank(world, name="data.img", size=SIZE):
    path = world.folder / name
    path.unlink(missing_ok=True)
    w.run("truncate", "-s", size, path)
    return path


def configure(world, device, key_arn=w.KEY_ARN, only=False):
    if only:
        world.configure({})
        text = world.config_path.read_text().replace("[volume root]", "[volume none]")
        world.config_path.write_text(text.partition("[volume")[0])
    with world.config_path.open("a") as config:
        config.write(f"[volume data]\ndevice = {device}\ncreate = blank\nkey_arn = {key_arn}\n")
    return device


def operations(world):
    return [(r["operation"], r["decision"]) for r in world.aws.log()[world.aws.seen:] if "decision" in r]


def next_boot(world):
    world.aws.fresh()
    world.tpm.reboot()
    world.report_path.unlink(missing_ok=True)
    shutil.rmtree(world.folder / "created", ignore_errors=True)  # /run


def boot(world, **options):
    done = world.unlock(**options)
    done.said = " ".join(done.stderr.split())
    return done


def make(world):
    done = boot(world)
    assert done.returncode == OK, done.stderr
    assert world.report()["volumes"][-1]["created"] is True
    next_boot(world)


def refused(world, says, code=REFUSE):
    done = boot(world)
    assert done.returncode == code and says in done.said, done.stderr
    assert world.fence_closed()
    return done


def metadata(volume):
    return json.loads(w.run("cryptsetup", "luksDump", "--dump-json-metadata", volume).stdout)


def released_key(world, volume):
    import kms
    record = w.aws_kms(volume)

    class Key:
        material = (world.aws.folder / f"key-{w.KEY_ID}").read_bytes()
    return kms.unseal(Key, base64.b64decode(record["ciphertext"]), record["encryption_context"])


def test_made_and_opened(data):
    done = boot(data)
    assert done.returncode == OK, done.stderr
    assert operations(data) == [("Decrypt", "allow"), ("GenerateDataKey", "allow"), ("Decrypt", "allow")]
    volume = data.report()["volumes"][1]
    assert volume["created"] is True and volume["record_version"] == 1 and volume["uuid"] in done.stderr + str(volume)
    assert data.fence_closed()
    before = data.data.read_bytes()
    next_boot(data)
    done = boot(data)
    assert done.returncode == OK and "identity of volume 'data'" in done.said, done.stderr
    assert operations(data) == [("Decrypt", "allow")] * 2 and "created" not in data.report()["volumes"][1]
    assert data.data.read_bytes() == before


def test_cryptsetup_reads_it(data, tmp_path):
    """The second opinion on what we write: cryptsetup opens it with the released key, and finds nothing to fix."""
    make(data)
    key, volume_key = tmp_path / "key", tmp_path / "volume-key"
    key.write_bytes(released_key(data, data.data))
    before = data.data.read_bytes()
    w.run("cryptsetup", "open", "--test-passphrase", "--key-file", key, "--key-slot", "0", data.data)
    w.run("cryptsetup", "luksDump", "--dump-volume-key", "-q", "--key-file", key, "--volume-key-file", volume_key,
          data.data)
    assert len(volume_key.read_bytes()) == 64
    assert "LUKS" in w.run("blkid", "-p", data.data, text=True).stdout
    found = metadata(data.data)
    assert found["segments"]["0"]["sector_size"] == 4096 and found["keyslots"]["0"]["kdf"]["iterations"] == 1000
    w.muctl("header", "check", data.data)
    assert data.data.read_bytes() == before
    assert not any(before[DATA_OFFSET:])


# ---- what is not blank is not touched ----

def extent(path):
    return path.stat().st_size


def poke(path, offset, content=b"x"):
    with path.open("r+b") as f:
        f.seek(offset)
        f.write(content)


def swap(path):
    w.run("mkswap", path)


def lvm(path):
    """A label in sector 1, as pvcreate writes it (it wants a device-mapper): LABELONE, sector, crc, offset, type."""
    poke(path, 512, b"LABELONE" + (1).to_bytes(8, "little") + bytes(4) + (32).to_bytes(4, "little") + b"LVM2 001")


def raid(minor, offset):
    """A superblock of md(4), version 1.x: magic, major version. (mdadm wants a device.)"""
    def write(path):
        poke(path, offset(extent(path)), bytes.fromhex("fc4e2ba9") + (1).to_bytes(4, "little") + bytes([minor] * 60))
    return write


def tool(*command):
    return lambda path: w.run(*command, path)


def partitions(label):
    return lambda path: w.run("sfdisk", "-q", path, input=f"label: {label}\n,\n".encode())


def gpt_backup(path):
    partitions("gpt")(path)
    poke(path, 0, bytes(34 * 512))


def headless(command, count):
    """A file system whose beginning somebody has zeroed."""
    def write(path):
        w.run(*command, path)
        poke(path, 0, bytes(count))
    return write


def luks(path):
    w.make_volume(path, SIZE)


def luks_second(path):
    w.make_volume(path, SIZE)
    poke(path, 0, bytes(16384))


FULL = {
    "ext4": (tool("mkfs.ext4", "-q", "-F"), "ext4"),
    "ext2, 1 KiB blocks, no start": (headless(("mkfs.ext2", "-q", "-F", "-b", "1024"), 8 * MIB), "is not blank"),
    "vfat": (tool("mkfs.vfat"), "FAT"),
    "xfs": (tool("mkfs.xfs", "-q", "-f"), "XFS"),
    "btrfs": (tool("mkfs.btrfs", "-q"), "btrfs"),
    "swap": (swap, "swap"),
    "gpt": (partitions("gpt"), "partition table"),
    "gpt, backup alone": (gpt_backup, "is not blank"),
    "mbr": (partitions("dos"), "partition table"),
    "lvm": (lvm, "LVM"),
    "raid 1.2": (raid(2, lambda size: 4096), "RAID"),
    "raid 1.0": (raid(0, lambda size: (size - 8192) & ~4095), "is not blank"),
    "raid 1.1": (raid(1, lambda size: 0), "is not blank"),
    "luks, second header alone": (luks_second, "second copy of a LUKS header"),
    "first byte": (lambda p: poke(p, 0), "byte 0 "),
    "last byte": (lambda p: poke(p, extent(p) - 1), f"byte {64 * MIB - 1} "),
    "a byte in the middle": (lambda p: poke(p, 33333333), "byte 33333333 "),
}


@pytest.mark.parametrize("name", FULL)
def test_what_holds_data_is_not_touched(data, name):
    write, says = FULL[name]
    if name in ("btrfs", "xfs"):
        make_blank(data, size="320M")
    write(data.data)
    before = data.data.read_bytes()
    refused(data, says)
    assert "GenerateDataKey" not in dict(operations(data)) and data.data.read_bytes() == before


def test_plain_luks_is_not_touched(data):
    """Somebody's own volume is no blank one: it has no record."""
    luks(data.data)
    before = data.data.read_bytes()
    refused(data, "no enrolment record")
    assert data.data.read_bytes() == before


def test_not_blank_is_what_refuses(data):
    """The premise: a program that does not look would overwrite the file system."""
    tool("mkfs.ext4", "-q", "-F")(data.data)
    done = boot(data, program=WEAK, env={"MU_WITHOUT": "blank"})
    assert done.returncode == OK, done.stderr
    assert data.data.read_bytes().startswith(b"LUKS")


FAR = {
    **{f"ext backup superblock, {block} KiB blocks, group {group}": (block << 10) ** 2 * 8 * group + 1024 * (block == 1)
       for block, group in ((1, 1), (1, 3), (1, 343), (2, 9), (4, 1), (4, 2187), (4, 3125), (64, 1))},
    "btrfs mirror 1": 64 * MIB + 64, "btrfs mirror 2": (256 << 30) + 64, "xfs group": 1 << 40,
    "a place of the grid": 13 * 384 * 128 * MIB, "last but 1 MiB": (3 << 40) - MIB, "ZFS label 2": (3 << 40) - 512 * 1024,
}


@pytest.mark.parametrize("name", FAR)
def test_far_copies_on_a_large_device(data, name):
    make_blank(data, size="3T")
    poke(data.data, FAR[name], b"\x53\xef")
    before = data.data.stat().st_blocks
    refused(data, f"byte {FAR[name]} ")
    assert data.data.stat().st_blocks == before


def test_large_device_is_made(data):
    make_blank(data, size="3T")
    make(data)
    assert boot(data).returncode == OK


@pytest.mark.parametrize("make_file_system, size", [
    (("mkfs.ext4", "-q", "-F", "-E", "lazy_itable_init=1,lazy_journal_init=1"), "1T"),
    (("mkfs.xfs", "-q", "-f"), "1T")], ids=["ext4", "xfs"])
def test_large_file_system_without_its_ends(data, make_file_system, size):
    """Real tools, real places: the first and the last 64 MiB are gone."""
    make_blank(data, size=size)
    w.run(*make_file_system, data.data)
    w.run("fallocate", "-p", "-o", "0", "-l", str(64 * MIB), data.data)
    w.run("fallocate", "-p", "-o", str(extent(data.data) - 64 * MIB), "-l", str(64 * MIB), data.data)
    refused(data, "is not blank")


def test_too_small(data):
    make_blank(data, size="31M")
    refused(data, "at least")


def test_absent_device_is_waited_for(data):
    data.data.unlink()
    text = data.config_path.read_text()
    data.config_path.write_text(text.replace("timeout = 20", "timeout = 5"))
    assert boot(data).returncode == RETRY


# ---- power cuts ----

def cut(world, at, torn=0, lost=0):
    """-> exit code of the boot that was cut"""
    done = boot(world, program=WEAK, env={"MU_DIE_AT": str(at), "MU_TORN": str(torn), "MU_LOST": str(lost)})
    return done.returncode


def sectors(path):
    return path.read_bytes()[:512]


@pytest.mark.parametrize("torn", [0, 512, 20000])
def test_power_cut_at_every_write(data, torn):
    """Wherever it is cut, whatever part of that write was done: the next boot ends with a volume that opens."""
    at, cuts = 1, 0
    while True:
        make_blank(data)
        data.tpm.reboot()
        code = cut(data, at, torn)
        if code == OK:
            break
        assert code == -9
        complete = sectors(data.data).startswith(b"LUKS")
        next_boot(data)
        done = boot(data)
        assert done.returncode == OK, (at, done.stderr)
        assert data.report()["volumes"][1].get("created", False) is not complete
        assert not any(data.data.read_bytes()[DATA_OFFSET:])
        at, cuts = at + 1, cuts + (not complete)
    assert cuts >= 9  # claim, five pieces of the header, the start, and flushes between them


def test_writes_lost_in_a_power_cut(data):
    """A device may do writes in any order between two flushes: any one of the header's pieces is missing."""
    first = next(at for at in range(1, 30) if is_claim(data, at))
    for lost in range(first + 2, first + 7):
        make_blank(data)
        data.tpm.reboot()
        assert cut(data, first + 7, lost=lost) == -9
        assert sectors(data.data).startswith(b"measured-unlock")
        next_boot(data)
        assert boot(data).returncode == OK
        assert data.report()["volumes"][1]["created"] is True


def is_claim(world, at):
    """Whether the write number `at` is the claim."""
    make_blank(world)
    world.tpm.reboot()
    cut(world, at, torn=512)
    return sectors(world.data).startswith(b"measured-unlock")


def claimed(world):
    first = next(at for at in range(1, 30) if is_claim(world, at))
    make_blank(world)
    world.tpm.reboot()
    assert cut(world, first + 4) == -9
    next_boot(world)
    assert boot(world, program=WEAK, env={"MU_DIE_AT": "1"}).returncode == -9  # the premise: nothing else is wrong
    next_boot(world)


SINCE = {
    "ext4": lambda p: poke(p, 1080, b"\x53\xef"),
    "a RAID member": lambda p: poke(p, 4096, bytes.fromhex("fc4e2ba9")),
    "something where the second copy goes": lambda p: poke(p, 16384, b"x"),
    "something behind the header": lambda p: poke(p, 290816, b"x"),
    "data": lambda p: poke(p, 40 * MIB, b"x"),
    "the second sector": lambda p: poke(p, 512, b"EFI PART"),
    "another claim": lambda p: poke(p, 300, b"x"),
}


@pytest.mark.parametrize("name", SINCE)
def test_used_since_it_was_claimed(data, name):
    claimed(data)
    SINCE[name](data.data)
    before = data.data.read_bytes()
    refused(data, "is not blank")
    assert data.data.read_bytes() == before


# ---- attacks (docs/guide/threat-model.md) ----

def token_of(volume):
    return next(t for t in metadata(volume)["tokens"].values() if t["type"] == "measured-unlock")


def put_token(volume, token):
    w.run("cryptsetup", "token", "remove", "--token-id", "0", volume)
    w.run("cryptsetup", "token", "import", "--token-id", "0", volume, input=json.dumps(token).encode())


def payload(token):
    return json.loads(base64.b64decode(token["record"]))


def with_payload(token, **changes):
    return {**token, "record": base64.b64encode(json.dumps({**payload(token), **changes}).encode()).decode()}


def weak(world, without):
    return boot(world, program=WEAK, env={"MU_WITHOUT": without})


def pair(world, defence, says):
    done = weak(world, defence)
    assert done.returncode == OK, done.stderr
    next_boot(world)
    refused(world, says)


def test_changed_record(data):
    """Nobody without the released key writes a record: the MAC."""
    make(data)
    put_token(data.data, with_payload(token_of(data.data), created="2001-01-01T00:00:00Z"))
    pair(data, "mac", "MAC does not hold")


def test_instance_record_where_the_builder_signs(data):
    """An attacker moves a volume that an instance made to where the enrolled one belongs."""
    make(data)
    shutil.copy(data.data, data.volume)
    refused(data, "only a volume with 'create = blank'")


@pytest.mark.parametrize("changes, says", [
    ({"volume_uuid": "0f0e0d0c-1234-4321-8765-123456789abc"}, "made for volume"),
    ({"volume_identity": "5a" * 48}, "volume-identity is not this volume's"),
    ({"provider": "tpm2"}, "aws-kms"),
    ({"keyslot": 1}, "not bound to key slot"),
    ({"baselines": []}, "baselines"),
    ({"record_version": 0}, "record_version"),
    ({"format": 1}, "enroll again"),
    ({"volume_name": "other"}, "made for the volume 'other'"),
    ({"data_offset": DATA_OFFSET - 4096}, "data began at byte"),
    ({"sector_size": 512}, "sectors had 512 bytes"),
    ({"device_size": 1 << 40}, "a part of the volume is gone"),
    ({"device_size": 32 * MIB}, "volume-geometry is not this volume's"),
], ids=lambda value: next(iter(value)) if isinstance(value, dict) else "")
def test_record_that_does_not_fit(data, changes, says):
    make(data)
    put_token(data.data, with_payload(token_of(data.data), **changes))
    refused(data, says)
    assert ("Decrypt", "allow") not in operations(data)


def two(world):
    """Two volumes that the instance made itself, under one key."""
    world.more = make_blank(world, "more.img")
    with world.config_path.open("a") as config:
        config.write(f"[volume more]\ndevice = {world.more}\ncreate = blank\nkey_arn = {w.KEY_ARN}\n")
    make(world)


def exchange(world):
    text = world.config_path.read_text()
    text = text.replace(str(world.data), "THE DATA").replace(str(world.more), str(world.data))
    world.config_path.write_text(text.replace("THE DATA", str(world.more)))


def test_two_volumes_exchanged(data):
    two(data)
    exchange(data)
    pair(data, "name", "made for the volume 'more', and this one is configured as 'data'")
    assert ("GenerateDataKey", "allow") not in operations(data)


def test_exchanged_with_other_names_in_the_records(data):
    """Who writes the disk can write names, and has no key for the MAC: KMS's context is what he meets first."""
    two(data)
    for volume, name in ((data.data, "more"), (data.more, "data")):
        token = token_of(volume)
        put_token(volume, with_payload(token, volume_name=name))
    exchange(data)
    refused(data, "volume-name is not this volume's")
    next_boot(data)
    for volume, name in ((data.data, "more"), (data.more, "data")):
        token = token_of(volume)
        aws = payload(token)[w.PROVIDER]
        context = {**aws["encryption_context"], "volume-name": name}
        put_token(volume, with_payload(token, **{w.PROVIDER: {**aws, "encryption_context": context}}))
    refused(data, "InvalidCiphertextException")


# ---- the file system on it ----

UNIT = w.TOP / "unlock/packaging/measured-unlock/systemd/measured-unlock-makefs@.service"
needs_makefs = pytest.mark.skipif(not os.path.exists("/usr/lib/systemd/systemd-makefs"), reason="no systemd-makefs here")


def make_file_system(world, device, unconditional=False):
    """The unit, step by step, for the volume `data` of this world; true if it made something."""
    unit = dict(line.split("=", 1) for line in UNIT.read_text().splitlines() if "=" in line and line[0] not in "#[")
    condition = unit["ConditionPathExists"].replace("%I", "data")
    assert condition.startswith("/run/measured-unlock/")
    before = device.read_bytes()
    if unconditional or (world.folder / condition.removeprefix("/run/measured-unlock/")).exists():
        name, value = unit["Environment"].split("=")
        w.run(*unit["ExecStart"].replace("${%s}" % name, value).replace("/dev/mapper/%I", str(device)).split())
    return device.read_bytes() != before


@pytest.fixture
def mapped(tmp_path):
    """What a volume shows through dm-crypt with the wrong geometry, or behind a new key."""
    (tmp_path / "noise").write_bytes(os.urandom(16 * MIB))
    return tmp_path / "noise"


@needs_makefs
def test_file_system_is_made_only_on_a_created_volume(data, mapped):
    """The premise: noise has no file system, and systemd-makefs alone (x-systemd.makefs in fstab) makes one on it."""
    make(data)
    assert boot(data).returncode == OK and not (data.folder / "created").exists()
    assert not make_file_system(data, mapped)
    assert make_file_system(data, mapped, unconditional=True)


@needs_makefs
def test_file_system_in_the_boot_that_created_it(data, mapped):
    done = boot(data)
    assert done.returncode == OK and data.report()["volumes"][1]["created"] is True
    assert make_file_system(data, mapped)
    assert not make_file_system(data, mapped)  # there is one now


def test_other_key(data):
    """The key is named in the measured image, not on the disk."""
    make(data)
    token = token_of(data.data)
    aws = payload(token)[w.PROVIDER]
    keys = [{**aws["keys"][0], "key_arn": w.KEY_ARN.replace(w.KEY_ID, w.OTHER_KEY_ID)}]
    put_token(data.data, with_payload(token, **{w.PROVIDER: {**aws, "keys": keys}}))
    refused(data, "this image's is")
    assert operations(data) == []


def forge(world):
    """Who may Encrypt under the key makes a volume with a key that he knows; the strongest attacker with the disk."""
    import hashlib
    import hmac
    make(world)
    token, record = token_of(world.data), payload(token_of(world.data))
    key, evil = released_key(world, world.data), b"E" * 32
    path = world.folder / "slot-key"
    path.write_bytes(evil)
    (world.folder / "old-key").write_bytes(key)
    w.run("cryptsetup", "luksChangeKey", "-q", "--key-slot", "0", "--key-file", world.folder / "old-key",
          "--pbkdf", "pbkdf2", "--pbkdf-force-iterations", "1000", world.data, path)
    builder = emulator.Emulator.kms(world.aws, (w.BUILDER["access_key"], w.BUILDER["secret"], None))
    sealed = builder.encrypt(KeyId=w.KEY_ARN, Plaintext=evil,
                             EncryptionContext=record[w.PROVIDER]["encryption_context"])["CiphertextBlob"]
    record[w.PROVIDER]["keys"][0]["ciphertext"] = base64.b64encode(sealed).decode()
    slots = [k for k in metadata(world.data)["keyslots"]]
    record["keyslot"] = int(slots[0])
    text = json.dumps(record).encode()
    mac = hmac.new(evil, b"measured-unlock record made by the instance 1\0" + text, hashlib.sha384).digest()
    put_token(world.data, {**token, "keyslots": slots, "record": base64.b64encode(text).decode(),
                           "mac": base64.b64encode(mac).decode()})


def test_volume_forged_by_who_may_encrypt(data):
    put_policy(data, data_policy(data.tpm.pcr(4), sealed=False))
    forge(data)
    done = boot(data)
    assert done.returncode == OK, done.stderr  # the premise: the key policy lets somebody Encrypt with made-by
    next_boot(data)
    put_policy(data, data_policy(data.tpm.pcr(4)))
    make_blank(data)
    denied(forge, data)


def generate(world, made_by="instance", attested=None, **more):
    recipient = {"Recipient": {"KeyEncryptionAlgorithm": "RSAES_OAEP_SHA_256", "AttestationDocument": attested}}
    return as_role(world).generate_data_key(
        KeyId=w.KEY_ARN, KeySpec="AES_256", EncryptionContext={"volume-uuid": "u", "volume-identity": "i", "made-by": made_by},
        **(recipient if attested else {}), **more)


def test_role_after_the_boot_generates_nothing(data, tmp_path):
    """Root in the running system, with a document of its own: before the fence it could, after it, it cannot."""
    assert generate(data, attested=document(data, tmp_path)[1])["CiphertextForRecipient"]
    denied(generate, data)
    assert boot(data).returncode == OK
    denied(lambda: generate(data, attested=document(data, tmp_path)[1]))


def test_altered_instance_makes_nothing(data):
    """KMS and the signed baseline of the other volume, each alone: nothing is written."""
    data.tpm.extend(4, b"a boot kit")
    before = data.data.read_bytes()
    refused(data, "PCR 4")
    assert operations(data) == [] and data.data.read_bytes() == before
    next_boot(data)
    configure(data, data.data, only=True)
    data.tpm.extend(4, b"a boot kit")
    refused(data, "AccessDenied")
    assert operations(data) == [("GenerateDataKey", "deny")] and data.data.read_bytes() == before


def test_only_a_data_volume(data):
    """No volume of the configuration has a signed baseline: the baked one and KMS decide, and the boot says so."""
    configure(data, data.data, only=True)
    done = boot(data)
    assert done.returncode == OK and "no volume has a baseline signed" in done.said
    next_boot(data)
    assert boot(data).returncode == OK
    next_boot(data)
    data.tpm.extend(7, b"other keys")
    refused(data, "PCR 7")


def test_nothing_is_made_when_another_volume_does_not_open(data):
    forge_luks.write(forge_luks.FORGERIES["segment null cipher"][1], data.pristine, data.volume)
    before = data.data.read_bytes()
    refused(data, "segment-cipher")
    assert operations(data) == [] and data.data.read_bytes() == before


@pytest.mark.parametrize("fault, says", [
    (("wrong-plaintext",), "another"), (("plaintext-too",), "plaintext"), (("no-cms",), "CiphertextForRecipient"),
    (("key-id",), "for the key"), (("other-recipient",), "")])
def test_kms_that_lies(data, fault, says):
    """What comes from GenerateDataKey must come from Decrypt as well, before anything is written."""
    data.aws.fault("kms", *fault, operation="GenerateDataKey")
    before = data.data.read_bytes()
    refused(data, says)
    assert data.data.read_bytes() == before


def test_two_instances_never_share_a_key(data):
    make(data)
    first, first_key = metadata(data.data), released_key(data, data.data)
    make_blank(data)
    make(data)
    assert first_key != released_key(data, data.data)
    assert first["digests"]["0"]["digest"] != metadata(data.data)["digests"]["0"]["digest"]


def test_builder_signs_it_later(data, tmp_path):
    """A record signed by the builder takes the place of the instance's, as on any volume."""
    make(data)
    key, volume_key = tmp_path / "key", tmp_path / "volume-key"
    key.write_bytes(released_key(data, data.data))
    w.run("cryptsetup", "luksDump", "--dump-volume-key", "-q", "--key-file", key, "--volume-key-file", volume_key,
          data.data)
    done = w.muctl("enroll", "--resign", data.data, "--baseline", data.complete, "--sign-key", data.signing_key, check=False)
    assert done.returncode == REFUSE and "made by an instance" in " ".join(done.stderr.split())
    shown = w.muctl("record", "show", data.data).stdout
    assert "the instance itself" in shown
    w.muctl("enroll", data.data, "--volume", "data", "--key-arn", w.KEY_ARN, "--baseline", data.complete, "--sign-key", data.signing_key,
            "--volume-key-file", volume_key, "--endpoint", data.aws.info["kms_endpoint"], "--ca-file",
            data.aws.info["ca_file"], env={"PATH": "/usr/bin", **w.BUILDER_ENVIRONMENT})
    next_boot(data)
    done = boot(data)
    assert done.returncode == OK and data.report()["volumes"][1]["record_version"] == 1


def test_policy_that_muctl_writes(data):
    written = w.muctl("policy", "kms", "--baseline", data.complete, "--principal", w.ROLE_ARN, "--admin",
                      f"arn:aws:iam::{w.ACCOUNT}:role/key-admin", "--builder", w.BUILDER_ARN, "--data-volumes").stdout
    put_policy(data, json.loads(written))
    assert w.muctl("policy", "lint", "-", input=written).returncode == 0
    make(data)
    assert boot(data).returncode == OK
    next_boot(data)
    make_blank(data)
    put_policy(data, json.loads(written.replace('"kms:GenerateDataKey"', '"kms:DescribeKey"')))
    refused(data, "GenerateDataKey")


# ---- muctl ----

def policy_text(world):
    return w.muctl("policy", "kms", "--baseline", world.complete, "--principal", w.ROLE_ARN, "--admin",
                   f"arn:aws:iam::{w.ACCOUNT}:role/key-admin", "--builder", w.BUILDER_ARN, "--data-volumes").stdout


def statement(policy, sid):
    return next(s for s in policy["Statement"] if s["Sid"] == sid)


def drop_deny(policy):
    policy["Statement"].remove(statement(policy, "RefuseForgedVolumes"))


def widen_builder(policy):
    del statement(policy, "EncryptForEnrolment")["Condition"]


def narrow_deny(policy):
    statement(policy, "RefuseForgedVolumes")["Condition"]["StringEquals"] = {CONTEXT + "volume-uuid": "x"}


def allow_made_by(policy):
    statement(policy, "EncryptForEnrolment")["Condition"]["ForAllValues:StringEquals"]["kms:EncryptionContextKeys"] += \
        ["made-by"]


def unconditioned(action):
    def change(policy):
        policy["Statement"].append({"Sid": "flaw", "Effect": "Allow", "Principal": {"AWS": w.ROLE_ARN},
                                    "Action": action, "Resource": "*"})
    return change


@pytest.mark.parametrize("changes, rule", [
    ([], None), ([drop_deny], None), ([widen_builder], None), ([allow_made_by], None),
    ([drop_deny, widen_builder], "forged-data-volumes"), ([drop_deny, allow_made_by], "forged-data-volumes"),
    ([narrow_deny, widen_builder], "forged-data-volumes"),
    ([unconditioned("kms:GenerateDataKey")], "unconditioned-allow"),
    ([unconditioned("kms:GenerateDataKey*")], "unconditioned-allow"),
    ([unconditioned("kms:GenerateDataKeyPair")], "unconditioned-allow"),
    ([unconditioned("kms:GenerateDataKeyWithoutPlaintext")], None),  # gives nobody a key
])
def test_lint(data, changes, rule):
    policy = json.loads(policy_text(data))
    for change in changes:
        change(policy)
    done = w.muctl("policy", "lint", "--json", "-", input=json.dumps(policy), check=False)
    found = {f["rule"] for f in json.loads(done.stdout)["findings"]}
    assert found == ({rule} if rule else set())


def test_lint_and_kms_agree_about_forging(data):
    """What lint finds is what the attacker needs; without the finding he is denied."""
    policy = json.loads(policy_text(data))
    widen_builder(policy)
    put_policy(data, policy)
    denied(forge, data)
    drop_deny(policy)
    put_policy(data, policy)
    make_blank(data)
    next_boot(data)
    forge(data)
    assert boot(data).returncode == OK


def doctor(world, *options):
    done = w.muctl("doctor", "--build", "--config", world.config_path, "--json", *options, check=False)
    return done.returncode, {(f["name"], f["result"]): f["detail"] for f in json.loads(done.stdout)["findings"]
                             if f["name"] in ("data-volume", "policy", "volume-record", "volume-baseline", "volume-header")}


def test_doctor(data, tmp_path):
    policy = tmp_path / "policy.json"
    policy.write_text(policy_text(data))
    _, found = doctor(data, "--policy", policy)
    assert "the next boot makes the volume" in found["data-volume", "ok"]
    assert "failure" not in {result for _, result in found}
    narrow = json.loads(policy.read_text())
    narrow["Statement"] = [s for s in narrow["Statement"] if s["Sid"] != "MakeAndReleaseDataVolumes"]
    policy.write_text(json.dumps(narrow))
    assert "no data volume can be made" in doctor(data, "--policy", policy)[1]["policy", "failure"]
    make(data)
    _, found = doctor(data)
    assert "has a volume" in found["data-volume", "ok"] and "made by the instance" in found["volume-record", "ok"]
    assert "failure" not in {result for _, result in found}
    make_blank(data)
    tool("mkfs.ext4", "-q", "-F")(data.data)
    before = data.data.read_bytes()
    code, found = doctor(data)
    assert code != OK and "ext4" in found["data-volume", "failure"] and data.data.read_bytes() == before


@pytest.mark.parametrize("old, new, says", [
    ("create = blank\n", "", "go together"), ("key_arn = " + w.KEY_ARN, "", "go together"),
    (w.KEY_ARN, "alias/data", "must be the ARN"), ("create = blank", "create = yes", "create must be no, blank"),
    ("create = blank", "create = blank\nprovider = tpm2", "needs the provider aws-kms")])
def test_configuration(data, old, new, says):
    text = data.config_path.read_text()
    assert old in text
    data.config_path.write_text(text.replace(old, new))
    done = boot(data)
    assert done.returncode == CONFIG and says in done.said
