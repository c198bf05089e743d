# SPDX-License-Identifier: GPL-2.0-or-later
"""What `muctl policy kms` writes, judged by an IAM simulator of other people's (npm, AGPL: a test tool, never part of a
program), and by AWS's own list of actions and condition keys."""
import json
import random

import aws_programs as programs
import pytest
import world as w

import policy as iam
from test_policy import ADMIN, BUILDER, CONTEXT, IMAGE, MAY_ALL, OTHER, ROLE, ZERO, generate, request

SOURCE = w.TOP / "tests/iam"
# The simulator takes no key but those of AWS's list, where the last part of this one is any name.
CONTEXT_KEY, STAND_IN = "kms:EncryptionContext:", "aws:PrincipalTag/"
ACTIONS = ["Decrypt", "Encrypt", "ReEncryptFrom", "ReEncryptTo", "GenerateDataKey", "GenerateDataKeyPair",
           "GenerateDataKeyWithoutPlaintext", "GenerateDataKeyPairWithoutPlaintext", "DeriveSharedSecret", "ReplicateKey",
           "CreateGrant", "RevokeGrant", "DescribeKey", "GetKeyPolicy", "PutKeyPolicy", "ScheduleKeyDeletion", "DisableKey",
           "TagResource"]


@pytest.fixture(scope="module")
def simulate(tmp_path_factory):
    """-> what simulate.mjs answers to a question."""
    folder = tmp_path_factory.mktemp("iam")
    node = programs.npm_install(SOURCE, folder)

    def ask(question):
        return json.loads(w.run(node, "simulate.mjs", cwd=folder, text=True, input=json.dumps(question), timeout=600).stdout)
    return ask


def renamed(value):
    return json.loads(json.dumps(value).replace(CONTEXT_KEY, STAND_IN))


def drawn(seed):
    """A request as a machine, a builder, an administrator or an intruder may make it, right or nearly so."""
    pick = random.Random(seed)
    pcrs = dict(IMAGE)
    kind = pick.randrange(5)
    if kind == 1:
        pcrs[pick.choice(list(pcrs))] = pick.choice([ZERO, "ee" * 48])
    elif kind == 2:
        pcrs = {n: v.upper() for n, v in pcrs.items()}
    context = {k: v for k, v in CONTEXT.items() if pick.randrange(4)}
    context |= pick.choice([{}, {}, {"made-by": "instance"}, {"more": "x"}])
    asked = request(pick.choice(ACTIONS), pick.choice([ROLE, ROLE, ADMIN, BUILDER, OTHER]), pcrs, context,
                    fence=pick.choice([ZERO, ZERO, "f1" * 48]), attested=kind != 3)
    return asked, pick.choice([None, MAY_ALL])


def test_simulator_agrees(simulate, tmp_path):
    key_policy = generate(tmp_path, IMAGE, options=["--data-volumes"])
    asked = [drawn(seed) for seed in range(3000)]
    ours = [iam.evaluate(key_policy, r, identity).allowed for r, identity in asked]
    theirs = simulate({"policy": renamed(key_policy), "requests": [
        {"principal": r.principal, "action": r.action, "key": r.resource, "account": w.ACCOUNT,
         "context": renamed(r.context), "identity": identity} for r, identity in asked]})
    assert [t["allowed"] for t in theirs] == ours
    assert 50 < sum(ours) < 2000
    # What it does not look at, it cannot agree about. Only cryptographic operations have an encryption context.
    ignored = {(r.action, k) for (r, _), t in zip(asked, theirs) for k in t["ignored"] if k != "aws:SecureTransport"}
    assert {k for _, k in ignored} <= {"kms:EncryptionContextKeys"}
    assert not {a for a, _ in ignored} & {"kms:Decrypt", "kms:Encrypt", "kms:GenerateDataKey", "kms:ReEncryptFrom"}


def test_actions_and_keys_exist(simulate, tmp_path):
    """A condition key must belong to each action of its statement; but where a Deny is for whom the key is never there for."""
    key_policy = generate(tmp_path, IMAGE, options=["--data-volumes"])
    attestation = "kms:RecipientAttestation:"
    for statement in key_policy["Statement"]:
        actions = statement["Action"] if isinstance(statement["Action"], list) else [statement["Action"]]
        named = [a for a in actions if "*" not in a]
        for action, known in zip(named, simulate({"actions": named}), strict=True):
            assert known is not None, action
            known = {k.replace("${EncryptionContextKey}", "").lower() for k in known}
            for keys in statement.get("Condition", {}).values():
                for key in keys:
                    if key.startswith("aws:") or (statement["Effect"] == "Deny" and key.startswith(attestation)):
                        continue
                    name = CONTEXT_KEY if key.startswith(CONTEXT_KEY) else key
                    assert name.lower() in known, (action, key, sorted(known))
    assert simulate({"actions": ["kms:Decrypt", "kms:Decipher"]})[1] is None


def test_policy_for_packer_names_what_exists(simulate):
    statements = json.loads((w.TOP / "docs/examples/packer/iam-policy.json").read_text())["Statement"]
    for statement in statements:
        actions = statement["Action"] if isinstance(statement["Action"], list) else [statement["Action"]]
        keys = {key for keys in statement.get("Condition", {}).values() for key in keys}
        for action, known in zip(actions, simulate({"actions": actions}), strict=True):
            assert known is not None and keys <= set(known), action
    assert simulate({"actions": ["ec2:RunInstance"]}) == [None]
