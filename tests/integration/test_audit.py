# SPDX-License-Identifier: GPL-2.0-or-later
"""mu-verifier audit: CloudTrail's records of a key, in the shapes that AWS's documentation has."""
import base64
import copy
import gzip
import json

import pytest
import world as w
from test_policy import ADMIN, IMAGE, ROLE, ZERO, baseline

KEY = w.KEY_ARN
OTHER_KEY = KEY[:-4] + "ffff"


def record(name, attested=IMAGE, key=KEY, **changes):
    """As "Monitoring requests for NitroTPM" of the KMS Developer Guide shows one."""
    made = {"eventVersion": "1.05", "userIdentity": {"type": "AssumedRole", "arn": ROLE, "accountId": w.ACCOUNT},
            "eventTime": "2026-11-29T04:05:06Z", "eventSource": "kms.amazonaws.com", "eventName": name, "awsRegion": "eu-west-1",
            "requestParameters": {"encryptionAlgorithm": "SYMMETRIC_DEFAULT", "keyId": key}, "responseElements": None,
            "eventID": "e5a2f202-ba1a-467c-b4ba-f729d45ae521", "readOnly": True,
            "resources": [{"accountId": w.ACCOUNT, "type": "AWS::KMS::Key", "ARN": key}], "eventType": "AwsApiCall"}
    if attested:
        made["additionalEventData"] = {"recipient": {
            "attestationDocumentModuleId": "i-0123456789abcdef0-tpm0000000000000000",
            **{f"attestationDocumentNitroTPMPCR{n}": value for n, value in {**attested, 15: attested.get(15, ZERO)}.items()}}}
    return {**made, **changes}


@pytest.fixture
def audit(tmp_path):
    """-> exit code, classes of what was found, the report"""
    golden = baseline(tmp_path, IMAGE, "golden.json")

    def run(*records, text=None, key=("--key", KEY), code=None, more=()):
        log = tmp_path / "log.json"
        log.write_bytes(text if text is not None else json.dumps({"Records": records}).encode())
        done = w.mu_verifier("audit", *key, "--baseline", golden, "--json", *more, log, check=False)
        assert code in (None, done.returncode), done.stderr
        report = json.loads(done.stdout) if done.stdout else None
        assert report is None or report["ok"] is (done.returncode == 0) is (report["findings"] == [])
        return done.returncode, [f["class"] for f in report["findings"]] if report else done.stderr, report
    return run


def test_good_calls_are_explained(audit):
    code, found, report = audit(record("Decrypt"), record("GenerateDataKey"), record("Encrypt", attested=None), record("DescribeKey", None))
    assert (code, found) == (0, []) and (report["calls"], report["explained"]) == (4, 2)


def test_values_in_base64(audit):
    assert audit(record("Decrypt", {n: base64.b64encode(bytes.fromhex(v)).decode() for n, v in {**IMAGE, 15: ZERO}.items()}))[0] == 0


@pytest.mark.parametrize("call, found", [
    (record("Decrypt", attested=None), "unproven"),
    (record("ReEncrypt", attested=None), "unproven"),
    (record("GenerateDataKeyWithoutPlaintext", attested=None), "unproven"),
    (record("Decrypt", {**IMAGE, 4: "44" * 48}), "image"),
    (record("Decrypt", {**IMAGE, 12: "cc" * 48}), "image"),
    (record("Decrypt", {n: v for n, v in IMAGE.items() if n not in (4, 7)}), "image"),  # what is left tells no image apart
    (record("Decrypt", {**IMAGE, 15: "f0" * 48}), "fence"),
    (record("PutKeyPolicy", attested=None), "policy"),
    (record("CreateGrant", attested=None), "grant"),
    (record("ReplicateKey", attested=None), "replica"),
    (record("ImportKeyMaterial", attested=None), "material"),
    (record("DisableKey", attested=None), "unusable"),
    (record("ScheduleKeyDeletion", attested=None), "unusable"),
], ids=lambda value: value if isinstance(value, str) else value["eventName"])
def test_what_is_to_look_at(audit, call, found):
    code, classes, report = audit(record("Decrypt"), call)
    assert (code, classes, report["explained"]) == (2, [found], 1)
    finding, = report["findings"]
    assert (finding["call"], finding["principal"], finding["time"]) == (call["eventName"], ROLE, "2026-11-29T04:05:06Z")
    assert finding["event_id"] == call["eventID"] and finding["detail"]


def test_refused_calls_are_counted(audit):
    code, found, report = audit(record("Decrypt", attested=None, errorCode="AccessDenied"), record("PutKeyPolicy", None, errorCode="AccessDenied"))
    assert (code, found, report["refused"]) == (0, [], 2)


def test_other_keys_and_services_are_not_asked_for(audit):
    other = record("Decrypt", attested=None, key=OTHER_KEY)
    s3 = record("GetObject", attested=None, eventSource="s3.amazonaws.com")
    assert audit(other, s3)[2]["calls"] == 0
    assert audit(other, s3, key=())[1] == ["unproven"]
    by_alias = record("Decrypt", attested=None, key="alias/disk")
    by_alias["resources"] = []
    assert audit(by_alias)[1] == ["unproven"]  # it may be that key
    by_id = record("Decrypt", attested=None, key=KEY.rsplit("/", 1)[1])
    by_id["resources"] = []
    assert audit(by_id)[1] == ["unproven"]


def test_several_keys(audit):
    """Replicas have one id, and are told apart by their regions."""
    mrk = "arn:aws:kms:%s:111122223333:key/mrk-1234abcd12ab34cd56ef1234567890ab"
    keys = [mrk % region for region in ("eu-west-1", "us-east-1", "eu-central-1")]
    calls = [record("Decrypt", attested=None, key=key) for key in keys]
    for wanted in range(1, 4):
        assert audit(*calls, key=[w for key in keys[:wanted] for w in ("--key", key)])[2]["calls"] == wanted
    assert audit(*calls, key=("--key", KEY))[2]["calls"] == 0


def test_forms_of_a_log(audit, tmp_path):
    bad = record("Decrypt", attested=None)
    whole = json.dumps({"Records": [bad]})
    events = json.dumps({"Events": [{"EventName": "Decrypt", "CloudTrailEvent": json.dumps(bad)}]}, indent=4)
    for text, count in ((whole, 1), (events, 1), (whole + whole, 2), (json.dumps(bad) + "\n" + json.dumps(bad) + "\n", 2),
                        (json.dumps({"Records": [bad]}, indent=2), 1), ('{"Records": []}', 0)):
        assert audit(text=text.encode())[2]["calls"] == count, text
    text = gzip.compress(whole.encode())
    assert "zcat" in audit(text=text, code=4)[1]


def test_not_a_log(audit):
    whole = json.dumps({"Records": [record("Decrypt")]})
    doubled = json.dumps(record("Decrypt")).replace('"eventName"', '"eventName": "Encrypt", "eventName"')
    for text in ("", "[]", "{}", "null", '{"Records": {}}', '{"Records": [1]}', '{"Records": [{}]}', whole[:-9], whole + "x", doubled,
                 '{"Events": [{"CloudTrailEvent": "{"}]}', '{"Events": [{}]}', '"' * 9, "[" * 10000, json.dumps({"Records": [record("Decrypt", {4: "zz"})]})):
        assert "log.json" in audit(text=text.encode(), code=4)[1], text
    unnamed = record("Decrypt")
    del unnamed["eventTime"]
    assert "eventTime" in audit(unnamed, code=4)[1]


def test_a_person_is_shown_printable_text(tmp_path):
    log, golden = tmp_path / "log.json", baseline(tmp_path, IMAGE)
    log.write_text(json.dumps({"Records": [record("Decrypt", attested=None, userIdentity={"arn": "\x1b[2J"})]}))
    done = w.mu_verifier("audit", "--baseline", golden, log, check=False)
    assert done.returncode == 2 and "unproven" in done.stdout and "\x1b" not in done.stdout + done.stderr
    assert "1 to look at" in done.stdout


def test_policy_in_force(audit, tmp_path):
    """Equal as IAM reads it, or to look at."""
    written, in_force = tmp_path / "written.json", tmp_path / "in-force.json"
    w.muctl("policy", "kms", "--baseline", baseline(tmp_path, IMAGE), "--principal", ROLE, "--admin", ADMIN, "-o", written)
    options = ("--policy", written, "--in-force", in_force)
    policy = json.loads(written.read_text())

    def outcome(in_it):
        in_force.write_text(json.dumps({"Policy": json.dumps(in_it)}))
        return audit(record("Decrypt"), more=options)[1]
    reordered = copy.deepcopy(policy)
    reordered["Statement"].reverse()
    for statement in reordered["Statement"]:
        if isinstance(statement["Action"], str):
            statement["Action"] = [statement["Action"]]
    assert outcome(policy) == outcome(reordered) == []
    for change in (lambda p: p["Statement"].pop(), lambda p: p["Statement"][0]["Action"].append("kms:Decrypt"),
                   lambda p: p["Statement"].append({"Effect": "Allow"}), lambda p: p["Statement"][0].pop("Sid")):
        changed = copy.deepcopy(policy)
        change(changed)
        assert outcome(changed) == ["policy"]
    assert w.mu_verifier("audit", "--policy", written, check=False).returncode == 1
