# SPDX-License-Identifier: GPL-2.0-or-later
"""Instance metadata service, version 2 only."""
import json
import os
import re
import secrets
import time
from datetime import datetime, timedelta, timezone

import identity

TTL_MAX_S = 21600
TOKEN_PATH = '/latest/api/token'
TTL_HEADER = 'x-aws-ec2-metadata-token-ttl-seconds'
TOKEN_HEADER = 'x-aws-ec2-metadata-token'
IAM = 'meta-data/iam/security-credentials'
IDENTITY = 'dynamic/instance-identity/'
VERSION = re.compile(r'/(?:latest|\d{4}-\d{2}-\d{2})/(.*)')


# What /latest/meta-data/ lists of that which is here; a folder ends with a slash.
LISTING = ['iam/', 'instance-id', 'placement/', 'services/']


def page(title, status):
    return (f'<?xml version="1.0" encoding="iso-8859-1"?>\n<html><head><title>{status} - {title}'
            f'</title></head><body><h1>{status} - {title}</h1></body></html>\n')


ERRORS = {status: (status, 'text/html', page(title, status)) for status, title in
          ((400, 'Bad Request'), (401, 'Unauthorized'), (403, 'Forbidden'), (404, 'Not Found'),
           (405, 'Method Not Allowed'))}


def stamp(moment):
    return f'{moment:%Y-%m-%dT%H:%M:%SZ}'


class Imds:
    def __init__(self, account):
        self.account = account
        self.region = identity.Region()

    def new_token(self, headers):
        ttl = headers.get(TTL_HEADER, '')
        if not re.fullmatch('[0-9]{1,5}', ttl) or not 1 <= int(ttl) <= TTL_MAX_S:
            return ERRORS[400]
        token = secrets.token_urlsafe(40) + '=='
        self.account.tokens[token] = time.monotonic() + int(ttl)
        return 200, 'text/plain', token, {'X-Aws-Ec2-Metadata-Token-Ttl-Seconds': ttl}

    def credentials(self, fault, value, extended):
        account, now = self.account, datetime.now(timezone.utc)
        if fault == 'code':
            return json.dumps({'Code': value, 'LastUpdated': stamp(now)}, indent=2)
        current = account.current_role_credentials()
        expires = current.expires
        if fault == 'expired':
            account.rotate(expire=True)
            expires = now - timedelta(minutes=1)
        text = json.dumps({
            'Code': 'Success', 'LastUpdated': stamp(now), 'Type': 'AWS-HMAC',
            'AccessKeyId': current.access_key, 'SecretAccessKey': current.secret,
            'Token': current.token, 'Expiration': stamp(expires),
            **({'AccountId': account.account} if extended else {})}, indent=2)
        return text[:len(text) // 2] if fault == 'bad-json' else text

    def document(self):
        account = self.account
        return json.dumps({
            'accountId': account.account, 'architecture': 'x86_64',
            'availabilityZone': account.region + 'a', 'billingProducts': None,
            'devpayProductCodes': None, 'marketplaceProductCodes': None,
            'imageId': 'ami-0123456789abcdef0', 'instanceId': account.instance_id,
            'instanceType': 'm6i.large', 'kernelId': None, 'pendingTime': '2026-01-01T00:00:00Z',
            'privateIp': '10.0.0.10', 'ramdiskId': None, 'region': account.region,
            'version': '2017-09-30'}, indent=2, separators=(',', ' : '))

    def identity(self, name):
        """Who the instance is; the region's certificates appear in DIR with the first signature."""
        answer = identity.answers(self.region, self.document().encode()).get(name)
        if answer is None:
            return None
        folder = os.path.join(self.account.folder, 'region-certificates')
        with self.account.lock:
            if name != 'document' and not os.path.exists(folder):
                self.region.publish(folder, self.account.region)
        return answer()

    def lookup(self, path, fault, value):
        account = self.account
        plain = {
            'meta-data/placement/region': account.region,
            'meta-data/placement/availability-zone': account.region + 'a',
            'meta-data/instance-id': account.instance_id,
            'meta-data/services/domain': 'amazonaws.com',
            'meta-data/services/partition': account.partition,
            'user-data': account.user_data,
            'meta-data/iam/info': json.dumps({
                'Code': 'Success', 'LastUpdated': stamp(datetime.now(timezone.utc)),
                'InstanceProfileArn': account.iam('instance-profile/' + account.role),
                'InstanceProfileId': 'AIPAEXAMPLEPROFILE123'}, indent=2),
            IAM: account.role, IAM + '/': account.role, IAM + '-extended/': account.role,
        }
        if path in plain:
            return plain[path]
        if path.rstrip('/') == 'meta-data':
            return '\n'.join(LISTING)
        if path in (f'{IAM}/{account.role}', f'{IAM}-extended/{account.role}'):
            return self.credentials(fault, value, '-extended' in path)
        return self.identity(path[len(IDENTITY):]) if path.startswith(IDENTITY) else None

    def handle(self, method, path, headers, fault, value):
        """headers: lower-case names -> (status, content type, body[, more headers])"""
        if 'x-forwarded-for' in headers:
            return ERRORS[403]
        if path == TOKEN_PATH:
            return self.new_token(headers) if method == 'PUT' else ERRORS[405]
        if method != 'GET':
            return ERRORS[405]
        if self.account.tokens.get(headers.get(TOKEN_HEADER), 0) <= time.monotonic():
            return ERRORS[401]
        match = VERSION.fullmatch(path)
        body = self.lookup(match[1], fault, value) if match else None
        return (200, 'text/plain', body) if body is not None else ERRORS[404]
