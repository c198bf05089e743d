# SPDX-License-Identifier: GPL-2.0-or-later
"""The emulator seen by botocore, openssl and plain sockets."""
import base64
import contextlib
import json
import os
import socket
import ssl
import struct
import subprocess
import sys
import urllib.error
import urllib.request

import pytest
from botocore.exceptions import ClientError, ConnectionClosedError, SSLError

sys.dont_write_bytecode = True
sys.path.append(os.path.dirname(os.path.realpath(__file__)))

import cms  # noqa: E402
import emulator as E  # noqa: E402
import sigv4  # noqa: E402

VECTORS = os.environ.get('MU_VECTORS') or os.path.join(
    E.HERE, *[os.pardir] * 3, 'shared', 'vectors')
SECRET = bytes(range(32))
VOLUME = {'volume': 'root'}


@pytest.fixture(scope='module')
def shared(tmp_path_factory):
    aws = E.Emulator(tmp_path_factory.mktemp('aws'))
    yield aws
    aws.stop()


@pytest.fixture
def aws(shared):
    yield shared
    shared.tell('clear')


@pytest.fixture(scope='module')
def recipient():
    return E.rsa_key()


@pytest.fixture(scope='module')
def sealed(shared):
    answer = shared.builder().encrypt(KeyId=E.KEY_ARN, Plaintext=SECRET,
                                      EncryptionContext=VOLUME)
    return answer['CiphertextBlob']


def error_of(call, **arguments):
    with pytest.raises(ClientError) as caught:
        call(**arguments)
    return caught.value.response['Error']['Code']


def ask(aws, sealed, spki, key_id=E.KEY_ARN, context=VOLUME, **what):
    return dict(KeyId=key_id, CiphertextBlob=sealed, EncryptionContext=context,
                Recipient=aws.recipient(spki, **what))


def pcrs(**changes):
    return [bytes.fromhex(changes.get(f'pcr{i}', v.hex())) for i, v in enumerate(E.PCRS)]


def test_attested_decrypt(aws, recipient, sealed, tmp_path):
    key, spki = recipient
    answer = aws.kms().decrypt(**ask(aws, sealed, spki))
    assert answer['KeyId'] == E.KEY_ARN and 'Plaintext' not in answer
    assert E.open_cms(answer['CiphertextForRecipient'], key, tmp_path) == SECRET
    last = aws.last()
    assert last['decision'] == 'allow' and last['statement'] == 'release'
    assert last['pcrs']['PCR4'] == E.PCRS[4].hex() and E.ROLE in last['principal']


@pytest.mark.parametrize('more, error', [
    (dict(DryRun=True), 'DryRunOperationException'),
    (dict(EncryptionAlgorithm='RSAES_OAEP_SHA_256'), 'InvalidKeyUsageException'),
    (dict(GrantTokens=['abc']), 'InvalidGrantTokenException'), ({}, None)])
def test_what_a_symmetric_key_refuses(aws, recipient, sealed, more, error):
    client = aws.kms()

    def add(params, **_):  # past botocore's model, which may be older than a member
        params['body'] = json.dumps({**json.loads(params['body']), **more}).encode()

    client.meta.events.register('before-call.kms.Decrypt', add)
    arguments = ask(aws, sealed, recipient[1])
    if error:
        assert error_of(client.decrypt, **arguments) == error
    else:
        assert client.decrypt(**arguments)['CiphertextForRecipient']


def test_a_key_pair_is_made_for_whom_the_policy_names(aws, recipient):
    """It takes a recipient, so that its document is read; the policy here allows Decrypt alone."""
    arguments = dict(KeyId=E.KEY_ARN, EncryptionContext=VOLUME, KeyPairSpec='ECC_NIST_P256')
    assert error_of(aws.kms().generate_data_key_pair, **arguments) == 'AccessDeniedException'


@pytest.mark.parametrize('number', [4, 12, 15])
def test_altered_pcr_is_denied(aws, recipient, sealed, number):
    wrong = pcrs(**{f'pcr{number}': 'ee' * 48})
    assert error_of(aws.kms().decrypt, **ask(aws, sealed, recipient[1], pcrs=wrong)) == \
        'AccessDeniedException'
    assert aws.last()['failed'] == [f'{E.NITRO}{number}']


def test_unattested_decrypt_is_denied(aws, sealed):
    arguments = dict(KeyId=E.KEY_ARN, CiphertextBlob=sealed, EncryptionContext=VOLUME)
    for client in (aws.kms(), aws.builder()):
        assert error_of(client.decrypt, **arguments) == 'AccessDeniedException'
        assert aws.last()['statement'] == 'unattested'


def test_enclave_document_has_no_nitrotpm_keys(aws, recipient, sealed):
    assert error_of(aws.kms().decrypt, **ask(aws, sealed, recipient[1], fault='enclave')) == \
        'AccessDeniedException'
    assert aws.last()['statement'] == 'unattested'


@pytest.mark.parametrize('fault, value', [
    ('stale', '400'), ('expired-leaf', None), ('other-root', None), ('wrong-signature', None),
    ('altered-payload', None), ('wrong-algorithm', None), ('short-signature', None),
    ('wrong-digest', None), ('short-pcr', None), ('reversed-cabundle', None),
    ('empty-cabundle', None)])
def test_bad_document(aws, recipient, sealed, fault, value):
    arguments = ask(aws, sealed, recipient[1], fault=fault, value=value)
    assert error_of(aws.kms().decrypt, **arguments) == 'ValidationException'
    assert aws.last()['document']


@pytest.mark.parametrize('fault', ['tagged', 'definite'])
def test_other_encodings_are_accepted(aws, recipient, sealed, fault):
    assert aws.kms().decrypt(**ask(aws, sealed, recipient[1], fault=fault))


def test_recipient_key_must_be_rsa_2048(aws, sealed):
    for spki in (E.rsa_key(3072)[1], b'\x30\x00', None):
        assert error_of(aws.kms().decrypt, **ask(aws, sealed, spki)) == 'ValidationException'


def test_encryption_context(aws, recipient, sealed):
    """Denied by the policy; with a policy that does not look, the ciphertext is invalid."""
    spki = recipient[1]
    assert error_of(aws.kms().decrypt, **ask(aws, sealed, spki, context={'volume': 'x'})) == \
        'AccessDeniedException'
    more = {**VOLUME, 'extra': 'x'}
    assert error_of(aws.kms().decrypt, **ask(aws, sealed, spki, context=more)) == \
        'InvalidCiphertextException'


def test_ciphertext_and_key(aws, recipient, sealed):
    spki = recipient[1]
    assert error_of(aws.kms().decrypt, **ask(aws, sealed[:-1] + b'x', spki)) == \
        'InvalidCiphertextException'
    assert error_of(aws.kms().decrypt, **ask(aws, b'rubbish', spki)) == \
        'InvalidCiphertextException'
    nowhere = E.KEY_ARN[:-12] + '000000000000'
    assert error_of(aws.kms().decrypt, **ask(aws, sealed, spki, key_id=nowhere)) == \
        'NotFoundException'


def test_key_of_another_ciphertext(tmp_path, recipient, sealed):
    everything = {'Version': '2012-10-17', 'Statement': [
        {'Effect': 'Allow', 'Principal': '*', 'Action': 'kms:*', 'Resource': '*'}]}
    aws = E.Emulator(tmp_path, keys=[{'id': i, 'policy': everything}
                                     for i in (E.KEY_ID, E.OTHER_KEY_ID)])
    try:
        mine = aws.builder().encrypt(KeyId=E.KEY_ID, Plaintext=SECRET)['CiphertextBlob']
        wrong = dict(CiphertextBlob=mine, KeyId=E.OTHER_KEY_ID)
        assert error_of(aws.builder().decrypt, **wrong) == 'IncorrectKeyException'
        assert aws.builder().decrypt(CiphertextBlob=mine)['Plaintext'] == SECRET
        assert error_of(aws.builder().decrypt, CiphertextBlob=sealed) == \
            'InvalidCiphertextException'
        aws.stop()
        aws.start()
        assert aws.builder().decrypt(CiphertextBlob=mine)['Plaintext'] == SECRET
    finally:
        aws.stop()


def test_data_key_and_random(tmp_path, recipient):
    everything = {'Version': '2012-10-17', 'Statement': [
        {'Effect': 'Allow', 'Principal': '*', 'Action': 'kms:*', 'Resource': '*'}]}
    may = {'Version': '2012-10-17', 'Statement': [
        {'Effect': 'Allow', 'Action': 'kms:GenerateRandom', 'Resource': '*'}]}
    aws = E.Emulator(tmp_path, keys=[{'id': E.KEY_ID, 'policy': everything}], identity_policy=may)
    key, spki = recipient
    try:
        made = aws.kms().generate_data_key(KeyId=E.KEY_ID, KeySpec='AES_256',
                                           Recipient=aws.recipient(spki))
        inside = E.open_cms(made['CiphertextForRecipient'], key, tmp_path)
        assert inside == aws.kms().decrypt(CiphertextBlob=made['CiphertextBlob'])['Plaintext']
        random = aws.kms().generate_random(NumberOfBytes=20, Recipient=aws.recipient(spki))
        assert len(E.open_cms(random['CiphertextForRecipient'], key, tmp_path)) == 20
        assert error_of(aws.builder().generate_random, NumberOfBytes=20) == \
            'AccessDeniedException'
    finally:
        aws.stop()


def test_key_administration(aws, recipient, sealed):
    builder, spki = aws.builder(), recipient[1]
    old = builder.get_key_policy(KeyId=E.KEY_ID, PolicyName='default')['Policy']
    assert builder.describe_key(KeyId='alias/root-volume')['KeyMetadata']['Arn'] == E.KEY_ARN
    assert error_of(aws.kms().get_key_policy, KeyId=E.KEY_ID, PolicyName='default') == \
        'AccessDeniedException'
    new = old.replace(E.PCRS[4].hex(), 'dd' * 48)
    builder.put_key_policy(KeyId=E.KEY_ID, PolicyName='default', Policy=new)
    assert error_of(aws.kms().decrypt, **ask(aws, sealed, spki)) == 'AccessDeniedException'
    builder.put_key_policy(KeyId=E.KEY_ID, PolicyName='default', Policy=old)
    assert aws.kms().decrypt(**ask(aws, sealed, spki))
    assert error_of(builder.put_key_policy, KeyId=E.KEY_ID, PolicyName='default',
                    Policy=old.replace('StringEquals', 'StringResembles')) == \
        'MalformedPolicyDocumentException'
    aws.tell('key', key=E.KEY_ID, enabled=False)
    assert error_of(aws.kms().decrypt, **ask(aws, sealed, spki)) == 'DisabledException'
    aws.tell('key', key=E.KEY_ID, enabled=True)


def test_signatures(aws):
    access, secret, token = aws.role_keys()
    for keys, want in (((access, secret + 'x', token), 'InvalidSignatureException'),
                       (('ASIAUNKNOWN', secret, token), 'UnrecognizedClientException'),
                       ((access, secret, None), 'UnrecognizedClientException'),
                       ((access, secret, token[:-2]), 'UnrecognizedClientException')):
        assert error_of(aws.kms(keys).describe_key, KeyId=E.KEY_ID) == want
        assert 'principal' not in aws.last()


@pytest.mark.parametrize('minutes', [-6, 6])
def test_clock_skew(aws, monkeypatch, minutes):
    import datetime

    import botocore.auth

    real, shift = datetime.datetime, datetime.timedelta(minutes=minutes)

    class Skewed(real):
        @classmethod
        def utcnow(cls):
            return real.utcnow() + shift

        @classmethod
        def now(cls, tz=None):
            return real.now(tz) + shift

    keys = aws.role_keys()
    monkeypatch.setattr(botocore.auth.datetime, 'datetime', Skewed)
    assert error_of(aws.kms(keys).describe_key, KeyId=E.KEY_ID) == 'InvalidSignatureException'


def test_rotation_and_expiry(aws, recipient, sealed):
    old = aws.role_keys()
    aws.tell('rotate')
    assert aws.role_keys() != old
    assert aws.kms(old).decrypt(**ask(aws, sealed, recipient[1]))
    old = aws.role_keys()
    aws.tell('rotate', expire=True)
    assert error_of(aws.kms(old).decrypt, **ask(aws, sealed, recipient[1])) == \
        'ExpiredTokenException'


def vector_names():
    folder = os.path.join(VECTORS, 'sigv4', 'kms-decrypt-botocore')
    return sorted(n[:-5] for n in os.listdir(folder) if n.endswith('.json')) \
        if os.path.isdir(folder) else []


@pytest.mark.skipif(not vector_names(), reason='no sigv4 vectors in MU_VECTORS')
@pytest.mark.parametrize('name', vector_names())
def test_sigv4_vectors(name):
    from botocore.credentials import Credentials
    base = os.path.join(VECTORS, 'sigv4', 'kms-decrypt-botocore', name)
    with open(base + '.json') as f, open(base + '.body', 'rb') as g:
        case, body = json.load(f), g.read()
    headers = [('Host', case['host']), ('Content-Type', 'application/x-amz-json-1.1'),
               ('X-Amz-Date', case['amz_date']), ('X-Amz-Target', 'TrentService.Decrypt')]
    if case['session_token']:
        headers.append(('X-Amz-Security-Token', case['session_token']))
    match = sigv4.AUTHORIZATION.fullmatch(case['authorization'])
    credentials = Credentials(case['access_key'], case['secret_key'], case['session_token'])
    assert sigv4.expected('POST', f'https://{case["host"]}/', headers, body, credentials,
                          (case['region'], case['service']), match[5].split(';'),
                          case['amz_date']) == match[6]


@pytest.mark.parametrize('size, total', [(0, 461), (15, 461), (16, 477), (31, 477), (32, 493),
                                         (47, 493), (64, 525), (79, 525)])
def test_cms_sizes(recipient, tmp_path, size, total):
    wrapped = cms.envelop(bytes(size), recipient[1])
    assert len(wrapped) == total
    assert E.open_cms(wrapped, recipient[0], tmp_path) == bytes(size)


def test_cms_in_chunks(recipient, tmp_path):
    wrapped = cms.envelop(SECRET * 40, recipient[1], chunk=500)
    assert E.open_cms(wrapped, recipient[0], tmp_path) == SECRET * 40


def shape(der):
    """openssl's view of tags, lengths and nesting, without the random strings."""
    lines = subprocess.run(['openssl', 'asn1parse', '-inform', 'DER'], input=der,
                           capture_output=True, check=True).stdout.decode().splitlines()
    return [line.partition('[HEX DUMP]')[0] for line in lines]


@pytest.mark.skipif(not os.path.isdir(os.path.join(VECTORS, 'kms-cms')),
                    reason='no kms-cms vectors in MU_VECTORS')
@pytest.mark.parametrize('name', ['edgebit.cms', 'sdkc-input_ber.bin'])
def test_cms_has_the_genuine_shape(recipient, name):
    with open(os.path.join(VECTORS, 'kms-cms', name), 'rb') as f:
        assert shape(f.read()) == shape(cms.envelop(SECRET, recipient[1]))


@pytest.mark.parametrize('name, code', [
    ('ThrottlingException', 400), ('KMSInternalException', 500),
    ('DependencyTimeoutException', 500), ('LimitExceededException', 400)])
def test_error_faults_are_counted(aws, recipient, sealed, name, code):
    aws.fault('kms', 'error', name, operation='Decrypt', count=2)
    client = aws.kms()
    for _ in range(2):
        with pytest.raises(ClientError) as caught:
            client.decrypt(**ask(aws, sealed, recipient[1]))
        assert caught.value.response['Error']['Code'] == name
        assert caught.value.response['ResponseMetadata']['HTTPStatusCode'] == code
    assert client.decrypt(**ask(aws, sealed, recipient[1]))


def test_skipped_faults(aws, recipient, sealed):
    aws.fault('kms', 'status', '503', skip=1, count=1)
    client = aws.kms()
    assert client.decrypt(**ask(aws, sealed, recipient[1]))
    assert error_of(client.decrypt, **ask(aws, sealed, recipient[1])) == '503'


def test_answer_faults(aws, recipient, sealed, tmp_path):
    key, spki = recipient

    def faulty(*fault):
        aws.fault('kms', *fault, count=1)
        return aws.kms().decrypt(**ask(aws, sealed, spki))

    def wrapped(*fault):
        return faulty(*fault)['CiphertextForRecipient']

    assert faulty('key-id')['KeyId'] not in (E.KEY_ARN, None)
    assert 'CiphertextForRecipient' not in faulty('no-cms')
    assert faulty('plaintext-too')['Plaintext'] == SECRET
    assert len(E.open_cms(wrapped('plaintext-length', '31'), key,
                          tmp_path)) == 31
    other = E.open_cms(wrapped('wrong-plaintext'), key, tmp_path)
    assert len(other) == 32 and other != SECRET
    for name in ('garbage-cms', 'truncated-cms', 'other-recipient'):
        # Implicit rejection (OpenSSL 3.2, RFC 3218): a wrong key is another key, and one in 256 has a good padding.
        with contextlib.suppress(subprocess.CalledProcessError):
            assert E.open_cms(wrapped(name), key, tmp_path)[:32] != SECRET


def raw_https(aws, fault=None, value=None):
    """An unsigned request over a plain TLS socket: what comes back until the end."""
    if fault:
        aws.fault('kms', fault, value, count=1)
    context = ssl.create_default_context(cafile=aws.info['ca_file'])
    name = f'kms.{E.REGION}.amazonaws.com'
    with socket.create_connection(('127.0.0.1', aws.info['kms_port'])) as plain, \
            context.wrap_socket(plain, server_hostname=name) as s:
        s.sendall(f'POST / HTTP/1.1\r\nHost: {name}\r\nConnection: close\r\n'
                  'Content-Type: application/x-amz-json-1.1\r\n'
                  'X-Amz-Target: TrentService.Decrypt\r\nContent-Length: 2\r\n\r\n{}'.encode())
        data = b''
        while True:
            try:
                more = s.recv(1 << 16)
            except ssl.SSLEOFError:
                more = b''
            if not more:
                return data
            data += more


def test_http_faults(aws):
    head, _, body = raw_https(aws).partition(b'\r\n\r\n')
    assert json.loads(body)['__type'] == 'MissingAuthenticationTokenException'
    assert raw_https(aws, 'close') == b''
    head, _, body = raw_https(aws, 'short-body').partition(b'\r\n\r\n')
    assert f'Content-Length: {2 * len(body)}'.encode() in head or \
        f'Content-Length: {2 * len(body) + 1}'.encode() in head
    assert len(raw_https(aws, 'oversized', '300000')) > 300000
    assert b'Content-Type: text/plain\r\n' in raw_https(aws, 'content-type', 'text/plain')
    assert raw_https(aws, 'body', '}{').endswith(b'\r\n\r\n}{')
    assert b'HTTP/1.1 502 ' in raw_https(aws, 'status', '502')


@pytest.mark.parametrize('fault', ['unknown-ca', 'wrong-name', 'expired-certificate', 'future-certificate'])
def test_tls_faults(aws, fault):
    keys = aws.role_keys()
    before = len([r for r in aws.requests() if r['service'] == 'kms'])
    aws.fault('tls', fault)
    with pytest.raises(SSLError):
        aws.kms(keys).describe_key(KeyId=E.KEY_ID)
    assert len([r for r in aws.requests() if r['service'] == 'kms']) == before


def test_connection_closed(aws):
    keys = aws.role_keys()
    aws.fault('kms', 'close')
    with pytest.raises(ConnectionClosedError):
        aws.kms(keys).describe_key(KeyId=E.KEY_ID)


def imds(aws, path, method='GET', **headers):
    request = urllib.request.Request(aws.info['imds_endpoint'] + path, method=method, headers={
        k.replace('_', '-'): v for k, v in headers.items()})
    try:
        with urllib.request.urlopen(request, timeout=5) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


TOKEN, TTL = 'X_aws_ec2_metadata_token', 'X_aws_ec2_metadata_token_ttl_seconds'
CREDENTIALS = '/latest/meta-data/iam/security-credentials/'


def new_token(aws):
    return imds(aws, '/latest/api/token', 'PUT', **{TTL: '60'})[1]


def test_imds_token_rules(aws):
    put = '/latest/api/token', 'PUT'
    for ttl, status in (('1', 200), ('21600', 200), ('0', 400), ('21601', 400), ('x', 400)):
        assert imds(aws, *put, **{TTL: ttl})[0] == status
    assert imds(aws, *put)[0] == 400
    assert imds(aws, *put, **{TTL: '60', 'X_Forwarded_For': '1.2.3.4'})[0] == 403
    assert imds(aws, CREDENTIALS)[0] == 401
    assert imds(aws, CREDENTIALS, **{TOKEN: 'x'})[0] == 401
    assert imds(aws, CREDENTIALS, **{TOKEN: imds(aws, *put, **{TTL: '60'})[1]}) == (200, E.ROLE)
    short = imds(aws, *put, **{TTL: '1'})[1]
    import time
    time.sleep(1.1)
    assert imds(aws, CREDENTIALS, **{TOKEN: short})[0] == 401


def test_imds_paths(aws):
    token = {TOKEN: new_token(aws)}
    assert imds(aws, '/latest/meta-data/placement/region', **token) == (200, E.REGION)
    identity = json.loads(imds(aws, '/latest/dynamic/instance-identity/document', **token)[1])
    assert identity['instanceId'] == E.INSTANCE and identity['accountId'] == E.ACCOUNT
    found = json.loads(imds(aws, CREDENTIALS + E.ROLE, **token)[1])
    assert found['Code'] == 'Success' and 'AccountId' not in found
    extended = CREDENTIALS.replace('credentials', 'credentials-extended') + E.ROLE
    assert json.loads(imds(aws, extended, **token)[1])['AccountId'] == E.ACCOUNT
    assert imds(aws, CREDENTIALS + 'nobody', **token)[0] == 404
    assert imds(aws, '/latest/user-data', **token)[0] == 404


def test_imds_identity(aws, tmp_path):
    """As AWS's own instructions verify it, with openssl."""
    token = {TOKEN: new_token(aws)}
    text, signature, rsa2048, dsa = (
        imds(aws, '/latest/dynamic/instance-identity/' + name, **token)[1]
        for name in ('document', 'signature', 'rsa2048', 'pkcs7'))
    certificates = os.path.join(aws.folder, 'region-certificates', E.REGION + '.pem')
    single = open(certificates).read().split('-----END CERTIFICATE-----\n')[:3]
    for n, pem in enumerate(single):
        (tmp_path / f'{n}.pem').write_text(pem + '-----END CERTIFICATE-----\n')
    for n, message in ((2, rsa2048), (0, dsa)):
        (tmp_path / 'p7').write_text(f'-----BEGIN PKCS7-----\n{message}\n-----END PKCS7-----\n')
        done = subprocess.run(['openssl', 'smime', '-verify', '-in', tmp_path / 'p7', '-inform', 'PEM', '-certfile',
                               tmp_path / f'{n}.pem', '-noverify', '-nointern', '-binary'], capture_output=True)
        assert done.returncode == 0 and done.stdout.decode() == text, done.stderr
    (tmp_path / 'signature').write_bytes(base64.b64decode(signature))
    (tmp_path / 'document').write_text(text)
    key = subprocess.run(['openssl', 'x509', '-in', tmp_path / '1.pem', '-pubkey', '-noout'], check=True,
                         capture_output=True).stdout
    (tmp_path / 'key').write_bytes(key)
    subprocess.run(['openssl', 'dgst', '-sha256', '-verify', tmp_path / 'key', '-signature', tmp_path / 'signature',
                    tmp_path / 'document'], check=True, capture_output=True)
    assert imds(aws, '/latest/dynamic/instance-identity/else', **token)[0] == 404


def test_imds_profile_and_listing(aws):
    token = {TOKEN: new_token(aws)}
    found = json.loads(imds(aws, '/latest/meta-data/iam/info', **token)[1])
    assert found['Code'] == 'Success' and found['InstanceProfileArn'].endswith(f':instance-profile/{E.ROLE}')
    for path in ('/latest/meta-data', '/latest/meta-data/'):
        status, text = imds(aws, path, **token)[:2]
        assert status == 200 and 'instance-id' in text.split('\n') and 'iam/' in text.split('\n')


def test_imds_faults(aws):
    token = {TOKEN: new_token(aws)}
    path = CREDENTIALS + E.ROLE
    for status in (401, 403, 404, 503):
        aws.fault('imds', 'status', str(status), count=1)
        assert imds(aws, path, **token)[0] == status
    aws.fault('imds', 'code', 'AssumeRoleUnauthorizedAccess', operation=path, count=1)
    assert json.loads(imds(aws, path, **token)[1])['Code'] == 'AssumeRoleUnauthorizedAccess'
    aws.fault('imds', 'bad-json', operation=path, count=1)
    with pytest.raises(ValueError):
        json.loads(imds(aws, path, **token)[1])
    aws.fault('imds', 'expired', operation=path, count=1)
    stale = json.loads(imds(aws, path, **token)[1])
    keys = stale['AccessKeyId'], stale['SecretAccessKey'], stale['Token']
    assert error_of(aws.kms(keys).describe_key, KeyId=E.KEY_ID) == 'ExpiredTokenException'


def dns_query(aws, name, kind=1):
    labels = b''.join(bytes([len(x)]) + x.encode() for x in name.split('.'))
    query = struct.pack('>HHHHHH', 7, 0x0100, 1, 0, 0, 0) + labels + struct.pack('>BHH', 0, kind, 1)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
        s.settimeout(1)
        s.sendto(query, ('127.0.0.1', aws.info['dns_port']))
        answer = s.recv(512)
    flags, _, count = struct.unpack_from('>HHH', answer, 2)
    return flags & 15, socket.inet_ntoa(answer[-4:]) if count else None


def test_dns(aws):
    assert dns_query(aws, f'kms.{E.REGION}.amazonaws.com') == (0, '169.254.169.254')
    assert dns_query(aws, f'kms.{E.REGION}.amazonaws.com', 28) == (0, None)
    assert dns_query(aws, 'example.com') == (3, None)
    aws.fault('dns', 'servfail', count=1)
    assert dns_query(aws, 'kms.x') == (2, None)
    aws.fault('dns', 'drop', count=1)
    with pytest.raises(TimeoutError):
        dns_query(aws, 'kms.x')


def test_command_line(aws, tmp_path, recipient, sealed):
    aws.command('fault', '--operation', 'Decrypt', '--count', '1', '--value', '429',
                'kms', 'status')
    assert json.loads(aws.command('status'))['faults'][0]['count'] == 1
    assert error_of(aws.kms().decrypt, **ask(aws, sealed, recipient[1])) == '429'
    aws.command('fault', 'kms', 'close')
    aws.command('fault', 'none')
    denied = tmp_path / 'policy.json'
    denied.write_text(json.dumps({'Version': '2012-10-17', 'Statement': []}))
    aws.command('key', E.KEY_ID, '--policy', str(denied))
    assert error_of(aws.kms().decrypt, **ask(aws, sealed, recipient[1])) == \
        'AccessDeniedException'
    aws.tell('key', key=E.KEY_ID, policy=E.key_policy())
    assert aws.kms().decrypt(**ask(aws, sealed, recipient[1]))


@pytest.mark.parametrize('args, text', [
    (['kms', 'no-such-thing'], 'no fault'), (['s3', 'error'], 'no fault'),
    (['kms', 'error'], 'needs a value'), (['--value', 'x', 'kms', 'status'], 'invalid literal'),
])
def test_unusable_fault_is_refused(aws, args, text):
    with pytest.raises(subprocess.CalledProcessError) as caught:
        aws.command('fault', *args)
    assert text in caught.value.stderr
