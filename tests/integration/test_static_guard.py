# SPDX-License-Identifier: GPL-2.0-or-later
"""The static programs load nothing at run time, whatever lies in the image: a root full of decoys, and strace."""
import os
import re
import shutil
import subprocess

import pytest
import relying
import world as w

PROGRAMS = [w.UNLOCK, w.MUCTL, w.MU_VERIFIER]
KMS_NAME = f"kms.{w.REGION}.api.aws"  # in the emulator's certificate; "localhost" needs no lookup
DECOY = "__attribute__((constructor)) static void loaded(void) { __builtin_trap(); }"
# What a static glibc falls for: it resolves a name as nsswitch.conf says.
CARELESS = """#include <netdb.h>
#include <stddef.h>
int main(void) { struct addrinfo *a = NULL; return getaddrinfo("localhost", "443", NULL, &a); }
"""
LIBRARIES = ["libc.so.6", "ld-linux-x86-64.so.2", "libgcc_s.so.1", "libcrypto.so.3", "libudev.so.1",
             "libtss2-tcti-device.so.0", "libtss2-tcti-swtpm.so.0", "libcryptsetup-token-systemd-tpm2.so",
             *(f"libnss_{name}.so.2" for name in ("decoy", "files", "dns", "resolve", "myhostname", "compat"))]
MODULES = ["ossl-modules/legacy.so", "ossl-modules/fips.so", "engines-3/decoy.so",
           "cryptsetup/libcryptsetup-token-systemd-tpm2.so"]
OPENSSL_CNF = """openssl_conf = all
[all]
providers = list
[list]
legacy = on
[on]
activate = 1
"""
NSSWITCH = "".join(f"{db}: decoy files\n" for db in
                   "passwd group shadow hosts networks protocols services ethers rpc initgroups".split())
SUSPECT = re.compile(r"\.so(\.[0-9.]+)?$|openssl\.cnf$|ld\.so\.")


def compile_c(source, output, *options):
    w.run(os.environ.get("CC", "cc"), "-x", "c", "-", "-o", output, *options, input=source.encode())


@pytest.fixture(scope="module")
def decoys(tmp_path_factory):
    """A root file system in which every library and module ends the process that loads it."""
    root = tmp_path_factory.mktemp("root")
    decoy = tmp_path_factory.mktemp("decoy") / "decoy.so"
    compile_c(DECOY, decoy, "-shared", "-fPIC", "-nostdlib")
    triplet = w.run("gcc", "-dumpmachine", text=True).stdout.strip()
    for folder in ("lib", "lib64", "usr/lib", "usr/lib64", f"lib/{triplet}", f"usr/lib/{triplet}"):
        for name in LIBRARIES + (MODULES if folder.startswith("usr") else []):
            (root / folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(decoy, root / folder / name)
    for path in ("etc/ssl/openssl.cnf", "usr/lib/ssl/openssl.cnf", "etc/pki/tls/openssl.cnf",
                 "usr/local/ssl/openssl.cnf", "nonexistent/openssl.cnf"):
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(OPENSSL_CNF)
    (root / "etc/nsswitch.conf").write_text(NSSWITCH)
    (root / "etc/hosts").write_text(f"127.0.0.1 localhost {KMS_NAME}\n")
    (root / "etc/resolv.conf").write_text("nameserver 127.0.0.1\noptions timeout:1 attempts:1\n")
    return root


def run_in(root, program, *arguments, folders=(), env=None):
    """Run a program inside `root`; returns its exit code, its messages, and each path that it tried to open."""
    shutil.copy(program, root / "program")
    script = ""
    for folder in ("/dev", "/proc", *folders):
        (root / str(folder).lstrip("/")).mkdir(parents=True, exist_ok=True)
        script += f"mount --rbind '{folder}' '{root}{folder}' && "
    script += f"exec chroot '{root}' /program \"$@\""
    trace = root.parent / "trace"
    done = w.run("strace", "-f", "-qq", "-s", "4096", "-e", "trace=%file", "-o", trace,
                 "unshare", "--mount", *(["--map-root-user"] if os.getuid() else []),
                 "sh", "-c", script, "sh", *arguments, check=False, text=True, timeout=120,
                 env={"PATH": os.environ["PATH"], **(env or {})})
    _, started, calls = trace.read_text().partition('execve("/program"')
    assert started, done.stderr
    paths = [m[1] for line in calls.splitlines()[1:] if (m := re.search(r'"([^"]*)"', line))]
    return done, paths


def suspects(paths):
    return sorted({p for p in paths if SUSPECT.search(p)})


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda p: p.name)
def test_no_interpreter_and_no_needed_library(program):
    headers = w.run("readelf", "--wide", "--program-headers", "--dynamic", program, text=True).stdout
    assert "DYNAMIC" in headers
    assert "INTERP" not in headers and "(NEEDED)" not in headers


def test_premise_the_decoys_are_loaded_by_a_careless_static_program(decoys, tmp_path):
    compile_c(CARELESS, tmp_path / "careless", "-static", "-w")
    done, paths = run_in(decoys, tmp_path / "careless")
    assert any("libnss_decoy.so.2" in p for p in suspects(paths))
    assert done.returncode not in (0, 1)


def test_unlock_opens_no_shared_object(decoys, world):
    """The whole path: name lookup, TLS, TPM, CMS, key slot."""
    world.configure()
    text = world.config_path.read_text()
    named = text.replace("https://127.0.0.1:", f"https://{KMS_NAME}:")
    assert named != text
    world.config_path.write_text(named)
    done, paths = run_in(decoys, w.UNLOCK, "unlock", "--config", str(world.config_path), "--no-activate",
                         folders=[world.folder],
                         env={"OPENSSL_CONF": "/etc/ssl/openssl.cnf", "OPENSSL_MODULES": "/usr/lib/ossl-modules"})
    assert done.returncode == 0, done.stderr
    assert "/etc/hosts" in paths
    assert suspects(paths) == []


def test_muctl_opens_no_shared_object(decoys, world):
    done, paths = run_in(decoys, w.MUCTL, "pcr", "--json", "--tcti", world.tpm.tcti)
    assert done.returncode == 0, done.stderr
    assert suspects(paths) == []


def test_verifier_finds_its_database_without_a_shared_object(decoys, world, tmp_path):
    """GnuTLS starts, libpq looks up whose home to search and where the database is: nothing is loaded."""
    party = relying.Party(tmp_path / "party", world.tpm.root, {})
    baseline = relying.baseline(tmp_path / "b.json", [bytes(48)] * 24, 2, 3, 4, 7, 12, 13, 14)
    party.baselines["b"] = (baseline, "boot")
    party.write(store=f"postgresql:host={KMS_NAME} port=1 dbname=fleet user=fleet")
    done, paths = run_in(decoys, w.MU_VERIFIER, "serve", "--config", str(party.config),
                         folders=[tmp_path, world.folder])
    assert done.returncode not in (0, None) and KMS_NAME in done.stderr, done.stderr
    assert "/etc/hosts" in paths
    assert suspects(paths) == []
