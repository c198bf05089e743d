# SPDX-License-Identifier: GPL-2.0-or-later
"""What a relying party has for a fleet: a store (SQLite, or a private PostgreSQL), sinks for events, `mu-verifier watch`."""
import contextlib
import json
import os
import pwd
import re
import shutil
import signal
import subprocess
import tempfile
import threading
import time
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import world as w

DRIVER = w.BUILD / "integration/store_driver"
SERVERS = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda p: int(p.parent.name))


class PostgreSql:
    """A server on a socket of its own. It does not run as root, so root lends it the user nobody. disk: the size of a file system
    of its own, which only root can give it."""

    def __init__(self, disk=None):
        self.folder = Path(tempfile.mkdtemp(prefix="mu-pg-", dir="/tmp"))
        self.user, self.disk = {}, disk
        if disk:
            w.run("mount", "-t", "tmpfs", "-o", f"size={disk}", "tmpfs", self.folder)
        if os.getuid() == 0:
            nobody = pwd.getpwnam("nobody")
            os.chown(self.folder, nobody.pw_uid, nobody.pw_gid)
            self.user = {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}
        self.tool("initdb", "-A", "trust", "-U", "mu", "--no-sync", "-E", "UTF8", "--no-locale")
        self.start()
        self.databases = 0

    def tool(self, name, *arguments):
        w.run(SERVERS[-1] / name, "-D", self.folder / "data", *arguments, cwd=self.folder, stdout=subprocess.DEVNULL,
              capture_output=False, stderr=subprocess.DEVNULL, **self.user)

    def start(self):
        log_size = " -c max_wal_size=256MB" if self.disk else ""
        self.tool("pg_ctl", "-w", "-l", self.folder / "log", "-o", f"-k {self.folder} -c listen_addresses='' -F{log_size}", "start")

    def halt(self):
        self.tool("pg_ctl", "-w", "-m", "immediate", "stop")

    def runs(self):
        return w.run(SERVERS[-1] / "pg_isready", "-q", "-h", self.folder, check=False).returncode == 0

    def database(self):
        self.databases += 1
        name = f"fleet{self.databases}"
        w.run(SERVERS[-1] / "createdb", "-h", self.folder, "-U", "mu", name)
        return f"postgresql:host={self.folder} user=mu dbname={name}"

    def sql(self, store, commands):
        w.run(SERVERS[-1] / "psql", "-q", "-v", "ON_ERROR_STOP=1", store.partition(":")[2], "-c", commands)

    def stop(self):
        with contextlib.suppress(AssertionError):
            self.halt()
        if self.disk:
            w.run("umount", self.folder)
        shutil.rmtree(self.folder)


def record(store, *rows, state="running"):
    """(instance, seconds ago, ok, detail) of each document. Makes the store, as a verifier does."""
    now = int(time.time() * 1000)
    lines = ["\t".join([instance, str(now - int(ago * 1000)), str(int(ok)), "web", "7", state, detail, "192.0.2.1"])
             for instance, ago, ok, detail in rows]
    w.run(DRIVER, store, input="".join(line + "\n" for line in lines), text=True)


class Watch:
    """One configuration of `mu-verifier watch`, with a command that keeps what it is given."""

    def __init__(self, folder, store, silence=180, **keys):
        self.folder, self.store = Path(folder), store
        self.events = self.folder / "events"
        self.command = self.script("command", f"cat >> '{self.events}'; echo >> '{self.events}'")
        self.sections = {"watch": {"store": store, "silence": silence, "interval": 1, **keys},
                         "command": {"path": self.command}}
        self.process = None
        record(store)

    def script(self, name, text):
        path = self.folder / name
        path.write_text(f"#!/bin/sh\n{text}\n")
        path.chmod(0o755)
        return path

    def write(self):
        path = self.folder / "watch.conf"
        path.write_text("".join(f"[{section}]\n" + "".join(f"{k} = {v}\n" for k, v in keys.items())
                                for section, keys in self.sections.items()))
        return path

    def once(self, check=True):
        return w.mu_verifier("watch", "--once", "--config", self.write(), check=check)

    def told(self):
        """The events that reached the command since the last call."""
        lines = self.events.read_text().splitlines() if self.events.exists() else []
        self.events.unlink(missing_ok=True)
        return [json.loads(line) for line in lines]

    def kinds(self):
        return [(e["instance_id"], e["event"]) for e in self.told()]

    def start(self):
        self.log_path = self.folder / f"log-{time.monotonic_ns()}"
        with open(self.log_path, "wb") as log:
            self.process = subprocess.Popen([w.MU_VERIFIER, "watch", "--config", self.write()], stderr=log)
        return self.process

    def stop(self, number=signal.SIGTERM):
        self.process.send_signal(number)
        self.process.wait(20 * w.PATIENCE)
        return self.process.returncode, self.log_path.read_text()

    def log(self, event):
        """What the running one has logged of this kind so far; every line is JSON."""
        lines = (json.loads(line) for line in self.log_path.read_text().splitlines(keepends=True) if line.endswith("\n"))
        return [line for line in lines if line["event"] == event]

    def reload(self, event="reloaded"):
        before = len(self.log(event))
        self.write()
        self.process.send_signal(signal.SIGHUP)
        return until(lambda: self.log(event)[before:])[0]

    def list(self):
        return json.loads(w.mu_verifier("list", "--json", "--config", self.write()).stdout)


def until(condition, seconds=20):
    """Its first true value."""
    end = time.monotonic() + seconds * w.PATIENCE
    while time.monotonic() < end:
        value = condition()
        if value:
            return value
        time.sleep(0.05)
    raise AssertionError("it did not come true")


def metrics(port):
    """{'name{label="value"}': number}"""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5) as answer:
        assert answer.headers["Content-Type"].startswith("text/plain; version=0.0.4")
        assert answer.headers["Cache-Control"] == "no-store"
        text = answer.read().decode()
    return {m[1]: float(m[2]) for m in re.finditer(r"^measured_unlock_watch_(\S+) (\S+)$", text, re.M)}


class Hook:
    """A webhook's server. `answers` are the statuses of the next requests, then 200; it can hang."""

    def __init__(self, tls=None):
        self.requests, self.answers, self.hang = [], [], threading.Event()
        hook = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                body = self.rfile.read(int(self.headers["Content-Length"]))
                hook.requests.append((dict(self.headers), body))
                if hook.hang.is_set():
                    time.sleep(30)
                self.send_response(hook.answers.pop(0) if hook.answers else 200)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        if tls is not None:
            self.server.socket = tls.wrap_socket(self.server.socket, server_side=True)
        self.url = f"{'https' if tls else 'http'}://localhost:{self.server.server_port}/hook?x=1"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def stop(self):
        self.server.shutdown()
        self.server.server_close()
