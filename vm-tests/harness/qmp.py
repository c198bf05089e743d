# SPDX-License-Identifier: GPL-2.0-or-later
"""QEMU's control socket, as little as is needed."""
import json
import socket
import time


class Qmp:
    def __init__(self, path, timeout=10):
        self._socket = socket.socket(socket.AF_UNIX)
        end = time.monotonic() + timeout
        while True:
            try:
                self._socket.connect(str(path))
                break
            except (FileNotFoundError, ConnectionRefusedError):
                if time.monotonic() > end:
                    raise
                time.sleep(0.02)
        self._stream = self._socket.makefile("rw")
        self._stream.readline()
        self("qmp_capabilities")

    def __call__(self, command, **arguments):
        json.dump({"execute": command, "arguments": arguments}, self._stream)
        self._stream.write("\n")
        self._stream.flush()
        while True:
            reply = json.loads(self._stream.readline() or '{"error": "QEMU is gone"}')
            if "error" in reply:
                raise RuntimeError(f"{command}: {reply['error']}")
            if "return" in reply:
                return reply["return"]

    def close(self):
        self._stream.close()
        self._socket.close()
