# SPDX-License-Identifier: GPL-2.0-or-later
"""The KMS operations (API Reference, TrentService), over Account's keys."""
import base64
import binascii
import json
import os
import uuid

from cryptography import x509
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa, utils
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

import attestation
import cms
import policy

BLOB_VERSION = bytes.fromhex('0102020078')
# KMS adds 152 bytes to a symmetric plaintext; ours fills up to the same length.
BLOB_FILL = 152 - len(BLOB_VERSION) - 16 - 12 - 16
SERVER_ERRORS = {'KMSInternalException', 'DependencyTimeoutException', 'KeyUnavailableException',
                 'InternalFailure', 'ServiceUnavailableException'}
LIMITS = {'Plaintext': 4096, 'CiphertextBlob': 6144, 'AttestationDocument': 262144, 'Message': 4096}
AUTHORISED_WITH_RECIPIENT = {'Decrypt', 'DeriveSharedSecret', 'GenerateDataKey', 'GenerateDataKeyPair',
                             'GenerateRandom'}


class KmsError(Exception):
    """args: AWS's error name, message"""

    @property
    def status(self):
        return 500 if self.args[0] in SERVER_ERRORS else 400


def validation(message):
    return KmsError('ValidationException', message)


def blob(request, name, required=True):
    value = request.get(name)
    if value is None and not required:
        return None
    if not isinstance(value, str):
        raise validation(f'{name} is missing or not a string')
    try:
        data = base64.b64decode(value, validate=True)
    except (binascii.Error, ValueError):
        raise KmsError('SerializationException', f'{name} is not base64') from None
    if not 1 <= len(data) <= LIMITS[name]:
        raise validation(f'{name} must have 1 to {LIMITS[name]} bytes')
    return data


def encryption_context(request):
    context = request.get('EncryptionContext') or {}
    if not isinstance(context, dict) or \
            not all(isinstance(v, str) for v in context.values()):
        raise KmsError('SerializationException', 'EncryptionContext is a map of strings')
    return context


def canonical(context):
    return json.dumps(context, sort_keys=True, separators=(',', ':')).encode()


def seal(key, plaintext, context):
    header = BLOB_VERSION + id_bytes(key.id) + os.urandom(BLOB_FILL)
    nonce = os.urandom(12)
    return header + nonce + AESGCM(key.material).encrypt(nonce, plaintext,
                                                         header + canonical(context))


def id_bytes(key_id):
    return uuid.UUID(key_id.removeprefix('mrk-')).bytes


def blob_key(ciphertext):
    """-> what id_bytes() gives for the key that made it"""
    start = len(BLOB_VERSION)
    if len(ciphertext) < 152 or not ciphertext.startswith(BLOB_VERSION):
        raise KmsError('InvalidCiphertextException', None)
    return ciphertext[start:start + 16]


def unseal(key, ciphertext, context):
    size = len(BLOB_VERSION) + 16 + BLOB_FILL
    header, nonce, sealed = ciphertext[:size], ciphertext[size:size + 12], ciphertext[size + 12:]
    try:
        return AESGCM(key.material).decrypt(nonce, sealed, header + canonical(context))
    except InvalidTag:
        raise KmsError('InvalidCiphertextException', None) from None


def signs(key):
    return key.spec.startswith('ECC_')


def material(key):
    return {'KeyMaterialId': id_bytes(key.id).hex() * 2}


# KMS API Reference, GenerateDataKeyPair: those that are quickly made.
PAIRS = {'RSA_2048': lambda: rsa.generate_private_key(65537, 2048),
         'ECC_NIST_P256': lambda: ec.generate_private_key(ec.SECP256R1()),
         'ECC_NIST_P384': lambda: ec.generate_private_key(ec.SECP384R1())}


class Call:
    """One request: who asks, for what, and what is to be written into the log."""

    def __init__(self, kms, operation, caller, body):
        self.kms, self.account, self.operation, self.caller = kms, kms.account, operation, caller
        self.request, self.entry = body, {}
        self.spki, self.attested = None, {}
        self.fault, self.fault_value = None, None

    def find_key(self, key_id):
        """By id, ARN, alias or alias ARN."""
        prefix = f'arn:{self.account.partition}:kms:{self.account.region}:{self.account.account}:'
        for key in self.account.keys.values():
            names = {key.id, key.arn, *key.aliases, *(prefix + a for a in key.aliases)}
            if key_id in names:
                return key
        arn = key_id if str(key_id).startswith('arn:') else f'{prefix}key/{key_id}'
        raise KmsError('NotFoundException', f"Key '{arn}' does not exist")

    def find_maker(self, ciphertext):
        """The key that made it, or its replica in this region."""
        wanted = blob_key(ciphertext)
        for key in self.account.keys.values():
            if id_bytes(key.id) == wanted:
                return key
        raise KmsError('NotFoundException', None)

    def named_key(self):
        if not isinstance(self.request.get('KeyId'), str):
            raise validation('KeyId is missing')
        return self.find_key(self.request['KeyId'])

    def read_recipient(self):
        recipient = self.request.get('Recipient')
        if recipient is None or self.operation not in AUTHORISED_WITH_RECIPIENT:
            return
        if not isinstance(recipient, dict) or \
                recipient.get('KeyEncryptionAlgorithm') != 'RSAES_OAEP_SHA_256':
            raise validation('Recipient.KeyEncryptionAlgorithm must be RSAES_OAEP_SHA_256')
        document = blob(recipient, 'AttestationDocument')
        try:
            self.spki, self.attested, module = attestation.verify(
                document, self.kms.root, self.kms.max_age_s)
        except attestation.BadDocument as error:
            self.entry['document'] = str(error)
            raise validation(f'The attestation document is not valid: {error}') from None
        self.entry.update(module_id=module, pcrs={k.rpartition(':')[2].replace('NitroTPM', ''): v
                                                  for k, v in self.attested.items()})

    def condition_context(self, key):
        caller, request = self.caller, self.request
        context = {
            'aws:PrincipalArn': caller.principal, 'aws:PrincipalAccount': self.account.account,
            'aws:PrincipalType': 'AssumedRole' if caller.session else 'User',
            'aws:SecureTransport': 'true', 'aws:RequestedRegion': self.account.region,
            'kms:CallerAccount': self.account.account, 'kms:KeyOrigin': 'AWS_KMS',
            'kms:KeySpec': key.spec if key else 'SYMMETRIC_DEFAULT',
            'kms:KeyUsage': 'SIGN_VERIFY' if key and signs(key) else 'ENCRYPT_DECRYPT',
            'kms:MultiRegion': 'true' if key and key.multi_region else 'false', **caller.context, **self.attested}
        if key is not None and key.aliases:
            context['kms:ResourceAliases'] = list(key.aliases)
        if str(request.get('KeyId', '')).startswith('alias/'):
            context['kms:RequestAlias'] = request['KeyId']
        if self.operation in ('Encrypt', 'Decrypt', 'GenerateDataKey', 'GenerateDataKeyPair'):
            pairs = encryption_context(request)
            context.update({f'kms:EncryptionContext:{k}': v for k, v in pairs.items()})
            if pairs:
                context['kms:EncryptionContextKeys'] = list(pairs)
        if self.operation in ('Encrypt', 'Decrypt'):
            context['kms:EncryptionAlgorithm'] = 'SYMMETRIC_DEFAULT'
        return context

    def authorise(self, key):
        resource = key.arn if key else '*'
        request = policy.Request(f'kms:{self.operation}', resource, self.caller.principal,
                                 self.caller.session, self.condition_context(key))
        grant_account = {'Version': '2012-10-17', 'Statement': [{
            'Effect': 'Allow', 'Principal': {'AWS': self.account.iam('root')},
            'Action': 'kms:*', 'Resource': '*'}]}
        decision = policy.evaluate(key.policy if key else grant_account, request, self.caller.identity_policy,
                                   abroad=key is not None and key.account != self.account.account)
        self.entry.update(decision='allow' if decision.allowed else 'deny',
                          reason=decision.reason, statement=decision.sid,
                          failed=list(decision.failed))
        if not decision.allowed:
            why = (f'with an {decision.reason.replace("the key", "a resource-based")}'
                   if decision.reason.startswith('explicit') else
                   f'because no resource-based policy allows the kms:{self.operation} action')
            raise KmsError('AccessDeniedException',
                           f'User: {self.caller.caller} is not authorized to perform: '
                           f'kms:{self.operation} on resource: {resource} {why}')

    def usable(self, key):
        self.entry['key'] = key.arn
        self.authorise(key)
        if not key.enabled:
            raise KmsError('DisabledException', f'{key.arn} is disabled.')
        self.fits(key)
        if self.request.get('DryRun') is True:
            raise KmsError('DryRunOperationException',
                           'The request would have succeeded, but the DryRun option is set.')
        return key

    def fits(self, key):
        """What a key of this kind cannot do, and grants that nobody made: there are none here."""
        if signs(key) != (self.operation == 'Sign'):
            raise KmsError('InvalidKeyUsageException', f'{key.arn} key usage is '
                           f'{"SIGN_VERIFY" if signs(key) else "ENCRYPT_DECRYPT"}, which is not valid for {self.operation}.')
        algorithm = self.request.get('EncryptionAlgorithm', 'SYMMETRIC_DEFAULT')
        if algorithm != 'SYMMETRIC_DEFAULT':
            raise KmsError('InvalidKeyUsageException',
                           f'{key.arn} is a SYMMETRIC_DEFAULT key and cannot be used with {algorithm}.')
        if self.request.get('GrantTokens'):
            raise KmsError('InvalidGrantTokenException', None)

    def release(self, plaintext):
        """The plaintext members of an answer, in clear or for the recipient; faults included."""
        fault, value = self.fault, self.fault_value
        if fault == 'wrong-plaintext':
            plaintext = os.urandom(len(plaintext))
        elif fault == 'plaintext-length':
            plaintext = os.urandom(int(value))
        clear = {'Plaintext': base64.b64encode(plaintext).decode()}
        if self.spki is None:
            return clear
        spki = self.kms.stranger if fault == 'other-recipient' else self.spki
        wrapped = cms.envelop(plaintext, spki)
        if fault == 'garbage-cms':
            wrapped = os.urandom(len(wrapped))
        elif fault == 'truncated-cms':
            wrapped = wrapped[:len(wrapped) // 2]
        answer = {'CiphertextForRecipient': base64.b64encode(wrapped).decode()}
        if fault == 'no-cms':
            return {}
        return {**answer, **clear} if fault == 'plaintext-too' else answer

    def encrypt(self):
        key = self.usable(self.named_key())
        sealed = seal(key, blob(self.request, 'Plaintext'), encryption_context(self.request))
        return {'CiphertextBlob': base64.b64encode(sealed).decode(), 'KeyId': key.arn,
                'EncryptionAlgorithm': 'SYMMETRIC_DEFAULT'}

    def decrypt(self):
        ciphertext = blob(self.request, 'CiphertextBlob')
        named = self.named_key() if self.request.get('KeyId') is not None else None
        try:
            key = self.find_maker(ciphertext)
        except KmsError:
            if named is not None:
                self.usable(named)
            raise KmsError('InvalidCiphertextException', None) from None
        self.usable(named or key)
        if named is not None and named is not key:
            raise KmsError('IncorrectKeyException', 'The key ID in the request does not identify '
                           'a CMK that can perform this operation.')
        plaintext = unseal(key, ciphertext, encryption_context(self.request))
        return {'KeyId': key.arn, 'EncryptionAlgorithm': 'SYMMETRIC_DEFAULT', **material(key),
                **self.release(plaintext)}

    def sign(self):
        """AWS KMS API, Sign: with ECC_NIST_P384 the algorithm is ECDSA_SHA_384, and a digest has its length."""
        message = blob(self.request, 'Message')
        key = self.usable(self.named_key())
        if self.request.get('SigningAlgorithm') != 'ECDSA_SHA_384':
            raise KmsError('InvalidKeyUsageException', f'Algorithm {self.request.get("SigningAlgorithm")} is '
                           f'incompatible with key spec {key.spec}.')
        digest = hashes.SHA384()
        if self.request.get('MessageType', 'RAW') == 'DIGEST':
            if len(message) != digest.digest_size:
                raise validation('Digest is invalid length for algorithm ECDSA_SHA_384.')
            digest = utils.Prehashed(digest)
        private = serialization.load_der_private_key(key.material, None)
        return {'KeyId': key.arn, 'SigningAlgorithm': 'ECDSA_SHA_384',
                'Signature': base64.b64encode(private.sign(message, ec.ECDSA(digest))).decode()}

    def byte_count(self):
        spec, count = self.request.get('KeySpec'), self.request.get('NumberOfBytes')
        size = {'AES_256': 32, 'AES_128': 16}.get(spec, count)
        if (spec is None) == (count is None) and self.operation == 'GenerateDataKey' or \
                type(size) is not int or not 1 <= size <= 1024:
            raise validation('KeySpec or NumberOfBytes (1 to 1024)')
        return size

    def generate_data_key(self):
        key = self.usable(self.named_key())
        plaintext = os.urandom(self.byte_count())
        sealed = seal(key, plaintext, encryption_context(self.request))
        return {'CiphertextBlob': base64.b64encode(sealed).decode(), 'KeyId': key.arn, **material(key),
                **self.release(plaintext)}

    def generate_data_key_pair(self):
        key = self.usable(self.named_key())
        make = PAIRS.get(self.request.get('KeyPairSpec'))
        if make is None:
            raise validation(f'KeyPairSpec must be one of {", ".join(PAIRS)}')
        pair = make()
        private = pair.private_bytes(serialization.Encoding.DER, serialization.PrivateFormat.PKCS8,
                                     serialization.NoEncryption())
        public = pair.public_key().public_bytes(serialization.Encoding.DER,
                                                serialization.PublicFormat.SubjectPublicKeyInfo)
        sealed = seal(key, private, encryption_context(self.request))
        answer = self.release(private)
        if 'Plaintext' in answer:
            answer['PrivateKeyPlaintext'] = answer.pop('Plaintext')
        return {'PrivateKeyCiphertextBlob': base64.b64encode(sealed).decode(),
                'PublicKey': base64.b64encode(public).decode(), 'KeyPairSpec': self.request['KeyPairSpec'], 'KeyId': key.arn, **material(key), **answer}

    def derive_shared_secret(self):
        raise AssertionError(self.usable(self.named_key()))  # no key here agrees on keys: fits() says so

    def generate_random(self):
        self.authorise(None)
        return self.release(os.urandom(self.byte_count()))

    def describe_key(self):
        key = self.named_key()
        self.entry['key'] = key.arn
        self.authorise(key)
        return {'KeyMetadata': {
            'AWSAccountId': key.account, 'KeyId': key.id, 'Arn': key.arn,
            'CreationDate': 1700000000.0, 'Enabled': key.enabled, 'Description': '',
            'KeyUsage': 'ENCRYPT_DECRYPT', 'KeyState': 'Enabled' if key.enabled else 'Disabled',
            'Origin': 'AWS_KMS', 'KeyManager': 'CUSTOMER', 'KeySpec': 'SYMMETRIC_DEFAULT',
            'CustomerMasterKeySpec': 'SYMMETRIC_DEFAULT', 'MultiRegion': key.multi_region,
            'EncryptionAlgorithms': ['SYMMETRIC_DEFAULT']}}

    def get_key_policy(self):
        key = self.named_key()
        self.entry['key'] = key.arn
        self.authorise(key)
        return {'Policy': json.dumps(key.policy), 'PolicyName': 'default'}

    def put_key_policy(self):
        key = self.named_key()
        self.entry['key'] = key.arn
        self.authorise(key)
        try:
            new = json.loads(self.request.get('Policy') or '')
            policy.check(new)
        except (ValueError, TypeError, policy.MalformedPolicy) as error:
            raise KmsError('MalformedPolicyDocumentException', str(error)) from None
        key.policy = new
        return {}


OPERATIONS = {'Encrypt': Call.encrypt, 'Decrypt': Call.decrypt,
              'GenerateDataKey': Call.generate_data_key, 'GenerateDataKeyPair': Call.generate_data_key_pair,
              'DeriveSharedSecret': Call.derive_shared_secret, 'GenerateRandom': Call.generate_random,
              'DescribeKey': Call.describe_key, 'Sign': Call.sign, 'GetKeyPolicy': Call.get_key_policy,
              'PutKeyPolicy': Call.put_key_policy}


class Kms:
    def __init__(self, account):
        self.account = account
        self.max_age_s = account.config.get('document_max_age_s', 300)
        self.root = None
        if account.config.get('nitrotpm_root'):
            with open(account.config['nitrotpm_root'], 'rb') as f:
                self.root = x509.load_pem_x509_certificate(f.read())
        self.stranger = rsa.generate_private_key(65537, 2048).public_key().public_bytes(
            serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)

    def call(self, operation, caller, body, fault, value):
        """-> answer (a dict), log entry; raises KmsError with .entry"""
        entry = {}
        try:
            if fault == 'error':
                raise KmsError(value, 'a fault that was asked for')
            if operation not in OPERATIONS:
                raise KmsError('UnknownOperationException', None)
            try:
                request = json.loads(body)
            except ValueError:
                request = None
            if not isinstance(request, dict):
                raise KmsError('SerializationException', None)
            call = Call(self, operation, caller, request)
            call.fault, call.fault_value, call.entry = fault, value, entry
            call.read_recipient()
            answer = OPERATIONS[operation](call)
        except KmsError as error:
            error.entry = entry
            raise
        if fault == 'key-id' and 'KeyId' in answer:
            answer['KeyId'] = value or self.other_arn(answer['KeyId'])
        return answer, entry

    @staticmethod
    def other_arn(arn):
        return arn.rpartition('/')[0] + '/' + str(uuid.UUID(int=0))
