# SPDX-License-Identifier: GPL-2.0-or-later
"""The certificates of an attestation document: a test root and AWS's four levels below it."""
import os
import secrets
from datetime import datetime, timedelta, timezone

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

ROOT_LIFE = timedelta(days=10958, hours=1)
REGIONAL_LIFE = timedelta(days=20, hours=1)
ZONAL_LIFE = timedelta(days=5, hours=19)
INSTANCE_LIFE = timedelta(hours=24)
LEAF_LIFE = timedelta(hours=3, seconds=3)
LEAF_BACKDATE = timedelta(seconds=3)
# A cached certificate is replaced when less than this is left.
RENEW = timedelta(minutes=10)

US = [(NameOID.COUNTRY_NAME, 'US')]
AMAZON = [(NameOID.ORGANIZATION_NAME, 'Amazon'), (NameOID.ORGANIZATIONAL_UNIT_NAME, 'AWS')]
SEATTLE = [(NameOID.STATE_OR_PROVINCE_NAME, 'Washington'), (NameOID.LOCALITY_NAME, 'Seattle')]


def now():
    return datetime.now(timezone.utc).replace(microsecond=0)


def name(attributes):
    return x509.Name([x509.NameAttribute(oid, value) for oid, value in attributes])


def common_name(value):
    return [(NameOID.COMMON_NAME, value)]


def key_usage(**wanted):
    bits = dict.fromkeys(('digital_signature', 'content_commitment', 'key_encipherment',
                          'data_encipherment', 'key_agreement', 'key_cert_sign', 'crl_sign',
                          'encipher_only', 'decipher_only'), False)
    return x509.KeyUsage(**{**bits, **wanted})


CA_USAGE = {'digital_signature': True, 'key_cert_sign': True, 'crl_sign': True}


class Node:
    """A certificate with its key."""

    def __init__(self, cert, key):
        self.cert = cert
        self.key = key

    @property
    def der(self):
        return self.cert.public_bytes(serialization.Encoding.DER)


def issue(issuer, subject, start, life, extensions, serial=None):
    """Sign a new P-384 key; `extensions` are (value, critical) in their order in the certificate,
    a value may be a function of (subject public key, issuer public key)."""
    key = ec.generate_private_key(ec.SECP384R1())
    signer = issuer.key if issuer else key
    builder = (x509.CertificateBuilder().subject_name(subject)
               .issuer_name(issuer.cert.subject if issuer else subject)
               .public_key(key.public_key()).not_valid_before(start).not_valid_after(start + life)
               .serial_number(serial or secrets.randbits(126) | 1 << 126))
    for value, critical in extensions:
        if callable(value):
            value = value(key.public_key(), signer.public_key())
        builder = builder.add_extension(value, critical)
    return Node(builder.sign(signer, hashes.SHA384()), key)


def subject_id(subject, _issuer):
    return x509.SubjectKeyIdentifier.from_public_key(subject)


def issuer_id(_subject, issuer):
    return x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer)


def ca(path_length):
    return x509.BasicConstraints(True, path_length)


def crl(url):
    return x509.CRLDistributionPoints(
        [x509.DistributionPoint([x509.UniformResourceIdentifier(url)], None, None, None)])


def new_root():
    return issue(None, name(US + AMAZON + common_name('aws.nitro-enclaves')),
                 now() - timedelta(days=1), ROOT_LIFE,
                 [(ca(None), True), (subject_id, False), (key_usage(**CA_USAGE), True)])


def new_regional(root, region):
    subject = US + AMAZON + common_name(f'{secrets.token_hex(8)}.{region}.aws.nitro-enclaves')
    return issue(root, name(subject), now() - timedelta(hours=12), REGIONAL_LIFE,
                 [(ca(2), True), (issuer_id, False), (subject_id, False),
                  (key_usage(**CA_USAGE), True),
                  (crl('http://aws-nitro-enclaves-crl.test-root.invalid/crl/'
                       'ab4960cc-7d63-42bd-9e9f-59338cb67f84.crl'),
                   False)])


def new_zonal(regional, region):
    subject = (common_name(f'{secrets.token_hex(8)}.zonal.{region}.aws.nitro-enclaves')
               + AMAZON[::-1] + US
               + [(NameOID.STATE_OR_PROVINCE_NAME, 'WA'), (NameOID.LOCALITY_NAME, 'Seattle')])
    return issue(regional, name(subject), now() - timedelta(hours=6), ZONAL_LIFE,
                 [(ca(1), True), (issuer_id, False), (subject_id, False),
                  (key_usage(**CA_USAGE), True),
                  (crl(f'http://crl-{region}-aws-nitro-enclaves.test-root.{region}.invalid/crl/'
                       '2a531136-8223-4f3c-9c5c-35382d5df64c.crl'),
                   False)])


def new_instance(zonal, region, instance_id):
    subject = US + SEATTLE + AMAZON + common_name(f'{instance_id}.{region}.aws.nitro-enclaves')
    return issue(zonal, name(subject), now() - timedelta(minutes=1), INSTANCE_LIFE,
                 [(ca(0), True), (key_usage(key_cert_sign=True), True),
                  (subject_id, False), (issuer_id, False)], secrets.randbits(158) | 1 << 158)


def new_leaf(instance, region, module_id, at):
    subject = US + SEATTLE + AMAZON + common_name(f'{module_id}.{region}.aws')
    return issue(instance, name(subject), at - LEAF_BACKDATE, LEAF_LIFE,
                 [(x509.BasicConstraints(False, None), True),
                  (key_usage(digital_signature=True, content_commitment=True), False)],
                 int(at.timestamp()))


class Chain:
    """Root to leaf for one machine; certificates are made when first needed and cached."""

    def __init__(self, root, region, instance_id):
        self.root, self.region, self.instance_id = root, region, instance_id
        self.nodes = {}

    def _get(self, level, make):
        node = self.nodes.get(level)
        if node is None or expiry(node.cert) < now() + RENEW:
            node = self.nodes[level] = make()
        return node

    def cabundle(self):
        regional = self._get('regional', lambda: new_regional(self.root, self.region))
        zonal = self._get('zonal', lambda: new_zonal(regional, self.region))
        instance = self._get('instance',
                             lambda: new_instance(zonal, self.region, self.instance_id))
        return [self.root, regional, zonal, instance]

    def neighbour(self, instance_id):
        """That of another machine in the same zone."""
        self.cabundle()
        chain = Chain(self.root, self.region, instance_id)
        chain.nodes = {level: self.nodes[level] for level in ('regional', 'zonal')}
        return chain

    def leaf(self, module_id):
        instance = self.cabundle()[-1]
        return self._get('leaf ' + module_id,
                         lambda: new_leaf(instance, self.region, module_id, now()))

    def leaf_at(self, module_id, at):
        """A leaf made at another time, as after a long cache or with a wrong clock."""
        return new_leaf(self.cabundle()[-1], self.region, module_id, at)


def expiry(cert):
    """With a time zone, which python-cryptography has since 42 (Debian 13), under another name."""
    return getattr(cert, 'not_valid_after_utc', None) or cert.not_valid_after.replace(tzinfo=timezone.utc)


def save_root(node, folder):
    """root.pem for everybody, root.key for the owner."""
    os.makedirs(folder, exist_ok=True)
    key = node.key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8,
                                 serialization.NoEncryption())
    descriptor = os.open(os.path.join(folder, 'root.key'), os.O_WRONLY | os.O_CREAT | os.O_TRUNC,
                         0o600)
    with os.fdopen(descriptor, 'wb') as f:
        f.write(key)
    with open(os.path.join(folder, 'root.pem'), 'wb') as f:
        f.write(node.cert.public_bytes(serialization.Encoding.PEM))


def load_root(folder):
    with open(os.path.join(folder, 'root.pem'), 'rb') as f:
        cert = x509.load_pem_x509_certificate(f.read())
    with open(os.path.join(folder, 'root.key'), 'rb') as f:
        key = serialization.load_pem_private_key(f.read(), None)
    return Node(cert, key)
