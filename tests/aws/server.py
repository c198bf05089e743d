# SPDX-License-Identifier: GPL-2.0-or-later
"""HTTP/1.1 front ends of KMS (TLS) and IMDS, with the faults that lie on this level."""
import json
import socketserver
import ssl
import sys
import time
import uuid
from email.utils import formatdate
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler

import kms
import sigv4
import state

BODY_MAX = 1 << 20
OVERSIZED = 16 << 20
IDLE_S = 60


class Handler(BaseHTTPRequestHandler):
    protocol_version = 'HTTP/1.1'
    disable_nagle_algorithm = True
    timeout = IDLE_S

    def log_message(self, *_):
        pass

    def read_body(self):
        size = self.headers.get('Content-Length', '0')
        if not size.isdigit() or int(size) > BODY_MAX:
            self.close_connection = True
            return None
        return self.rfile.read(int(size))

    def send(self, status, headers, body, fault=None, value=None):
        """The whole answer in one write, unless a fault says otherwise."""
        if fault == 'delay':
            time.sleep(float(value))
        elif fault == 'close':
            self.close_connection = True
            return
        elif fault == 'status':
            status, body = int(value), b'<html><body>asked for</body></html>'
            headers = {'Content-Type': 'text/html'}
        elif fault == 'content-type':
            headers['Content-Type'] = value
        elif fault == 'body':
            body = value.encode()
        elif fault == 'oversized':
            body = body.rstrip() + b' ' * int(value or OVERSIZED)
        skew = float(value) if fault == 'date' else 0
        fields = {'Date': formatdate(time.time() + skew, usegmt=True), **headers,
                  'Content-Length': str(len(body))}
        if fault == 'short-body':
            body, self.close_connection = body[:len(body) // 2], True
        try:
            phrase = HTTPStatus(status).phrase
        except ValueError:
            phrase = 'Unknown'
        head = f'HTTP/1.1 {status} {phrase}\r\n' + ''.join(
            f'{k}: {v}\r\n' for k, v in fields.items())
        head = head.encode('latin-1') + b'\r\n'
        if fault != 'drip':
            self.wfile.write(head + body)
            return
        self.wfile.write(head)
        for byte in body:
            self.wfile.write(bytes([byte]))
            time.sleep(1 / float(value))


def http_fault(name, value):
    return (name, value) if name in state.HTTP_FAULTS else (None, None)


class KmsHandler(Handler):
    def do_GET(self):
        """/ping, for load balancers; real KMS answers it without credentials."""
        fault, value = self.server.account.take_fault('kms', 'ping')
        status, body = (200, b'healthy') if self.path == '/ping' else (404, b'')
        self.send(status, {'Content-Type': 'text/plain'}, body, fault, value)

    def do_POST(self):
        body = self.read_body()
        if body is None:
            return
        target = self.headers.get('X-Amz-Target', '')
        operation = target.partition('.')[2] if target.startswith('TrentService.') else ''
        account = self.server.account
        fault, value = account.take_fault('kms', operation)
        entry = {'service': 'kms', 'operation': operation}
        status, answer = self.perform(operation, body, fault, value, entry)
        account.log(**entry, status=status, fault=fault)
        headers = {'x-amzn-RequestId': str(uuid.uuid4()), 'Cache-Control': 'no-cache, no-store',
                   'Content-Type': 'application/x-amz-json-1.1'}
        if status != 200:
            headers['x-amzn-ErrorType'] = answer['__type']
        self.send(status, headers, json.dumps(answer).encode(), *http_fault(fault, value))

    def perform(self, operation, body, fault, value, entry):
        """-> HTTP status, answer; fills the log entry"""
        account = self.server.account
        try:
            if self.path != '/' or self.headers.get('Content-Type') != \
                    'application/x-amz-json-1.1':
                raise kms.KmsError('UnknownOperationException', None)
            caller = sigv4.verify('POST', f'https://{self.headers.get("Host", "")}{self.path}',
                                  self.headers.items(), body, account.credentials.get,
                                  account.region, 'kms')
            entry['principal'] = caller.caller
            answer, more = self.server.kms.call(operation, caller, body, fault, value)
            entry.update(more)
            return 200, answer
        except sigv4.SignatureError as error:
            wrong = kms.KmsError(*error.args)
        except kms.KmsError as error:
            entry.update(getattr(error, 'entry', {}))
            wrong = error
        entry['error'] = wrong.args[0]
        member = 'Message' if wrong.args[0] == 'AccessDeniedException' else 'message'
        text = {} if wrong.args[1] is None else {member: wrong.args[1]}
        return wrong.status, {'__type': wrong.args[0], **text}


class ImdsHandler(Handler):
    def handle_any(self):
        if self.read_body() is None:
            return
        account = self.server.account
        operation = self.path.partition('?')[0]
        fault, value = account.take_fault('imds', operation)
        lower = {k.lower(): v for k, v in self.headers.items()}
        status, kind, body, *more = self.server.imds.handle(
            self.command, operation, lower, fault, value)
        if fault == 'status':
            status = int(value)
        account.log(service='imds', operation=operation, method=self.command, status=status,
                    fault=fault)
        self.send(status, {'Content-Type': kind, 'Server': 'EC2ws', **(more[0] if more else {})},
                  body.encode(), *http_fault(fault, value))

    do_GET = do_PUT = do_POST = do_HEAD = do_DELETE = handle_any


class Server(socketserver.ThreadingTCPServer):
    daemon_threads = True
    allow_reuse_address = True
    request_queue_size = 64

    def handle_error(self, request, client_address):
        """Clients that go away in the middle are part of the tests; other errors are bugs."""
        if not isinstance(sys.exc_info()[1], OSError):
            super().handle_error(request, client_address)


class KmsServer(Server):
    def __init__(self, where, account, contexts):
        self.account, self.kms, self.contexts = account, kms.Kms(account), contexts
        super().__init__(where, KmsHandler)

    def finish_request(self, request, client_address):
        """The handshake happens in the connection's own thread."""
        fault, _ = self.account.take_fault('tls', 'handshake')
        request.settimeout(IDLE_S)
        try:
            secure = self.contexts[fault].wrap_socket(request, server_side=True)
        except (ssl.SSLError, OSError) as error:
            self.account.log(service='tls', operation='handshake', fault=fault, error=str(error))
            return
        with secure:
            self.RequestHandlerClass(secure, client_address, self)


class ImdsServer(Server):
    def __init__(self, where, account, imds):
        self.account, self.imds = account, imds
        super().__init__(where, ImdsHandler)
