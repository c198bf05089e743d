# SPDX-License-Identifier: GPL-2.0-or-later
"""unlock/deps/fetch: whoever serves the mirror can choose an older version of a library, but not silently."""
import hashlib
import os
import shutil

import pytest
import world as w

OLD, NEW = "lib 1.0-1", "lib 1.1-2"
CONTENT = {OLD: b"old", NEW: b"new", "lib 1.1": b"the tarball alone"}


@pytest.fixture
def fetch(tmp_path):
    """fetch beside a lock of its own; returns a function that runs it on a folder with these versions."""
    for name in ("fetch", "mirror"):
        shutil.copy(w.TOP / "unlock/deps" / name, tmp_path)
    (tmp_path / "deps.lock").write_text("# newest first\n" + "".join(
        f"{version} {hashlib.sha256(CONTENT[version]).hexdigest()} {version.replace(' ', '_')}.tar\n"
        for version in (NEW, OLD, "lib 1.1")))

    def run(*options, there, **env):
        for version in there:
            (tmp_path / "sources").mkdir(exist_ok=True)
            (tmp_path / "sources" / f"{version.replace(' ', '_')}.tar").write_bytes(CONTENT[version])
        return w.run(tmp_path / "fetch", "--offline", *options, tmp_path / "sources", check=False, text=True,
                     env={**os.environ, **env})
    return run


@pytest.mark.parametrize("there,chosen", [([NEW], NEW), ([OLD, NEW], NEW), (["lib 1.1"], "lib 1.1")])
@pytest.mark.parametrize("options", [[], ["--latest"]])
def test_the_newest_is_taken_in_silence(fetch, there, chosen, options):
    done = fetch(*options, there=there)
    assert (done.returncode, done.stdout, done.stderr) == (0, chosen + "\n", "")


def test_an_older_version_is_said(fetch):
    """The premise of the next test: it is taken."""
    done = fetch(there=[OLD])
    assert (done.returncode, done.stdout) == (0, OLD + "\n")
    assert "OLDER   lib 1.0-1: not 1.1-2, the newest that deps.lock accepts" in done.stderr


def test_an_older_version_can_be_refused(fetch):
    for done in (fetch("--latest", there=[OLD]), fetch(there=[OLD], MU_DEPS_LATEST="1")):
        assert done.returncode == 1 and done.stdout == ""
        assert "no accepted version found" in done.stderr and "deps.lock accepts: 1.1-2 1.1\n" in done.stderr
