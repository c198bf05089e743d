# SPDX-License-Identifier: GPL-2.0-or-later
"""`make deb` and `make rpm`: what is in the packages, that they can be made again, and what lintian and rpmlint say."""
import os
import re
import shutil

import pytest
import world as w

VERSION = re.search(r"^VERSION := (\S+)$", (w.TOP / "Makefile").read_text(), re.M)[1]
PACKAGING = w.TOP / "unlock/packaging"
MODULE = "usr/lib/dracut/modules.d/55measured-unlock"
BOTH = {"usr/bin/muctl", "usr/lib/measured-unlock/measured-unlock", "usr/share/measured-unlock/amazon-roots.pem",
        "usr/share/bash-completion/completions/muctl", "usr/share/doc/measured-unlock/linked-sources",
        "usr/share/doc/measured-unlock/measured-unlock.spdx.json",
        f"{MODULE}/module-setup.sh", f"{MODULE}/supervise", f"{MODULE}/measured-unlock.service",
        *(f"usr/share/man/man{p.suffix[1:]}/{p.name}.gz" for p in (w.TOP / "docs").glob("*.[1-8]")),
        *(f"usr/lib/systemd/system/{p.name}" for p in (w.TOP / "unlock/packaging/systemd").iterdir()),
        "usr/share/doc/measured-unlock/docs/quarantine",
        *(f"usr/share/doc/measured-unlock/docs/{p.name}" for p in (w.TOP / "docs").glob("*.md"))}


def make(kind, folder):
    """The package that `make KIND` makes, in a folder of its own."""
    w.run("make", "-s", "-C", w.TOP, "install", f"DESTDIR={folder}/stage", env={**os.environ, "MAKEFLAGS": ""})
    prefix = w.run("unlock/deps/build", "--print-prefix", cwd=w.TOP, text=True,
                   env={**os.environ, "CC": os.environ.get("CC", "gcc")}).stdout.strip()
    shutil.copy(f"{prefix}/versions", folder / "stage.versions")
    w.run(PACKAGING / "build", kind, folder / "stage", folder, VERSION)
    return next(folder.glob(f"measured-unlock*.{kind}"))


@pytest.fixture(scope="module")
def deb(tmp_path_factory):
    return make("deb", tmp_path_factory.mktemp("deb"))


@pytest.fixture(scope="module")
def rpm(tmp_path_factory):
    return make("rpm", tmp_path_factory.mktemp("rpm"))


def test_uninstall(tmp_path):
    def files_after(target):
        w.run("make", "-s", "-C", w.TOP, target, f"DESTDIR={tmp_path}", env={**os.environ, "MAKEFLAGS": ""})
        return [p for p in tmp_path.rglob("*") if p.is_file()]
    assert len(files_after("install")) > 20
    assert files_after("uninstall") == []


def field(deb, name):
    return w.run("dpkg-deb", "--field", deb, name, text=True).stdout.strip()


def test_deb_installs(deb, tmp_path):
    """Into an empty root, by dpkg, and out again."""
    root = tmp_path / "root"
    (root / "var/lib/dpkg/info").mkdir(parents=True)
    (root / "var/lib/dpkg/status").touch()
    (root / "var/lib/dpkg/updates").mkdir()
    dpkg = ["dpkg", "--root", root, "--force-depends", "--force-not-root", "--log=/dev/null"]
    w.run(*dpkg, "--install", deb)
    files = {str(p.relative_to(root)) for p in root.rglob("*") if p.is_file()}
    assert BOTH <= files
    assert {"usr/share/doc/measured-unlock/copyright", "usr/share/doc/measured-unlock/changelog.gz"} <= files
    assert w.run(root / "usr/bin/muctl", "--version", text=True).stdout.split()[-1] == VERSION
    # A directory for the configuration, and none in it: the dracut module stays out of the next initramfs.
    assert [p.name for p in (root / "etc/measured-unlock").iterdir()] == []
    (root / "etc/measured-unlock/measured-unlock.conf").touch()
    w.run(*dpkg, "--purge", "measured-unlock")
    assert [str(p.relative_to(root)) for p in root.rglob("*measured-unlock*") if p.is_file()] == [
        "etc/measured-unlock/measured-unlock.conf"]


def test_deb_needs_no_library_and_runs_nothing(deb, tmp_path):
    assert field(deb, "Version") == VERSION
    assert not re.search(r"\blib", field(deb, "Depends"))
    w.run("dpkg-deb", "--control", deb, tmp_path / "control")
    assert sorted(p.name for p in (tmp_path / "control").iterdir()) == ["control", "md5sums"]


def test_rpm_installs(rpm, tmp_path):
    """Into an empty root, by rpm."""
    w.run("rpm", "--root", tmp_path, "--dbpath", "/var/lib/rpm", "--install", "--nodeps", rpm)
    files = {str(p.relative_to(tmp_path)) for p in tmp_path.rglob("*") if p.is_file()}
    assert BOTH <= files
    assert {f"usr/share/licenses/measured-unlock/{n}" for n in ("copyright", "GPL-3", "Apache-2.0")} <= files
    assert w.run(tmp_path / "usr/bin/muctl", "--version", text=True).stdout.split()[-1] == VERSION
    assert list((tmp_path / "etc/measured-unlock").iterdir()) == []
    assert w.run("rpm", "-qp", "--requires", rpm, text=True).stdout.split("\n")[:2] == ["device-mapper", "dracut-network >= 049"]


@pytest.mark.parametrize("kind", ["deb", "rpm"])
def test_units_outside_the_initramfs_are_not_enabled(request, kind, tmp_path):
    package = request.getfixturevalue(kind)
    names = w.run(*(["dpkg-deb", "--contents"] if kind == "deb" else ["rpm", "-qpl"]), package, text=True).stdout
    units = set(re.findall(r"/systemd/system/(\S+)$", names, re.M))
    assert units == {p.name for p in (w.TOP / "unlock/packaging/systemd").iterdir()}
    assert MODULE in names and not re.search(r"\.(wants|requires|preset)|/systemd/(?!system/|$)|[ .]/boot/", names, re.M)


@pytest.mark.parametrize("kind", ["deb", "rpm"])
def test_package_is_reproducible(request, kind, tmp_path):
    """Made again elsewhere, later and under another umask, it has the same bytes."""
    first = request.getfixturevalue(kind).read_bytes()
    before = os.umask(0o077)
    try:
        assert make(kind, tmp_path).read_bytes() == first
    finally:
        os.umask(before)


def test_versions_agree(tmp_path):
    done = w.run(PACKAGING / "build", "deb", tmp_path, tmp_path, "99.9", check=False, text=True)
    assert done.returncode == 1 and f"ends at {VERSION}" in done.stderr


def test_every_linked_library_is_named(deb, tmp_path):
    """One line for each archive that the programs are linked with, and its licence in the copyright file."""
    w.run("dpkg-deb", "--extract", deb, tmp_path)
    doc = tmp_path / "usr/share/doc/measured-unlock"
    lines = [line.split() for line in (doc / "linked-sources").read_text().splitlines() if line[0] != "#"]
    locked = {line.split()[0] for line in (w.TOP / "unlock/deps/deps.lock").read_text().splitlines() if line[0] != "#"}
    assert locked and locked | {"glibc"} <= {line[0] for line in lines}
    text = (doc / "copyright").read_text()
    assert [name for name in locked if not re.search(rf"^ {name}\b", text, re.M | re.I)] == []


def test_lintian(deb):
    done = w.run("lintian", "--allow-root", "--fail-on", "error,warning", deb, check=False, text=True)
    assert (done.returncode, done.stdout) == (0, ""), done.stderr


def test_rpmlint(rpm):
    done = w.run("rpmlint", "-c", PACKAGING / "rpmlint.toml", rpm, check=False, text=True)
    assert "0 errors, 0 warnings" in done.stdout, done.stdout
