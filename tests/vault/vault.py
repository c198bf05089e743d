# SPDX-License-Identifier: GPL-2.0-or-later
"""A real HashiCorp Vault: built from its Go module, kept outside the tree, and run with TLS."""
import fcntl
import functools
import hashlib
import json
import os
import re
import shutil
import socket
import subprocess
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
INPUTS = ("go.mod", "go.sum", "main.go")
BUILD = ("go", "build", "-mod=readonly", "-tags", "minimal", "-trimpath", "-ldflags", "-s -w")
BUILD_SECONDS = 7200


class BuildError(Exception):
    pass


def numbers(text):
    return tuple(int(n) for n in re.search(r"(\d+)\.(\d+)(?:\.(\d+))?", text).groups(default="0"))


@functools.cache
def why_not(folder=HERE, module="github.com/hashicorp/vault"):
    """The reason why the program in the folder cannot be built here, or None."""
    needed = re.search(r"^go (\S+)$", (folder / "go.mod").read_text(), re.M)[1]
    return None if built(folder).exists() else no_go(needed) or no_module(module, folder)


def no_module(module, folder=HERE):
    """Whether the module is to be had: what then fails to build is a failure."""
    done = subprocess.run(["go", "mod", "download", module], cwd=folder, capture_output=True, text=True)
    return None if done.returncode == 0 else f"its Go module cannot be had: {done.stderr.strip()[-300:]}"


def no_go(needed):
    """From 1.21 on, go fetches the toolchain it needs."""
    if not shutil.which("go"):
        return "there is no go command"
    version = subprocess.run(["go", "env", "GOVERSION", "GOTOOLCHAIN"], capture_output=True, text=True, cwd="/")
    if version.returncode != 0 or not version.stdout.startswith("go"):
        return "the go command does not work, or is older than 1.18"
    have, toolchain = version.stdout.split()[:2] if len(version.stdout.split()) > 1 else (version.stdout, "local")
    if numbers(have) >= numbers(needed) or (numbers(have) >= (1, 21, 0) and toolchain != "local"):
        return None
    return f"{have.strip()} is older than {needed}"


def cache_root():
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(os.environ.get("MU_CACHE") or Path(base) / "measured-unlock").absolute()


def built(folder=HERE):
    """Where the program in the folder is, once it is built."""
    digest = hashlib.sha256(" ".join(BUILD).encode())
    for name in INPUTS:
        digest.update(hashlib.sha256((folder / name).read_bytes()).digest())
    return cache_root() / f"{folder.name}-{digest.hexdigest()[:16]}" / folder.name


def cached(path, *command, cwd=HERE, **options):
    """A file or folder, made by a command that has PART in it for where to, unless it is there."""
    part = path.with_name(path.name + ".part")
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path.parent / "lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not path.exists():
            command = [str(word).replace("PART", str(part)) for word in command]
            done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=BUILD_SECONDS, **options)
            if done.returncode != 0:
                raise BuildError("\n".join(done.stderr.splitlines()[-20:]))
            part.rename(path)
    return path


def build(folder=HERE):
    """The program, built unless it is cached."""
    return cached(built(folder), *BUILD, "-o", "PART", ".", cwd=folder)


def free_port(address="127.0.0.1"):
    with socket.socket() as s:
        s.bind((address, 0))
        return s.getsockname()[1]


class Vault:
    """One server, unsealed. `run()` is its own command line, with the root token."""

    def __init__(self, folder, ca, certificate, host="localhost", bind="127.0.0.1", port=None, prefix=(), keys=None):
        """prefix: a command that runs another, in a namespace. keys: (unseal key, token) of a folder that was used before."""
        self.folder = Path(folder)
        self.folder.mkdir(exist_ok=True)
        self.program, self.prefix = build(), prefix
        storage = 'storage "inmem" {}'
        if prefix:  # "minimal" has no other storage that lasts
            (self.folder / "data").mkdir(exist_ok=True)
            storage = f'storage "raft" {{\n  path = "{self.folder}/data"\n  node_id = "one"\n}}'
        self.port = port or free_port(bind)
        self.address = f"https://{host}:{self.port}"
        config = self.folder / "vault.hcl"
        config.write_text(f"""disable_mlock = true
{storage}
api_addr = "{self.address}"
cluster_addr = "https://127.0.0.1:{self.port + 1}"
log_level = "warn"
listener "tcp" {{
  address = "{bind}:{self.port}"
  tls_cert_file = "{certificate}"
  tls_key_file = "{certificate}"
}}
""")
        self.environment = {**os.environ, "VAULT_ADDR": self.address, "VAULT_CACERT": str(ca), "HOME": str(self.folder)}
        self.environment.pop("VAULT_TOKEN", None)
        self.log = open(self.folder / "log", "w")
        self.process = subprocess.Popen([*prefix, self.program, "server", f"-config={config}"], stdout=self.log,
                                        stderr=self.log, env=self.environment)
        self.unseal_key, self.token = keys or self.initialise()
        self.environment["VAULT_TOKEN"] = self.token
        self.unseal()

    def run(self, *arguments, check=True, **options):
        done = subprocess.run([*self.prefix, self.program, *arguments], env=self.environment, capture_output=True,
                              text=True, **options)
        if check and done.returncode != 0:
            raise AssertionError(f"vault {arguments}: {done.stdout}{done.stderr}{(self.folder / 'log').read_text()}")
        return done

    def initialise(self):
        done = self.until("operator", "init", "-key-shares=1", "-key-threshold=1", "-format=json")
        keys = json.loads(done.stdout)
        return keys["unseal_keys_b64"][0], keys["root_token"]

    def until(self, *arguments):
        """Again and again, until it works."""
        for _ in range(600):
            done = self.run(*arguments, check=False)
            if done.returncode == 0:
                return done
            assert self.process.poll() is None, (self.folder / "log").read_text()
            time.sleep(0.1)
        raise AssertionError(f"{done.stderr}{(self.folder / 'log').read_text()}")

    def seal(self):
        self.run("operator", "seal")

    def unseal(self):
        self.until("operator", "unseal", self.unseal_key)
        self.until("secrets", "list")

    def shell(self, script, **variables):
        """Commands as the documentation has them: `vault` is the program."""
        path = self.folder / "bin"
        path.mkdir(exist_ok=True)
        if not (path / "vault").exists():
            (path / "vault").symlink_to(self.program)
        environment = {**self.environment, "PATH": f"{path}:{os.environ['PATH']}",
                       **{k: str(v) for k, v in variables.items()}}
        done = subprocess.run([*self.prefix, "sh", "-eu", "-c", script], env=environment, capture_output=True, text=True,
                              cwd=self.folder)
        if done.returncode != 0:
            raise AssertionError(f"{script}\n{done.stdout}{done.stderr}")
        return done.stdout

    def stop(self):
        self.process.terminate()
        self.process.wait(20)
        self.log.close()
