# SPDX-License-Identifier: GPL-2.0-or-later
"""In a network namespace of its own: many addresses of one IPv6 /64 open connections to a verifier and hold them, then
a stranger from another /64 asks. Arguments: program, configuration, how many. Prints what came of it as JSON."""
import json
import re
import socket
import ssl
import subprocess
import sys

IPV6_FREEBIND = 78
CROWD, STRANGER = "fd00:0:0:1::{:x}", "fd00:0:0:2::1"
PATIENCE_S = 5


def listening(process):
    return int(re.search(r'"listening","detail":"\[::\]:(\d+)"', process.stderr.readline())[1])


def connect(address, port):
    """-> the connection once its handshake is through, or None."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    raw = socket.socket(socket.AF_INET6)
    raw.settimeout(PATIENCE_S)
    raw.setsockopt(socket.IPPROTO_IPV6, IPV6_FREEBIND, 1)
    raw.bind((address, 0))
    try:
        raw.connect(("::1", port))
        return context.wrap_socket(raw)
    except OSError:
        return None


def main(program, config, count):
    for command in "link set lo up", "-6 route add local fd00::/16 dev lo":
        subprocess.run(["ip", *command.split()], check=True)
    process = subprocess.Popen([program, "serve", "--config", config], stderr=subprocess.PIPE, text=True)
    try:
        port = listening(process)
        held = [s for s in (connect(CROWD.format(n + 1), port) for n in range(count)) if s]
        print(json.dumps({"held": len(held), "stranger": connect(STRANGER, port) is not None}))
    finally:
        process.terminate()
        process.communicate()


main(sys.argv[1], sys.argv[2], int(sys.argv[3]))
