# SPDX-License-Identifier: GPL-2.0-or-later
"""The emulator seen by tpm2-tools, by a client of our own, openssl, and beside AWS's documents."""
import glob
import io
import json
import os
import re
import signal
import subprocess
import sys
import time
from datetime import timedelta

import cbor2
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

sys.dont_write_bytecode = True
HERE = os.path.dirname(os.path.realpath(__file__))
sys.path.append(HERE)

import client  # noqa: E402
from client import Password, Session, Tpm, TpmError  # noqa: E402

COMMAND = os.path.join(HERE, 'nitrotpm')
VECTORS = os.environ.get('MU_VECTORS') or os.path.join(HERE, *[os.pardir] * 3, 'shared', 'vectors')
INSTANCE = 'i-01cfb383223e42522'
INDEX, SIZE = 0x01000010, 8192
POINT, NONCE = bytes(range(65)), bytes(range(32))


class Emulator:
    def __init__(self, folder, *options, where=('--tcp', '0')):
        self.folder = str(folder)
        self.process = subprocess.Popen(
            [COMMAND, 'run', '--dir', self.folder, *where, *options], stdout=subprocess.PIPE,
            text=True)
        self.line = self.process.stdout.readline().split()
        assert self.line[:1] == ['ready']
        self.info = dict(word.split('=', 1) for word in self.line[1:])
        self.port = int(self.info.get('port', 0))

    def stop(self):
        self.process.terminate()
        assert self.process.wait(10) == 0
        self.process.stdout.close()

    def fault(self, name, value=None, count='1'):
        more = ['--value', value] if value else []
        subprocess.run([COMMAND, 'fault', '--dir', self.folder, '--count', count, *more, name],
                       check=True)

    def tool(self, name, *args, **options):
        env = {**os.environ, 'TPM2TOOLS_TCTI': self.info['tcti']}
        return subprocess.run([name, *args], env=env, check=True, capture_output=True,
                              timeout=60, **options).stdout


@pytest.fixture(scope='module')
def emulator(tmp_path_factory):
    found = Emulator(tmp_path_factory.mktemp('tpm'), '--instance-id', INSTANCE, '--region',
                     'us-east-1')
    yield found
    found.stop()


@pytest.fixture
def tpm(emulator):
    found = Tpm(emulator.port)
    yield found
    for index in found.capability(1, 0x01000000, 100)[1][1:]:
        if index < 0x01c00000:
            found.undefine(index)


def request(user_data=None, nonce=None, public_key=None):
    return cbor2.dumps({'Attestation': {'user_data': user_data, 'nonce': nonce,
                                        'public_key': public_key}})


def attest(tpm, data=None, auth=None, size=SIZE, **define):
    """Define, write, send, read, undefine: the whole index afterwards."""
    auth = auth or Password()
    tpm.define(INDEX, size, auth=auth.auth, **define)
    tpm.nv_write(INDEX, data or request(nonce=NONCE, public_key=POINT), auth)
    tpm.nsm(INDEX, auth)
    found = tpm.nv_read(INDEX, size, auth)
    tpm.undefine(INDEX)
    return found


def answer(raw):
    return cbor2.CBORDecoder(io.BytesIO(raw)).decode()


def verified(document, root_pem):
    """Payload of a good document; asserts signature and chain with `cryptography` alone."""
    protected, unprotected, payload, signature = cbor2.loads(document)
    fields = cbor2.loads(payload)
    certs = [x509.load_der_x509_certificate(c)
             for c in [*fields['cabundle'], fields['certificate']]]
    with open(root_pem, 'rb') as f:
        assert x509.load_pem_x509_certificate(f.read()) == certs[0]
    for issuer, cert in zip(certs, certs[1:]):
        issuer.public_key().verify(cert.signature, cert.tbs_certificate_bytes,
                                   ec.ECDSA(hashes.SHA384()))
    raw = encode_dss_signature(*(int.from_bytes(signature[i:i + 48], 'big') for i in (0, 48)))
    certs[-1].public_key().verify(raw, cbor2.dumps(['Signature1', protected, b'', payload]),
                                  ec.ECDSA(hashes.SHA384()))
    assert (protected.hex(), unprotected) == ('a1013822', {})
    return fields


def code_of(call, *args, **options):
    with pytest.raises(TpmError) as caught:
        call(*args, **options)
    return caught.value.args[0]


# What the TPM says about itself

def test_command_is_listed(tpm, emulator):
    """As the kernel's resource manager asks: TOTAL_COMMANDS entries from 0x11f."""
    total, library, vendor = tpm.capability(6, 0x129, 3)[1][2::2]
    more, words = tpm.capability(2, 0x11f, total)
    assert (more, words[0]) == (0, total) and total == library + 1 and vendor == 1
    assert words[-1] == 0x24400001
    assert tpm.capability(2, 0x11f, total - 1) == (1, (total - 1, *words[1:-1]))
    assert tpm.capability(2, 0x20000001, 9) == (0, (1, 0x24400001))
    assert tpm.capability(2, 0x20000002, 9) == (0, (0,))
    text = emulator.tool('tpm2_getcap', 'commands').decode()
    assert re.search(r'0x24400001|value:\s+0x24400001', text, re.I)


def test_identity(emulator):
    text = emulator.tool('tpm2_getcap', 'properties-fixed').decode()
    found = [re.search(rf'{name}:.*?value: "(.*?)"', text, re.S)[1] for name in
             ('MANUFACTURER', 'STRING_1', 'STRING_2', 'STRING_3')]
    assert found == ['AMZN', 'Nitr', 'oTPM', 'v1.0']


# Clients

def test_tpm2_tools(emulator, tpm, tmp_path):
    """Define, write, vendor command, read with tpm2-tools; chain and signature with openssl."""
    wanted, tool = tmp_path / 'request', emulator.tool
    wanted.write_bytes(request(nonce=NONCE))
    tool('tpm2_nvdefine', hex(INDEX), '-C', 'o', '-s', str(SIZE), '-a', 'authread|authwrite')
    tool('tpm2_nvwrite', hex(INDEX), '-i', str(wanted))
    raw = bytes.fromhex('80020000001f20000001') + INDEX.to_bytes(4, 'big') * 2 \
        + bytes.fromhex('00000009400000090000000000')
    assert tool('tpm2_send', input=raw)[:10].hex() == '80020000001300000000'
    found = answer(tool('tpm2_nvread', hex(INDEX)))['Attestation']['document']
    tool('tpm2_nvundefine', hex(INDEX), '-C', 'o')
    openssl_verifies(found, emulator.info['root'], tmp_path)
    assert verified(found, emulator.info['root'])['nonce'] == NONCE


def openssl_verifies(document, root_pem, folder):
    protected, _, payload, signature = cbor2.loads(document)
    fields = cbor2.loads(payload)
    paths = {}
    for name, ders in (('chain', fields['cabundle'][1:]), ('leaf', [fields['certificate']])):
        paths[name] = folder / name
        paths[name].write_bytes(b''.join(x509.load_der_x509_certificate(d).public_bytes(
            serialization.Encoding.PEM) for d in ders))
    subprocess.run(['openssl', 'verify', '-CAfile', root_pem, '-untrusted',
                    paths['chain'], paths['leaf']], check=True, capture_output=True)
    signed, signature_file, public = folder / 'signed', folder / 'signature', folder / 'public'
    signed.write_bytes(cbor2.dumps(['Signature1', protected, b'', payload]))
    signature_file.write_bytes(encode_dss_signature(
        int.from_bytes(signature[:48], 'big'), int.from_bytes(signature[48:], 'big')))
    public.write_bytes(subprocess.run(['openssl', 'x509', '-in', paths['leaf'], '-noout',
                                       '-pubkey'], check=True, capture_output=True).stdout)
    subprocess.run(['openssl', 'dgst', '-sha384', '-verify', public, '-signature',
                    signature_file, signed], check=True, capture_output=True)


@pytest.mark.parametrize('auth, name_alg', [
    (b'', client.SHA256), (bytes(range(1, 33)), client.SHA256),
    (b'', client.SHA512), (bytes(range(1, 65)), client.SHA512)])
def test_password_clients(emulator, tpm, auth, name_alg):
    found = answer(attest(tpm, auth=Password(auth), name_alg=name_alg))
    fields = verified(found['Attestation']['document'], emulator.info['root'])
    assert (fields['public_key'], fields['nonce'], fields['user_data']) == (POINT, NONCE, None)


def test_cp_hash_vector():
    name = bytes(range(68))
    assert client.cp_hash(client.NSM_REQUEST, [name, name]).hex() == (
        'c3869a4e945d90e6688365a59e14d2c5ab3d2b4579261a4a4377fe918d5d3509'
        '33284223b6a569e384124d2bceb2173dac7a4171181efed7a5697d862174f9dc')


@pytest.fixture
def sessions(tpm):
    """A plain and an encrypting SHA-512 session, salted to a transient EK."""
    ek, modulus = tpm.create_ek()
    plain, encrypted = Session(tpm, ek, modulus), Session(tpm, ek, modulus, encrypted=True)
    tpm.flush(ek)
    yield plain, encrypted
    for session in (plain, encrypted):
        tpm.flush(session.handle)


def test_session_client(emulator, tpm, sessions):
    """As AWS's own tool does it: HMAC session for the command, encrypted NV reads and writes."""
    plain, encrypted = sessions
    plain.auth = encrypted.auth = bytes(range(1, 65))
    tpm.define(INDEX, SIZE, auth=plain.auth)
    tpm.nv_write(INDEX, request(user_data=bytes(1024), public_key=POINT), encrypted)
    tpm.nsm(INDEX, plain)
    found = answer(tpm.nv_read(INDEX, SIZE, encrypted))['Attestation']['document']
    assert verified(found, emulator.info['root'])['user_data'] == bytes(1024)


def test_session_needs_right_auth_and_name(tpm, sessions):
    plain, encrypted = sessions
    plain.auth = encrypted.auth = b'secret'
    tpm.define(INDEX, SIZE, auth=b'secret', attributes=client.AUTH_READ_WRITE | 0x02000000)
    before = tpm.name(INDEX)
    tpm.nv_write(INDEX, request(), encrypted)
    after = tpm.name(INDEX)
    assert before != after
    for names in ([before, before], [before, after], [after, before]):
        assert code_of(tpm.nsm, INDEX, plain, names=names) == 0x9a2
    plain.auth = b'wrong'
    assert code_of(tpm.nsm, INDEX, plain) == 0x9a2
    plain.auth = b'secret'
    assert tpm.nsm(INDEX, plain) == b''


# Errors of the TPM

def test_tpm_errors(tpm):
    empty = Password()
    assert code_of(tpm.nsm, INDEX, empty, names=[b'', b'']) == 0x18b       # no such index
    tpm.define(INDEX, SIZE)
    tpm.define(INDEX + 1, SIZE)
    assert code_of(tpm.nsm, INDEX, empty) == 0x14a                         # never written
    tpm.nv_write(INDEX, request(), empty)
    tpm.nv_write(INDEX + 1, request(), empty)
    assert code_of(tpm.nsm, INDEX, Password(b'x')) == 0x98e
    assert code_of(tpm.nsm, INDEX, None) == 0x125                          # no authorisation
    assert code_of(tpm.nsm, INDEX, empty, handles=[INDEX, INDEX + 1]) == 0x149
    assert code_of(tpm.nsm, INDEX, empty, handles=[client.OWNER, INDEX]) == 0x149
    assert code_of(tpm.call, client.NSM_REQUEST, [INDEX, INDEX], empty, b'\0') & 0xbf == 0x95
    assert code_of(tpm.call, 0x20000002, [INDEX, INDEX], empty, names=[]) == 0x143
    assert tpm.nsm(INDEX, empty) == b''


def test_read_lock_still_works(tpm):
    """The command whose slot is borrowed."""
    tpm.define(INDEX, SIZE, attributes=client.AUTH_READ_WRITE | 0x80000000)
    tpm.nv_write(INDEX, request(), Password())
    before = tpm.nv_read(INDEX, 64, Password())
    tpm.call(0x14f, [INDEX, INDEX], Password())
    assert code_of(tpm.nv_read, INDEX, 64, Password()) == 0x148
    assert code_of(tpm.nsm, INDEX, Password()) == 0x148
    assert before.startswith(request())


@pytest.mark.parametrize('size', [2048, 2049, 8192, 16384])
def test_large_index(tpm, size):
    tpm.define(INDEX, size)
    data = os.urandom(size)
    tpm.nv_write(INDEX, data, Password())
    assert tpm.nv_read(INDEX, size, Password()) == data
    assert tpm.nv_public(INDEX)[0][-2:] == size.to_bytes(2, 'big')


def test_index_limits(tpm):
    assert tpm.capability(6, 0x117, 1)[1][1:] == (0x117, 16384)
    assert code_of(tpm.define, INDEX, 16385) == 0x2d5
    assert code_of(tpm.define, INDEX, 8192, attributes=0x00041004) == 0x2d5   # WRITEALL
    assert code_of(tpm.define, INDEX, 8192, attributes=0x04040004) == 0x2d5   # ORDERLY
    tpm.define(INDEX, 8)


# Errors of the NSM protocol

@pytest.mark.parametrize('data, error', [
    (b'\xff', 'InvalidArgument'),
    (b'\xa1', 'InvalidArgument'),
    (cbor2.dumps([1]), 'InvalidArgument'),
    (cbor2.dumps({'Attestation': None}), 'InvalidArgument'),
    (cbor2.dumps({'Attestation': {'nonce': 'text'}}), 'InvalidArgument'),
    (cbor2.dumps({'Attestation': {'nonce': [1, 256]}}), 'InvalidArgument'),
    (cbor2.dumps({'Attestation': {}, 'More': {}}), 'InvalidArgument'),
    (cbor2.dumps('DescribeNSM'), 'InvalidOperation'),
    (request(nonce=bytes(1025)), 'InputTooLarge'),
    (request(user_data=bytes(1025)), 'InputTooLarge'),
    (request(public_key=bytes(1025)), 'InputTooLarge'),
])
def test_nsm_errors(tpm, data, error):
    assert answer(attest(tpm, data)) == {'Error': error}


def test_small_index(tpm):
    assert answer(attest(tpm, size=4096)) == {'Error': 'BufferTooSmall'}


def test_longest_document_fits(emulator, tpm):
    full = {'user_data': bytes(1024), 'nonce': bytes(1024), 'public_key': bytes(1024)}
    raw = attest(tpm, request(**full))
    fields = verified(answer(raw)['Attestation']['document'], emulator.info['root'])
    assert {k: fields[k] for k in full} == full


def test_arrays_of_integers(emulator, tpm):
    data = cbor2.dumps({'Attestation': {'public_key': list(POINT), 'nonce': list(NONCE)}})
    fields = verified(answer(attest(tpm, data))['Attestation']['document'], emulator.info['root'])
    assert (fields['public_key'], fields['nonce'], fields['user_data']) == (POINT, NONCE, None)


# PCRs

def test_pcrs_are_those_of_the_tpm(emulator, tpm):
    emulator.tool('tpm2_pcrextend', '15:sha384=' + '11' * 48)
    emulator.tool('tpm2_pcrextend', '14:sha256=' + '22' * 32)
    emulator.tool('tpm2_pcrread', 'sha384', '-o', os.path.join(emulator.folder, 'pcrs'))
    with open(os.path.join(emulator.folder, 'pcrs'), 'rb') as f:
        values = f.read()
    pcrs = verified(answer(attest(tpm))['Attestation']['document'],
                    emulator.info['root'])['nitrotpm_pcrs']
    assert b''.join(pcrs[i] for i in range(24)) == values and list(pcrs) == list(range(24))
    assert pcrs[15] != bytes(48) and pcrs[14] == bytes(48) and pcrs[17] == b'\xff' * 48


def test_no_sha384_bank(tmp_path):
    emulator = Emulator(tmp_path, '--banks', 'sha1,sha256')
    try:
        tpm = Tpm(emulator.port)
        assert answer(attest(tpm)) == {'Error': 'InternalError'}
    finally:
        emulator.stop()


# Faults

@pytest.mark.parametrize('fault, value, check', [
    ('error', 'InternalError', lambda a: a == {'Error': 'InternalError'}),
    ('definite', None, lambda a: cbor2.loads(a['Attestation']['document'])[2][0] == 0xa9),
    ('tagged', None, lambda a: a['Attestation']['document'][:2] == b'\xd2\x84'),
    ('echo', None, lambda a: 'nonce' in a['Attestation']),
])
def test_faults_in_the_answer(tpm, emulator, fault, value, check):
    emulator.fault(fault, value)
    assert check(answer(attest(tpm)))
    assert not check(answer(attest(tpm)))


@pytest.mark.parametrize('fault', ['oversized', 'garbage'])
def test_faults_in_the_encoding(tpm, emulator, fault):
    emulator.fault(fault)
    raw = attest(tpm)
    try:
        assert not isinstance(answer(raw), dict)
    except (cbor2.CBORDecodeError, ValueError, TypeError, OverflowError, LookupError, MemoryError):
        pass


def test_fault_response_code(tpm, emulator):
    emulator.fault('rc', '921')
    tpm.define(INDEX, SIZE)
    tpm.nv_write(INDEX, request(), Password())
    assert code_of(tpm.nsm, INDEX, Password()) == 0x921
    assert tpm.nsm(INDEX, Password()) == b''


def test_fault_slow(tpm, emulator):
    emulator.fault('slow', '0.5')
    start = time.monotonic()
    assert 'Attestation' in answer(attest(tpm))
    assert time.monotonic() - start > 0.5


def faulty_fields(tpm, emulator, fault, value=None):
    emulator.fault(fault, value)
    document = answer(attest(tpm))['Attestation']['document']
    return document, cbor2.loads(cbor2.loads(document)[2])


@pytest.mark.parametrize('fault', ['wrong-signature', 'altered-payload', 'other-root',
                                   'wrong-algorithm', 'short-signature', 'reversed-cabundle',
                                   'empty-cabundle', 'truncated', 'torn'])
def test_faults_that_verification_finds(tpm, emulator, fault):
    emulator.fault(fault)
    document = answer(attest(tpm))['Attestation']['document']
    with pytest.raises(Exception):
        verified(document, emulator.info['root'])
    verified(answer(attest(tpm))['Attestation']['document'], emulator.info['root'])


@pytest.mark.parametrize('fault, value, check', [
    ('enclave', None, lambda f: 'pcrs' in f and '-enc' in f['module_id']),
    ('wrong-nonce', None, lambda f: f['nonce'] != NONCE),
    ('wrong-public-key', None, lambda f: f['public_key'] != POINT),
    ('wrong-user-data', None, lambda f: f['user_data'] is not None),
    ('stale', '3600', lambda f: f['timestamp'] < (time.time() - 3500) * 1000),
    ('missing-pcr', None, lambda f: len(f['nitrotpm_pcrs']) == 23),
    ('short-pcr', None, lambda f: len(f['nitrotpm_pcrs'][4]) == 32),
    ('pcr', '12=' + 'ab' * 48, lambda f: f['nitrotpm_pcrs'][12] == b'\xab' * 48),
    ('extra-key', None, lambda f: 'surprise' in f),
    ('wrong-digest', None, lambda f: f['digest'] != 'SHA384'),
    ('expired-leaf', None, lambda f: time.time() > x509.load_der_x509_certificate(
        f['certificate']).not_valid_after.timestamp() - time.timezone),
])
def test_faults_that_are_well_signed(tpm, emulator, fault, value, check):
    document, fields = faulty_fields(tpm, emulator, fault, value)
    assert check(fields) and verified(document, emulator.info['root'])
    assert not check(verified(answer(attest(tpm))['Attestation']['document'],
                              emulator.info['root']))


def test_fault_duplicate_key(tpm, emulator):
    document, _ = faulty_fields(tpm, emulator, 'duplicate-key', 'public_key')
    assert cbor2.loads(document)[2].count(b'\x6apublic_key') == 2


@pytest.mark.parametrize('name, value', [('no-such-thing', None), ('error', 'Nonsense'),
                                         ('slow', 'x'), ('pcr', '12')])
def test_unusable_fault_is_refused(emulator, tpm, name, value):
    with pytest.raises(subprocess.CalledProcessError):
        emulator.fault(name, value)
    assert 'Attestation' in answer(attest(tpm))


# Beside AWS's documents

def heads(data):
    """Each item's major type and form of length, and each text string: not the data."""
    found, at = [], 0
    while at < len(data):
        major, form = data[at] >> 5, data[at] & 31
        width = {24: 1, 25: 2, 26: 4, 27: 8}.get(form, 0)
        value = int.from_bytes(data[at + 1:at + 1 + width], 'big') if width else form
        at += 1 + width
        size = value if major in (2, 3) else 0
        text = data[at:at + size] if major == 3 else b''
        found.append((major, form if form >= 24 or major in (4, 5, 7) else 'short',
                      b'i-' if text.startswith(b'i-') else text))
        at += size
    return found


def strings(name):
    return [(a.oid.dotted_string, a._type) for rdn in name.rdns for a in rdn]


def certificate_shape(der):
    cert = x509.load_der_x509_certificate(der)
    extensions = [(e.oid.dotted_string, e.critical) for e in cert.extensions]
    usage = cert.extensions.get_extension_for_class(x509.KeyUsage).value
    limits = cert.extensions.get_extension_for_class(x509.BasicConstraints).value
    bits = [n for n in vars(usage) if getattr(usage, n)]
    life = cert.not_valid_after - cert.not_valid_before
    return {'extensions': extensions, 'usage': bits, 'ca': (limits.ca, limits.path_length),
            'names': (strings(cert.issuer), strings(cert.subject)),
            'curve': cert.public_key().curve.name, 'signed': cert.signature_algorithm_oid._name,
            'life': None if life > timedelta(days=10000) else life}


def genuine():
    return sorted(glob.glob(os.path.join(VECTORS, 'nitrotpm-doc', '*.cbor')))


@pytest.mark.skipif(not genuine(), reason='no nitrotpm-doc in MU_VECTORS')
@pytest.mark.parametrize('path', genuine(), ids=os.path.basename)
def test_encoding_is_that_of_aws(tpm, path):
    with open(path, 'rb') as f:
        theirs = f.read()
    theirs_payload = cbor2.loads(theirs)[2]
    fields = cbor2.loads(theirs_payload)
    ours = answer(attest(tpm, request(**{k: fields[k] for k in (
        'user_data', 'nonce', 'public_key')})))['Attestation']['document']
    payload = cbor2.loads(ours)[2]
    assert heads(ours) == heads(theirs) and heads(payload) == heads(theirs_payload)
    assert abs(len(ours) - len(theirs)) < 40


@pytest.mark.skipif(not genuine(), reason='no nitrotpm-doc in MU_VECTORS')
@pytest.mark.parametrize('path', genuine()[-1:], ids=os.path.basename)
def test_certificates_are_those_of_aws(tpm, path):
    with open(path, 'rb') as f:
        theirs = cbor2.loads(cbor2.loads(f.read())[2])
    ours = cbor2.loads(cbor2.loads(answer(attest(tpm))['Attestation']['document'])[2])
    for a, b in zip([*ours['cabundle'], ours['certificate']],
                    [*theirs['cabundle'], theirs['certificate']]):
        assert certificate_shape(a) == certificate_shape(b)


# The command line

def test_state_outlives_a_restart(tmp_path):
    """Also with an index above the stock limit in it."""
    emulator = Emulator(tmp_path)
    tpm = Tpm(emulator.port)
    tpm.define(INDEX, SIZE)
    data = os.urandom(SIZE)
    tpm.nv_write(INDEX, data, Password())
    emulator.stop()
    emulator = Emulator(tmp_path, where=('--tcp', str(emulator.port)))
    try:
        tpm = Tpm(emulator.port)
        assert tpm.nv_read(INDEX, SIZE, Password()) == data
        tpm.undefine(INDEX)
    finally:
        emulator.stop()


def test_reset_is_a_reboot(emulator):
    emulator.tool('tpm2_pcrextend', '12:sha384=' + '33' * 48)
    read = ('tpm2_pcrread', 'sha384:12')
    assert b'0x' + b'00' * 48 not in emulator.tool(*read).lower()
    subprocess.run([COMMAND, 'reset', '--tcp', str(emulator.port)], check=True)
    assert b'0x' + b'00' * 48 in emulator.tool(*read).lower()


def test_start_stop(tmp_path):
    started = subprocess.run([COMMAND, 'start', '--dir', tmp_path, '--tcp', '0'], check=True,
                             capture_output=True, text=True).stdout
    port = int(re.search(r'port=(\d+)', started)[1])
    assert Tpm(port).capability(6, 0x100, 1)
    assert subprocess.run([COMMAND, 'start', '--dir', tmp_path, '--tcp', '0'],
                          capture_output=True).returncode == 1
    subprocess.run([COMMAND, 'stop', '--dir', tmp_path], check=True)
    with pytest.raises(ConnectionError):
        Tpm(port).capability(6, 0x100, 1)


@pytest.mark.parametrize('number', [signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
def test_swtpm_ends_with_it(tmp_path, number):
    emulator = Emulator(tmp_path)
    emulator.process.send_signal(number)
    assert emulator.process.wait(10) == (-9 if number == signal.SIGKILL else 0)
    emulator.process.stdout.close()
    end = time.monotonic() + 5
    while True:
        try:
            Tpm(emulator.port).capability(6, 0x100, 1)
            assert time.monotonic() < end
        except ConnectionError:
            break


def wait_for(condition):
    end = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)


def test_unix_socket_for_qemu(tmp_path):
    """Also after QEMU ended swtpm, as it does when the machine powers off."""
    emulator = Emulator(tmp_path, where=('--unix',))
    try:
        control = ['swtpm_ioctl', '--unix', emulator.info['ctrl']]
        subprocess.run([*control, '-c'], check=True, capture_output=True)
        subprocess.run([*control, '-s'], check=True)
        wait_for(lambda: subprocess.run([*control, '-c'], capture_output=True).returncode == 0)
    finally:
        emulator.stop()
    assert not os.path.exists(emulator.info['ctrl'])


def test_settings_must_agree(tmp_path):
    ca = tmp_path / 'ca'
    subprocess.run([COMMAND, 'ca', '--out', ca], check=True, capture_output=True)
    Emulator(tmp_path / 'tpm', '--ca', str(ca), '--banks', 'sha256').stop()
    with open(tmp_path / 'tpm' / 'nitrotpm.json') as f:
        assert json.load(f)['banks'] == 'sha256'
    refused = subprocess.run([COMMAND, 'run', '--dir', tmp_path / 'tpm', '--tcp', '0', '--banks',
                              'sha384'], capture_output=True, text=True)
    assert refused.returncode == 1 and 'was made with banks' in refused.stderr
