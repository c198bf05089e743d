# SPDX-License-Identifier: GPL-2.0-or-later
"""Several KMS keys for one volume: a multi-Region key with replicas, and one of another account. Which is asked when, what
each of them may answer, and that nothing but one of them opens the volume."""
import base64
import json
import shutil
import socket

import pytest
import world as w
from test_blank import data_policy, make_blank, with_payload

OK, USAGE, REFUSE, RETRY, CONFIG = 0, 1, 2, 3, 4
HOME, SECOND, THIRD = "eu-west-1", "us-east-1", "eu-central-1"
MRK = "mrk-1234abcd12ab34cd56ef1234567890ab"
ACCOUNT_2 = "444455556666"
REGION_PATH = "/latest/meta-data/placement/region"


def arn(region, key_id=MRK, account=w.ACCOUNT, partition="aws"):
    return f"arn:{partition}:kms:{region}:{account}:key/{key_id}"


FIRST, REPLICA, ABROAD = arn(HOME), arn(SECOND), arn(THIRD, w.OTHER_KEY_ID, ACCOUNT_2)
CHINA = arn("cn-north-1", w.KEY_ID, partition="aws-cn")
MAY = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "kms:*", "Resource": "*"}]}


class Regions(w.World):
    """Three regions; in the third a key of another account. The instance is in the first."""

    keys = (FIRST, REPLICA, ABROAD)

    def start_kms(self):
        policy = data_policy(self.tpm.pcr(4))
        replica = {"id": MRK, "policy": policy}
        self.aws = w.Aws(self.folder / "aws", self.tpm.root, self.tpm.pcr(4), identity_policy=MAY,
                         builder={**w.BUILDER, "identity_policy": MAY},
                         keys=[replica, {"id": w.KEY_ID, "policy": policy}],
                         regions={SECOND: [replica], THIRD: [
                             replica, {"id": w.OTHER_KEY_ID, "account": ACCOUNT_2, "policy": policy}]})

    def endpoints(self, **other):
        urls = {**self.aws.info["kms_endpoints"], **other}
        return ", ".join(f"{region}={url}" for region, url in urls.items())

    def is_in(self, region):
        """What IMDS says; the volume and the image are copies of those of the first region."""
        self.aws.fault("imds", "body", region, operation=REGION_PATH)

    def fails(self, region, name="error", value=None, **options):
        self.aws.fault("kms", name, value, region=region, operation="Decrypt", **options)

    def asked(self, operation="Decrypt"):
        return [r["region"] for r in self.aws.log()[self.aws.seen:] if r.get("operation") == operation]

    def released_by(self):
        return self.report()["volumes"][-1]["released_by"]


@pytest.fixture(scope="module")
def settled(tmp_path_factory):
    yield from w.settled(Regions(tmp_path_factory.mktemp("regions")))


@pytest.fixture
def world(settled):
    settled.fresh()
    return settled


@pytest.fixture
def nowhere():
    """An address where nothing listens."""
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        yield f"https://127.0.0.1:{s.getsockname()[1]}"


def boot(world):
    done = world.unlock()
    done.said = " ".join(done.stderr.split())
    return done


def unlocks(world, key):
    done = boot(world)
    assert done.returncode == OK, done.stderr
    assert world.released_by() == key and f"by aws-kms, {key}" in done.said
    assert world.fence_closed()
    return done


def refused(world, *says, code=REFUSE):
    done = boot(world)
    assert done.returncode == code, done.stderr
    for text in says:
        assert text in done.said, done.stderr
    assert world.fence_closed()
    return done


# ---- which is asked when ----

@pytest.mark.parametrize("region, key", [(HOME, FIRST), (SECOND, REPLICA), (THIRD, ABROAD)])
def test_own_region_first(world, region, key):
    world.is_in(region)
    unlocks(world, key)
    assert world.asked() == [region]


def test_a_region_without_a_key(world):
    world.is_in("sa-east-1")
    unlocks(world, FIRST)
    assert world.asked() == [HOME]


@pytest.mark.parametrize("fault, value", [("status", "404"), ("body", "../x"), ("body", "x" * 64)])
def test_region_not_known(world, fault, value):
    """Only the order depends on it."""
    world.aws.fault("imds", fault, value, operation=REGION_PATH)
    assert "in the record's order" in unlocks(world, FIRST).said
    assert world.asked() == [HOME]


def test_one_key_needs_no_region(world):
    world.keys, keys = (FIRST,), world.keys
    try:
        world.enroll(world.volume)
    finally:
        world.keys = keys
    world.aws.fresh()
    unlocks(world, FIRST)
    assert REGION_PATH not in {r["operation"] for r in world.aws.log()[world.aws.seen:]}


# ---- a key that does not answer ----

@pytest.mark.parametrize("fault, value", [
    ("error", "KMSInternalException"), ("error", "ThrottlingException"), ("status", "503"), ("close", None),
    ("short-body", None)])
def test_first_region_is_down(world, fault, value):
    world.fails(HOME, fault, value)
    done = unlocks(world, REPLICA)
    assert FIRST in done.said and [r for n, r in enumerate(world.asked()) if r not in world.asked()[:n]] == [HOME, SECOND]
    assert world.asked()[-1] == SECOND


def test_slow_region_is_not_waited_for(world):
    """The other key releases within the deadline that the slow answer alone would use up."""
    world.fails(HOME, "delay", "60")
    world.configure(timeout=30 * w.PATIENCE)
    unlocks(world, REPLICA)


def test_ami_copied_to_another_region(world, nowhere):
    """Its first region is out of reach for good: nothing of it is needed, nor waited for."""
    world.config_path.write_text(world.config_path.read_text().replace(world.endpoints(), world.endpoints(**{HOME: nowhere})))
    world.is_in(SECOND)
    unlocks(world, REPLICA)
    assert world.asked() == [SECOND]
    world.tpm.reboot()
    world.aws.fault("none")
    assert FIRST in unlocks(world, REPLICA).said  # asked first where it is out of reach, too


def test_comes_round_again(world):
    for region in (HOME, SECOND, THIRD):
        world.fails(region, value="KMSInternalException", count=2)
    unlocks(world, FIRST)
    assert world.asked() == 2 * [HOME, SECOND, THIRD] + [HOME]


def test_expired_credentials(world):
    world.fails(HOME, value="ExpiredTokenException", count=1)
    unlocks(world, REPLICA)
    assert len([r for r in world.aws.log()[world.aws.seen:] if r.get("method") == "PUT"]) == 3  # region, and twice credentials


def test_deadline(world):
    """All keys have one deadline; who refused is not asked again, and a refusal is not the outcome."""
    world.fails(SECOND, value="AccessDeniedException")
    world.fails(HOME, value="KMSInternalException")
    world.fails(THIRD, value="KMSInternalException")
    world.configure(timeout=5 * w.PATIENCE)
    refused(world, "KMSInternalException", REPLICA, code=RETRY)
    assert world.asked().count(SECOND) == 1 and world.asked().count(HOME) > 1


# ---- a key that refuses ----

REFUSALS = [("error", "AccessDeniedException"), ("error", "NotFoundException"), ("error", "InvalidCiphertextException"),
            ("key-id", REPLICA), ("key-id", ABROAD), ("plaintext-too", None), ("garbage-cms", None), ("no-cms", None),
            ("other-recipient", None), ("plaintext-length", "31")]


@pytest.mark.parametrize("fault, value", REFUSALS)
def test_first_refuses_and_second_answers(world, fault, value):
    world.fails(HOME, fault, value)
    done = unlocks(world, REPLICA)
    assert FIRST in done.said and world.asked() == [HOME, SECOND]


@pytest.mark.parametrize("fault, value", [REFUSALS[0], ("key-id", arn(HOME, w.KEY_ID)), ("garbage-cms", None)])
def test_all_refuse(world, fault, value):
    world.aws.fault("kms", fault, value, operation="Decrypt")
    refused(world, *world.keys, "none of 3 keys was released")
    assert world.asked() == [HOME, SECOND, THIRD] and "released_by" not in world.report()["volumes"][0]


def test_each_says_why(world):
    world.fails(HOME, value="DisabledException")
    world.fails(SECOND, value="AccessDeniedException")
    world.fails(THIRD, "key-id", FIRST)
    refused(world, f"{FIRST}: KMS answered DisabledException", f"{REPLICA}: KMS answered AccessDeniedException",
            f"{ABROAD}: KMS answered for the key {FIRST}")


def test_wrong_key_material(world):
    """A wrong plaintext from the first region is not the key of the slot: a refusal of the volume, and no other key is asked."""
    world.fails(HOME, "wrong-plaintext")
    refused(world, "key slot")
    assert world.asked() == [HOME]


@pytest.mark.parametrize("pcr", [4, 12, 15])
def test_altered_boot(world, pcr):
    """Every region has the policy, and an altered boot gets the key from none: PCR 4 and 12 are seen before that."""
    done = w.muctl("record", "show", world.volume, "--json")
    world.tpm.extend(pcr, b"something else")
    refused(world, f"PCR {pcr}")
    assert world.asked() == [] and done.returncode == OK


def test_certificate_of_another_authority(world):
    world.aws.fault("tls", "unknown-ca", region=HOME)
    unlocks(world, REPLICA)
    assert world.asked() == [SECOND]


# ---- the record ----

def record(world, volume=None):
    return json.loads(w.muctl("record", "show", volume or world.volume, "--json").stdout)


def test_replicas_share_the_ciphertext(world):
    volume = w.make_volume(world.folder / "other.img")
    world.aws.fresh()
    world.enroll(volume)
    assert world.asked("Encrypt") == [HOME, THIRD]
    keys = record(world, volume)[w.PROVIDER]["keys"]
    assert [k["key_arn"] for k in keys] == list(world.keys)
    assert ["ciphertext" in k for k in keys] == [True, False, True]


def signed_anew(world, change):
    """The record, altered, in the token with the signature of before."""
    token = w.export_token(world.volume)
    payload = json.loads(base64.b64decode(token["record"]))
    change(payload[w.PROVIDER]["keys"])
    w.remove_token(world.volume)
    w.import_token(world.volume, with_payload(token, **{w.PROVIDER: payload[w.PROVIDER]}))


@pytest.mark.parametrize("change", [
    lambda keys: keys.insert(0, keys.pop()), lambda keys: keys.pop(), lambda keys: keys[1].update(key_arn=arn("sa-east-1")),
    lambda keys: keys.append({"key_arn": arn(THIRD)})], ids=["order", "fewer", "another", "more"])
def test_altered_list(world, change):
    signed_anew(world, change)
    refused(world, "signature")
    assert world.asked() == []


def listed(world, *keys):
    world.keys, before = keys, world.keys
    image = world.volume.read_bytes()
    try:
        done = world.enroll(world.volume, check=False)
    finally:
        world.keys = before
    assert done.returncode != OK and world.volume.read_bytes() == image
    return done


@pytest.mark.parametrize("keys, code, says", [
    ((FIRST, REPLICA, FIRST), REFUSE, (FIRST, "stands twice", "leave one out")),
    ((FIRST, CHINA), REFUSE, (CHINA, "partition aws-cn", "enroll a volume of its own")),
    ((CHINA, FIRST), REFUSE, (FIRST, "partition aws,", "enroll a volume of its own")),
    ((FIRST, arn(SECOND).replace("key/" + MRK, "alias/x")), REFUSE, ("alias", "use the key's ARN")),
    ((FIRST, "x"), REFUSE, ("'x'", "arn:<partition>")),
    (tuple(arn(HOME, w.KEY_ID[:-2] + f"{i:02}") for i in range(17)), USAGE, ("--key-arn: at most 16",))])
def test_bad_lists(world, keys, code, says):
    done = listed(world, *keys)
    assert done.returncode == code, done.stderr
    for text in says:
        assert text in done.stderr
    assert world.asked("Encrypt") == []


def test_sixteen_keys(world):
    """They fit into a header of the usual size, beside a baseline."""
    volume = w.make_volume(world.folder / "many.img")
    world.keys, keys = (*world.keys, arn(THIRD), arn(HOME, w.KEY_ID), *(arn(f"region-{i}") for i in range(11))), world.keys
    try:
        world.enroll(volume)
    finally:
        world.keys = keys
    assert len(record(world, volume)[w.PROVIDER]["keys"]) == 16


def test_a_region_that_does_not_encrypt(world):
    world.aws.fault("kms", "error", "AccessDeniedException", region=THIRD, operation="Encrypt")
    done = listed(world, *world.keys)
    assert done.returncode == REFUSE and f"{ABROAD}: KMS answered AccessDenied" in done.stderr


# ---- another list for a volume that is there ----

def resign(world, *keys, check=True, baseline=()):
    return w.muctl("enroll", world.volume, "--resign", "--sign-key", world.signing_key,
                   *(word for key in keys for word in ("--key-arn", key)),
                   *(word for path in baseline for word in ("--baseline", path)), check=check)


def test_resign(world):
    """Another order, another replica, one key less: no passphrase, no KMS, and baselines and key slot stay."""
    before = record(world)
    resign(world, arn(THIRD), ABROAD, FIRST)
    assert world.asked("Encrypt") == []
    after = record(world)
    assert [k["key_arn"] for k in after[w.PROVIDER]["keys"]] == [arn(THIRD), ABROAD, FIRST]
    assert ["ciphertext" in k for k in after[w.PROVIDER]["keys"]] == [True, True, False]
    assert after["record_version"] == before["record_version"] + 1
    assert [after[n] for n in ("baselines", "keyslot", "volume_identity")] == [
        before[n] for n in ("baselines", "keyslot", "volume_identity")]
    world.is_in("sa-east-1")
    unlocks(world, arn(THIRD))
    assert world.asked() == [THIRD]


def test_resign_with_baselines(world):
    resign(world, REPLICA, baseline=[world.complete, world.complete])
    after = record(world)
    assert len(after["baselines"]) == 2 and [k["key_arn"] for k in after[w.PROVIDER]["keys"]] == [REPLICA]
    resign(world, baseline=[world.complete])
    assert record(world)[w.PROVIDER] == after[w.PROVIDER]
    unlocks(world, REPLICA)


@pytest.mark.parametrize("key", [arn(HOME, w.KEY_ID), arn(SECOND, w.OTHER_KEY_ID), arn(THIRD, MRK, ACCOUNT_2)])
def test_resign_to_other_material(world, key):
    before = world.volume.read_bytes()
    done = resign(world, FIRST, key, check=False)
    assert done.returncode == REFUSE and key in done.stderr and "without --resign" in done.stderr
    assert world.volume.read_bytes() == before


def test_resign_needs_something(world):
    assert resign(world, check=False).returncode == USAGE
    assert resign(world, FIRST, CHINA, check=False).returncode == REFUSE
    assert resign(world, FIRST, FIRST, check=False).returncode == REFUSE


# ---- a volume that the instance makes ----

def with_blank(world, *keys, separator=", "):
    device = make_blank(world)
    with world.config_path.open("a") as config:
        config.write(f"[volume data]\ndevice = {device}\ncreate = blank\nkey_arn = {separator.join(keys)}\n")
    return device


def next_boot(world):
    world.tpm.reboot()
    world.aws.fresh()


@pytest.mark.parametrize("separator", [", ", " "])
def test_made_by_the_key_of_its_own_region(world, separator):
    """What a replica made its replicas open, in whatever region the volume is next."""
    device = with_blank(world, ABROAD, FIRST, REPLICA, separator=separator)
    world.is_in(SECOND)
    unlocks(world, REPLICA)
    assert world.asked("GenerateDataKey") == [SECOND]
    assert [k["key_arn"] for k in record(world, device)[w.PROVIDER]["keys"]] == [REPLICA, FIRST]
    next_boot(world)
    world.fails(SECOND, value="KMSInternalException")
    unlocks(world, FIRST)


def test_made_by_the_first_that_answers(world):
    """A key with other material cannot be of use to it, since nobody but KMS encrypts for such a volume."""
    device = with_blank(world, FIRST, ABROAD)
    world.aws.fault("kms", "error", "AccessDeniedException", region=HOME, operation="GenerateDataKey")
    unlocks(world, ABROAD)
    assert world.asked("GenerateDataKey") == [HOME, THIRD]
    assert [k["key_arn"] for k in record(world, device)[w.PROVIDER]["keys"]] == [ABROAD]


def test_blank_refused_by_all(world):
    device = with_blank(world, FIRST, ABROAD)
    world.aws.fault("kms", "error", "AccessDeniedException", operation="GenerateDataKey")
    refused(world, FIRST, ABROAD, "none of 2 keys")
    assert not device.read_bytes().strip(b"\0")


@pytest.mark.parametrize("keys, says", [((FIRST, CHINA), "partition aws-cn"), ((FIRST, FIRST), "stands twice")])
def test_blank_with_a_bad_list(world, keys, says):
    device = with_blank(world, *keys)
    refused(world, says)
    assert not device.read_bytes().strip(b"\0")


def test_blank_under_a_key_that_the_image_does_not_name(world):
    device = with_blank(world, FIRST, REPLICA)
    unlocks(world, FIRST)
    saved = device.read_bytes()
    next_boot(world)
    world.configure()
    with_blank(world, FIRST)
    device.write_bytes(saved)
    refused(world, REPLICA, "this image's is")
    assert world.asked() == []


# ---- muctl doctor ----

def doctor(world, *options):
    """-> its findings about KMS and keys, with the worst result of the rest left to test_doctor.py"""
    root = world.folder / "root"
    shutil.rmtree(root, ignore_errors=True)
    (root / "etc/measured-unlock").mkdir(parents=True)
    config = world.config_path.read_text().replace(f"baseline = {world.baked}\n", "").replace(f"builder_key = {world.builder_key}\n", "")
    config = config.replace(f"ca_file = {world.aws.info['ca_file']}\n", "")
    (root / "etc/measured-unlock/measured-unlock.conf").write_text(config)
    for name, source in (("baseline.json", world.baked), ("builder.pem", world.builder_key), ("ca.pem", world.aws.info["ca_file"])):
        shutil.copy(source, root / "etc/measured-unlock" / name)
    done = w.muctl("doctor", "--instance", "--online", "--json", "--root", root, *options, check=False)
    findings = json.loads(done.stdout)["findings"]
    return [[f["result"], f["detail"]] for f in findings if f["name"] in ("kms", "key")]


def test_doctor_looks_at_each_key(world):
    found = doctor(world)
    assert [result for result, _ in found] == ["ok"] * 6, found
    for key, (_, said) in zip(world.keys, found[3:]):
        assert key in said and "opens key slot" in said


def test_doctor_names_the_key_that_is_denied(world):
    world.fails(SECOND, value="AccessDeniedException")
    found = doctor(world)
    assert [result for result, _ in found] == ["ok"] * 4 + ["failure", "ok"], found
    assert REPLICA in found[4][1]


def test_doctor_names_the_region_out_of_reach(world, nowhere):
    world.config_path.write_text(world.config_path.read_text().replace(world.endpoints(), world.endpoints(**{SECOND: nowhere})))
    found = doctor(world)
    assert [result for result, _ in found[:3]] == ["ok", "ok", "warning"], found
    assert nowhere in found[2][1] and "another key" in found[2][1]


def test_doctor_on_a_running_instance(world):
    unlocks(world, FIRST)
    found = doctor(world)
    assert [result for result, _ in found] == ["ok"] * 6, found
    assert ["denied, as it must be" in said for _, said in found[3:]] == [True] * 3
