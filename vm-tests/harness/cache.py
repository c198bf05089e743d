# SPDX-License-Identifier: GPL-2.0-or-later
"""Things that are slow to make, kept outside the tree under the hash of what they are made from."""
import contextlib
import fcntl
import hashlib
import os
import shutil
from pathlib import Path


def root():
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(os.environ.get("MU_CACHE") or Path(base) / "measured-unlock")


def _feed(digest, item):
    """Hash one input: bytes, text, or a file or tree with names, modes and contents."""
    if not isinstance(item, Path):
        data = item if isinstance(item, bytes) else str(item).encode()
        digest.update(b"v%d:" % len(data) + data)
        return
    for path in [item] if not item.is_dir() else sorted(item.rglob("*")):
        if "__pycache__" in path.parts or not path.is_file():
            continue
        digest.update(b"f%s %o " % (str(path.relative_to(item.parent)).encode(),
                                    path.stat().st_mode & 0o111))
        digest.update(hashlib.sha256(path.read_bytes()).digest())


def key(*inputs):
    digest = hashlib.sha256()
    for item in inputs:
        _feed(digest, item)
    return digest.hexdigest()[:16]


def _evict(path, keep):
    """Drop the oldest entries of the same kind."""
    kind = path.name.rsplit("-", 1)[0]
    entries = sorted((p for p in path.parent.glob(kind + "-" + "[0-9a-f]" * 16)),
                     key=lambda p: p.stat().st_atime)
    for old in entries[:-keep]:
        if old != path:
            shutil.rmtree(old)


def get(kind, inputs, make, keep=8):
    """The cached directory for these inputs; `make(directory)` fills it the first time."""
    path = root() / f"{kind}-{key(*inputs)}"
    path.parent.mkdir(parents=True, exist_ok=True)
    with locked(path.with_suffix(".lock")):
        if not path.exists():
            work = path.with_suffix(".part")
            if work.exists():
                shutil.rmtree(work)
            work.mkdir()
            make(work)
            work.rename(path)
        os.utime(path)
        _evict(path, keep)
    return path


@contextlib.contextmanager
def locked(path):
    with open(path, "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
