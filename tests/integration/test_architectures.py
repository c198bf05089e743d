# SPDX-License-Identifier: GPL-2.0-or-later
"""What is built for the architecture that this machine does not have: `make check` builds it, qemu-user runs it here. Whole
boots of it are in the stage `foreign` of tests/run."""
import json
import os
import platform
import re

import pytest
import world as w

NATIVE = platform.machine()
OTHER = {"x86_64": "aarch64", "aarch64": "x86_64"}[NATIVE]
ELF_MACHINE = {"x86_64": "Advanced Micro Devices X86-64", "aarch64": "AArch64"}
DEBIAN = {"x86_64": "amd64", "aarch64": "arm64"}
DATA = w.TOP / "tests/data"
FOREIGN = w.TOP / "build" / OTHER
ENVIRONMENT = {k: v for k, v in os.environ.items() if not k.startswith(("MAKE", "MU_BUILD")) and k != "CC"}


def make(*words, check=True):
    return w.run("make", "-s", "-C", w.TOP, *words, check=check, text=True, env=ENVIRONMENT)


@pytest.mark.parametrize("words, message", [
    (["ARCH=riscv64"], "ARCH=riscv64: known are x86_64 and aarch64"),
    (["ARCH=arm64"], "ARCH=arm64: known are x86_64 and aarch64"),
    ([f"ARCH={OTHER}", "CC=no-such-cc"], f"no-such-cc is missing (Debian: gcc-{OTHER.replace('_', '-')}-linux-gnu)"),
    ([f"ARCH={NATIVE}", f"CC={OTHER}-linux-gnu-gcc"], f"compiles for {OTHER}-linux-gnu, not for ARCH={NATIVE}"),
])
def test_make_says_what_it_cannot_build_for(words, message):
    done = make(*words, "help", check=False)
    assert done.returncode == 2 and message in done.stderr


def test_libraries_of_another_machine_are_others():
    prefixes = {w.run("unlock/deps/build", "--print-prefix", cwd=w.TOP, text=True, env={**ENVIRONMENT, "CC": cc}).stdout
                for cc in ("gcc", f"{OTHER}-linux-gnu-gcc")}
    assert len(prefixes) == 2


@pytest.fixture(scope="module")
def programs():
    if not (FOREIGN / "mu-verifier").exists():
        pytest.skip(f"there are no programs for {OTHER}: make deps all ARCH={OTHER} (make check does)")
    return FOREIGN


@pytest.mark.parametrize("name", ["measured-unlock", "muctl", "mu-verifier"])
def test_program_is_static_and_hardened(programs, name):
    header, segments, dynamic = (w.run("readelf", "-W", option, programs / name, text=True).stdout
                                 for option in ("--file-header", "--program-headers", "--dynamic"))
    assert f"Machine:                           {ELF_MACHINE[OTHER]}\n" in header and re.search(r"Type: +DYN ", header)
    assert "INTERP" not in segments and "GNU_RELRO" in segments and re.search(r"GNU_STACK .* RW ", segments)
    assert "NEEDED" not in dynamic and "NOW" in dynamic


@pytest.mark.parametrize("arguments", [
    ["eventlog", DATA / "secureboot/eventlog.bin", "--no-tpm", "--json"],
    ["verify", DATA / "samples/document.cbor", "--root", DATA / "samples/root.pem", "--at", "document", "--json"],
], ids=["event log", "document"])
def test_answers_are_the_same(programs, arguments):
    """Hashes, signatures and certificates by the other machine's code. measured-unlock itself wants a kernel that filters
    system calls, which qemu-user is not."""
    ours, theirs = (w.run(*command, *arguments, check=False, text=True)
                    for command in ([w.TOP / "build/muctl"], [f"qemu-{OTHER}-static", programs / "muctl"]))
    assert (theirs.returncode, theirs.stdout) == (ours.returncode, ours.stdout) and json.loads(ours.stdout)


@pytest.fixture(scope="module")
def packages(programs):
    make(f"ARCH={OTHER}", "deb", "rpm")
    return programs


@pytest.mark.parametrize("name", ["measured-unlock", "measured-unlock-verifier"])
def test_package_says_its_machine(packages, name):
    (deb,), (rpm,) = packages.glob(f"{name}_*_{DEBIAN[OTHER]}.deb"), packages.glob(f"{name}-[0-9]*.{OTHER}.rpm")
    assert w.run("dpkg-deb", "--field", deb, "Architecture", text=True).stdout.strip() == DEBIAN[OTHER]
    assert w.run("rpm", "-qp", "--queryformat", "%{ARCH}", rpm, text=True).stdout == OTHER


def test_sources_of_the_cross_compilers_libraries_are_named(packages):
    """Those of glibc and gcc, not of the packages that repack them."""
    sbom = json.loads((packages / "measured-unlock.spdx.json").read_text())
    versions = {p["name"]: p["versionInfo"] for p in sbom["packages"]}
    gcc = next(name for name in versions if re.fullmatch(r"gcc-\d+", name))
    assert versions["glibc"][0].isdigit() and versions[gcc][0].isdigit()
    linked = next((packages / "package/deb").glob("measured-unlock/usr/share/doc/*/linked-sources")).read_text()
    assert f"\nglibc {versions['glibc']}\n" in linked and f"\n{gcc} {versions[gcc]}\n" in linked
