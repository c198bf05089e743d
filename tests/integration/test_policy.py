# SPDX-License-Identifier: GPL-2.0-or-later
"""Key policies: tests/aws/policy.py, which evaluates them as IAM does, judges what is generated and what lint says."""
import copy
import hashlib
import itertools
import json
import random
import subprocess

import pytest
import world as w

import emulator as E
import policy as iam

KEY = w.KEY_ARN
ARN = f"arn:aws:iam::{w.ACCOUNT}:"
ROLE, ADMIN, BUILDER, OTHER = (ARN + f"role/{name}" for name in (w.ROLE, "key-admin", "image-builder", "intruder"))
ROOT = ARN + "root"
UUID, IDENTITY = "0f0e0d0c-1234-4321-8765-123456789abc", "5a" * 48
ZERO, SECURE_BOOT_OFF = w.ZERO, ("98441c7f7625d10058c47683aec486ce311c633235eb555593a7ee791121e357"
                                 "8ae72d04ecef661f272d59058b77af35")
# A separator alone, as firmware leaves PCR 2 and 3 where it loaded nothing.
CLEAN = hashlib.sha384(bytes(48) + hashlib.sha384(bytes(4)).digest()).hexdigest()
IMAGE = {2: CLEAN, 3: CLEAN, 4: "4a" * 48, 7: "7b" * 48, 12: ZERO, 13: ZERO, 14: ZERO}
BOUND_PCRS = {*IMAGE, 15}
CONTEXT = {"volume-uuid": UUID, "volume-identity": IDENTITY}
MAY_ALL = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "kms:*", "Resource": "*"}]}
WHO = ["--principal", ROLE, "--admin", ADMIN, "--builder", BUILDER]


def baseline(folder, values, name="baseline.json", algorithm="SHA384"):
    path = folder / name
    path.write_text(json.dumps({"Measurements": {"HashAlgorithm": algorithm,
                                                 **{f"PCR{n}": v for n, v in values.items()}}}))
    return path


def baselines(folder, *images):
    return [x for i, image in enumerate(images) for x in ("--baseline", baseline(folder, image, f"{i}.json"))]


def generate(folder, *images, options=(), who=WHO):
    key_policy = json.loads(w.muctl("policy", "kms", *baselines(folder, *images), *who, *options).stdout)
    iam.check(key_policy)
    return key_policy


def lint(key_policy, *options):
    """-> exit code, rules of the findings, rules of the warnings, report"""
    text = key_policy if isinstance(key_policy, str) else json.dumps(key_policy)
    done = w.muctl("policy", "lint", "--json", *options, "-", input=text, check=False)
    report = json.loads(done.stdout)
    assert report["ok"] is (report["findings"] == []) is (done.returncode == 0)
    for finding in report["findings"] + report["warnings"]:
        assert set(finding) == {"rule", "statement", "detail", "fix"} and finding["detail"] and finding["fix"]
    return (done.returncode, {f["rule"] for f in report["findings"]}, {f["rule"] for f in report["warnings"]}, report)


# The operations with Recipient (KMS API Reference); no other request comes with a document.
ATTESTABLE = {"Decrypt", "GenerateDataKey", "GenerateDataKeyPair", "DeriveSharedSecret"}


def request(action="Decrypt", who=ROLE, pcrs=IMAGE, context=CONTEXT, fence=ZERO, attested=True):
    values = {f"kms:EncryptionContext:{k}": v for k, v in context.items()}
    if context:
        values["kms:EncryptionContextKeys"] = list(context)
    if attested and action in ATTESTABLE:
        shown = {**{n: ZERO for n in range(24)}, 0: "00aa" * 24, 2: CLEAN, 3: CLEAN, **pcrs, 15: fence}
        values.update({f"{w.NITRO}{n}": v for n, v in shown.items()})
    values.update({"aws:PrincipalArn": who, "aws:SecureTransport": "true"})
    return iam.Request(f"kms:{action}", KEY, who, context=values)


def admits(key_policy, asked, identity=MAY_ALL):
    """Also with an identity policy that allows everything: the key policy alone must be the gate."""
    return iam.evaluate(key_policy, asked, identity).allowed


def others(pcrs, **changes):
    return {**pcrs, **{int(n[1:]): v for n, v in changes.items()}}


RIGHT = {
    "release": request(),
    "encrypt": request("Encrypt", BUILDER, attested=False),
    **{f"admin {a}": request(a, ADMIN, context={}, attested=False)
       for a in ("PutKeyPolicy", "GetKeyPolicy", "DescribeKey", "ScheduleKeyDeletion", "RevokeGrant")},
}
WRONG = {
    **{f"PCR {n} wrong": request(pcrs=others(IMAGE, **{f"p{n}": "ee" * 48})) for n in IMAGE},
    **{f"PCR {n} zero": request(pcrs=others(IMAGE, **{f"p{n}": ZERO})) for n in (4, 7)},
    "fence closed": request(fence="f1" * 48),
    "no document": request(attested=False),
    "no document, root": request(who=ROOT, attested=False),
    **{f"{a} as {who.rpartition(':')[2]}": request(a, who) for who in (ADMIN, BUILDER, OTHER, ROOT)
       for a in ("Decrypt", "ReEncryptFrom", "CreateGrant", "GenerateDataKey")},
    **{f"{a} by the instance": request(a) for a in (
        "Encrypt", "ReEncryptFrom", "CreateGrant", "GenerateDataKey", "GenerateDataKeyPair", "DeriveSharedSecret",
        "ReplicateKey", "PutKeyPolicy", "GetKeyPolicy", "ScheduleKeyDeletion")},
    **{f"{a} unattested by {who.rpartition('/')[2]}": request(a, who, attested=False)
       for who in (ROLE, ADMIN, BUILDER, ROOT) for a in
       ("Decrypt", "ReEncryptFrom", "CreateGrant", "GenerateDataKey", "DeriveSharedSecret", "ReplicateKey")},
    "no encryption context": request(context={}),
    "half an encryption context": request(context={"volume-uuid": UUID}),
    "other half": request(context={"volume-identity": IDENTITY}),
    "one context too many": request(context={**CONTEXT, "more": "x"}),
    "encrypt without context": request("Encrypt", BUILDER, context={}, attested=False),
    "admin encrypts": request("Encrypt", ADMIN, attested=False),
    "builder puts policy": request("PutKeyPolicy", BUILDER, context={}, attested=False),
    "root puts policy": request("PutKeyPolicy", ROOT, context={}, attested=False),
}
OTHER_VOLUME = {
    "other volume": request(context={**CONTEXT, "volume-uuid": UUID[::-1]}),
    "other identity": request(context={**CONTEXT, "volume-identity": "5b" * 48}),
}
BOUND = ["--volume-uuid", UUID, "--context", f"volume-identity={IDENTITY}"]


@pytest.fixture(scope="module")
def good(tmp_path_factory):
    return generate(tmp_path_factory.mktemp("policy"), IMAGE)


@pytest.fixture(scope="module")
def bound(tmp_path_factory):
    return generate(tmp_path_factory.mktemp("policy"), IMAGE, options=BOUND)


@pytest.mark.parametrize("name", RIGHT)
def test_right_request_is_admitted(good, bound, name):
    assert admits(good, RIGHT[name], None) and admits(bound, RIGHT[name], None)


@pytest.mark.parametrize("name", WRONG)
def test_wrong_request_is_not(good, bound, name):
    assert not admits(good, WRONG[name]) and not admits(bound, WRONG[name])


@pytest.mark.parametrize("name", OTHER_VOLUME)
def test_volume_is_bound(good, bound, name):
    """The twin without --volume-uuid does not know which volume is meant."""
    assert not admits(bound, OTHER_VOLUME[name]) and admits(good, OTHER_VOLUME[name])


# Service Authorization Reference, "Actions, resources, and condition keys for AWS Key Management Service"
ACTIONS = """CancelKeyDeletion ConnectCustomKeyStore CreateAlias CreateCustomKeyStore CreateGrant CreateKey Decrypt DeleteAlias
    DeleteCustomKeyStore DeleteImportedKeyMaterial DeriveSharedSecret DescribeCustomKeyStores DescribeKey DisableKey
    DisableKeyRotation DisconnectCustomKeyStore EnableKey EnableKeyRotation Encrypt GenerateDataKey GenerateDataKeyPair
    GenerateDataKeyPairWithoutPlaintext GenerateDataKeyWithoutPlaintext GenerateMac GenerateRandom GetKeyPolicy
    GetKeyRotationStatus GetParametersForImport GetPublicKey ImportKeyMaterial ListAliases ListGrants ListKeyPolicies
    ListKeyRotations ListKeys ListResourceTags ListRetirableGrants PutKeyPolicy ReEncryptFrom ReEncryptTo ReplicateKey
    RetireGrant RevokeGrant RotateKeyOnDemand ScheduleKeyDeletion Sign SynchronizeMultiRegionKey TagResource UntagResource
    UpdateAlias UpdateCustomKeyStore UpdateKeyDescription UpdatePrimaryRegion Verify VerifyMac""".split()
ADMINISTRATION = {"CancelKeyDeletion", "CreateAlias", "DeleteAlias", "DescribeKey", "DisableKey", "DisableKeyRotation",
                  "EnableKey", "EnableKeyRotation", "GetKeyPolicy", "GetKeyRotationStatus", "ListGrants", "ListKeyPolicies",
                  "ListResourceTags", "PutKeyPolicy", "RevokeGrant", "ScheduleKeyDeletion", "TagResource",
                  "UntagResource", "UpdateAlias", "UpdateKeyDescription"}


@pytest.mark.parametrize("who, may", [(ROLE, {"Decrypt"}), (BUILDER, {"Encrypt"}), (ADMIN, ADMINISTRATION),
                                      (OTHER, set()), (ROOT, set())], ids=lambda v: v if isinstance(v, str) else "")
def test_each_action(good, bound, who, may):
    """Even with the right document and context, each role may do this and nothing else."""
    for found in good, bound:
        assert {a for a in ACTIONS if admits(found, request(a, who))} == may
        assert {a for a in ACTIONS if admits(found, request(a, who, attested=False))} == may - {"Decrypt"}


def test_replication(tmp_path):
    """What differs while replicas are made; lint does not take it for the policy that stays."""
    found = generate(tmp_path, IMAGE, options=["--replication"])
    for who, may in ((ROLE, {"Decrypt"}), (BUILDER, {"Encrypt"}), (ADMIN, ADMINISTRATION | {"ReplicateKey"}), (OTHER, set()), (ROOT, set())):
        assert {a for a in ACTIONS if admits(found, request(a, who))} == may
    code, findings, _, report = lint(found)
    assert (code, findings) == (2, {"unconditioned-allow"})
    assert {f["statement"] for f in report["findings"]} == {"AdministerWithoutUse"}


def test_each_pcr_of_a_document(good):
    """Exactly those of the baseline and the fence matter."""
    for n in range(24):
        asked = request(pcrs=others(IMAGE, **{f"p{n}": "ee" * 48}), fence="ee" * 48 if n == 15 else ZERO)
        assert admits(good, asked) is (n not in BOUND_PCRS), n


@pytest.mark.parametrize("image", [{4: "4a" * 48, 12: ZERO}, {7: "7b" * 48, 12: ZERO}, {**IMAGE, 11: "11" * 48},
                                   {4: "4a" * 48, 7: SECURE_BOOT_OFF, 12: ZERO}])
def test_what_the_baseline_has_is_bound(tmp_path, image):
    found = generate(tmp_path, image)
    assert admits(found, request(pcrs=image)) and lint(found)[:3] == (0, set(), set())
    for n in image:
        assert not admits(found, request(pcrs=others(image, **{f"p{n}": "ee" * 48})))
    assert not admits(found, request(pcrs=image, attested=False))


def test_update_of_one_pcr_is_one_condition(tmp_path):
    new = others(IMAGE, p4="4c" * 48)
    found = generate(tmp_path, IMAGE, new, IMAGE)
    release, = (s for s in found["Statement"] if s["Action"] == "kms:Decrypt")
    assert release["Condition"]["StringEquals"][w.NITRO + "4"] == [IMAGE[4], new[4]]
    assert admits(found, request()) and admits(found, request(pcrs=new))
    assert not admits(found, request(pcrs=others(IMAGE, p4="4d" * 48))) and lint(found)[:3] == (0, set(), set())


def test_update_of_two_pcrs_does_not_mix(tmp_path):
    new = others(IMAGE, p4="4c" * 48, p7="7c" * 48)
    found = generate(tmp_path, IMAGE, new)
    for p4, p7 in itertools.product((IMAGE, new), repeat=2):
        assert admits(found, request(pcrs=others(IMAGE, p4=p4[4], p7=p7[7]))) is (p4 is p7)
    assert lint(found)[:3] == (0, set(), set())
    mixed = copy.deepcopy(found)
    mixed["Statement"][2]["Condition"]["StringEquals"].update({w.NITRO + "4": [IMAGE[4], new[4]],
                                                               w.NITRO + "7": [IMAGE[7], new[7]]})
    assert admits(mixed, request(pcrs=others(new, p7=IMAGE[7]))) and "mixed-baselines" in lint(mixed)[2]


def test_update_with_another_set_of_pcrs(tmp_path):
    new = {4: "4c" * 48, 12: ZERO}
    found = generate(tmp_path, IMAGE, new)
    assert admits(found, request(pcrs=new)) and admits(found, request())
    assert not admits(found, request(pcrs=others(IMAGE, p7=ZERO)))


def test_before_the_first_image(tmp_path):
    """A key that the builder may enroll with, and that nobody can have yet."""
    key_policy = generate(tmp_path, who=WHO[2:])
    assert lint(key_policy)[:3] == (0, set(), set())
    for name, asked in RIGHT.items():
        assert admits(key_policy, asked) is (name != "release")
    for asked in WRONG.values():
        assert not admits(key_policy, asked)


def test_other_fence(tmp_path):
    found = generate(tmp_path, IMAGE, options=["--fence-pcr", "11"])
    assert admits(found, request(fence="ee" * 48)) and not admits(found, request(pcrs=others(IMAGE, p11="ee" * 48)))
    assert lint(found, "--fence-pcr", "11")[0] == 0 and lint(found)[1] == {"fence-pcr"}


def test_pcr_0_is_left_out_and_said(tmp_path):
    done = w.muctl("policy", "kms", "--baseline", baseline(tmp_path, {**IMAGE, 0: "00aa" * 24}), *WHO)
    assert "PCR 0 is left out" in " ".join(done.stderr.replace("muctl:", "").split())
    assert "NitroTPMPCR0" not in done.stdout


@pytest.mark.parametrize("image, algorithm, says", [
    ({4: "4a" * 48}, "SHA384", "PCR 12"),
    ({12: ZERO}, "SHA384", "PCR 4"),
    ({4: "4a" * 48, 12: ZERO, 1: "11" * 48}, "SHA384", "PCR 1"),
    ({4: "4a" * 48, 12: ZERO, 15: ZERO}, "SHA384", "PCR 15"),
    ({7: SECURE_BOOT_OFF, 12: ZERO}, "SHA384", "Secure Boot"),
    ({4: ZERO, 12: ZERO}, "SHA384", "nothing was measured"),
    ({4: "4a" * 32, 12: "00" * 32}, "SHA256", "SHA-384"),
])
def test_baseline_that_proves_nothing_is_refused(tmp_path, image, algorithm, says):
    done = w.muctl("policy", "kms", "--baseline", baseline(tmp_path, image, algorithm=algorithm), *WHO, check=False)
    assert done.returncode == 4 and says in done.stderr and done.stdout == ""


@pytest.mark.parametrize("who", [
    [], ["--principal", ROLE], ["--admin", ADMIN], ["--principal", ROLE, "--admin", ROLE],
    WHO + ["--builder", ROLE], ["--principal", ROOT, "--admin", ADMIN], ["--principal", ROLE, "--admin", ROOT],
    ["--principal", "*", "--admin", ADMIN], ["--principal", ROLE + "*", "--admin", ADMIN],
    ["--principal", w.ACCOUNT, "--admin", ADMIN], ["--principal", ROLE.replace("iam", "sts"), "--admin", ADMIN],
    ["--principal", ROLE + '"', "--admin", ADMIN], WHO + ["--context", "more=x"], WHO + ["--volume-uuid", UUID.upper()],
    WHO + ["--context", "volume-identity=5a"], WHO + ["--fence-pcr", "23"], WHO + ["--fence-pcr", "7"],
    WHO + ["operand"],
])
def test_arguments_that_would_open_the_gate(tmp_path, who):
    done = w.muctl("policy", "kms", "--baseline", baseline(tmp_path, IMAGE), *who, check=False)
    assert done.returncode == 1 and done.stderr and done.stdout == ""


def test_output_file(tmp_path, good):
    w.muctl("policy", "kms", *baselines(tmp_path, IMAGE), *WHO, "-o", tmp_path / "p.json")
    assert json.loads((tmp_path / "p.json").read_text()) == good
    assert w.muctl("policy", "lint", tmp_path / "p.json").stdout.startswith("ok")


@pytest.fixture(scope="module")
def aws(tmp_path_factory):
    found = E.Emulator(tmp_path_factory.mktemp("aws"))
    yield found
    found.stop()


def outcome(call, **arguments):
    try:
        call(**arguments)
        return "ok"
    except E.botocore.exceptions.ClientError as error:
        return error.response["Error"]["Code"]


def test_through_kms(aws, tmp_path):
    """The builder, a former administrator, puts the policy; from then on it only encrypts."""
    image = {n: E.PCRS[n].hex() for n in IMAGE}
    builder, instance = aws.builder(), aws.kms()
    put = {"KeyId": E.KEY_ARN, "PolicyName": "default", "Policy": json.dumps(generate(tmp_path, image, options=BOUND))}
    builder.put_key_policy(**put)
    sealed = builder.encrypt(KeyId=E.KEY_ARN, Plaintext=b"k" * 32, EncryptionContext=CONTEXT)["CiphertextBlob"]
    key, spki = E.rsa_key()

    def decrypt(client=instance, context=CONTEXT, **what):
        return outcome(client.decrypt, KeyId=E.KEY_ARN, CiphertextBlob=sealed, EncryptionContext=context,
                       Recipient=aws.recipient(spki, **what))

    assert decrypt() == "ok"
    for n in BOUND_PCRS:
        changed = [bytes([0xee]) * 48 if i == n else p for i, p in enumerate(E.PCRS)]
        assert decrypt(pcrs=changed) == "AccessDeniedException"
    assert decrypt(client=builder) == decrypt(context={}) == "AccessDeniedException"
    for client in (builder, instance):
        assert outcome(client.decrypt, KeyId=E.KEY_ARN, CiphertextBlob=sealed,
                       EncryptionContext=CONTEXT) == "AccessDeniedException"
    assert outcome(builder.put_key_policy, **put) == "AccessDeniedException"


def test_own_boot(world):
    """measured-unlock enrolls and unlocks under the policy, and not once the fence is closed."""
    identity = json.loads(w.muctl("record", "show", world.volume, "--json").stdout)["volume_identity"]
    uuid = w.run("cryptsetup", "luksUUID", world.volume, text=True).stdout.strip()
    path = world.folder / "generated.json"
    w.muctl("policy", "kms", "--baseline", world.complete, *WHO, "--volume-uuid", uuid,
            "--context", f"volume-identity={identity}", "-o", path)
    before = world.folder / "before.json"
    before.write_text(json.dumps(w.key_policy(world.tpm.pcr(4))))
    w.run(w.Aws.COMMAND, "key", "--dir", world.aws.folder, "--policy", path, w.KEY_ID)
    try:
        world.enroll(world.volume, "--record-version", "2")
        assert world.unlock().returncode == 0
        assert [r["decision"] for r in world.aws.decrypts()] == ["allow"]
        assert world.unlock().returncode == 2
    finally:
        w.run(w.Aws.COMMAND, "key", "--dir", world.aws.folder, "--policy", before, w.KEY_ID)


# Flaws: name -> (rule, a function that spoils a good policy, the wrong request that is then admitted or None).

def release(p):
    return next(s for s in p["Statement"] if s["Sid"].startswith("Release"))


def equals(p):
    return release(p)["Condition"]["StringEquals"]


def deny(p):
    return next(s for s in p["Statement"] if s["Sid"].startswith("Refuse"))


def pcr(n):
    return f"{w.NITRO}{n}"


def allow(action, who=None, **more):
    return lambda p: p["Statement"].append({"Sid": "flaw", "Effect": "Allow", "Principal": {"AWS": who or OTHER},
                                            "Action": action, "Resource": "*", **more})


def without_deny(spoil):
    def both(p):
        p["Statement"].remove(deny(p))
        spoil(p)
    return both


def move(p, operator, *pcrs, change=lambda v: v):
    """Compare these PCRs with another operator."""
    for n in pcrs:
        release(p)["Condition"].setdefault(operator, {})[pcr(n)] = change(equals(p).pop(pcr(n)))


def drop(*pcrs):
    return lambda p: [equals(p).pop(pcr(n)) for n in pcrs]


def value(n, new):
    return lambda p: equals(p).update({pcr(n): new})


def element(old, new, wanted, which=release):
    def spoil(p):
        which(p).pop(old)
        which(p)[new] = wanted
    return spoil


def rename(n, name):
    def spoil(p):
        equals(p)["kms:RecipientAttestation:" + name] = equals(p).pop(pcr(n))
    return spoil


ANY_IMAGE = request(pcrs=others(IMAGE, p4="ee" * 48, p7="ee" * 48))
STRANGER = request(who=OTHER, pcrs=others(IMAGE, p4="ee" * 48))
FLAWS = {
    "decrypt for another": ("unconditioned-allow", allow("kms:Decrypt"), STRANGER),
    "any case": ("unconditioned-allow", allow("KMS:dEcRyPt"), STRANGER),
    "wildcard action": ("unconditioned-allow", allow(["kms:Describe*", "kms:D*"]), STRANGER),
    "question mark": ("unconditioned-allow", allow("kms:Decryp?"), STRANGER),
    "everything": ("unconditioned-allow", allow("*"), STRANGER),
    "re-encryption": ("unconditioned-allow", without_deny(allow("kms:ReEncrypt*")), request("ReEncryptFrom", OTHER)),
    "grants": ("unconditioned-allow", without_deny(allow("kms:CreateGrant")), request("CreateGrant", OTHER)),
    "data keys": ("unconditioned-allow", allow("kms:GenerateDataKey*"), request("GenerateDataKey", OTHER)),
    "only an unrelated condition": ("unconditioned-allow",
                                    allow("kms:Decrypt", Condition={"StringEquals": {"aws:PrincipalArn": OTHER}}),
                                    STRANGER),
    "any document": ("unconditioned-allow", allow("kms:Decrypt", Condition={"Null": {pcr(4): "false"}}), STRANGER),
    "all PCRs forgotten": ("unconditioned-allow", drop(*BOUND_PCRS), ANY_IMAGE),
    "no PCR 12": ("pcr4-without-pcr12", drop(12), WRONG["PCR 12 wrong"]),
    "no PCR 4 and 7": ("no-image-pcr", drop(4, 7), ANY_IMAGE),
    "PCR 7 alone, Secure Boot off": ("pcr-proves-nothing", lambda p: (drop(4)(p), value(7, SECURE_BOOT_OFF)(p)),
                                     request(pcrs={4: "ee" * 48, 7: SECURE_BOOT_OFF, 12: ZERO})),
    **{f"driver in PCR {n}, Secure Boot off": (
        "firmware-drivers", lambda p, n=n: (drop(n)(p), value(7, SECURE_BOOT_OFF)(p)),
        request(pcrs={**IMAGE, 7: SECURE_BOOT_OFF, n: "dd" * 48})) for n in (2, 3)},
    "driver, Secure Boot on or off": ("firmware-drivers", lambda p: (
        drop(2)(p), value(7, [IMAGE[7], SECURE_BOOT_OFF])(p)), None),
    "driver, no PCR 7": ("firmware-drivers", drop(2, 7), request(pcrs={**IMAGE, 2: "dd" * 48})),
    "PCR 4 may be zero": ("pcr-proves-nothing", value(4, [IMAGE[4], ZERO]), WRONG["PCR 4 zero"]),
    **{f"PCR {n}": ("pcr-not-useful", value(n, "aa" * 48), None) for n in (0, 1, 6, 10, 16, 17, 22, 23)},
    "no fence": ("fence-pcr", drop(15), WRONG["fence closed"]),
    "fence may be closed": ("fence-pcr", value(15, [ZERO, "f1" * 48]), WRONG["fence closed"]),
    "upper case": ("upper-case-hex", value(4, IMAGE[4].upper()), None),
    "upper case beside": ("upper-case-hex", value(4, [IMAGE[4], "AB" * 48]), None),
    "SHA-256 value": ("bad-pcr-value", value(4, "4a" * 32), None),
    "one digit short": ("bad-pcr-value", value(4, IMAGE[4][1:]), None),
    "0x": ("bad-pcr-value", value(4, "0x" + IMAGE[4][2:]), None),
    "empty value": ("bad-pcr-value", value(4, ""), None),
    "a star is no hex": ("bad-pcr-value", value(4, "*"), None),
    "wildcard": ("pcr-wildcard", lambda p: move(p, "StringLike", 4, change=lambda v: "*"), WRONG["PCR 4 wrong"]),
    "wildcard beside": ("pcr-wildcard", lambda p: move(p, "StringLike", 4, change=lambda v: [v, "?" * 96]),
                        WRONG["PCR 4 wrong"]),
    "not the old image": ("pcr-operator", lambda p: move(p, "StringNotEquals", 4, change=lambda v: "01" * 48),
                          WRONG["PCR 4 wrong"]),
    "ArnLike": ("pcr-operator", lambda p: move(p, "ArnLike", 4), None),
    "IfExists": ("passes-when-absent", without_deny(lambda p: move(p, "StringEqualsIfExists", *BOUND_PCRS)),
                 WRONG["no document"]),
    "ForAllValues": ("passes-when-absent", without_deny(lambda p: move(p, "ForAllValues:StringEquals", *BOUND_PCRS)),
                     WRONG["no document"]),
    "context that may be absent": ("passes-when-absent", lambda p: release(p)["Condition"].pop("Null"),
                                   WRONG["no encryption context"]),
    "enclave image": ("enclave-condition-key", rename(4, "ImageSha384"), None),
    "enclave PCR": ("enclave-condition-key", rename(12, "PCR12"), None),
    "PCR 24": ("enclave-condition-key", rename(12, "NitroTPMPCR24"), None),
    "enclave key in the Deny": ("enclave-condition-key", lambda p: deny(p).update(
        Condition={"Null": {"kms:RecipientAttestation:ImageSha384": "true"}}), None),
    "no principal": ("principal-missing", lambda p: release(p).pop("Principal"), None),
    "anybody": ("principal-any", lambda p: release(p).update(Principal="*"), request(who=OTHER)),
    "anybody, the other way": ("principal-any", lambda p: release(p).update(Principal={"AWS": [ROLE, "*"]}),
                               request(who=OTHER)),
    "wildcard principal": ("principal-wildcard", lambda p: release(p).update(Principal={"AWS": ARN + "role/*"}), None),
    "account root": ("account-root-delegation", lambda p: p["Statement"].append(
        {"Sid": "Enable IAM User Permissions", "Effect": "Allow", "Principal": {"AWS": ROOT}, "Action": "kms:*",
         "Resource": "*"}), STRANGER),
    "account number": ("account-root-delegation", lambda p: release(p).update(Principal={"AWS": w.ACCOUNT}),
                       request(who=OTHER)),
    "no Deny": ("missing-null-deny", lambda p: p["Statement"].remove(deny(p)), None),
    "Deny the wrong way": ("missing-null-deny", lambda p: deny(p)["Condition"]["Null"].update({pcr(4): "false"}), None),
    "Deny without Decrypt": ("missing-null-deny", lambda p: deny(p)["Action"].remove("kms:Decrypt"), None),
    "Deny for one": ("missing-null-deny", lambda p: deny(p).update(Principal={"AWS": ROLE}), None),
    "Deny with an exception": ("missing-null-deny", lambda p: deny(p)["Condition"].update(
        ArnNotEquals={"aws:PrincipalArn": OTHER}), None),
    "Deny for another key": ("missing-null-deny", lambda p: deny(p).update(Resource=KEY + "x"), None),
    "Deny by the key's ARN": ("missing-null-deny", lambda p: deny(p).update(Resource=KEY), None),
    "Allow by the key's ARN": ("resource", lambda p: release(p).update(Resource=KEY), None),
    "Allow by two": ("resource", lambda p: release(p).update(Resource=["*", KEY]), None),
    "deleted role": ("principal-deleted", lambda p: release(p).update(Principal={"AWS": [ROLE, "AROAEXAMPLEID123456"]}), None),
    "NotAction": ("not-element", element("Action", "NotAction", "kms:Encrypt"), request("GenerateDataKey")),
    "NotPrincipal": ("not-element", element("Principal", "NotPrincipal", {"AWS": ADMIN}), request(who=OTHER)),
    "NotResource": ("not-element", element("Resource", "NotResource", KEY + "x"), None),
    "Deny NotPrincipal": ("missing-null-deny", element("Principal", "NotPrincipal", {"AWS": ROLE}, deny), None),
    "Deny of a name": ("malformed", lambda p: deny(p).update(Action="Decrypt"), None),
    "empty principal": ("malformed", lambda p: release(p).update(Principal={}), None),
    "anybody of an account": ("principal-any", lambda p: (
        release(p).update(Principal="*"), release(p)["Condition"]["StringEquals"].update({"aws:PrincipalAccount":
                                                                                          w.ACCOUNT})), None),
    "anybody of a path": ("principal-any", lambda p: (
        release(p).update(Principal="*"), release(p)["Condition"].update(
            ArnLike={"aws:PrincipalArn": ARN + "role/*"})), request(who=OTHER)),
    "anybody if known": ("principal-any", lambda p: (
        release(p).update(Principal="*"), release(p)["Condition"].update(
            ArnEqualsIfExists={"aws:PrincipalArn": ROLE})), None),
    "AWS's usual administrators": ("unconditioned-allow", without_deny(allow(
        ["kms:Create*", "kms:Describe*", "kms:Enable*", "kms:List*", "kms:Put*", "kms:Update*", "kms:Revoke*",
         "kms:Disable*", "kms:Get*", "kms:Delete*", "kms:TagResource", "kms:ScheduleKeyDeletion"])),
        request("CreateGrant", OTHER)),
    "grants to AWS's services": ("unconditioned-allow", allow(
        ["kms:CreateGrant", "kms:ListGrants"], Condition={"Bool": {"kms:GrantIsForAWSResource": "true"}}), None),
    "a service": ("unconditioned-allow", lambda p: p["Statement"].append(
        {"Sid": "flaw", "Effect": "Allow", "Principal": {"Service": "ec2.amazonaws.com"}, "Action": "kms:Decrypt",
         "Resource": "*"}), None),
    "context that may be another": ("passes-when-absent", lambda p: release(p)["Condition"].update({
        "StringEqualsIfExists": {"kms:EncryptionContext:more": "x"}}), None),
    "role puts policy": ("role-administers", allow("kms:Put*", ROLE), request("PutKeyPolicy")),
    "misspelt member": ("malformed", lambda p: release(p).update(Conditon=release(p).pop("Condition")), None),
    "misspelt operator": ("malformed", lambda p: move(p, "StringEqual", 4), None),
    "misspelt effect": ("malformed", lambda p: deny(p).update(Effect="deny"), None),
    "null value": ("malformed", value(4, None), None),
}


@pytest.mark.parametrize("name", FLAWS)
def test_flaw_is_found(good, name):
    rule, spoil, wrong = FLAWS[name]
    assert lint(good)[:3] == (0, set(), set())
    spoilt = copy.deepcopy(good)
    spoil(spoilt)
    if wrong is not None:
        assert not admits(good, wrong) and admits(spoilt, wrong)
    code, findings, _, _ = lint(spoilt)
    assert code == 2 and rule in findings


@pytest.mark.parametrize("name, rule", [("decrypt for another", "unconditioned-allow"), ("no fence", "fence-pcr")])
def test_finding_names_the_statement(good, name, rule):
    spoilt = copy.deepcopy(good)
    FLAWS[name][1](spoilt)
    sid = "flaw" if rule == "unconditioned-allow" else "ReleaseToMeasuredBoot"
    assert [(f["rule"], f["statement"]) for f in lint(spoilt)[3]["findings"]] == [(rule, sid)]
    at = [s["Sid"] for s in spoilt["Statement"]].index(sid)
    spoilt["Statement"][at].pop("Sid")
    assert lint(spoilt)[3]["findings"][0]["statement"] == str(at)


WARNINGS = {
    "no context": ("encryption-context",
                   lambda p: [release(p)["Condition"].pop(k) for k in ("Null", "ForAllValues:StringEquals")],
                   WRONG["no encryption context"]),
    "outside command line": ("outside-command-line", value(12, "cc" * 48), request(pcrs=others(IMAGE, p12="cc" * 48))),
    "an action without documents": ("no-document", lambda p: release(p).update(
        Action=["kms:Decrypt", "kms:ReEncryptFrom"]), None),
    "extension images": ("extensions", drop(13), request(pcrs=others(IMAGE, p13="dd" * 48))),
    "machine owner's keys": ("extensions", drop(14), request(pcrs=others(IMAGE, p14="dd" * 48))),
    "Deny of Decrypt alone": ("incomplete-null-deny", lambda p: deny(p).update(Action="kms:Decrypt"), None),
    "nobody administers": ("no-administrator", lambda p: p["Statement"].pop(0), None),
    "administration with a document only": ("no-administrator", lambda p: deny(p).update(Action="kms:*"), None),
    "account administers": ("account-root-administers", lambda p: p["Statement"][0].update(Principal={"AWS": ROOT}),
                            WRONG["root puts policy"]),
}


@pytest.mark.parametrize("name", WARNINGS)
def test_warning(good, name):
    rule, spoil, wrong = WARNINGS[name]
    changed = copy.deepcopy(good)
    spoil(changed)
    assert wrong is None or (admits(changed, wrong) and not admits(good, wrong))
    assert lint(changed)[:3] == (0, set(), {rule})


@pytest.mark.parametrize("harmless", [
    lambda p: move(p, "StringEqualsIgnoreCase", 4, 7, change=str.upper),
    lambda p: move(p, "StringLike", 4),
    lambda p: move(p, "ForAnyValue:StringEquals", 4),
    lambda p: deny(p).update(Principal={"AWS": "*"}),
    lambda p: deny(p).update(Condition={"StringNotEquals": {pcr(15): ZERO}}),
    lambda p: equals(p).update({pcr(4).lower(): equals(p).pop(pcr(4))}),
    lambda p: release(p)["Condition"].update(Bool={"aws:SecureTransport": True}),
    allow(["kms:Describe*", "kms:Encrypt", "kms:ReEncryptTo", "kms:GenerateDataKeyWithoutPlaintext"]),
    lambda p: p.pop("Id"),
    lambda p: release(p).update(Resource=["*"]) or deny(p).update(Resource=["*"]),
    element("Action", "NotAction", [f"kms:{a}" for a in ("PutKeyPolicy", "GetKeyPolicy", "DescribeKey", "Encrypt")], deny),
    lambda p: release(p).update(Principal="*") or release(p)["Condition"].update(ArnEquals={"aws:PrincipalArn": ROLE}),
    lambda p: release(p).update(Principal={"AWS": ROOT}) or equals(p).update({"aws:PrincipalArn": ROLE}),
    lambda p: p["Statement"][0].update(Condition={"BoolIfExists": {"aws:MultiFactorAuthPresent": "true"}}),
    lambda p: p["Statement"].append({"Effect": "Deny", "NotPrincipal": {"AWS": [ROLE, BUILDER, ADMIN]},
                                     "Action": "kms:*", "Resource": "*"}),
    allow(["kms:Describe*", "kms:Get*", "kms:List*", "kms:Put*", "kms:Update*", "kms:Enable*", "kms:Disable*",
           "kms:Revoke*", "kms:TagResource", "kms:ScheduleKeyDeletion", "kms:CancelKeyDeletion"], ROOT),
])
def test_other_ways_to_say_it_are_clean(good, harmless):
    changed = copy.deepcopy(good)
    harmless(changed)
    assert all(admits(changed, RIGHT[name]) for name in ("release", "encrypt"))
    assert lint(changed)[:2] == (0, set())


def mutations(good, seed):
    """One to three random structural changes: values, operators, members dropped, copied, exchanged."""
    pick = random.Random(seed)
    changed = copy.deepcopy(good)
    operators = ["StringEquals", "StringLike", "StringNotEquals", "StringEqualsIfExists", "ForAllValues:StringEquals",
                 "ForAnyValue:StringEquals", "Null", "StringEqualsIgnoreCase"]
    gate, barrier = release(changed), deny(changed)
    for _ in range(pick.randint(1, 3)):
        s = pick.choice([*changed["Statement"], gate, gate, barrier])
        block = s.get("Condition", {})
        kind = pick.randrange(10)
        if kind == 0 and block:
            block.pop(pick.choice(list(block)))
        elif kind == 1 and block:
            keys = block[pick.choice(list(block))]
            keys and keys.pop(pick.choice(list(keys)))
        elif kind == 2 and block:
            old = pick.choice(list(block))
            block.setdefault(pick.choice(operators), {}).update(block.pop(old))
        elif kind == 3 and block:
            keys = block[pick.choice(list(block))]
            if keys:
                keys[pick.choice(list(keys))] = pick.choice(["*", ZERO, "true", "false", [ZERO, "f1" * 48], "AB" * 48])
        elif kind == 4:
            s["Principal"] = pick.choice(["*", {"AWS": ROOT}, {"AWS": ROLE}, {"AWS": OTHER}, {"AWS": [ADMIN, ROLE]}])
        elif kind == 5:
            s.pop("NotAction", None)
            s["Action"] = pick.choice(["kms:*", "kms:Decrypt", "kms:D*", ["kms:Encrypt", "kms:ReEncrypt*"],
                                       "kms:CreateGrant"])
        elif kind == 6 and "Action" in s:
            s["NotAction"] = pick.choice([s.pop("Action"), "kms:Encrypt", ["kms:PutKeyPolicy", "kms:De*"]])
        elif kind == 7 and "Principal" in s:
            s["NotPrincipal"] = s.pop("Principal")
        elif kind == 8:
            block = s.setdefault("Condition", {})
            block.setdefault(pick.choice(["ArnEquals", "ArnNotEquals", "StringLike", "StringEqualsIfExists"]), {})[
                "aws:PrincipalArn"] = pick.choice([ROLE, OTHER, ARN + "role/*", "*", [ROLE, OTHER]])
        else:
            s["Effect"] = pick.choice(["Allow", "Deny"])
    return changed


# PCR 4 and PCR 7 may stand for each other, so only both wrong is wrong whatever lint is shown.
GATE = [ANY_IMAGE, STRANGER, *(WRONG[name] for name in (
    "PCR 12 wrong", "fence closed", "no document", "no document, root", "ReEncryptFrom by the instance",
    "CreateGrant by the instance"))]


def test_clean_pcrs_are_demanded(tmp_path):
    """A baseline of other tools, of PCR 4 and 12 alone: what every clean machine has is demanded, and said. One that leaves
    a PCR out knowingly is taken at its word, and lint wants the same word."""
    image = {4: IMAGE[4], 12: ZERO}
    done = w.muctl("policy", "kms", *baselines(tmp_path, image), *WHO)
    filled = json.loads(done.stdout)
    assert "lacks PCR 2, 3, 13 and 14" in " ".join(done.stderr.replace("muctl:", "").split())
    assert lint(filled)[:3] == (0, set(), set()) and admits(filled, request(pcrs=image))
    knowing = json.loads(baseline(tmp_path, {**image, 3: CLEAN, 13: ZERO, 14: ZERO}).read_text())
    (tmp_path / "knowing.json").write_text(json.dumps({**knowing, "Without": [2]}))
    without = json.loads(w.muctl("policy", "kms", "--baseline", tmp_path / "knowing.json", *WHO).stdout)
    driver = request(pcrs={**image, 2: "dd" * 48})
    assert admits(without, driver) and not admits(filled, driver)
    assert lint(without)[:2] == (2, {"firmware-drivers"}) and lint(without, "--without-pcr", "2")[:2] == (0, set())


def test_more_baselines_than_kms_takes(tmp_path):
    """Each differs in two PCRs, so that each is a statement."""
    images = [{**IMAGE, 4: f"{i:02x}" * 48, 7: f"{i + 64:02x}" * 48} for i in range(1, 17)]
    done = w.muctl("policy", "kms", *baselines(tmp_path, *images), *WHO, "--data-volumes", check=False)
    assert done.returncode == 4 and "32768 bytes" in done.stderr and done.stdout == ""
    assert len(json.dumps(generate(tmp_path, *images[:4], options=["--data-volumes"]))) < 32768


def test_what_lint_passes_keeps_the_gate(good):
    """Whatever happens to a policy: if it lets the instance's role in unproven, or a stranger, lint has a finding."""
    passed = opened = 0
    for seed in range(600):
        changed = mutations(good, seed)
        try:
            iam.check(changed)
            broken = any(admits(changed, asked) for asked in GATE)
        except iam.MalformedPolicy:
            continue
        code, findings, _, _ = lint(changed)
        assert not (broken and code == 0), (seed, json.dumps(changed))
        passed, opened = passed + (code == 0), opened + broken
    assert passed > 50 and opened > 20


def in_the_field():
    """As others write it: an administration by IAM that has no use, StringEqualsIgnoreCase, a Deny by another PCR."""
    return {"Version": "2012-10-17", "Statement": [
        {"Effect": "Allow", "Principal": {"AWS": ROOT}, "Resource": "*",
         "Action": ["kms:Describe*", "kms:Get*", "kms:List*", "kms:PutKeyPolicy", "kms:ScheduleKeyDeletion"]},
        {"Effect": "Allow", "Principal": {"AWS": [ROLE]}, "Action": ["kms:Decrypt", "kms:GenerateDataKey"],
         "Resource": "*", "Condition": {"StringEqualsIgnoreCase": {
             pcr(n): [v, v.upper()] for n, v in {**IMAGE, 15: ZERO}.items()}}},
        {"Effect": "Deny", "Principal": "*", "Action": ["kms:Decrypt", "kms:GenerateDataKey*", "kms:CreateGrant"],
         "Resource": "*", "Condition": {"Null": {pcr(7): "true"}}}]}


def test_policy_of_another_hand():
    good = in_the_field()
    assert admits(good, RIGHT["release"]) and not admits(good, WRONG["no document, root"])
    assert lint(good)[:2] == (0, set())
    conditions = good["Statement"][1]["Condition"]["StringEqualsIgnoreCase"]
    for left_out, rules in ((15, {"fence-pcr"}), (12, {"pcr4-without-pcr12"}), (7, set()), (4, set())):
        spoilt = copy.deepcopy(good)
        spoilt["Statement"][1]["Condition"]["StringEqualsIgnoreCase"].pop(pcr(left_out))
        assert lint(spoilt)[1] == rules and len(conditions) == len(BOUND_PCRS)
    good["Statement"][1]["Condition"]["StringEquals"] = good["Statement"][1]["Condition"].pop("StringEqualsIgnoreCase")
    assert lint(good)[1] == {"upper-case-hex"}


def test_version_may_be_absent(good):
    changed = copy.deepcopy(good)
    del changed["Version"]
    assert lint(changed)[:3] == (0, set(), set())


@pytest.mark.parametrize("text, code", [
    ("", 4), ("{", 4), ("[]", 4), ("null", 4), ("{}", 4), ('"x"', 4),
    ('{"Version":"2012-10-17"}', 4), ('{"Version":"2012-10-17","Statement":[]}', 4),
    ('{"Version":"2012-10-17","Statement":null}', 4), ('{"Version":"2020-01-01","Statement":[{}]}', 4),
    ('{"Version":"2012-10-17","Statement":[{}],"More":1}', 4), ('{"Version":"2012-10-17","Statement":[7]}', 2),
    ('{"Version":"2012-10-17","Statement":{}}', 2), (" " * 40000 + "{}", 4),
    ('{"Version":"2012-10-17","Statement":[{"Sid":["\\u001b[31m"],"Condition":{"Null":7}}]}', 2),
])
def test_what_is_no_policy(text, code):
    done = w.muctl("policy", "lint", "-", input=text, check=False)
    assert done.returncode == code and done.stderr and "\x1b" not in done.stdout


def test_as_aws_prints_it(good):
    """aws kms get-key-policy --output json"""
    assert lint({"Policy": json.dumps(good), "PolicyName": "default"})[:3] == (0, set(), set())
    spoilt = copy.deepcopy(good)
    FLAWS["no fence"][1](spoilt)
    assert lint({"Policy": json.dumps(spoilt), "PolicyName": "default"})[1] == {"fence-pcr"}
    for text in "{", 7, json.dumps(json.dumps(good)), None:
        assert w.muctl("policy", "lint", "-", input=json.dumps({"Policy": text}), check=False).returncode == 4


@pytest.mark.parametrize("twice", ['"Effect": "Allow", "Effect": "Deny",', '"Sid": "a", "Sid": "b",'])
def test_duplicate_member(good, twice):
    text = json.dumps(good)
    assert lint(text)[0] == 0
    text = text.replace('"Effect": "Deny",', '"Effect": "Deny", ' + twice)
    done = w.muctl("policy", "lint", "-", input=text, check=False)
    assert done.returncode == 4 and "two members of one name" in done.stderr


def run_lint(data):
    return subprocess.run([w.MUCTL, "policy", "lint", "--json", "-"], input=data, capture_output=True).returncode


def test_truncated(good):
    data = json.dumps(good).encode()
    assert run_lint(data) == 0
    assert {run_lint(data[:n]) for n in range(0, len(data), 17)} == {4}


def test_damaged(good):
    """Bytes changed at random: an answer each time, never a crash."""
    data, pick = json.dumps(good).encode(), random.Random(1)
    codes = set()
    for _ in range(400):
        changed = bytearray(data)
        for _ in range(pick.randint(1, 4)):
            changed[pick.randrange(len(changed))] = pick.choice(b'{}[]":,0aA*\\ \xff\x00\n')
        codes.add(run_lint(bytes(changed)))
    assert codes <= {0, 2, 4} and {2, 4} <= codes
