# SPDX-License-Identifier: GPL-2.0-or-later
"""Evaluation of a KMS key policy together with the caller's identity policy, in one account.

Follows the IAM User Guide, "Policy evaluation logic" and "IAM JSON policy elements". A policy
that uses something this module does not know is malformed; it is never half evaluated."""
import fnmatch
import re
from dataclasses import dataclass, field
from datetime import datetime
from ipaddress import ip_address, ip_network


class MalformedPolicy(Exception):
    pass


@dataclass
class Request:
    action: str                      # kms:Decrypt
    resource: str                    # key ARN
    principal: str                   # arn:aws:iam::111122223333:role/name or ...:user/name
    session: str = ''                # arn:aws:sts::111122223333:assumed-role/name/session
    context: dict = field(default_factory=dict)   # condition key -> string or list of strings

    def values(self, key):
        """Values of a condition key (names are case-insensitive), None where it is absent."""
        for name, value in self.context.items():
            if name.lower() == key.lower():
                return [value] if isinstance(value, str) else list(value)
        return None

    @property
    def account(self):
        return self.principal.split(':')[4]


@dataclass
class Decision:
    allowed: bool
    reason: str
    sid: str = ''
    failed: tuple = ()               # condition keys that kept an Allow from matching


def listed(value):
    return value if isinstance(value, list) else [value]


def text(value):
    """A policy value as IAM compares it: JSON booleans and numbers become strings."""
    if isinstance(value, bool):
        return 'true' if value else 'false'
    if isinstance(value, (str, int, float)):
        return str(value)
    raise MalformedPolicy(f'a condition value cannot be {value!r}')


def like(pattern, value):
    """* and ? only; [ is an ordinary character."""
    return fnmatch.fnmatchcase(value, pattern.replace('[', '[[]'))


def arn_like(pattern, value):
    """Part by part: a * does not cross the first five colons."""
    patterns, values = pattern.split(':', 5), value.split(':', 5)
    return len(patterns) == len(values) == 6 and all(map(like, patterns, values))


def number(operator):
    def compare(want, have):
        try:
            return operator(float(have), float(want))
        except ValueError:
            return False
    return compare


def date(operator):
    def parse(value):
        return datetime.fromisoformat(value.replace('Z', '+00:00'))

    def compare(want, have):
        return operator(parse(have), parse(want))
    return compare


def in_network(want, have):
    return ip_address(have) in ip_network(want, strict=False)


OPERATORS = {   # positive form: function of (value in the policy, value in the request)
    'StringEquals': lambda want, have: want == have,
    'StringEqualsIgnoreCase': lambda want, have: want.lower() == have.lower(),
    'StringLike': like,
    'ArnEquals': arn_like,
    'ArnLike': arn_like,
    'Bool': lambda want, have: want.lower() == have.lower(),
    'IpAddress': in_network,
    'NumericEquals': number(lambda a, b: a == b),
    'NumericLessThan': number(lambda a, b: a < b),
    'NumericLessThanEquals': number(lambda a, b: a <= b),
    'NumericGreaterThan': number(lambda a, b: a > b),
    'NumericGreaterThanEquals': number(lambda a, b: a >= b),
    'DateLessThan': date(lambda a, b: a < b),
    'DateGreaterThan': date(lambda a, b: a > b),
}
NEGATED = {     # true where the key is absent
    'StringNotEquals': 'StringEquals',
    'StringNotEqualsIgnoreCase': 'StringEqualsIgnoreCase',
    'StringNotLike': 'StringLike',
    'ArnNotEquals': 'ArnEquals',
    'ArnNotLike': 'ArnLike',
    'NotIpAddress': 'IpAddress',
    'NumericNotEquals': 'NumericEquals',
}


def condition_holds(operator, key, wanted, request):
    """One line of a Condition block; several values of a key are alternatives."""
    name, if_exists = re.subn('IfExists$', '', operator)
    quantifier, _, name = name.rpartition(':')
    if quantifier not in ('', 'ForAnyValue', 'ForAllValues'):
        raise MalformedPolicy(f'unknown quantifier in {operator!r}')
    wanted, have = [text(w) for w in listed(wanted)], request.values(key)
    if any('${' in w for w in wanted):
        raise MalformedPolicy(f'policy variables are not supported: {wanted!r}')
    if name == 'Null':
        if if_exists or quantifier:
            raise MalformedPolicy(f'{operator!r}')
        return ('true' if have is None else 'false') in [w.lower() for w in wanted]
    negated = name in NEGATED
    match = OPERATORS.get(NEGATED.get(name, name))
    if match is None:
        raise MalformedPolicy(f'unknown condition operator {operator!r}')

    def one(value):
        return any(match(w, value) for w in wanted) != negated

    if have is None and if_exists:
        return True
    if quantifier == 'ForAllValues':
        return all(map(one, have or []))
    if quantifier == 'ForAnyValue':
        return any(map(one, have or []))
    if have is None:
        return negated
    return any(map(one, have)) if not negated else all(map(one, have))


def failed_conditions(statement, request):
    block = statement.get('Condition', {})
    if not isinstance(block, dict) or not all(isinstance(v, dict) for v in block.values()):
        raise MalformedPolicy('Condition must be an object of objects')
    return [key for operator, keys in block.items() for key, wanted in keys.items()
            if not condition_holds(operator, key, wanted, request)]


def action_matches(statement, request):
    negated = 'NotAction' in statement
    patterns = listed(statement['NotAction' if negated else 'Action'])
    return any(like(p.lower(), request.action.lower()) for p in patterns) != negated


def resource_matches(statement, request):
    """An identity policy names keys. In a key policy "*" is this key, and any other statement has no effect (KMS Developer
    Guide, "Key policies": Resource)."""
    if 'Principal' in statement or 'NotPrincipal' in statement:
        return listed(statement.get('Resource', [])) == ['*']
    negated = 'NotResource' in statement
    patterns = listed(statement['NotResource' if negated else 'Resource'])
    return any(p == '*' or like(p, request.resource) for p in patterns) != negated


def principal_kinds(element, request):
    """How a Principal element names the caller: 'direct', 'account', or not at all."""
    if element == '*':
        return {'direct'}
    if not isinstance(element, dict) or set(element) - {'AWS', 'Service', 'Federated',
                                                        'CanonicalUser'}:
        raise MalformedPolicy(f'Principal {element!r}')
    kinds = set()
    for name in listed(element.get('AWS', [])):
        if name in ('*', request.principal, request.session):
            kinds.add('direct')
        elif name == request.account or name.endswith(f'::{request.account}:root'):
            kinds.add('account')
        elif '*' in name:
            raise MalformedPolicy(f'a wildcard inside a principal matches nothing: {name!r}')
    return kinds


STATEMENT_KEYS = {'Sid', 'Effect', 'Principal', 'NotPrincipal', 'Action', 'NotAction', 'Resource',
                  'NotResource', 'Condition'}


def check_statement(statement, key_policy):
    if not isinstance(statement, dict) or set(statement) - STATEMENT_KEYS:
        raise MalformedPolicy(f'statement {statement!r}')
    if statement.get('Effect') not in ('Allow', 'Deny'):
        raise MalformedPolicy(f'Effect {statement.get("Effect")!r}')
    pairs = [('Action', 'NotAction'), ('Resource', 'NotResource')]
    pairs += [('Principal', 'NotPrincipal')] if key_policy else []
    for pair in pairs:
        if sum(name in statement for name in pair) != 1:
            raise MalformedPolicy(f'exactly one of {pair} is needed')
    if not key_policy and {'Principal', 'NotPrincipal'} & set(statement):
        raise MalformedPolicy('an identity policy has no Principal')


def check(policy, key_policy=True):
    """Raise MalformedPolicy unless every part of the policy is one that is evaluated here."""
    if not isinstance(policy, dict) or set(policy) - {'Version', 'Id', 'Statement'} or \
            policy.get('Version') not in ('2012-10-17', '2008-10-17') or 'Statement' not in policy:
        raise MalformedPolicy('a policy has Version and Statement')
    probe = Request('kms:Decrypt', 'arn:aws:kms:x:0:key/x', 'arn:aws:iam::000000000000:role/x')
    for statement in listed(policy['Statement']):
        check_statement(statement, key_policy)
        failed_conditions(statement, probe)
        if key_policy:
            principal_kinds(statement.get('Principal', statement.get('NotPrincipal')), probe)


def applies(statement, request, key_policy):
    """-> (kinds of principal match, failed condition keys); no kinds: does not apply at all"""
    if not action_matches(statement, request) or not resource_matches(statement, request):
        return set(), []
    if not key_policy:
        kinds = {'direct'}
    elif 'NotPrincipal' in statement:
        kinds = set() if principal_kinds(statement['NotPrincipal'], request) else {'direct'}
    else:
        kinds = principal_kinds(statement['Principal'], request)
    return kinds, failed_conditions(statement, request) if kinds else []


def scan(policy, request, key_policy):
    """-> explicit Deny statement or None, kinds granted by Allow, near misses"""
    granted, missed = {}, []
    for index, statement in enumerate(listed(policy['Statement'])):
        kinds, failed = applies(statement, request, key_policy)
        sid = statement.get('Sid', str(index))
        if not kinds:
            continue
        if statement['Effect'] == 'Deny' and not failed:
            return sid, {}, []
        if statement['Effect'] == 'Allow':
            missed += failed
            granted.update({} if failed else dict.fromkeys(kinds, sid))
    return None, granted, missed


def evaluate(key_policy, request, identity_policy=None, abroad=False):
    """The decision; abroad: the caller is not of the key's account, and needs both policies (KMS Developer Guide, "Allowing
    users in other accounts to use a KMS key")."""
    denied, granted, missed = scan(key_policy, request, True)
    if denied is not None:
        return Decision(False, 'explicit deny in the key policy', denied)
    identity = {}
    if identity_policy is not None:
        denied, identity, more = scan(identity_policy, request, False)
        missed += more if 'account' in granted else []
        if denied is not None:
            return Decision(False, 'explicit deny in the identity policy', denied)
    if abroad and not identity:
        return Decision(False, 'no identity policy allows the key of another account', failed=tuple(missed))
    if 'direct' in granted:
        return Decision(True, 'allowed by the key policy', granted['direct'])
    if 'account' in granted and identity:
        return Decision(True, 'delegated to IAM and allowed by the identity policy',
                        granted['account'])
    why = 'conditions not met' if missed else 'no statement allows it'
    return Decision(False, why, failed=tuple(dict.fromkeys(missed)))
