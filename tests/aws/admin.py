# SPDX-License-Identifier: GPL-2.0-or-later
"""DIR/admin: a unix socket over which a running emulator is told what to do.

One line of JSON {"do": VERB, ...} in, one line of JSON {"ok": true|false, ...} out."""
import json
import os
import socket
import socketserver

import policy
import state

REQUEST_MAX = 1 << 20


class Refused(Exception):
    """The emulator's own words."""


def status(account, _request):
    return {'faults': [vars(f) for f in account.faults],
            'access_key': account.role_credentials.access_key,
            'keys': {k.arn: k.policy for k in account.all_keys()}}


def add_fault(account, request):
    with account.lock:
        account.faults.append(state.Fault(**request))
    return {}


def clear_faults(account, _request):
    with account.lock:
        account.faults.clear()
    return {}


def rotate(account, request):
    account.rotate(expire=request.get('expire', False))
    return {}


def change_key(account, request):
    key = account.regions[request.get('region') or account.region].keys[request['key']]
    if 'policy' in request:
        policy.check(request['policy'])
        key.policy = request['policy']
    key.enabled = request.get('enabled', key.enabled)
    return {}


VERBS = {'status': status, 'fault': add_fault, 'clear': clear_faults, 'rotate': rotate,
         'key': change_key}


class Handler(socketserver.StreamRequestHandler):
    def handle(self):
        try:
            request = json.loads(self.rfile.readline(REQUEST_MAX))
            verb = VERBS[request.pop('do')]
            answer = {'ok': True, **verb(self.server.account, request)}
        except (ValueError, KeyError, TypeError, policy.MalformedPolicy) as error:
            answer = {'ok': False, 'error': f'{type(error).__name__}: {error}'}
        self.wfile.write(json.dumps(answer).encode() + b'\n')


class Server(socketserver.ThreadingUnixStreamServer):
    daemon_threads = True

    def __init__(self, folder, account):
        self.account = account
        path = os.path.join(folder, 'admin')
        if os.path.exists(path):
            os.unlink(path)
        super().__init__(path, Handler)


def ask(folder, **request):
    """Send one request to the emulator that runs in a folder."""
    with socket.socket(socket.AF_UNIX) as s:
        s.connect(os.path.join(folder, 'admin'))
        with s.makefile('rwb') as stream:
            stream.write(json.dumps(request).encode() + b'\n')
            stream.flush()
            answer = json.loads(stream.readline())
    if not answer.pop('ok'):
        raise Refused(answer['error'])
    return answer
