# SPDX-License-Identifier: GPL-2.0-or-later
"""What KMS does with an attestation document before it looks at the key policy."""
import time
from datetime import datetime, timezone

import cbor2
from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

PROTECTED = bytes.fromhex('a1013822')
CHAIN_MAX = 10


class BadDocument(Exception):
    pass


def require(condition, what):
    if not condition:
        raise BadDocument(what)


def lifetime(cert):
    """With a time zone, which python-cryptography has since 42 (Debian 13), under another name."""
    return [getattr(cert, name + '_utc', None) or getattr(cert, name).replace(tzinfo=timezone.utc)
            for name in ('not_valid_before', 'not_valid_after')]


def check_certificate(cert, issuer, is_ca, depth, at):
    try:
        issuer.public_key().verify(cert.signature, cert.tbs_certificate_bytes,
                                   ec.ECDSA(hashes.SHA384()))
    except InvalidSignature:
        raise BadDocument('certificate signature') from None
    require(cert.issuer == issuer.subject, 'certificate issuer')
    start, end = lifetime(cert)
    require(start <= at <= end, 'certificate lifetime')
    limits = cert.extensions.get_extension_for_class(x509.BasicConstraints).value
    usage = cert.extensions.get_extension_for_class(x509.KeyUsage).value
    require(limits.ca == is_ca, 'certificate basicConstraints')
    require(limits.path_length is None or limits.path_length >= depth, 'certificate pathLen')
    require(usage.key_cert_sign if is_ca else usage.digital_signature, 'certificate keyUsage')


def check_chain(payload, root, at):
    """Returns the leaf; the root is ours, what the document brings as root must equal it."""
    bundle = [x509.load_der_x509_certificate(der) for der in payload['cabundle']]
    require(1 <= len(bundle) <= CHAIN_MAX and bundle[0] == root, 'root certificate')
    require(all(isinstance(c.public_key(), ec.EllipticCurvePublicKey) for c in bundle),
            'certificate key type')
    for i, cert in enumerate(bundle):
        check_certificate(cert, bundle[max(i - 1, 0)], True, len(bundle) - 1 - i, at)
    leaf = x509.load_der_x509_certificate(payload['certificate'])
    check_certificate(leaf, bundle[-1], False, 0, at)
    require(isinstance(leaf.public_key(), ec.EllipticCurvePublicKey), 'leaf key type')
    return leaf


def check_signature(leaf, protected, payload, signature):
    require(protected == PROTECTED and len(signature) == 96, 'signature algorithm')
    r, s = (int.from_bytes(signature[i:i + 48], 'big') for i in (0, 48))
    try:
        leaf.public_key().verify(encode_dss_signature(r, s),
                                 cbor2.dumps(['Signature1', protected, b'', payload]),
                                 ec.ECDSA(hashes.SHA384()))
    except InvalidSignature:
        raise BadDocument('signature') from None


def condition_keys(payload):
    """kms:RecipientAttestation keys; a NitroTPM and an enclave set different ones."""
    name, prefix = (('nitrotpm_pcrs', 'NitroTPMPCR') if 'nitrotpm_pcrs' in payload
                    else ('pcrs', 'PCR'))
    pcrs = payload.get(name)
    require(isinstance(pcrs, dict) and 1 <= len(pcrs) <= 32 and
            all(i in range(32) and len(v) == 48 for i, v in pcrs.items()), name)
    keys = {f'kms:RecipientAttestation:{prefix}{i}': v.hex() for i, v in pcrs.items()}
    if name == 'pcrs' and 0 in pcrs:
        keys['kms:RecipientAttestation:ImageSha384'] = pcrs[0].hex()
    return keys


def recipient_key(payload):
    spki = payload.get('public_key')
    require(isinstance(spki, bytes), 'public_key is absent')
    key = serialization.load_der_public_key(spki)
    require(isinstance(key, rsa.RSAPublicKey) and key.key_size == 2048,
            'public_key is not RSA-2048')
    return spki


def verify(document, root, max_age_s):
    """-> (SubjectPublicKeyInfo of the recipient, condition keys, module_id) or BadDocument"""
    try:
        cose = cbor2.loads(document)
        cose = cose.value if isinstance(cose, cbor2.CBORTag) and cose.tag == 18 else cose
        protected, _, signed, signature = cose
        payload = cbor2.loads(signed)
        require(payload['digest'] == 'SHA384', 'digest')
        age = time.time() - payload['timestamp'] / 1000
        require(-60 <= age <= max_age_s, f'document is {age:.0f} s old')
        leaf = check_chain(payload, root, datetime.now(timezone.utc))
        check_signature(leaf, protected, signed, signature)
        return recipient_key(payload), condition_keys(payload), str(payload['module_id'])
    except BadDocument:
        raise
    except Exception as error:  # the libraries raise many types on hostile input
        raise BadDocument(f'{type(error).__name__}: {error}') from None
