# SPDX-License-Identifier: GPL-2.0-or-later
"""What the emulated account holds: keys, credentials, faults, and the log of requests."""
import base64
import json
import os
import secrets
import threading
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone

import policy

ROLE_LIFE = timedelta(hours=6)

# name -> what VALUE means
KMS_FAULTS = {
    'error': 'error name, as ThrottlingException',
    'key-id': 'ARN to answer with instead of the real one',
    'wrong-plaintext': '(none) other bytes of the same length',
    'plaintext-length': 'number of bytes to wrap',
    'other-recipient': '(none) encrypted to a key that the caller does not have',
    'garbage-cms': '(none) random bytes as CiphertextForRecipient',
    'truncated-cms': '(none) the first half of it',
    'no-cms': '(none) CiphertextForRecipient is missing',
    'plaintext-too': '(none) Plaintext stands beside CiphertextForRecipient',
}
IMDS_FAULTS = {
    'code': 'the Code member of the credentials, as AssumeRoleUnauthorizedAccess',
    'expired': '(none) hand out credentials that have expired',
    'bad-json': '(none) credentials are cut off inside the JSON text',
}
HTTP_FAULTS = {
    'status': 'HTTP status; body as a proxy would write it',
    'delay': 'seconds before the answer',
    'drip': 'bytes of body a second, so that each read succeeds and the answer does not end',
    'close': '(none) connection closed without an answer',
    'short-body': '(none) half of the body, then closed',
    'oversized': 'bytes of body, default 16 MiB',
    'content-type': 'Content-Type to send',
    'body': 'text to send as body',
    'date': 'seconds by which the Date header is off',
}
TLS_FAULTS = {
    'unknown-ca': '(none) a certificate of an authority nobody knows',
    'wrong-name': '(none) a certificate for another name',
    'expired-certificate': '(none) a certificate of last year',
    'future-certificate': '(none) a certificate of tomorrow',
}
DNS_FAULTS = {'drop': '(none) no answer', 'servfail': '(none)', 'nxdomain': '(none)'}
FAULTS = {'kms': {**KMS_FAULTS, **HTTP_FAULTS}, 'imds': {**IMDS_FAULTS, **HTTP_FAULTS},
          'tls': TLS_FAULTS, 'dns': DNS_FAULTS}
NUMBERS = {'status': int, 'drip': float, 'delay': float, 'oversized': int, 'date': float, 'plaintext-length': int}
NEED_VALUE = {'error', 'code', 'content-type', 'body'}


@dataclass
class Credentials:
    access_key: str
    secret: str
    token: str = ''
    principal: str = ''              # ARN of the role or user
    session: str = ''                # ARN of the assumed role
    identity_policy: dict = None
    expires: datetime = None
    context: dict = field(default_factory=dict)

    @property
    def expired(self):
        return self.expires is not None and datetime.now(timezone.utc) >= self.expires

    @property
    def caller(self):
        return self.session or self.principal


@dataclass
class Key:
    id: str
    arn: str
    policy: dict
    material: bytes
    aliases: tuple = ()
    enabled: bool = True
    spec: str = 'SYMMETRIC_DEFAULT'  # or ECC_NIST_P384: material is the private key (SEC1 or PKCS #8, DER)

    @property
    def account(self):
        return self.arn.split(':')[4]

    @property
    def multi_region(self):
        return self.id.startswith('mrk-')


@dataclass
class Fault:
    service: str
    name: str
    operation: str = '*'
    value: str = None
    count: int = None                # None: until cleared
    skip: int = 0
    region: str = None               # None: of any region

    def __post_init__(self):
        if self.name not in FAULTS.get(self.service, {}):
            raise ValueError(f'no fault {self.name!r} for {self.service!r}; there are: '
                             + ', '.join(FAULTS.get(self.service, FAULTS)))
        if self.name in NUMBERS and not (self.value is None and self.name == 'oversized'):
            NUMBERS[self.name](self.value or '')
        elif self.name in NEED_VALUE and not self.value:
            raise ValueError(f'fault {self.name!r} needs a value')

    def take(self, service, operation, region):
        # Opening a connection is no operation of the service.
        fits = self.operation in (operation, '*' if operation != 'ping' else operation)
        if self.service != service or not fits or self.count == 0 or self.region not in (None, region):
            return False
        if self.skip > 0:
            self.skip -= 1
            return False
        if self.count is not None:
            self.count -= 1
        return True


def partition(region):
    return ('aws-cn' if region.startswith('cn-') else
            'aws-us-gov' if region.startswith('us-gov-') else 'aws')


class Region:
    """KMS in one region: its keys. What is the same everywhere is the account's: credentials, faults, the log."""

    def __init__(self, home, region, keys):
        self.home, self.region, self.partition = home, region, home.partition
        self.account, self.config, self.credentials, self.iam = home.account, home.config, home.credentials, home.iam
        self.keys = {}
        for entry in keys:
            self.add_key(entry)

    def add_key(self, entry):
        """A key is the account's own, or of another "account". Replicas have one id, and so one material."""
        policy.check(entry['policy'])
        arn = f'arn:{self.partition}:kms:{self.region}:{entry.get("account", self.account)}:key/{entry["id"]}'
        self.keys[entry['id']] = Key(
            entry['id'], arn, entry['policy'], self.home.material(entry['id'], entry.get('private_key')),
            tuple(entry.get('aliases', ())), entry.get('enabled', True), entry.get('spec', 'SYMMETRIC_DEFAULT'))

    def take_fault(self, service, operation):
        return self.home.take_fault(service, operation, self.region)

    def log(self, **entry):
        self.home.log(region=self.region, **entry)


class Account:
    def __init__(self, folder, config):
        self.folder, self.config, self.lock = folder, config, threading.Lock()
        self.region, self.account = config['region'], config['account']
        self.partition = partition(self.region)
        self.instance_id = config.get('instance_id', 'i-0123456789abcdef0')
        self.role, self.user_data = config['role'], config.get('user_data')
        self.faults, self.credentials, self.tokens = [], {}, {}
        self.regions = {region: Region(self, region, keys) for region, keys in
                        {self.region: config['keys'], **config.get('regions', {})}.items()}
        self.role_credentials = self.new_role_credentials()
        builder = config.get('builder')
        for entry in config.get('principals', []) + ([builder] if builder else []):
            self.add_static(entry)

    def iam(self, what):
        return f'arn:{self.partition}:iam::{self.account}:{what}'

    def all_keys(self):
        return [key for region in self.regions.values() for key in region.keys.values()]

    def material(self, key_id, private_key):
        """Kept in DIR, so that ciphertexts outlive a restart. private_key: base64 of an imported one."""
        if private_key:
            return base64.b64decode(private_key)
        path = os.path.join(self.folder, f'key-{key_id}')
        if not os.path.exists(path):
            with open(os.open(path, os.O_WRONLY | os.O_CREAT, 0o600), 'wb') as f:
                f.write(os.urandom(32))
        with open(path, 'rb') as f:
            return f.read()

    def add_static(self, entry):
        role = entry.get('role')
        principal = self.iam(f'role/{role}' if role else f'user/{entry.get("user", "builder")}')
        session = f'arn:{self.partition}:sts::{self.account}:assumed-role/{role}/builder'
        self.add_credentials(Credentials(
            entry['access_key'], entry['secret'], entry.get('token', ''), principal,
            session if role else '', self.identity_policy(entry)))

    @staticmethod
    def identity_policy(entry):
        found = entry.get('identity_policy')
        if found is not None:
            policy.check(found, key_policy=False)
        return found

    def add_credentials(self, credentials):
        self.credentials[credentials.access_key] = credentials

    def new_role_credentials(self, life=ROLE_LIFE):
        instance = f'arn:{self.partition}:ec2:{self.region}:{self.account}:instance/'
        new = Credentials(
            'ASIA' + base64.b32encode(secrets.token_bytes(10)).decode(),
            base64.b64encode(secrets.token_bytes(30)).decode(),
            base64.b64encode(secrets.token_bytes(600)).decode(), self.iam(f'role/{self.role}'),
            f'arn:{self.partition}:sts::{self.account}:assumed-role/{self.role}/{self.instance_id}',
            self.identity_policy(self.config), datetime.now(timezone.utc) + life,
            {'ec2:SourceInstanceARN': instance + self.instance_id})
        self.add_credentials(new)
        return new

    def rotate(self, expire=False):
        """New role credentials; the old ones stay good until they expire, unless told so."""
        with self.lock:
            if expire:
                self.role_credentials.expires = datetime.now(timezone.utc)
            self.role_credentials = self.new_role_credentials()

    def current_role_credentials(self):
        with self.lock:
            if self.role_credentials.expired:
                self.role_credentials = self.new_role_credentials()
            return self.role_credentials

    def take_fault(self, service, operation, region=None):
        """-> name, value of the first armed fault that fits, each request consumes at most one"""
        with self.lock:
            for fault in self.faults:
                if fault.take(service, operation, region):
                    return fault.name, fault.value
        return None, None

    def log(self, **entry):
        entry = {'time': datetime.now(timezone.utc).isoformat(), **entry}
        with self.lock, open(os.path.join(self.folder, 'requests.jsonl'), 'a') as f:
            f.write(json.dumps(entry) + '\n')
