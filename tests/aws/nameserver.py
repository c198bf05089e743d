# SPDX-License-Identifier: GPL-2.0-or-later
"""A name server with one answer: kms.* is at a given IPv4 address (RFC 1035, UDP)."""
import ipaddress
import socketserver
import struct

A, AAAA, IN = 1, 28, 1
NOERROR, FORMERR, SERVFAIL, NXDOMAIN = 0, 1, 2, 3
RESPONSE_FLAGS = 0x8580  # QR, AA, RD, RA
TTL_S = 5


def question(query):
    """-> name, type, the bytes of the question; IndexError or struct.error on rubbish"""
    labels, at = [], 12
    while query[at]:
        labels.append(query[at + 1:at + 1 + query[at]].decode('ascii', 'replace').lower())
        at += 1 + query[at]
    kind, _ = struct.unpack_from('>HH', query, at + 1)
    return '.'.join(labels), kind, query[12:at + 5]


def reply(query, address, fault):
    """-> name asked for, the datagram to send (None: nothing)"""
    ident, flags, count = struct.unpack_from('>HHH', query)
    if flags & 0x8000 or count != 1:
        return '', None
    name, kind, asked = question(query)
    known = name.startswith(('kms.', 'kms-fips.'))
    code = {'servfail': SERVFAIL, 'nxdomain': NXDOMAIN}.get(fault, NOERROR if known else NXDOMAIN)
    answer = b''
    if code == NOERROR and kind == A:
        answer = struct.pack('>HHHIH', 0xc00c, A, IN, TTL_S, 4) \
            + ipaddress.IPv4Address(address).packed
    header = struct.pack('>HHHHHH', ident, RESPONSE_FLAGS | code, 1, bool(answer), 0, 0)
    return name, None if fault == 'drop' else header + asked + answer


class Handler(socketserver.BaseRequestHandler):
    def handle(self):
        query, sock = self.request
        fault, _ = self.server.account.take_fault('dns', 'query')
        try:
            name, datagram = reply(query, self.server.answer, fault)
        except (IndexError, struct.error):
            return
        self.server.account.log(service='dns', operation='query', name=name, fault=fault)
        if datagram:
            sock.sendto(datagram, self.client_address)


class Server(socketserver.ThreadingUDPServer):
    daemon_threads = True
    allow_reuse_address = True

    def __init__(self, where, account, answer):
        self.account, self.answer = account, answer
        super().__init__(where, Handler)
