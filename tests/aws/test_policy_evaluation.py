# SPDX-License-Identifier: GPL-2.0-or-later
"""Tables for the policy evaluation: what IAM's rules say, one line a rule."""
import os
import sys

import pytest

sys.dont_write_bytecode = True
sys.path.append(os.path.dirname(os.path.realpath(__file__)))

import policy  # noqa: E402

ARN = 'arn:aws:kms:eu-west-1:111122223333:key/k'
ROLE = 'arn:aws:iam::111122223333:role/r'
SESSION = 'arn:aws:sts::111122223333:assumed-role/r/i-1'
ROOT = 'arn:aws:iam::111122223333:root'
PCR4 = 'kms:RecipientAttestation:NitroTPMPCR4'
KEYS = 'kms:EncryptionContextKeys'


def statement(effect='Allow', principal=None, action='kms:Decrypt', condition=None, **more):
    found = {'Effect': effect, 'Action': action, 'Resource': '*', **more}
    if principal is not None:
        found['Principal'] = principal
    if condition is not None:
        found['Condition'] = condition
    return found


def document(*statements):
    return {'Version': '2012-10-17', 'Statement': list(statements)}


def decide(*statements, context=None, identity=None, action='kms:Decrypt'):
    key_policy = document(*statements)
    policy.check(key_policy)
    request = policy.Request(action, ARN, ROLE, SESSION, context or {})
    return policy.evaluate(key_policy, request, identity)


@pytest.mark.parametrize('principal, allowed', [
    ({'AWS': ROLE}, True),
    ({'AWS': SESSION}, True),
    ({'AWS': [ROLE + 'x', ROLE]}, True),
    ('*', True),
    ({'AWS': '*'}, True),
    ({'AWS': ROLE + 'x'}, False),
    ({'AWS': ROOT}, False),                      # delegates to IAM, which says nothing
    ({'AWS': 'arn:aws:iam::999999999999:root'}, False),
    ({'Service': 'ec2.amazonaws.com'}, False),
])
def test_principal(principal, allowed):
    assert decide(statement(principal=principal)).allowed is allowed


@pytest.mark.parametrize('action, asked, allowed', [
    ('kms:Decrypt', 'kms:Decrypt', True),
    ('KMS:decrypt', 'kms:Decrypt', True),
    ('kms:*', 'kms:Decrypt', True),
    ('kms:De*', 'kms:Decrypt', True),
    ('kms:De*', 'kms:Encrypt', False),
    ('kms:GenerateDataKe?', 'kms:GenerateDataKey', True),
    ('*', 'kms:PutKeyPolicy', True),
    (['kms:Encrypt', 'kms:DescribeKey'], 'kms:Decrypt', False),
])
def test_action(action, asked, allowed):
    assert decide(statement(principal='*', action=action), action=asked).allowed is allowed


@pytest.mark.parametrize('condition, context, holds', [
    ({'StringEquals': {PCR4: 'ab'}}, {PCR4: 'ab'}, True),
    ({'StringEquals': {PCR4: 'ab'}}, {PCR4: 'AB'}, False),
    ({'StringEquals': {PCR4: 'ab'}}, {}, False),
    ({'StringEquals': {PCR4.lower(): 'ab'}}, {PCR4: 'ab'}, True),
    ({'StringEquals': {PCR4: ['cd', 'ab']}}, {PCR4: 'ab'}, True),
    ({'StringEquals': {PCR4: 'ab', 'x': 'y'}}, {PCR4: 'ab'}, False),
    ({'StringEquals': {PCR4: 'ab'}, 'Bool': {'aws:SecureTransport': True}},
     {PCR4: 'ab', 'aws:SecureTransport': 'true'}, True),
    ({'StringEqualsIgnoreCase': {PCR4: 'AB'}}, {PCR4: 'ab'}, True),
    ({'StringEqualsIfExists': {PCR4: 'ab'}}, {}, True),
    ({'StringEqualsIfExists': {PCR4: 'ab'}}, {PCR4: 'cd'}, False),
    ({'StringNotEquals': {PCR4: 'ab'}}, {}, True),
    ({'StringNotEquals': {PCR4: ['ab', 'cd']}}, {PCR4: 'cd'}, False),
    ({'StringNotEquals': {PCR4: ['ab', 'cd']}}, {PCR4: 'ef'}, True),
    ({'StringLike': {PCR4: 'a*'}}, {PCR4: 'ab'}, True),
    ({'StringLike': {PCR4: 'a[b]'}}, {PCR4: 'ab'}, False),
    ({'StringLike': {PCR4: '*'}}, {}, False),
    ({'StringNotLike': {PCR4: 'a*'}}, {PCR4: 'ab'}, False),
    ({'Null': {PCR4: 'true'}}, {}, True),
    ({'Null': {PCR4: 'true'}}, {PCR4: 'ab'}, False),
    ({'Null': {PCR4: False}}, {PCR4: 'ab'}, True),
    ({'ArnLike': {'aws:PrincipalArn': 'arn:aws:iam::*:role/*'}}, {'aws:PrincipalArn': ROLE}, True),
    ({'ArnEquals': {'aws:PrincipalArn': 'arn:*:role/*'}}, {'aws:PrincipalArn': ROLE}, False),
    ({'NumericLessThan': {'n': '5'}}, {'n': '4'}, True),
    ({'NumericLessThan': {'n': '5'}}, {'n': 'x'}, False),
    ({'DateLessThan': {'d': '2030-01-01T00:00:00Z'}}, {'d': '2026-01-01T00:00:00Z'}, True),
    ({'IpAddress': {'aws:SourceIp': '10.0.0.0/8'}}, {'aws:SourceIp': '10.1.2.3'}, True),
    ({'NotIpAddress': {'aws:SourceIp': '10.0.0.0/8'}}, {'aws:SourceIp': '10.1.2.3'}, False),
    ({'ForAllValues:StringEquals': {KEYS: ['a', 'b']}}, {KEYS: ['a']}, True),
    ({'ForAllValues:StringEquals': {KEYS: ['a', 'b']}}, {KEYS: ['a', 'c']}, False),
    ({'ForAllValues:StringEquals': {KEYS: ['a']}}, {}, True),
    ({'ForAnyValue:StringEquals': {KEYS: ['a']}}, {KEYS: ['c', 'a']}, True),
    ({'ForAnyValue:StringEquals': {KEYS: ['a']}}, {}, False),
    ({'ForAnyValue:StringNotEquals': {KEYS: ['a']}}, {KEYS: ['a', 'c']}, True),
    ({}, {}, True),
])
def test_condition(condition, context, holds):
    """The same condition lets an Allow match and a Deny match."""
    allow = decide(statement(principal='*', condition=condition), context=context)
    deny = decide(statement(principal='*'),
                  statement('Deny', '*', condition=condition), context=context)
    assert (allow.allowed, deny.allowed) == (holds, not holds)


DELEGATE = statement(principal={'AWS': ROOT}, action='kms:*')
MAY = document(statement())
MUST_NOT = document(statement('Deny'))


@pytest.mark.parametrize('statements, identity, allowed', [
    ([DELEGATE], MAY, True),
    ([DELEGATE], None, False),
    ([DELEGATE], document(statement(action='kms:Encrypt')), False),
    ([DELEGATE], document(statement(condition={'StringEquals': {'x': 'y'}})), False),
    ([], MAY, False),                            # the key policy is the root of all rights
    ([statement(principal={'AWS': ROLE})], MUST_NOT, False),
    ([DELEGATE, statement('Deny', {'AWS': ROOT})], MAY, False),
    ([DELEGATE, statement('Deny', {'AWS': ROLE + 'x'})], MAY, True),
    ([statement(principal={'AWS': ROOT}, condition={'Null': {PCR4: 'false'}})], MAY, False),
])
def test_identity_policy(statements, identity, allowed):
    assert decide(*statements, identity=identity).allowed is allowed


@pytest.mark.parametrize('more, allowed', [
    ({'NotPrincipal': {'AWS': ROLE}}, True),
    ({'NotPrincipal': {'AWS': ROLE + 'x'}}, False),
])
def test_deny_not_principal(more, allowed):
    deny = {'Effect': 'Deny', 'Action': '*', 'Resource': '*', **more}
    assert decide(statement(principal='*'), deny).allowed is allowed


def test_not_action_and_resource():
    broad = {'Effect': 'Allow', 'Principal': '*', 'NotAction': 'kms:Encrypt', 'Resource': '*'}
    assert decide(broad).allowed
    assert not decide(broad, action='kms:Encrypt').allowed
    assert not decide({**broad, 'Resource': ARN}).allowed
    assert not decide({**{k: v for k, v in broad.items() if k != 'Resource'}, 'NotResource': ARN + 'x'}).allowed


def test_reason_names_the_condition():
    found = decide(statement(principal='*', condition={'StringEquals': {PCR4: 'ab'}}),
                   context={PCR4: 'cd'})
    assert found == policy.Decision(False, 'conditions not met', failed=(PCR4,))


@pytest.mark.parametrize('bad', [
    {},
    {'Version': '2012-10-17'},
    {'Version': '2020-01-01', 'Statement': []},
    {'Version': '2012-10-17', 'Statement': [], 'Extra': 1},
    document({'Effect': 'Maybe', 'Principal': '*', 'Action': '*', 'Resource': '*'}),
    document({'Effect': 'Allow', 'Action': '*', 'Resource': '*'}),
    document({'Effect': 'Allow', 'Principal': '*', 'Resource': '*'}),
    document({**statement(principal='*'), 'Conditon': {}}),
    document(statement(principal={'AWS': 'arn:aws:iam::111122223333:role/*'})),
    document(statement(principal='*', condition={'StringSortOfEquals': {'a': 'b'}})),
    document(statement(principal='*', condition={'ForSomeValues:StringEquals': {'a': 'b'}})),
    document(statement(principal='*', condition={'StringEquals': {'a': '${aws:username}'}})),
    document(statement(principal='*', condition={'StringEquals': {'a': None}})),
    document(statement(principal='*', condition={'StringEquals': 'a'})),
])
def test_malformed(bad):
    with pytest.raises(policy.MalformedPolicy):
        policy.check(bad)
