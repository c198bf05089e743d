# SPDX-License-Identifier: GPL-2.0-or-later
"""`make deb` and `make rpm`: what is in the packages, that they can be made again, and what lintian and rpmlint say; and
that dpkg-buildpackage and rpmbuild make the same ones from source."""
import email.utils
import functools
import os
import re
import shutil
import subprocess

import pytest
import world as w

CHANGELOG = (w.TOP / "debian/changelog").read_text()
VERSION = re.match(r"measured-unlock \((\S+)\) ", CHANGELOG)[1]
PACKAGING = w.TOP / "unlock/packaging"
MODULE = "usr/lib/dracut/modules.d/55measured-unlock"
UNLOCK, VERIFIER = "measured-unlock", "measured-unlock-verifier"
PAGES = {UNLOCK: {"measured-unlock.8", "measured-unlock.conf.5", "measured-unlock-threat-model.7", "muctl.8", "muctl-monitor.conf.5"},
         VERIFIER: {"mu-verifier.8", "muctl-verifier.conf.5", "muctl-watch.conf.5"}}


def common(name, program):
    """What each package has: a program with its completions, pages, units and documents."""
    doc = f"usr/share/doc/{name}"
    return {f"usr/bin/{program}", f"usr/share/bash-completion/completions/{program}",
            f"usr/share/zsh/vendor-completions/_{program}", f"usr/share/fish/vendor_completions.d/{program}.fish",
            f"{doc}/linked-sources", f"{doc}/{name}.spdx.json", f"{doc}/docs/examples/quarantine",
            *(f"usr/share/man/man{page[-1]}/{page}.gz" for page in PAGES[name]),
            *(f"usr/lib/systemd/system/{p.name}" for p in (PACKAGING / name / "systemd").iterdir())}


FILES = {
    UNLOCK: common(UNLOCK, "muctl") | {
        "usr/lib/measured-unlock/measured-unlock", "usr/share/measured-unlock/amazon-roots.pem",
        f"{MODULE}/module-setup.sh", f"{MODULE}/doors", f"{MODULE}/supervise", f"{MODULE}/measured-unlock.service",
        "usr/share/doc/measured-unlock/docs/examples/quarantine",
        *(f"usr/share/doc/measured-unlock/docs/guide/{p.name}" for p in (w.TOP / "docs/guide").glob("*.md"))},
    VERIFIER: common(VERIFIER, "mu-verifier") | {
        "usr/lib/sysusers.d/measured-unlock-verifier.conf", "usr/lib/tmpfiles.d/measured-unlock-verifier.conf",
        *(f"usr/share/doc/measured-unlock-verifier/docs/guide/{n}.md" for n in ("verifier", "monitoring"))}}
PROGRAM = {UNLOCK: "muctl", VERIFIER: "mu-verifier"}


def make(kind, folder):
    """{name: the package that `make KIND` makes}, in a folder of its own"""
    for name in FILES:
        w.run("make", "-s", "-C", w.TOP, f"install-{name}", f"DESTDIR={folder}/stage/{name}", env={**os.environ, "MAKEFLAGS": ""})
    prefix = w.run("unlock/deps/build", "--print-prefix", cwd=w.TOP, text=True,
                   env={**os.environ, "CC": os.environ.get("CC", "gcc")}).stdout.strip()
    shutil.copy(f"{prefix}/versions", folder / "stage/versions")
    w.run(PACKAGING / "build", kind, folder / "stage", folder)
    return {re.match(r"(measured-unlock(?:-verifier)?)[-_]\d", p.name)[1]: p for p in folder.glob(f"measured-unlock*.{kind}")}


@pytest.fixture(scope="module")
def packages(tmp_path_factory):
    """(kind, name) -> the package, made once"""
    made = functools.cache(lambda kind: make(kind, tmp_path_factory.mktemp(kind)))
    return lambda kind, name: made(kind)[name]


@pytest.fixture
def deb(packages):
    return packages("deb", UNLOCK)


each = pytest.mark.parametrize("name", [UNLOCK, VERIFIER])


@pytest.mark.parametrize("kind", ["deb", "rpm"])
def test_dry_run_with_an_empty_cache(kind, tmp_path):
    """README's first command, to look at: it makes nothing, and nothing of it fails."""
    tree = tmp_path / "tree"
    w.run("git", "clone", "-q", w.TOP, tree)
    shutil.copy(w.TOP / "Makefile", tree)
    done = w.run("make", "-n", "-C", tree, "deps", kind, text=True,
                 env={**{k: v for k, v in os.environ.items() if not k.startswith("MAKE")}, "XDG_CACHE_HOME": str(tmp_path)})
    assert f"unlock/packaging/build {kind} " in done.stdout
    assert not (tree / "build").exists()


def test_every_page_is_in_a_package():
    assert PAGES[UNLOCK] | PAGES[VERIFIER] == {p.name for p in (w.TOP / "docs/man").glob("*.[1-8]")}


@pytest.mark.parametrize("jobs", ["-j1", "-j2"])
def test_libraries_and_what_needs_them_in_one_call(tmp_path, jobs):
    """`make deps deb` on a new machine: the libraries are not there while the Makefile is read."""
    tree, made = tmp_path / "tree", tmp_path / "libraries"
    tree.mkdir()
    for part in ("Makefile", "unlock", "tests", "hook", "docs", "dracut-module", "debian"):
        w.run("cp", "-r", w.TOP / part, tree)
    build = tree / "unlock/deps/build"
    genuine = w.run(build, "--print-prefix", text=True, env={**os.environ, "CC": "gcc"}).stdout.strip()
    build.write_text(f"#!/bin/sh\n[ \"$*\" = --print-prefix ] || ln -s {genuine} {made}\necho {made}\n")
    first = w.run("make", "-s", "-C", tree, "all", check=False, text=True, env={**os.environ, "MAKEFLAGS": ""})
    assert first.returncode != 0 and "run 'make deps' first" in first.stderr
    w.run("make", "-s", jobs, "-C", tree, "deps", "build/unlock/base/log.o", env={**os.environ, "MAKEFLAGS": ""})
    assert (tree / "build/unlock/base/log.o").exists()


def test_uninstall(tmp_path):
    def files_after(target):
        w.run("make", "-s", "-C", w.TOP, target, f"DESTDIR={tmp_path}", env={**os.environ, "MAKEFLAGS": ""})
        return [p for p in tmp_path.rglob("*") if p.is_file()]
    assert len(files_after("install")) > 20
    assert files_after("uninstall") == []


def field(deb, name):
    return w.run("dpkg-deb", "--field", deb, name, text=True).stdout.strip()


def install_deb(deb, root):
    """Into an empty root, by dpkg. -> the call of dpkg for more, and the files that there are"""
    (root / "var/lib/dpkg/info").mkdir(parents=True)
    (root / "var/lib/dpkg/status").touch()
    (root / "var/lib/dpkg/updates").mkdir()
    dpkg = ["dpkg", "--root", root, "--force-depends", "--force-not-root", "--force-script-chrootless", "--log=/dev/null"]
    w.run(*dpkg, "--install", deb)
    return dpkg, {str(p.relative_to(root)) for p in root.rglob("*") if p.is_file()}


@each
def test_deb_installs(packages, name, tmp_path):
    """And out again."""
    root = tmp_path / "root"
    dpkg, files = install_deb(packages("deb", name), root)
    assert FILES[name] <= files and not files & (FILES[UNLOCK] | FILES[VERIFIER]) - FILES[name]
    assert {f"usr/share/doc/{name}/copyright", f"usr/share/doc/{name}/changelog.gz"} <= files
    assert w.run(root / "usr/bin" / PROGRAM[name], "--version", text=True).stdout.split() == [PROGRAM[name], VERSION]
    # A directory for the configuration, and none in it: the dracut module stays out of the next initramfs.
    assert [p for p in (root / "etc/measured-unlock").rglob("*") if p.is_file()] == []
    (root / "etc/measured-unlock/measured-unlock.conf").touch()
    w.run(*dpkg, "--purge", name)
    assert [str(p.relative_to(root)) for p in root.rglob("*measured-unlock*") if p.is_file()] == [
        "etc/measured-unlock/measured-unlock.conf"]


@pytest.mark.skipif(os.geteuid() != 0, reason="folders are given to a user")
def test_deb_makes_the_user_of_the_services(packages, tmp_path):
    """Who owns the store and may read the keys, and not write them."""
    root = tmp_path / "root"
    install_deb(packages("deb", VERIFIER), root)
    user, group = (next(line.split(":") for line in (root / "etc" / file).read_text().splitlines() if line.startswith("measured-unlock:"))
                   for file in ("passwd", "group"))
    store, keys = ((root / path).stat() for path in ("var/lib/measured-unlock", "etc/measured-unlock/verifier"))
    assert (store.st_uid, store.st_mode & 0o7777) == (int(user[2]), 0o700)
    assert (keys.st_uid, keys.st_gid, keys.st_mode & 0o7777) == (0, int(group[2]), 0o750)
    for unit in (PACKAGING / VERIFIER / "systemd").iterdir():
        assert "\nUser=measured-unlock\n" in unit.read_text()


@pytest.mark.parametrize("name, scripts", [(UNLOCK, []), (VERIFIER, ["postinst"])])
def test_deb_needs_no_library(packages, name, scripts, tmp_path):
    deb = packages("deb", name)
    assert field(deb, "Version") == VERSION
    assert not re.search(r"\blib", field(deb, "Depends"))
    w.run("dpkg-deb", "--control", deb, tmp_path / "control")
    assert sorted(p.name for p in (tmp_path / "control").iterdir()) == sorted(["control", "md5sums", *scripts])


@each
def test_rpm_installs(packages, name, tmp_path):
    """Into an empty root, by rpm."""
    rpm = packages("rpm", name)
    w.run("rpm", "--root", tmp_path, "--dbpath", "/var/lib/rpm", "--install", "--nodeps", rpm)
    files = {str(p.relative_to(tmp_path)) for p in tmp_path.rglob("*") if p.is_file()}
    assert FILES[name] <= files and not files & (FILES[UNLOCK] | FILES[VERIFIER]) - FILES[name]
    assert {f"usr/share/licenses/{name}/{n}" for n in ("copyright", "GPL-3", "Apache-2.0")} <= files
    assert w.run(tmp_path / "usr/bin" / PROGRAM[name], "--version", text=True).stdout.split()[-1] == VERSION
    assert list((tmp_path / "etc/measured-unlock").iterdir()) == []
    needs = [need for need in w.run("rpm", "-qp", "--requires", rpm, text=True).stdout.splitlines() if not need.startswith("rpmlib(")]
    assert needs == (["device-mapper", "dracut-network >= 049"] if name == UNLOCK else [])


def test_documents_lead_somewhere(deb, tmp_path):
    """No link of a document in the package to what only the sources have; all others are still there."""
    w.run("dpkg-deb", "--extract", deb, tmp_path)
    folder = tmp_path / "usr/share/doc/measured-unlock"
    pages = sorted(folder.rglob("*.md"))
    links = {(page, target) for page in pages for target in re.findall(r"\]\(([^)#\s]+)", page.read_text()) if "://" not in target}
    assert len(pages) > 10 and (folder / "README.md", "docs/examples/packer/README.md") in links
    assert [(str(page), target) for page, target in links if not (page.parent / target).exists()] == []
    sources = w.TOP / "docs/guide/laptop.md"
    assert "(../../vm-tests/README.md)" in sources.read_text()
    assert re.search(r"\svm-tests/README.md\ssays", (folder / "docs/guide/laptop.md").read_text())


@pytest.mark.parametrize("kind", ["deb", "rpm"])
@each
def test_units_outside_the_initramfs_are_not_enabled(packages, kind, name):
    names = w.run(*(["dpkg-deb", "--contents"] if kind == "deb" else ["rpm", "-qpl"]), packages(kind, name), text=True).stdout
    names = "\n".join(line for line in names.splitlines() if "/usr/share/doc/" not in line)
    units = set(re.findall(r"/systemd/system/(\S+)$", names, re.M))
    assert units == {p.name for p in (PACKAGING / name / "systemd").iterdir()}
    assert (MODULE in names) == (name == UNLOCK)
    assert not re.search(r"\.(wants|requires|preset)|/systemd/(?!system/|$)|[ .]/boot/", names, re.M)


@pytest.mark.parametrize("kind", ["deb", "rpm"])
def test_package_is_reproducible(packages, kind, tmp_path):
    """Made again elsewhere, later and under another umask, it has the same bytes."""
    first = {name: packages(kind, name).read_bytes() for name in FILES}
    before = os.umask(0o077)
    try:
        assert {name: package.read_bytes() for name, package in make(kind, tmp_path).items()} == first
    finally:
        os.umask(before)


def contents(package):
    """What a package has, without what only static programs have. Not every rpmbuild compresses pages."""
    rpm = package.suffix == ".rpm"
    listed = w.run(*(["rpm", "-qpl"] if rpm else ["dpkg-deb", "--contents"]), package, text=True).stdout
    return {name.removesuffix(".gz") for line in listed.splitlines() if (name := line.split()[-1].lstrip("."))
            and not name.endswith((".spdx.json", "/linked-sources")) and "/licenses/" not in name}


def test_build_dependencies():
    """Those of debian/control are of what tests/setup installs; those of the spec are the modules of the Makefile."""
    control = (w.TOP / "debian/control").read_text()
    wanted = re.search(r"^Build-Depends: debhelper-compat \(= 13\),((?:.*,\n)*.*)$", control, re.M)[1].replace(",", " ").split()
    assert len(wanted) > 8 and not set(wanted) - set(re.findall(r"[\w.+-]+", (w.TOP / "tests/setup").read_text()))
    makefile = re.sub(r"\\\n", "", (w.TOP / "Makefile").read_text())
    modules = {m for name in ("MODULES", "RELYING_MODULES") for m in re.search(rf"^{name} := (.*)$", makefile, re.M)[1].split()}
    spec = w.run("rpmspec", "--parse", PACKAGING / "measured-unlock.spec", text=True).stdout
    assert set(re.findall(r"pkgconfig\(([^)]+)\)", spec)) == modules


@pytest.fixture
def tree(tmp_path):
    """What a source archive has, with what is not committed."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=w.TOP, capture_output=True, check=True).stdout
    subprocess.run(["cpio", "-0pdm", "--quiet", tmp_path / f"measured-unlock-{VERSION}"], cwd=w.TOP, input=listed, check=True)
    return tmp_path / f"measured-unlock-{VERSION}"


# A build that needs a network is none for a distribution.
ALONE = ["unshare", "--net"] if os.geteuid() == 0 else []
PLAIN = {k: v for k, v in os.environ.items() if not k.startswith(("MAKE", "MU_BUILD"))}


@pytest.mark.long
def test_dpkg_buildpackage(packages, tree):
    """Against the distribution's libraries: the same files, and programs that start."""
    w.run(*ALONE, "dpkg-buildpackage", "-us", "-uc", "-b", cwd=tree, env=PLAIN)
    for name in FILES:
        (deb,) = tree.parent.glob(f"{name}_*.deb")
        assert contents(deb) == contents(packages("deb", name))
        w.run("lintian", "--allow-root", "--fail-on", "error", deb)
        assert re.search(r"\blibcryptsetup12\b", field(deb, "Depends")) or name == VERIFIER
        w.run("dpkg-deb", "--extract", deb, tree.parent / name)
        assert w.run(tree.parent / name / "usr/bin" / PROGRAM[name], "--version", text=True).stdout.split()[-1] == VERSION


@pytest.mark.long
def test_rpmbuild_from_source(packages, tree):
    """As on an RPM system, whose packages this machine has under other names: --nodeps."""
    archive = tree.parent / f"measured-unlock-{VERSION}.tar.gz"
    w.run("tar", "-czf", archive, "-C", tree.parent, tree.name)
    w.run(*ALONE, "rpmbuild", "-tb", "--nodeps", "-D", f"_topdir {tree.parent}/rpm", archive, env=PLAIN)
    for name in FILES:
        (rpm,) = tree.parent.glob(f"rpm/RPMS/*/{name}-[0-9]*.rpm")
        assert contents(rpm) == contents(packages("rpm", name))
        assert "libcrypto.so" in w.run("rpm", "-qp", "--requires", rpm, text=True).stdout


def test_versions_agree():
    """debian/changelog says it; the Makefile takes it from there."""
    assert re.search(r"^## (\S+), ", (w.TOP / "NEWS.md").read_text(), re.M)[1] == VERSION
    assert re.search(r"^Version: +(\S+)$", (PACKAGING / "measured-unlock.spec").read_text(), re.M)[1] == VERSION
    day = email.utils.parsedate_to_datetime(re.search(r"^ -- .*>  (.*)$", CHANGELOG, re.M)[1]).date().isoformat()
    for page in PAGES[UNLOCK] | PAGES[VERIFIER]:
        assert re.search(rf'^\.TH \S+ [1-8] {day} "measured-unlock {VERSION}" ', (w.BUILD / "man" / page).read_text(), re.M), page


def linked_sources(deb, folder):
    """-> names, and the copyright file"""
    w.run("dpkg-deb", "--extract", deb, folder)
    (doc,) = (folder / "usr/share/doc").iterdir()
    lines = [line.split() for line in (doc / "linked-sources").read_text().splitlines() if line[0] != "#"]
    return {line[0] for line in lines}, (doc / "copyright").read_text()


def test_every_linked_library_is_named(packages, tmp_path):
    """One line for each archive that the programs are linked with, and its licence in the copyright file."""
    locked = {line.split()[0] for line in (w.TOP / "unlock/deps/deps.lock").read_text().splitlines() if line[0] != "#"}
    unlock, text = linked_sources(packages("deb", UNLOCK), tmp_path / UNLOCK)
    verifier, same = linked_sources(packages("deb", VERIFIER), tmp_path / VERIFIER)
    assert locked and locked | {"glibc"} <= unlock | verifier and text == same
    relying = {"libmicrohttpd", "gnutls28", "nettle", "gmp", "sqlite3", "postgresql-17"}
    assert relying <= verifier and not relying & unlock and {"openssl", "glibc"} <= unlock & verifier
    assert [name for name in locked if not re.search(rf"^ {name}\b", text, re.M | re.I)] == []


@each
def test_lintian(packages, name):
    done = w.run("lintian", "--allow-root", "--fail-on", "error,warning", packages("deb", name), check=False, text=True)
    assert (done.returncode, done.stdout) == (0, ""), done.stderr


@each
def test_rpmlint(packages, name):
    done = w.run("rpmlint", "-c", PACKAGING / "rpmlint.toml", packages("rpm", name), check=False, text=True)
    assert "0 errors, 0 warnings" in done.stdout, done.stdout
