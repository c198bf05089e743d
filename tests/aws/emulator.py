# SPDX-License-Identifier: GPL-2.0-or-later
"""What the tests share: a running emulator, clients, and documents without a TPM."""
import functools
import json
import os
import subprocess
import sys

import botocore.session
from botocore.config import Config
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

HERE = os.path.dirname(os.path.realpath(__file__))
sys.path += [HERE, os.path.join(HERE, os.pardir, 'nitrotpm')]

import admin  # noqa: E402
import document  # noqa: E402
import pki  # noqa: E402

COMMAND = os.path.join(HERE, 'aws-emulator')
ACCOUNT, REGION, ROLE = '111122223333', 'eu-west-1', 'measured-unlock-instance'
KEY_ID = '1234abcd-12ab-34cd-56ef-1234567890ab'
OTHER_KEY_ID = '9876abcd-12ab-34cd-56ef-1234567890ab'
INSTANCE = 'i-0123456789abcdef0'
KEY_ARN = f'arn:aws:kms:{REGION}:{ACCOUNT}:key/{KEY_ID}'
ROLE_ARN = f'arn:aws:iam::{ACCOUNT}:role/{ROLE}'
BUILDER_ARN = f'arn:aws:iam::{ACCOUNT}:role/image-builder'
BUILDER = {'access_key': 'AKIAIOSFODNN7EXAMPLE', 'role': 'image-builder',
           'secret': 'wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY'}
ZERO = '00' * 48
PCRS = [bytes([i]) * 48 if i in (0, 4, 7) else bytes(48) for i in range(24)]
NITRO = 'kms:RecipientAttestation:NitroTPMPCR'


def key_policy():
    """The shape that `muctl policy kms` aims at."""
    return {'Version': '2012-10-17', 'Statement': [
        {'Sid': 'admin', 'Effect': 'Allow', 'Principal': {'AWS': BUILDER_ARN}, 'Resource': '*',
         'Action': ['kms:Encrypt', 'kms:DescribeKey', 'kms:GetKeyPolicy', 'kms:PutKeyPolicy']},
        {'Sid': 'release', 'Effect': 'Allow', 'Principal': {'AWS': ROLE_ARN}, 'Resource': '*',
         'Action': 'kms:Decrypt', 'Condition': {'StringEquals': {
             NITRO + '4': PCRS[4].hex(), NITRO + '12': ZERO, NITRO + '15': ZERO,
             'kms:EncryptionContext:volume': 'root'}}},
        {'Sid': 'unattested', 'Effect': 'Deny', 'Principal': '*', 'Resource': '*',
         'Action': ['kms:Decrypt', 'kms:ReEncrypt*'], 'Condition': {'Null': {NITRO + '4': 'true'}}},
    ]}


def config(**changes):
    second = {'Version': '2012-10-17', 'Statement': [
        {'Effect': 'Allow', 'Principal': {'AWS': f'arn:aws:iam::{ACCOUNT}:root'},
         'Action': 'kms:*', 'Resource': '*'}]}
    return {'region': REGION, 'account': ACCOUNT, 'role': ROLE, 'instance_id': INSTANCE,
            'nitrotpm_root': 'nitro/root.pem', 'builder': BUILDER,
            'keys': [{'id': KEY_ID, 'policy': key_policy(), 'aliases': ['alias/root-volume']},
                     {'id': OTHER_KEY_ID, 'policy': second}], **changes}


@functools.cache
def session():
    """botocore, taught the Recipient members where its model is older than they are."""
    found = botocore.session.get_session()
    shapes = found.get_component('data_loader').load_service_model('kms', 'service-2')['shapes']
    shapes.setdefault('RecipientInfo', {'type': 'structure', 'members': {
        'KeyEncryptionAlgorithm': {'shape': 'KeyIdType'},
        'AttestationDocument': {'shape': 'CiphertextType'}}})
    for name in ('Decrypt', 'GenerateDataKey', 'GenerateRandom'):
        shapes[name + 'Request']['members'].setdefault('Recipient', {'shape': 'RecipientInfo'})
        shapes[name + 'Response']['members'].setdefault('CiphertextForRecipient',
                                                        {'shape': 'CiphertextType'})
    return found


class Emulator:
    def __init__(self, folder, **changes):
        self.folder = str(folder)
        self.root = pki.new_root()
        pki.save_root(self.root, os.path.join(self.folder, 'nitro'))
        self.chain = pki.Chain(self.root, REGION, INSTANCE)
        self.config = os.path.join(self.folder, 'config.json')
        with open(self.config, 'w') as f:
            json.dump(config(**changes), f)
        self.start()

    def start(self):
        self.process = subprocess.Popen(
            [COMMAND, 'run', '--dir', self.folder, '--config', self.config, '--dns-port', '0'],
            stdout=subprocess.PIPE, text=True)
        word, _, info = self.process.stdout.readline().partition(' ')
        assert word == 'ready'
        self.info = json.loads(info)

    def stop(self):
        self.process.terminate()
        assert self.process.wait(10) == 0
        self.process.stdout.close()

    def command(self, verb, *args):
        return subprocess.run([COMMAND, verb, '--dir', self.folder, *args], check=True,
                              capture_output=True, text=True).stdout

    def tell(self, do, **request):
        return admin.ask(self.folder, do=do, **request)

    def fault(self, service, name, value=None, **more):
        self.tell('fault', service=service, name=name, value=value, **more)

    def requests(self):
        with open(self.info['requests']) as f:
            return [json.loads(line) for line in f]

    def last(self):
        return self.requests()[-1]

    def role_keys(self):
        """What IMDS hands out, fetched with botocore's own provider."""
        from botocore.utils import InstanceMetadataFetcher
        fetcher = InstanceMetadataFetcher(timeout=5, num_attempts=1,
                                          base_url=self.info['imds_endpoint'])
        found = fetcher.retrieve_iam_role_credentials()
        return (found['access_key'], found['secret_key'], found['token']) if found else None

    def kms(self, keys=None, **options):
        """A botocore client, for the instance's role unless told otherwise."""
        access, secret, token = keys or self.role_keys()
        return session().create_client(
            'kms', REGION, aws_access_key_id=access, aws_secret_access_key=secret,
            aws_session_token=token,
            **{'endpoint_url': self.info['kms_endpoint'], 'verify': self.info['ca_file'],
               'config': Config(retries={'total_max_attempts': 1}, read_timeout=10), **options})

    def builder(self):
        return self.kms((BUILDER['access_key'], BUILDER['secret'], None))

    def document(self, spki, pcrs=None, fault=None, value=None):
        draft = document.Draft(self.chain, pcrs or PCRS,
                               {'user_data': None, 'nonce': None, 'public_key': spki})
        if fault:
            document.FAULTS[fault](draft, value)
        return draft.encode()

    def recipient(self, spki, **what):
        return {'KeyEncryptionAlgorithm': 'RSAES_OAEP_SHA_256',
                'AttestationDocument': self.document(spki, **what)}


def rsa_key(bits=2048):
    """-> private key, DER SubjectPublicKeyInfo"""
    key = rsa.generate_private_key(65537, bits)
    return key, key.public_key().public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)


def open_cms(cms, key, folder):
    """`openssl cms -decrypt`, an implementation that is not ours."""
    path = os.path.join(str(folder), 'recipient.key')
    with open(path, 'wb') as f:
        f.write(key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8,
                                  serialization.NoEncryption()))
    return subprocess.run(['openssl', 'cms', '-decrypt', '-inform', 'DER', '-inkey', path,
                           '-binary'], input=cms, capture_output=True, check=True).stdout
