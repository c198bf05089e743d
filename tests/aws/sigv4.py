# SPDX-License-Identifier: GPL-2.0-or-later
"""Checks the Signature Version 4 of a received request with botocore's own signer."""
import hashlib
import hmac
import re
from datetime import datetime, timedelta, timezone

from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.compat import HTTPHeaders
from botocore.credentials import Credentials

SKEW = timedelta(minutes=5)
AUTHORIZATION = re.compile(
    r'AWS4-HMAC-SHA256 Credential=([^/,\s]+)/(\d{8})/([^/,\s]+)/([^/,\s]+)/aws4_request,\s*'
    r'SignedHeaders=([^,\s]+),\s*Signature=([0-9a-f]{64})')


class SignatureError(Exception):
    """args: AWS's error name, message"""


class ReceivedAuth(SigV4Auth):
    """botocore's signer, but over exactly the headers that the client listed."""

    def __init__(self, credentials, service, region, names):
        super().__init__(credentials, service, region)
        self.names = names

    def headers_to_sign(self, request):
        chosen = HTTPHeaders()
        for name, value in request.headers.items():
            if name.lower() in self.names:
                chosen[name.lower()] = value
        return chosen


def expected(method, url, headers, body, credentials, scope, names, amz_date):
    request = AWSRequest(method=method, url=url, data=body)
    for name, value in headers:
        request.headers[name] = value
    request.context['timestamp'] = amz_date
    auth = ReceivedAuth(credentials, scope[1], scope[0], names)
    text = auth.string_to_sign(request, auth.canonical_request(request))
    return auth.signature(text, request)


def check_time(amz_date):
    try:
        at = datetime.strptime(amz_date, '%Y%m%dT%H%M%SZ').replace(tzinfo=timezone.utc)
    except ValueError:
        raise SignatureError('IncompleteSignature', f'Date is not valid: {amz_date!r}') from None
    now = datetime.now(timezone.utc)
    limit = f'({now:%Y%m%dT%H%M%SZ} - 5 min.)'
    if at < now - SKEW:
        raise SignatureError('InvalidSignatureException', f'Signature expired: {amz_date} is now '
                             f'earlier than {now - SKEW:%Y%m%dT%H%M%SZ} {limit}')
    if at > now + SKEW:
        raise SignatureError('InvalidSignatureException', f'Signature not yet current: {amz_date} '
                             f'is still later than {now + SKEW:%Y%m%dT%H%M%SZ}')


def check_headers(lower, names, body):
    unsigned = [n for n in lower if n.startswith('x-amz-') and n not in names]
    if 'host' not in names or unsigned:
        raise SignatureError('InvalidSignatureException',
                             f'host and all x-amz-* headers must be signed: {unsigned}')
    declared = lower.get('x-amz-content-sha256', hashlib.sha256(body).hexdigest())
    if declared != hashlib.sha256(body).hexdigest():
        raise SignatureError('InvalidSignatureException', 'x-amz-content-sha256 is not the hash')


def verify(method, url, headers, body, find_key, region, service):
    """headers: list of pairs; find_key(access key id) -> object with secret, token, expired.
    Returns that object or raises SignatureError."""
    lower = {name.lower(): value for name, value in headers}
    if 'authorization' not in lower:
        raise SignatureError('MissingAuthenticationTokenException', 'Missing Authentication Token')
    match = AUTHORIZATION.fullmatch(lower['authorization'].strip())
    amz_date = lower.get('x-amz-date', '')
    if not match or not amz_date:
        raise SignatureError('IncompleteSignature', 'Authorization header or date is incomplete')
    access_key, day, scope_region, scope_service, names, signature = match.groups()
    names = names.split(';')
    key = find_key(access_key)
    if key is None or (key.token or '') != lower.get('x-amz-security-token', ''):
        raise SignatureError('UnrecognizedClientException',
                             'The security token included in the request is invalid.')
    if key.expired:
        raise SignatureError('ExpiredTokenException',
                             'The security token included in the request is expired')
    check_time(amz_date)
    if (scope_region, scope_service) != (region, service) or not amz_date.startswith(day):
        raise SignatureError('InvalidSignatureException',
                             'Credential should be scoped to a valid region, service and day.')
    check_headers(lower, names, body)
    want = expected(method, url, headers, body, Credentials(access_key, key.secret, key.token),
                    (region, service), names, amz_date)
    if not hmac.compare_digest(want, signature):
        raise SignatureError('InvalidSignatureException', 'The request signature we calculated '
                             'does not match the signature you provided.')
    return key
