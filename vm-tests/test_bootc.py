# SPDX-License-Identifier: GPL-2.0-or-later
"""docs/examples/bootc by buildah, on the tree of a guest in place of an image for bootc, of which none can be had here. What comes
out is examined and not booted."""
import json
import os
import shutil
import subprocess
import tempfile
import tomllib

import pytest

from harness import base
from harness.architecture import CHOSEN
from harness.workshop import MUCTL, TOP, Workshop, make_package, run

EXAMPLES = TOP / "docs/examples"


@pytest.fixture
def buildah():
    """Runs it, with a storage of its own."""
    if not shutil.which("buildah"):
        pytest.skip("buildah is not installed (tests/setup installs it)")
    with tempfile.TemporaryDirectory(prefix="mu-buildah-") as storage:
        def call(*arguments):
            return run("buildah", "--root", f"{storage}/root", "--runroot", f"{storage}/run", "--storage-driver", "vfs", *arguments,
                       env={**os.environ, "BUILDAH_ISOLATION": "chroot"}).strip()
        yield call
        call("rm", "--all")


@pytest.fixture
def public(tmp_path):
    """What README.md wants in the other context."""
    workshop, folder = Workshop("trixie"), tmp_path / "public"
    folder.mkdir()
    settings = workshop.settings()
    shutil.copy(make_package(), folder)
    shutil.copy(settings["CONFIG"], folder / "measured-unlock.conf")
    shutil.copy(settings["BUILDER_PEM"], folder / "builder.pem")
    shutil.copy(EXAMPLES / "packer/image.conf.example", folder / "image.conf")
    workshop.close()
    return folder


def shape(buildah, name):
    """An image with a kernel where bootc has it."""
    made = buildah("from", "scratch")
    buildah("add", "--quiet", made, base.tree("trixie"), "/")
    root = buildah("mount", made)
    (modules,) = os.listdir(f"{root}/usr/lib/modules")
    shutil.move(f"{root}/boot/vmlinuz-{modules}", f"{root}/usr/lib/modules/{modules}/vmlinuz")
    buildah("commit", "--quiet", "--rm", made, name)
    return modules


@pytest.mark.needs("systemd >= 257", "systemd < 258")
@pytest.mark.skipif(CHOSEN.is_foreign, reason="buildah runs the programs of this machine")
def test_containerfile(buildah, public):
    modules = shape(buildah, "localhost/base")
    buildah("build", "--build-arg", "BASE=localhost/base", "--build-context", f"input={public}", "--file",
            EXAMPLES / "bootc/Containerfile", "--tag", "localhost/made", EXAMPLES)
    root = buildah("mount", buildah("from", "localhost/made"))
    done = subprocess.run([MUCTL, "doctor", "--build", "--json", "--root", root, "--image", f"{root}/usr/lib/modules/{modules}/initramfs.img"],
                          capture_output=True, text=True)
    findings = json.loads(done.stdout)["findings"]
    assert [f for f in findings if f["result"] == "failure"] == [], findings
    names = {f["name"] for f in findings if f["result"] == "ok"}
    assert {"dracut-module", "image", "image-program", "image-configuration", "image-hooks", "image-units", "image-shell",
            "image-doors", "baseline"} <= names
    with open(f"{root}/usr/lib/bootc/kargs.d/50-measured-unlock.toml", "rb") as file:
        kargs = tomllib.load(file)["kargs"]
    words = json.loads(run(MUCTL, "config", f"{root}/etc/measured-unlock/measured-unlock.conf", "--json"))["words"]
    assert kargs == words and "efi=noruntime" in words
    left = [path for path in ("package.deb", "run/in", "run/provision", "run/add-module") if os.path.exists(f"{root}/{path}")]
    assert left == [] and os.listdir(f"{root}/tmp") == []
