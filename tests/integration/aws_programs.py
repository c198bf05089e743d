# SPDX-License-Identifier: GPL-2.0-or-later
"""AWS's own programs, built from their registries when a test first needs them, and a device at which a TPM is."""
import contextlib
import hashlib
import os
import pty
import re
import shutil
import socket
import subprocess
import sys
import termios
import threading
from pathlib import Path

import pytest
import vault
import world as w

ATTEST, ATTEST_NEEDS = ("nitro-tpm-attest", "1.0.3"), "1.92"
COMPUTE, COMPUTE_NEEDS = ("nitro-tpm-pcr-compute", "1.1.2"), "1.87"
MOCK, MOCK_MODULE, MOCK_NEEDS = "ec2-metadata-mock", "github.com/aws/amazon-ec2-metadata-mock", "1.23.0"
MOCK_VERSION = "v1.13.0"


def built(name, why_not, *command):
    """The folder of its executables; skips if there is a reason why it cannot be had."""
    digest = hashlib.sha256(" ".join(map(str, command)).encode()).hexdigest()[:16]
    root = vault.cache_root() / f"{name}-{digest}" / "root"
    if not root.exists() and (reason := why_not()):
        pytest.skip(f"no {name}: {reason}")
    return vault.cached(root, *command) / "bin"


def no_crate(crate, needed):
    for program in "rustc", "cargo":
        if not shutil.which(program):
            return f"there is no {program} command"
        version = w.run(program, "--version", check=False, text=True)
        if version.returncode != 0:
            return f"{program} does not work: {version.stderr.strip()[-200:]}"
        if vault.numbers(version.stdout) < vault.numbers(needed):
            return f"{version.stdout.strip()} is older than {needed}"
    done = w.run("cargo", "info", "--quiet", "@".join(crate), check=False, text=True, cwd="/")
    return None if done.returncode == 0 else f"its crate cannot be had: {done.stderr.strip()[-200:]}"


def cargo_install(crate, *options):
    name, version = crate
    return ["cargo", "install", "--quiet", "--locked", "--root", "PART", "--version", version, *options, name]


def attest():
    """nitro-tpm-attest and nitro-tpm-kms-decrypt. They want a newer tpm2-tss than Debian 12's: that of `make deps`."""
    prefix = w.run(w.TOP / "unlock/deps/build", "--print-prefix", text=True).stdout.strip()
    libraries = "tss2-tcti-swtpm", "tss2-tcti-device", "tss2-sys", "tss2-mu", "crypto"
    flags = f"-L {prefix}/lib " + " ".join(f"-C link-arg=-l{name}" for name in libraries)
    no_deps = None if os.path.isdir(prefix) else "make deps has not made the static libraries"
    return built(ATTEST[0], lambda: no_crate(ATTEST, ATTEST_NEEDS) or no_deps,
                 "env", f"PKG_CONFIG_LIBDIR={prefix}/lib/pkgconfig", "PKG_CONFIG_ALL_STATIC=1", f"RUSTFLAGS={flags}",
                 *cargo_install(ATTEST, "--bin", ATTEST[0], "--example", "nitro-tpm-kms-decrypt"))


def compute():
    return built(COMPUTE[0], lambda: no_crate(COMPUTE, COMPUTE_NEEDS), *cargo_install(COMPUTE)) / COMPUTE[0]


def metadata_mock():
    return built(MOCK, lambda: vault.no_go(MOCK_NEEDS) or vault.no_module(f"{MOCK_MODULE}@{MOCK_VERSION}"),
                 "env", "GOBIN=PART/bin", "go", "install", f"{MOCK_MODULE}/cmd/{MOCK}@{MOCK_VERSION}") / MOCK


def pip_install(requirements):
    """The folder of the packages that a file beside this one names."""
    source = Path(__file__).with_name(requirements)
    key = hashlib.sha256(source.read_bytes() + sys.version.encode()).hexdigest()[:16]
    try:
        return vault.cached(vault.cache_root() / f"{source.stem}-{key}" / "packages",
                            sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--only-binary", ":all:",
                            "--target", "PART", "--requirement", source)
    except vault.BuildError as error:
        assert "DO NOT MATCH THE HASHES" not in str(error)
        pytest.skip(f"the packages of {requirements} cannot be had: {str(error)[-200:]}")


def npm_install(source, folder):
    """Copies what is in `source` to `folder`, and puts the packages there that its lock names. -> the program node"""
    npm, node = shutil.which("npm"), shutil.which("node")
    if not npm or not node:
        pytest.skip("npm or node is not installed")
    shutil.copytree(source, folder, dirs_exist_ok=True)
    done = w.run(npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund", cwd=folder, text=True, check=False, timeout=300)
    assert "EINTEGRITY" not in done.stderr, done.stderr
    if done.returncode != 0:
        pytest.skip(f"npm has no {source.name} packages: {done.stderr.strip().splitlines()[-1]}")
    return node


def message(read):
    """One command or answer of a TPM: a header of ten bytes says how long it is."""
    data = b""
    while len(data) < max(10, int.from_bytes(data[2:6], "big")):
        part = read(4096)
        assert part, "a TPM's message ends in the middle"
        data += part
    return data


class Device:
    """What /dev/tpm0 is to a program that takes only a path: a terminal of which each answer is a line, ended by EOF.

    Who reads to the end of the file needs a second EOF, on which tpm2-tss, which does not, would stumble: it is the one
    that does not block."""

    EOF, QUOTE = b"\x04", b"\x16"

    def __init__(self, tpm):
        self.port, self.client, self.started = int(tpm.port), None, threading.Event()
        self.master, self.slave = pty.openpty()
        self.path = os.ttyname(self.slave)
        mode = termios.tcgetattr(self.slave)
        mode[0], mode[1], mode[3] = 0, 0, termios.ICANON | termios.IEXTEN
        mode[6] = [b"\0"] * len(mode[6])
        mode[6][termios.VEOF], mode[6][termios.VLNEXT] = self.EOF, self.QUOTE
        termios.tcsetattr(self.slave, termios.TCSANOW, mode)
        self.thread = threading.Thread(target=self.serve, daemon=True)
        self.thread.start()

    def quoted(self, data):
        special = self.EOF + self.QUOTE + b"\n"
        return b"".join((self.QUOTE if byte in special else b"") + bytes([byte]) for byte in data)

    def blocks(self):
        folder = Path(f"/proc/{self.client.pid}")
        number, = [fd.name for fd in (folder / "fd").iterdir() if os.path.realpath(fd) == self.path]
        return not int(re.search(r"flags:\s*(\d+)", (folder / "fdinfo" / number).read_text())[1], 8) & os.O_NONBLOCK

    def serve(self):
        while int.from_bytes((command := message(lambda size: os.read(self.master, size)))[2:6], "big"):
            with socket.create_connection(("127.0.0.1", self.port)) as tpm:
                tpm.sendall(command)
                answer = message(tpm.recv)
            self.started.wait()
            os.write(self.master, self.quoted(answer) + self.EOF * (1 + self.blocks()))

    def run(self, *command, **environment):
        """-> what came of a program for which this is TPM_DEVICE. Once."""
        with subprocess.Popen(command, env={"TPM_DEVICE": self.path, **environment}, stdout=subprocess.PIPE,
                              stderr=subprocess.PIPE) as self.client:
            try:
                self.started.set()
                out, err = self.client.communicate(timeout=900)
            finally:
                self.client.kill()
                os.write(self.slave, bytes(10))
                self.thread.join(60)
                os.close(self.slave)
                os.close(self.master)
        return subprocess.CompletedProcess(command, self.client.returncode, out, err)


def moto_environment(home):
    return {"PATH": "/usr/bin:/bin", "PYTHONPATH": pip_install("moto.txt"), "HOME": home}


@contextlib.contextmanager
def moto_server(folder, environment, *options):
    """Its URL. options: those of a certificate, for HTTPS."""
    url = f"http{'s' if options else ''}://127.0.0.1:{w.two_free_ports()}"
    with (folder / "log").open("wb") as log, subprocess.Popen(
            [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", url.rpartition(":")[2], *options],
            env=environment, stdout=log, stderr=log) as server:
        try:
            while w.run("curl", "-sk", url, check=False).returncode != 0:
                assert server.poll() is None, (folder / "log").read_text()
            yield url
        finally:
            server.terminate()


@contextlib.contextmanager
def moto(folder):
    """An `aws` that is the real one and talks to moto: a script."""
    environment = moto_environment(folder)
    with moto_server(folder, environment) as url:
        yield f"""#!/bin/sh
export PYTHONPATH={environment["PYTHONPATH"]} AWS_ENDPOINT_URL={url} AWS_DEFAULT_REGION=eu-west-1 AWS_ACCESS_KEY_ID=A AWS_SECRET_ACCESS_KEY=S
exec {sys.executable} -m awscli "$@"
"""
