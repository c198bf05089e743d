# SPDX-License-Identifier: GPL-2.0-or-later
"""Progress for people: one line a step on stderr, nothing when output is captured by pytest."""
import sys
import time

_start = time.monotonic()


def step(text):
    print(f"[{time.monotonic() - _start:6.1f}s] {text}", file=sys.stderr, flush=True)
