# SPDX-License-Identifier: GPL-2.0-or-later
"""Runs docs/examples/packer/provision: what builds an AMI builds the guest.

Of its steps this host cannot do three, for want of loop devices and device-mapper: 10-partition,
25-open and 45-close. disk.py and luks.py put the same things into files instead, and the builder
of test_builder.py, a virtual machine, runs these.
"""
import contextlib
import os
import shlex
import subprocess
import tempfile
from pathlib import Path

PROVISION = Path(__file__).resolve().parents[2] / "docs/examples/packer/provision"
# Runs the steps after the setup in a mount namespace of their own: $1 variables, $2... steps.
RUN = 'vars=$1; shift; for step; do "$step" "$vars"; done\n'


def text(**values):
    """A file of variables."""
    return "".join(f"{name}={shlex.quote(str(value))}\n" for name, value in values.items())


def paths(*names):
    return [PROVISION / name for name in names]


def run(work, *names, before="", after="", env=(), **values):
    """Run these steps with WORK=work, between two pieces of shell; returns what they print."""
    with tempfile.NamedTemporaryFile("w", prefix="mu-image-", suffix=".conf") as conf:
        conf.write(text(**{"WORK": work, "OUT": work, "MUCTL": Path(work) / "muctl", "VOLUME": "root", **values}))
        conf.flush()
        done = subprocess.run(
            ["unshare", "--mount", "--propagation", "private", "sh", "-eu", "-c", before + RUN + after, "sh",
             conf.name, *map(str, paths(*names))],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace",
            env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C.UTF-8", **dict(env)})
    if done.returncode:
        raise RuntimeError(f"{' '.join(names)}: exit {done.returncode}\n{done.stdout[-3000:]}")
    return done.stdout


@contextlib.contextmanager
def bench(**links):
    """A work directory in which these names (uki_efi is uki.efi) are links to files somewhere else."""
    with tempfile.TemporaryDirectory(prefix="mu-bench-") as work:
        for name, target in links.items():
            os.symlink(target, Path(work) / name.replace("_", "."))
        yield Path(work)
