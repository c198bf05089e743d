# SPDX-License-Identifier: GPL-2.0-or-later
"""A test authority and the server certificates under it, and the wrong ones for refusal tests."""
import ipaddress
import os
import ssl
from datetime import datetime, timedelta, timezone

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

DAY = timedelta(days=1)


def name(text):
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def certificate(subject, issuer, issuer_key, public_key, start, end, extensions):
    builder = (x509.CertificateBuilder().subject_name(name(subject)).issuer_name(name(issuer))
               .public_key(public_key).serial_number(x509.random_serial_number())
               .not_valid_before(start).not_valid_after(end)
               .add_extension(x509.SubjectKeyIdentifier.from_public_key(public_key), False)
               .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(
                   issuer_key.public_key()), False))
    for value, critical in extensions:
        builder = builder.add_extension(value, critical)
    return builder.sign(issuer_key, hashes.SHA256())


def authority(title):
    key, now = ec.generate_private_key(ec.SECP256R1()), datetime.now(timezone.utc)
    usage = x509.KeyUsage(True, False, False, False, False, True, True, False, False)
    return key, certificate(title, title, key, key.public_key(), now - 800 * DAY, now + 3650 * DAY,
                            [(x509.BasicConstraints(True, None), True), (usage, True)])


def pem(cert):
    return cert.public_bytes(serialization.Encoding.PEM)


def server(path, ca_name, ca_key, names, days):
    """Certificate and key in one file, valid from days[0] to days[1] relative to now."""
    key, now = ec.generate_private_key(ec.SECP256R1()), datetime.now(timezone.utc)
    alternatives = [x509.IPAddress(ipaddress.ip_address(n)) if n[0].isdigit() else x509.DNSName(n)
                    for n in names]
    cert = certificate(names[0], ca_name, ca_key, key.public_key(), now + days[0] * DAY,
                       now + days[1] * DAY,
                       [(x509.BasicConstraints(False, None), True),
                        (x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), False),
                        (x509.SubjectAlternativeName(alternatives), False)])
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), 'wb') as f:
        f.write(key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8,
                                  serialization.NoEncryption()) + pem(cert))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(path)
    context.verify_mode = ssl.CERT_OPTIONAL  # asks for a certificate and does without, as Go's servers do
    return context


def make(folder, regions):
    """Writes DIR/ca.pem; returns contexts by the name of the fault that selects them."""
    names = [name for region in regions for name in (
        f'kms.{region}.amazonaws.com', f'kms-fips.{region}.amazonaws.com', f'kms.{region}.api.aws')]
    names += ['localhost', '127.0.0.1', '169.254.169.254']
    title, stranger = 'measured-unlock test authority', 'measured-unlock unknown authority'
    key_path = os.path.join(folder, 'ca.key')
    if os.path.exists(key_path):
        with open(key_path, 'rb') as f:
            key = serialization.load_pem_private_key(f.read(), None)
    else:
        key, cert = authority(title)
        with open(os.open(key_path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), 'wb') as f:
            f.write(key.private_bytes(serialization.Encoding.PEM,
                                      serialization.PrivateFormat.PKCS8,
                                      serialization.NoEncryption()))
        with open(os.path.join(folder, 'ca.pem'), 'wb') as f:
            f.write(pem(cert))
    other_key, _ = authority(stranger)
    path = os.path.join(folder, 'server.pem')
    return {None: server(path, title, key, names, (-1, 365)),
            'unknown-ca': server(path + '.unknown-ca', stranger, other_key, names, (-1, 365)),
            'wrong-name': server(path + '.wrong-name', title, key, ['kms.example.com'], (-1, 365)),
            'expired-certificate': server(path + '.expired', title, key, names, (-365, -1)),
            'future-certificate': server(path + '.future', title, key, names, (1, 365))}
