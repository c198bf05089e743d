# SPDX-License-Identifier: GPL-2.0-or-later
"""CiphertextForRecipient: CMS EnvelopedData in the BER shape that KMS writes (RFC 5652)."""
import hashlib
import os

from cryptography.hazmat.primitives import hashes, padding, serialization
from cryptography.hazmat.primitives.asymmetric import padding as rsa_padding
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

OID_ENVELOPED_DATA = bytes.fromhex('06092a864886f70d010703')
OID_DATA = bytes.fromhex('06092a864886f70d010701')
OID_RSAES_OAEP = bytes.fromhex('06092a864886f70d010107')
OID_MGF1 = bytes.fromhex('06092a864886f70d010108')
OID_SHA256 = bytes.fromhex('0609608648016503040201')
OID_AES256_CBC = bytes.fromhex('060960864801650304012a')
NULL = b'\x05\x00'
VERSION_2 = b'\x02\x01\x02'
SEQUENCE, SET, OCTET_STRING = 0x30, 0x31, 0x04


def definite(tag, *parts):
    body = b''.join(parts)
    size = len(body)
    if size < 0x80:
        return bytes([tag, size]) + body
    octets = size.to_bytes((size.bit_length() + 7) // 8, 'big')
    return bytes([tag, 0x80 | len(octets)]) + octets + body


def indefinite(tag, *parts):
    return bytes([tag, 0x80]) + b''.join(parts) + b'\x00\x00'


def recipient_info(public_key, spki, content_key):
    sha256 = definite(SEQUENCE, OID_SHA256, NULL)
    oaep = definite(SEQUENCE, OID_RSAES_OAEP, definite(
        SEQUENCE, definite(0xa0, sha256),
        definite(0xa1, definite(SEQUENCE, OID_MGF1, sha256))))
    wrapped = public_key.encrypt(content_key, rsa_padding.OAEP(
        rsa_padding.MGF1(hashes.SHA256()), hashes.SHA256(), None))
    # KMS takes SHA-256 over the whole SPKI as the key identifier.
    key_id = definite(0x80, hashlib.sha256(spki).digest())
    return definite(SEQUENCE, VERSION_2, key_id, oaep, definite(OCTET_STRING, wrapped))


def encrypt(plaintext, key):
    iv, pad = os.urandom(16), padding.PKCS7(128).padder()
    encryptor = Cipher(algorithms.AES(key), modes.CBC(iv)).encryptor()
    padded = pad.update(plaintext) + pad.finalize()
    return iv, encryptor.update(padded) + encryptor.finalize()


def envelop(plaintext, spki, chunk=1024):
    """Encrypt to an RSA SubjectPublicKeyInfo (DER); content in octet strings of `chunk` bytes."""
    public_key = serialization.load_der_public_key(spki)
    content_key = os.urandom(32)
    iv, ciphertext = encrypt(plaintext, content_key)
    chunks = [definite(OCTET_STRING, ciphertext[i:i + chunk])
              for i in range(0, len(ciphertext), chunk)]
    content = indefinite(SEQUENCE, OID_DATA,
                         definite(SEQUENCE, OID_AES256_CBC, definite(OCTET_STRING, iv)),
                         indefinite(0xa0, *chunks))
    recipients = definite(SET, recipient_info(public_key, spki, content_key))
    return indefinite(SEQUENCE, OID_ENVELOPED_DATA, indefinite(
        0xa0, indefinite(SEQUENCE, VERSION_2, recipients, content)))
