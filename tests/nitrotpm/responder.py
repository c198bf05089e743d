# SPDX-License-Identifier: GPL-2.0-or-later
"""Answers the NSM requests that swtpm hands over a unix socket, well or badly as DIR/fault says."""
import json
import os
import socketserver
import struct
import sys
import threading
import time

import cbor2

import document
import pki

PCRS, SHA384_SIZE, REQUEST_MAX = 24, 48, 65536
TPM_RC_FAILURE = 0x101


def oversized(size):
    """One CBOR byte string that is longer than the index it lies in."""
    return cbor2.dumps({'Attestation': {'document': bytes(2 * size)}})[:size]


TRANSPORT_FAULTS = {
    'rc': 'the TPM answers with this response code (hexadecimal) and no data',
    'error': 'an NSM error code, as {"Error": VALUE}',
    'slow': 'the answer comes VALUE seconds late',
    'truncated': 'half of the document, well wrapped',
    'torn': 'the first half of the answer, then 0xff',
    'oversized': 'an item that is longer than the NV index',
    'garbage': 'random bytes',
    'echo': 'success, but the request stays where it is',
}


def nsm_code(value):
    if value not in document.NSM_ERRORS:
        raise ValueError(f'{value!r} is not one of {", ".join(document.NSM_ERRORS)}')


def pcr_value(value):
    number, text = value.split('=')
    return int(number), bytes.fromhex(text)


# What a value must be convertible with.
VALUES = {'rc': lambda v: int(v, 16), 'error': nsm_code, 'slow': float, 'stale': float,
          'pcr': pcr_value}


class FaultFile:
    """DIR/fault: {"name": ..., "value": ..., "count": N or null (until cleared)}"""

    def __init__(self, path):
        self.path = path

    def take(self):
        try:
            with open(self.path) as f:
                fault = json.load(f)
        except FileNotFoundError:
            return None, None
        count = fault.get('count')
        if count is not None and count <= 1:
            os.unlink(self.path)
        elif count is not None:
            self.set(fault['name'], fault.get('value'), count - 1)
        return fault['name'], fault.get('value')

    def set(self, name, value=None, count=None):
        if name not in TRANSPORT_FAULTS and name not in document.FAULTS:
            raise ValueError(f'unknown fault {name!r}')
        if name in VALUES:
            VALUES[name](value or '')
        with open(self.path + '.new', 'w') as f:
            json.dump({'name': name, 'value': value, 'count': count}, f)
        os.replace(self.path + '.new', self.path)

    def clear(self):
        if os.path.exists(self.path):
            os.unlink(self.path)


class Responder:
    def __init__(self, chain, fault_file, log):
        self.chain, self.faults, self.log = chain, fault_file, log

    def attest(self, pcrs, data, fault, value):
        request = document.parse_request(data)
        if len(pcrs) != PCRS:
            raise document.NsmError('InternalError')
        draft = document.Draft(self.chain, pcrs, request)
        if fault in document.FAULTS:
            document.FAULTS[fault](draft, value)
        encoded = draft.encode()
        if fault == 'truncated':
            encoded = encoded[:len(encoded) // 2]
        answer = cbor2.dumps({'Attestation': {'document': encoded}})
        if len(answer) > len(data):
            raise document.NsmError('BufferTooSmall')
        return answer

    def answer(self, pcrs, data):
        """-> TPM response code, bytes that replace the beginning of the NV index"""
        fault, value = self.faults.take()
        if fault == 'rc':
            return int(value, 16), b'', fault
        if fault == 'slow':
            time.sleep(float(value))
        try:
            if fault == 'error':
                raise document.NsmError(value)
            reply = self.attest(pcrs, data, fault, value)
        except document.NsmError as error:
            return 0, cbor2.dumps({'Error': str(error)}), str(error)
        if fault == 'torn':
            reply = reply[:len(reply) // 2] + b'\xff' * (len(reply) - len(reply) // 2)
        elif fault == 'oversized':
            reply = oversized(len(data))
        elif fault == 'garbage':
            reply = os.urandom(len(reply))
        elif fault == 'echo':
            reply = b''
        return 0, reply, fault or 'ok'

    def note(self, what, pcrs):
        entry = {'time': pki.now().isoformat(), 'result': what, 'pcrs': len(pcrs)}
        with open(self.log, 'a') as f:
            f.write(json.dumps(entry) + '\n')


def read_exactly(stream, size):
    data = stream.read(size)
    if len(data) != size:
        raise EOFError
    return data


class Handler(socketserver.StreamRequestHandler):
    """Wire format: ask_responder() in nitrotpm.c."""

    def handle(self):
        count, size = struct.unpack('>II', read_exactly(self.rfile, 8))
        if count not in (0, PCRS) or size > REQUEST_MAX:
            return
        pcrs = [read_exactly(self.rfile, SHA384_SIZE) for _ in range(count)]
        data = read_exactly(self.rfile, size)
        responder = self.server.responder
        code, reply, what = responder.answer(pcrs, data)
        responder.note(what, pcrs)
        self.wfile.write(struct.pack('>II', code, len(reply)) + reply)


class Server(socketserver.ThreadingUnixStreamServer):
    daemon_threads = True

    def __init__(self, path, responder):
        self.responder = responder
        if os.path.exists(path):
            os.unlink(path)
        super().__init__(path, Handler)

    def handle_error(self, request, client_address):
        print('nitrotpm responder:', repr(sys.exc_info()[1]), file=sys.stderr)


def start(folder, ca_folder, region, instance_id):
    """Serve DIR/responder in a thread; returns the path of the socket."""
    chain = pki.Chain(pki.load_root(ca_folder), region, instance_id)
    responder = Responder(chain, FaultFile(os.path.join(folder, 'fault')),
                          os.path.join(folder, 'attestations.jsonl'))
    server = Server(os.path.join(folder, 'responder'), responder)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server.server_address
