# SPDX-License-Identifier: GPL-2.0-or-later
"""Attestation documents as AWS encodes them, and each way in which one can be wrong.

A fault is a function on a Draft, named in FAULTS; it changes one thing and returns nothing."""
import io
import time
from datetime import datetime, timedelta, timezone

import cbor2
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

import pki

PROTECTED = bytes.fromhex('a1013822')  # {1: -35}, ES384
FIELD_MAX = 1024
NSM_ERRORS = ('InvalidArgument', 'InvalidIndex', 'InvalidResponse', 'ReadOnlyIndex',
              'InvalidOperation', 'BufferTooSmall', 'InputTooLarge', 'InternalError')


class NsmError(Exception):
    """An error of the NSM protocol; the message is its code."""


def byte_string(value):
    """A field of the request: null, a byte string, or an array of integers 0..255."""
    if value is None:
        return None
    if isinstance(value, list):
        if not all(type(n) is int and 0 <= n <= 255 for n in value):
            raise NsmError('InvalidArgument')
        value = bytes(value)
    if not isinstance(value, bytes):
        raise NsmError('InvalidArgument')
    if len(value) > FIELD_MAX:
        raise NsmError('InputTooLarge')
    return value


def parse_request(data):
    """The first CBOR item of an NV index -> {'user_data', 'nonce', 'public_key'}."""
    try:
        request = cbor2.CBORDecoder(io.BytesIO(data)).decode()
    except Exception:  # cbor2 raises many types on hostile input; all mean the same here
        raise NsmError('InvalidArgument') from None
    if request in ('DescribeNSM', 'GetRandom') or \
            isinstance(request, dict) and set(request) & {'DescribePCR', 'ExtendPCR', 'LockPCR',
                                                          'LockPCRs'}:
        raise NsmError('InvalidOperation')
    if not isinstance(request, dict) or list(request) != ['Attestation'] or \
            not isinstance(request['Attestation'], dict):
        raise NsmError('InvalidArgument')
    fields = request['Attestation']
    return {name: byte_string(fields.get(name))
            for name in ('user_data', 'nonce', 'public_key')}


class Draft:
    """Everything that a document is made from, before it is signed and encoded."""

    def __init__(self, chain, pcrs, request):
        self.chain, self.request = chain, request
        self.module_id = f'{chain.instance_id}-tpm{0:016x}'
        self.digest = 'SHA384'
        self.timestamp_ms = int(time.time() * 1000)
        self.pcr_key, self.pcrs = 'nitrotpm_pcrs', dict(enumerate(pcrs))
        self.leaf = chain.leaf(self.module_id)
        self.cabundle = [node.der for node in chain.cabundle()]
        self.answers = dict(request)
        self.repeat = []          # keys to write twice
        self.extra = []           # (key, value) behind the last one
        self.definite = self.tagged = False
        self.signature = lambda der: der
        self.after_signing = lambda payload: payload
        self.protected = PROTECTED

    def fields(self):
        return [('module_id', self.module_id), ('digest', self.digest),
                ('timestamp', self.timestamp_ms), (self.pcr_key, self.pcrs),
                ('certificate', self.leaf.der), ('cabundle', self.cabundle),
                ('public_key', self.answers['public_key']),
                ('user_data', self.answers['user_data']), ('nonce', self.answers['nonce'])]

    def payload(self):
        fields = [f for field in self.fields() for f in [field] * (1 + (field[0] in self.repeat))]
        fields += self.extra
        body = b''.join(cbor2.dumps(k) + cbor2.dumps(v) for k, v in fields)
        if self.definite:
            return bytes([0xa0 + len(fields)]) + body
        return b'\xbf' + body + b'\xff'

    def encode(self):
        payload = self.payload()
        signed = cbor2.dumps(['Signature1', self.protected, b'', payload])
        der = self.leaf.key.sign(signed, ec.ECDSA(hashes.SHA384()))
        raw = b''.join(n.to_bytes(48, 'big') for n in decode_dss_signature(der))
        cose = cbor2.dumps([self.protected, {}, self.after_signing(payload), self.signature(raw)])
        return (b'\xd2' if self.tagged else b'') + cose


def _flip_last(data):
    return data[:-1] + bytes([data[-1] ^ 1])


def _stale(draft, seconds):
    at = datetime.now(timezone.utc).replace(microsecond=0) - timedelta(seconds=float(seconds))
    draft.timestamp_ms = int(at.timestamp() * 1000)
    draft.leaf = draft.chain.leaf_at(draft.module_id, at)


def _other_root(draft, _):
    chain = pki.Chain(pki.new_root(), draft.chain.region, draft.chain.instance_id)
    draft.leaf, draft.cabundle = chain.leaf(draft.module_id), [n.der for n in chain.cabundle()]


def _enclave(draft, _):
    draft.module_id = f'{draft.chain.instance_id}-enc{0x0197a5b9c3d1e2f3:016x}'
    draft.leaf, draft.pcr_key = draft.chain.leaf(draft.module_id), 'pcrs'


def _expired_leaf(draft, _):
    draft.leaf = draft.chain.leaf_at(draft.module_id, pki.now() - timedelta(hours=4))


def _set_pcr(draft, text):
    number, value = text.split('=')
    draft.pcrs[int(number)] = bytes.fromhex(value)


def _set(**attributes):
    return lambda draft, _: draft.__dict__.update(attributes)


def _answer(field):
    def apply(draft, _):
        value = draft.answers[field]
        draft.answers[field] = _flip_last(value) if value else b'\x00'
    return apply


FAULTS = {
    'stale': _stale,                                  # value: seconds; document and leaf of then
    'expired-leaf': _expired_leaf,                    # document of now, leaf of 4 h ago
    'other-root': _other_root,                        # same names, another root key
    'enclave': _enclave,                              # `pcrs`, as from a Nitro Enclave
    'pcr': _set_pcr,                                  # value: N=HEX
    'missing-pcr': lambda d, _: d.pcrs.pop(23),
    'short-pcr': lambda d, _: d.pcrs.update({4: d.pcrs[4][:32]}),
    'wrong-nonce': _answer('nonce'),
    'wrong-public-key': _answer('public_key'),
    'wrong-user-data': _answer('user_data'),
    'wrong-signature': _set(signature=_flip_last),
    'short-signature': _set(signature=lambda s: s[:-1]),
    'altered-payload': _set(after_signing=lambda p: p.replace(b'SHA384', b'SHA256', 1)),
    'wrong-algorithm': _set(protected=bytes.fromhex('a10126')),
    'wrong-digest': _set(digest='SHA512'),
    'duplicate-key': lambda d, v: d.repeat.append(v or d.pcr_key),    # value: which key
    'extra-key': lambda d, _: d.extra.append(('surprise', 1)),
    'reversed-cabundle': lambda d, _: d.cabundle.reverse(),
    'empty-cabundle': lambda d, _: d.cabundle.clear(),
    # Encodings that AWS's own text allows: a verifier may accept these.
    'definite': _set(definite=True),
    'tagged': _set(tagged=True),
}
