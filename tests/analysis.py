# SPDX-License-Identifier: GPL-2.0-or-later
"""Both compilers, analyzers and linters over the tree; each is one test of `tests/run lint`."""
import os
import re
import shutil
import subprocess
from collections import Counter
from pathlib import Path

TOP = Path(__file__).resolve().parent.parent
SHELL = re.compile(rb"\A#!/bin/(ba)?sh\b|^# shellcheck (shell|disable)=", re.M)
# What gcc 12 reports and is not so: (file, option): why.
NOT_SO = dict.fromkeys(
    ((f"unlock/{file}.c", "-Wanalyzer-malloc-leak")
     for file in ("base/ini", "base/config", "verifier/settings")),
    "loses a pointer stored at an offset from a table; ASan and valgrind see each freed")


def make(folder, *words, clean=False):
    """-Werror only where words ask for it: sanitizers and -fanalyzer have gcc see things that are not there."""
    if clean:
        shutil.rmtree(TOP / folder, ignore_errors=True)
    return subprocess.run(["make", "-s", "-k", f"-j{os.cpu_count()}", "STATIC=0", f"O={folder}", *words], cwd=TOP,
                          text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                          env={k: v for k, v in os.environ.items() if not k.startswith("MAKE") and k != "CI"})


def compiler(name, folder):
    done = make(folder, f"CC={name}", "CI=1", "all", "units", "drivers")
    return done.returncode == 0, done.stdout


def clang_tidy():
    done = make("build/tidy", "tidy")
    return done.returncode == 0, done.stdout


def fanalyzer():
    """From scratch: objects that are there already warn of nothing."""
    done = make("build/fanalyzer", "CFLAGS=-O1 -g -fanalyzer -DMU_ANALYZE", "all", "units", "drivers", clean=True)
    found = re.findall(r"^([^\s:]+):\d+:\d+: (?:warning|error): .*\[(-W[\w-]+)\]$", done.stdout, re.M)
    return done.returncode == 0 and set(found) == set(NOT_SO), done.stdout


def cppcheck():
    """memleak is off: it does not know __attribute__((cleanup))."""
    done = subprocess.run(
        ["cppcheck", f"-j{os.cpu_count()}", "--quiet", "--std=c11", "--enable=warning,performance,portability",
         "--inline-suppr", "--suppress=memleak", "--error-exitcode=1", "-Iunlock", "-Itests/unit", "-D_GNU_SOURCE",
         "-DMU_ANALYZE", "-D__x86_64__", '-DMU_VERSION=""', "unlock", "tests"],
        cwd=TOP, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    return done.returncode == 0, done.stdout


def shellcheck():
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=TOP, capture_output=True, check=True).stdout.split(b"\0")
    files = [f.decode() for f in listed if f and (TOP / f.decode()).is_file() and
             (f.endswith((b".sh", b".bash")) or SHELL.search((TOP / f.decode()).read_bytes()[:400]))]
    done = subprocess.run(["shellcheck", "-x", "-P", "SCRIPTDIR", "-P", "hook", *files], cwd=TOP, text=True,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    return bool(files) and done.returncode == 0, done.stdout


LINTERS = {
    "gcc -Werror": lambda: compiler("gcc", "build/shared"),
    "clang -Werror": lambda: compiler("clang", "build/clang"),
    "clang-tidy": clang_tidy,
    "gcc -fanalyzer": fanalyzer,
    "cppcheck": cppcheck,
    "shellcheck": shellcheck,
}
LONG_LINTERS = {"gcc -fanalyzer"}


def run_lint(long):
    count = Counter()
    for name, linter in LINTERS.items():
        if name in LONG_LINTERS and not long:
            continue
        clean, output = linter()
        print(f"  LINT    {name}: {'clean' if clean else 'FAILED'}", flush=True)
        if not clean:
            print(output, flush=True)
        count["passed" if clean else "failed"] += 1
    return count
