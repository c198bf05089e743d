# SPDX-License-Identifier: GPL-2.0-or-later
"""The unit and integration tests again, on programs that watch themselves: ASan and UBSan, TSan, valgrind, coverage."""
import ctypes
import json
import os
import re
import subprocess
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from analysis import TOP, make

SANITIZE, THREADS, VALGRIND = (TOP / "build" / name for name in ("sanitize", "threads", "valgrind"))
COVERAGE_FILE = TOP / "docs/develop/coverage.md"
# Both builds leave system calls unfiltered: sanitizers and valgrind make some that measured-unlock gives up.
UNFILTERED = "-O1 -g -DMU_UNFILTERED"
# What the sanitizers see running is what coverage counts.
CFLAGS = (f"{UNFILTERED} -U_FORTIFY_SOURCE -fno-omit-frame-pointer -fsanitize=address,undefined "
          "-fno-sanitize-recover=undefined --coverage -fprofile-update=atomic")
ENVIRONMENT = {"MU_BUILD": str(SANITIZE), "UBSAN_OPTIONS": "print_stacktrace=1",
               # Tests of "out of memory" ask for more than there is.
               "ASAN_OPTIONS": "allocator_may_return_null=1"}
# Those that run our programs. Not memory and static_guard, which are about the static program (what is in its memory,
# which system calls it makes); not faults, which has a build of its own; not trouble and attacks, which take the ways of
# boot and release once more, waiting or with a defence taken out.
DRIVEN = [f"tests/integration/test_{name}.py" for name in
          ("audit", "baseline", "blank", "boot", "cli", "denial", "doctor", "doors", "header", "identity", "images", "monitor",
           "policy", "regions", "release", "secureboot", "signers", "token", "tpm", "tpm2", "update", "update_images", "vault",
           "verifier", "verify", "watch")]
# Of these, at each change.
DRIVEN_SHORT = [f"tests/integration/test_{name}.py" for name in ("boot", "verify")]
# Where threads meet (docs/develop/threads.md): boots that unlock, refuse and make a volume, by each provider that has
# threads; a verifier that is asked by many, reloads and ends connections; the watch, its sinks and its metrics.
THREADED = {"boot": "test_unlocks or test_altered_pcr[12] or two_volumes or bad_volume or never_appears",
            "blank": "test_made_and_opened",
            "vault": "test_unlocks or our_verifier_refuses",
            "verifier": "at_once or reload or rotate or metrics or test_store or slow or connections or nitrotpm or stops",
            "images": "revocation or reload",
            "watch": "sqlite and (sink or reload or stops or webhook or killed or prometheus)"}
# What ThreadSanitizer has to find, so that its silence means something.
RACE = """
#include <pthread.h>
static int count;
static void *add(void *unused) { count++; return unused; }
int main(void) { pthread_t t; pthread_create(&t, 0, add, 0); count++; return pthread_join(t, 0); }
"""
TSAN_FOUND, ADDR_NO_RANDOMIZE, ASK = 66, 0x0040000, 0xffffffff
# A whole boot that unlocks, one that refuses, and what muctl reads from a TPM: every pass of a secret through our code.
# The other integration tests take the same paths under ASan; valgrind looks for what only it sees, uninitialised bytes.
WATCHED = "test_unlocks or test_altered_pcr or test_pcr_agrees"
UNWATCHED = {"test_enroll": "minutes of key derivation, in other people's code",
             "test_sandbox": "valgrind itself takes the signals that its processes die of"}
COMMAND = ["valgrind", "-q", "--error-exitcode=99", "--leak-check=full", "--errors-for-leak-kinds=definite"]


def build(folder, *words):
    done = make(str(folder.relative_to(TOP)), *words)
    if done.returncode != 0:
        print(done.stdout)
    return done.returncode == 0


def run_sanitize(run_units, run_pytest, long):
    for old in SANITIZE.rglob("*.gcda"):
        old.unlink()
    if not build(SANITIZE, f"CFLAGS={CFLAGS}", "all", "units", "drivers"):
        return Counter(failed=1)
    os.environ.update(ENVIRONMENT)
    try:
        return run_units(SANITIZE / "unit") + run_pytest(*(DRIVEN if long else DRIVEN_SHORT))
    finally:
        for name in ENVIRONMENT:
            del os.environ[name]


def finds_races():
    program = THREADS / "race"
    subprocess.run(["gcc", "-fsanitize=thread", "-pthread", "-x", "c", "-", "-o", program], input=RACE, text=True, check=True)
    return subprocess.run([program], capture_output=True).returncode == TSAN_FOUND


def run_threads(run_pytest):
    """gcc 12's TSan does not start where a kernel spreads addresses wider than it knows, so they are not spread."""
    if not build(THREADS, f"CFLAGS={UNFILTERED} -U_FORTIFY_SOURCE -fno-omit-frame-pointer -fsanitize=thread", "all", "drivers"):
        return Counter(failed=1)
    personality = ctypes.CDLL(None).personality
    before = personality(ASK)
    personality(before | ADDR_NO_RANDOMIZE)
    os.environ.update(MU_BUILD=str(THREADS), MU_PATIENCE="5", TSAN_OPTIONS="halt_on_error=1")
    try:
        found = finds_races()
        print(f"  TSAN    finds a race that is there: {'yes' if found else 'NO'}", flush=True)
        return Counter(passed=found, failed=not found) + run_pytest(
            *(f"tests/integration/test_{name}.py" for name in THREADED),
            "-k", " or ".join(f"(test_{name}.py and ({tests}))" for name, tests in THREADED.items()))
    finally:
        personality(before)
        del os.environ["MU_BUILD"], os.environ["MU_PATIENCE"], os.environ["TSAN_OPTIONS"]


def table(report):
    """Markdown, a line a file, the whole first."""
    rows = [("**unlock/**", report)] + [(f["filename"], f) for f in report["files"]]
    return "".join(f"| {name} | {r['line_covered']}/{r['line_total']} | {r['line_percent']:.0f} % | "
                   f"{r['branch_percent'] or 0:.0f} % |\n" for name, r in rows)


def run_coverage():
    """Reads what the last `tests/run sanitize` left. Fails below the floor that docs/develop/coverage.md names."""
    done = subprocess.run(["gcovr", "--root", TOP, "--filter", "unlock/", "--exclude-throw-branches", "--json-summary",
                           "--object-directory", SANITIZE, SANITIZE], cwd=TOP, text=True, capture_output=True)
    if done.returncode != 0:
        print(done.stderr)
        return Counter(failed=1)
    report = json.loads(done.stdout)
    text = table(report)
    print(text)
    kept = COVERAGE_FILE.read_text()
    floor = float(re.search(r"at least (\d+) % of lines", kept)[1])
    if os.environ.get("MU_KEEP"):
        COVERAGE_FILE.write_text(kept[:kept.index("| **unlock/**")] + text)
    good = report["line_percent"] >= floor
    print(f"  COVER   {report['line_percent']} % of lines, {report['branch_percent']} % of branches; floor {floor} %")
    return Counter(passed=good, failed=not good)


def watch(program):
    done = subprocess.run([*COMMAND, program], cwd=TOP, text=True, errors="replace", stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, timeout=1800)
    return program.name, done


def run_valgrind(run_pytest):
    if not build(VALGRIND, f"CFLAGS={UNFILTERED}", "all", "units"):
        return Counter(failed=1)
    count = Counter()
    programs = sorted(p for p in (VALGRIND / "unit").iterdir() if os.access(p, os.X_OK) and p.name not in UNWATCHED)
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for name, done in pool.map(watch, programs):
            good = done.returncode == 0
            count["passed" if good else "failed"] += 1
            print(f"  GRIND   {name}: {'clean' if good else f'exit {done.returncode}'}", flush=True)
            if not good:
                print(done.stdout)
    wrapped = VALGRIND / "wrapped"
    wrapped.mkdir(exist_ok=True)
    for name in ("measured-unlock", "muctl", "mu-verifier"):
        wrapper = wrapped / name
        wrapper.write_text(f"#!/bin/sh\nexec {' '.join(COMMAND)} '{VALGRIND}/{name}' \"$@\"\n")
        wrapper.chmod(0o755)
    os.environ.update(MU_BUILD=str(wrapped), MU_PATIENCE="15")
    try:
        return count + run_pytest("-k", WATCHED, "tests/integration/test_boot.py", "tests/integration/test_tpm.py")
    finally:
        del os.environ["MU_BUILD"], os.environ["MU_PATIENCE"]
