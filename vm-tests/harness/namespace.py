# SPDX-License-Identifier: GPL-2.0-or-later
"""A private network, mount and process namespace for one machine and what surrounds it.

Everything listens on 127.0.0.1 there, on the real ports (53, 80, 443), and dies with it.
"""
import subprocess
from pathlib import Path

INIT = """
ip link set lo up
mount --bind "$1" /etc/resolv.conf
echo ready
exec sleep infinity
"""


class Namespace:
    def __init__(self, directory):
        resolv = directory / "resolv.conf"
        resolv.write_text("nameserver 127.0.0.1\n")
        self._holder = subprocess.Popen(
            ["setpriv", "--pdeathsig", "KILL", "unshare", "--net", "--mount", "--propagation", "private", "--pid", "--fork",
             "--kill-child", "--mount-proc", "sh", "-ec", INIT, "sh", resolv],
            stdout=subprocess.PIPE, text=True)
        if self._holder.stdout.readline() != "ready\n":
            raise RuntimeError("cannot make namespaces (needs root)")
        task = Path(f"/proc/{self._holder.pid}/task/{self._holder.pid}/children")
        self._init = task.read_text().split()[0]

    def command(self, *argv):
        """argv such that it runs inside."""
        return ["nsenter", "--target", self._init, "--net", "--mount", "--pid",
                *(str(a) for a in argv)]

    def spawn(self, *argv, **options):
        return subprocess.Popen(self.command(*argv), **options)

    def close(self):
        self._holder.kill()
        self._holder.wait()
        self._holder.stdout.close()
