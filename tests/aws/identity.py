# SPDX-License-Identifier: GPL-2.0-or-later
"""The instance identity document's signatures in AWS's three forms, and a region's three certificates."""
import base64
import functools
import hashlib
import os
from datetime import datetime, timedelta, timezone

from cms import NULL, OCTET_STRING, OID_DATA, OID_SHA256, SEQUENCE, SET, definite, indefinite
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import dsa, padding, rsa
from cryptography.x509.oid import NameOID

OID_SIGNED_DATA = bytes.fromhex('06092a864886f70d010702')
OID_CONTENT_TYPE = bytes.fromhex('06092a864886f70d010903')
OID_MESSAGE_DIGEST = bytes.fromhex('06092a864886f70d010904')
OID_SIGNING_TIME = bytes.fromhex('06092a864886f70d010905')
OID_RSA = bytes.fromhex('06092a864886f70d010101')
OID_DSA_SHA1 = bytes.fromhex('06072a8648ce380403')
OID_SHA1 = bytes.fromhex('06052b0e03021a')
INTEGER, UTC_TIME, CONSTRUCTED = 0x02, 0x17, 0x20
VERSION_1 = b'\x02\x01\x01'
AWS = x509.Name([x509.NameAttribute(oid, value) for oid, value in (
    (NameOID.COUNTRY_NAME, 'US'), (NameOID.STATE_OR_PROVINCE_NAME, 'Washington State'),
    (NameOID.LOCALITY_NAME, 'Seattle'), (NameOID.ORGANIZATION_NAME, 'Amazon Web Services LLC'))])


class Signer:
    """A key with its own certificate, as AWS publishes them."""

    def __init__(self, key, days=(-1, 1826)):
        now = datetime.now(timezone.utc)
        self.key = key
        self.cert = (x509.CertificateBuilder().subject_name(AWS).issuer_name(AWS)
                     .public_key(key.public_key()).serial_number(x509.random_serial_number())
                     .not_valid_before(now + timedelta(days=days[0]))
                     .not_valid_after(now + timedelta(days=days[1])).sign(key, hashes.SHA256()))

    @property
    def pem(self):
        return self.cert.public_bytes(serialization.Encoding.PEM)

    def sign(self, data, algorithm):
        if isinstance(self.key, rsa.RSAPrivateKey):
            return self.key.sign(data, padding.PKCS1v15(), algorithm)
        return self.key.sign(data, algorithm)


def rsa_signer(bits, **options):
    return Signer(rsa.generate_private_key(65537, bits), **options)


class Region:
    """Made when first asked for: most tests never are."""

    @functools.cached_property
    def rsa(self):
        return rsa_signer(1024)

    @functools.cached_property
    def rsa2048(self):
        return rsa_signer(2048)

    @functools.cached_property
    def dsa(self):
        return Signer(dsa.generate_private_key(1024))

    def publish(self, folder, region):
        """What a relying party takes from AWS's page, all in one file."""
        os.makedirs(folder, exist_ok=True)
        with open(os.path.join(folder, f'{region}.pem'), 'wb') as f:
            f.write(self.dsa.pem + self.rsa.pem + self.rsa2048.pem)


def folded(data):
    """base64 as IMDS has it: lines of 76, no newline at the end."""
    return base64.encodebytes(data).decode().rstrip('\n')


def integer(value):
    return definite(INTEGER, value.to_bytes(value.bit_length() // 8 + 1, 'big'))


def attribute(oid, value):
    return definite(SEQUENCE, oid, definite(SET, value))


def signed_attributes(text, digest):
    moment = f'{datetime.now(timezone.utc):%y%m%d%H%M%SZ}'.encode()
    return b''.join([attribute(OID_CONTENT_TYPE, OID_DATA),
                     attribute(OID_SIGNING_TIME, definite(UTC_TIME, moment)),
                     attribute(OID_MESSAGE_DIGEST, definite(OCTET_STRING, hashlib.new(digest, text).digest()))])


def signer_info(text, signer, digest, attributes):
    oid, algorithm = {'sha1': (OID_SHA1, hashes.SHA1()), 'sha256': (OID_SHA256, hashes.SHA256())}[digest]
    method = (definite(SEQUENCE, OID_RSA, NULL) if isinstance(signer.key, rsa.RSAPrivateKey)
              else definite(SEQUENCE, OID_DSA_SHA1))
    attributes = signed_attributes(text, digest) if attributes else b''
    signature = signer.sign(definite(SET, attributes) if attributes else text, algorithm)
    issuer = definite(SEQUENCE, signer.cert.issuer.public_bytes(), integer(signer.cert.serial_number))
    return definite(SEQUENCE, VERSION_1, issuer, definite(SEQUENCE, oid, NULL),
                    definite(0xa0, attributes) if attributes else b'', method, definite(OCTET_STRING, signature))


def pkcs7(text, signer, digest='sha256', attributes=True, certificates=b'', signers=None, more=b''):
    """SignedData as AWS writes it: BER with indefinite lengths around, no certificates inside."""
    oid = {'sha1': OID_SHA1, 'sha256': OID_SHA256}[digest]
    content = b'' if text is None else indefinite(
        0xa0, indefinite(OCTET_STRING | CONSTRUCTED, definite(OCTET_STRING, text)))
    infos = signers if signers is not None else [signer_info(text or b'', signer, digest, attributes)]
    return indefinite(SEQUENCE, OID_SIGNED_DATA, indefinite(0xa0, indefinite(
        SEQUENCE, VERSION_1, definite(SET, definite(SEQUENCE, oid, NULL)),
        indefinite(SEQUENCE, OID_DATA, content), certificates, definite(SET, *infos)))) + more


def answers(region, text):
    """-> what IMDS has below /latest/dynamic/instance-identity/, by name; made when called"""
    return {'document': text.decode,
            'signature': lambda: folded(region.rsa.sign(text, hashes.SHA256())),
            'pkcs7': lambda: folded(pkcs7(text, region.dsa, 'sha1')),
            'rsa2048': lambda: folded(pkcs7(text, region.rsa2048))}
