# SPDX-License-Identifier: GPL-2.0-or-later
"""tests/data/samples has what the emulators make now, but for keys, names and times."""
import re
import subprocess
from pathlib import Path

import cbor2
import pytest

DATA = Path(__file__).resolve().parent.parent / 'data'
SAMPLES = DATA / 'samples'
FILES = sorted(p.name for p in SAMPLES.iterdir() if p.suffix != '.md')


@pytest.fixture(scope='module')
def fresh(tmp_path_factory):
    folder = tmp_path_factory.mktemp('samples')
    subprocess.run([DATA / 'make', folder], check=True)
    return folder


def asn1(der):
    """Depth, type and object identifiers of each element; not its length, which depends on a signature."""
    text = subprocess.run(['openssl', 'asn1parse', '-inform', 'DER'], input=der, check=True, capture_output=True).stdout
    return [(depth, kind.strip(), value.decode() if kind.startswith(b' OBJECT') else '') for depth, kind, value in
            re.findall(rb'd=(\d+) .*?(?:cons|prim):( [^:\n]*)(?::(.*))?', text)]


def document(raw):
    """Its encoding up to the payload's length, and its fields in order, certificates by their form."""
    header, unprotected, payload, signature = cbor2.loads(raw)
    fields = cbor2.loads(payload)
    fields['certificate'] = asn1(fields['certificate'])
    fields['cabundle'] = [asn1(der) for der in fields['cabundle']]
    fields['timestamp'] = type(fields['timestamp'])
    return raw[:raw.index(payload) - 2], payload[:1], header, unprotected, list(fields.items()), len(signature)


def form(path):
    content = path.read_bytes()
    if path.suffix == '.pem':
        content = subprocess.run(['openssl', 'x509', '-outform', 'DER'], input=content, check=True,
                                 capture_output=True).stdout
    return {'.cbor': document, '.pem': asn1, '.cms': lambda c: (asn1(c), len(c))}.get(path.suffix, bytes)(content)


@pytest.mark.parametrize('name', FILES)
def test_samples_are_of_the_present_form(fresh, name):
    assert form(SAMPLES / name) == form(fresh / name)


def test_every_sample_is_made(fresh):
    assert sorted(p.name for p in fresh.iterdir()) == FILES
