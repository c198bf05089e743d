# SPDX-License-Identifier: GPL-2.0-or-later
"""A TPM client by hand, for the tests: passwords, salted HMAC sessions, encrypted parameters.

Session arithmetic: TPM 2.0 Library Part 1, 11.4.10 (KDFa), 19 (authorisations), 21 (encryption).
It shares no code with tpm2-tss."""
import hashlib
import hmac
import os
import socket
import struct

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

OWNER, ENDORSEMENT, NULL, RS_PW = 0x40000001, 0x4000000b, 0x40000007, 0x40000009
SHA256, SHA384, SHA512, AES, CFB, ALG_NULL = 0x0b, 0x0c, 0x0d, 0x06, 0x43, 0x10
NV_DEFINE, NV_UNDEFINE, NV_WRITE, NV_READ = 0x12a, 0x122, 0x137, 0x14e
NV_READ_PUBLIC, CREATE_PRIMARY, START_AUTH, FLUSH = 0x169, 0x131, 0x176, 0x165
GET_CAPABILITY, NSM_REQUEST = 0x17a, 0x20000001
AUTH_READ_WRITE = 0x00040004
CONTINUE, DECRYPT, ENCRYPT = 0x01, 0x20, 0x40
CHUNK = 1024
# The first use of an authValue under dictionary-attack protection asks for a second try.
RC_RETRY, RETRIES = 0x922, 5
# EK Credential Profile, template L-1 (RSA 2048, SHA-256, AES-128-CFB).
EK_POLICY = bytes.fromhex('837197674484b3f81a90cc8d46a5d724fd52d76e06520b64f2a1da1b331469aa')
EK_TEMPLATE = struct.pack('>HHIH', 1, SHA256, 0x000300b2, 32) + EK_POLICY \
    + struct.pack('>HHHHHIH', AES, 128, CFB, ALG_NULL, 2048, 0, 256) + bytes(256)


class TpmError(Exception):
    """args: the response code"""


def sized(data):
    return struct.pack('>H', len(data)) + data


def take(data, size):
    return data[:size], data[size:]


def take_sized(data):
    return take(data[2:], struct.unpack_from('>H', data)[0])


def kdfa(key, label, u, v, bits):
    out, counter = b'', 0
    while len(out) * 8 < bits:
        counter += 1
        out += hmac.digest(key, struct.pack('>I', counter) + label + b'\0' + u + v
                           + struct.pack('>I', bits), 'sha512')
    return out[:bits // 8]


def cp_hash(code, names, parameters=b''):
    return hashlib.sha512(struct.pack('>I', code) + b''.join(names) + parameters).digest()


class Password:
    def __init__(self, auth=b''):
        self.auth = auth

    def command(self, _code, _names, parameters):
        return struct.pack('>IHBH', RS_PW, 0, CONTINUE, len(self.auth)) + self.auth, parameters

    def response(self, _code, parameters, _area):
        return parameters


class Session:
    """SHA-512 HMAC session salted to an RSA key, optionally with encrypted first parameters."""

    def __init__(self, tpm, salt_key, modulus, encrypted=False):
        self.nonce_caller, salt = os.urandom(64), os.urandom(32)
        public = rsa.RSAPublicNumbers(65537, int.from_bytes(modulus, 'big')).public_key()
        wrapped = public.encrypt(salt, padding.OAEP(padding.MGF1(hashes.SHA256()),
                                                    hashes.SHA256(), b'SECRET\0'))
        symmetric = struct.pack('>HHH', AES, 128, CFB) if encrypted else struct.pack('>H', ALG_NULL)
        out = tpm.call(START_AUTH, [salt_key, NULL], None, sized(self.nonce_caller)
                       + sized(wrapped) + b'\0' + symmetric + struct.pack('>H', SHA512),
                       handle=True)
        self.handle = struct.unpack_from('>I', out)[0]
        self.nonce_tpm = take_sized(out[4:])[0]
        self.key = kdfa(salt, b'ATH', self.nonce_tpm, self.nonce_caller, 512)
        self.encrypted, self.auth, self.attributes = encrypted, b'', CONTINUE

    def cipher(self, newer, older):
        material = kdfa(self.key + self.auth, b'CFB', newer, older, 256)
        return Cipher(algorithms.AES(material[:16]), modes.CFB(material[16:]))

    def mac(self, digest, newer, older):
        return hmac.digest(self.key + self.auth, digest + newer + older
                           + bytes([self.attributes]), 'sha512')

    def command(self, code, names, parameters):
        self.nonce_caller = os.urandom(64)
        self.attributes = CONTINUE
        if self.encrypted and code == NV_WRITE:
            self.attributes |= DECRYPT
            data, rest = take_sized(parameters)
            encryptor = self.cipher(self.nonce_caller, self.nonce_tpm).encryptor()
            parameters = sized(encryptor.update(data) + encryptor.finalize()) + rest
        if self.encrypted and code == NV_READ:
            self.attributes |= ENCRYPT
        mac = self.mac(cp_hash(code, names, parameters), self.nonce_caller, self.nonce_tpm)
        return struct.pack('>I', self.handle) + sized(self.nonce_caller) \
            + bytes([self.attributes]) + sized(mac), parameters

    def response(self, code, parameters, area):
        self.nonce_tpm, area = take_sized(area)
        self.attributes, area = area[0], area[1:]
        digest = hashlib.sha512(struct.pack('>II', 0, code) + parameters).digest()
        want = self.mac(digest, self.nonce_tpm, self.nonce_caller)
        assert hmac.compare_digest(want, take_sized(area)[0]), 'response HMAC'
        if self.attributes & ENCRYPT:
            data, rest = take_sized(parameters)
            decryptor = self.cipher(self.nonce_tpm, self.nonce_caller).decryptor()
            parameters = sized(decryptor.update(data) + decryptor.finalize()) + rest
        return parameters


class Tpm:
    """One connection a command: swtpm serves one client at a time."""

    def __init__(self, port):
        self.port = port

    def exchange(self, command):
        response = b''
        with socket.create_connection(('127.0.0.1', self.port), timeout=60) as s:
            s.sendall(command)
            while len(response) < 10 or len(response) < struct.unpack_from('>I', response, 2)[0]:
                more = s.recv(8192)
                if not more:
                    raise EOFError
                response += more
        return response

    def transmit(self, command):
        for _ in range(RETRIES):
            response = self.exchange(command)
            code = struct.unpack_from('>I', response, 6)[0]
            if code != RC_RETRY:
                break
        if code:
            raise TpmError(code)
        return response[10:]

    def call(self, code, handles, auth, parameters=b'', names=None, handle=False):
        """auth: None, or one authorisation for the first handle; returns the parameters."""
        area = struct.pack(f'>{len(handles)}I', *handles)
        if auth is not None:
            if names is None:
                names = [self.name(h) for h in handles]
            session, parameters = auth.command(code, names, parameters)
            area += struct.pack('>I', len(session)) + session
        tag = 0x8001 if auth is None else 0x8002
        body = area + parameters
        out = self.transmit(struct.pack('>HII', tag, 10 + len(body), code) + body)
        if auth is None:
            return out
        first, out = take(out, 4 if handle else 0)
        size = struct.unpack_from('>I', out)[0]
        found, rest = take(out[4:], size)
        return first + auth.response(code, found, rest)

    def name(self, handle):
        if handle >> 24 == 1:
            return self.nv_public(handle)[1]
        return struct.pack('>I', handle)

    def nv_public(self, index):
        public, rest = take_sized(self.call(NV_READ_PUBLIC, [index], None))
        return public, take_sized(rest)[0]

    def define(self, index, size, auth=b'', name_alg=SHA512, attributes=AUTH_READ_WRITE):
        public = struct.pack('>IHIHH', index, name_alg, attributes, 0, size)
        self.call(NV_DEFINE, [OWNER], Password(), sized(auth) + sized(public))

    def undefine(self, index):
        self.call(NV_UNDEFINE, [OWNER, index], Password())

    def nv_write(self, index, data, auth):
        for at in range(0, len(data), CHUNK):
            self.call(NV_WRITE, [index, index], auth,
                      sized(data[at:at + CHUNK]) + struct.pack('>H', at))

    def nv_read(self, index, size, auth):
        out = b''
        while len(out) < size:
            count = min(CHUNK, size - len(out))
            out += take_sized(self.call(NV_READ, [index, index], auth,
                                        struct.pack('>HH', count, len(out))))[0]
        return out

    def nsm(self, index, auth, handles=None, names=None):
        return self.call(NSM_REQUEST, handles or [index, index], auth, names=names)

    def create_ek(self):
        """-> transient handle, modulus"""
        out = self.call(CREATE_PRIMARY, [ENDORSEMENT], Password(), sized(sized(b'') * 2)
                        + sized(EK_TEMPLATE) + sized(b'') + struct.pack('>I', 0), handle=True)
        return struct.unpack_from('>I', out)[0], take_sized(out[4:])[0][-256:]

    def flush(self, handle):
        self.call(FLUSH, [], None, struct.pack('>I', handle))

    def capability(self, capability, first, count):
        """-> more data, list of 32-bit words after the capability"""
        out = self.call(GET_CAPABILITY, [], None, struct.pack('>III', capability, first, count))
        return out[0], struct.unpack(f'>{(len(out) - 5) // 4}I', out[5:])
