# SPDX-License-Identifier: GPL-2.0-or-later
"""Two clean trees on different paths give the same bytes, and the list of what is linked in is what SPDX 2.3 asks."""
import hashlib
import json
import os
import re
import subprocess

import pytest
import world as w

pytestmark = pytest.mark.long
SBOM = {"measured-unlock": "measured-unlock.spdx.json", "muctl": "measured-unlock.spdx.json",
        "mu-verifier": "measured-unlock-verifier.spdx.json"}
PRODUCTS = [*SBOM, *sorted(set(SBOM.values()))]
LOCK = {tuple(line.split()[:3]) for line in (w.TOP / "unlock/deps/deps.lock").read_text().splitlines()
        if line and not line.startswith("#")}


@pytest.fixture(scope="module")
def builds(tmp_path_factory):
    """Of the files as they stand, with what is not committed; by the static libraries that are there."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=w.TOP, capture_output=True, check=True).stdout
    folders = [tmp_path_factory.mktemp("a"), tmp_path_factory.mktemp("another") / "and" / "longer"]
    for folder in folders:
        folder.mkdir(exist_ok=True, parents=True)
        subprocess.run(["cpio", "-0pdm", "--quiet", folder], cwd=w.TOP, input=listed, check=True, capture_output=True)
        # A compiler cache would give the second tree the first one's objects.
        w.run("make", "-s", "-C", folder, f"-j{os.cpu_count()}", "all",
              env={**{k: v for k, v in os.environ.items() if not k.startswith(("MAKE", "MU_BUILD"))},
                   "CCACHE_DISABLE": "1", "SOURCE_DATE_EPOCH": "1700000000"})
    return [folder / "build" for folder in folders]


@pytest.mark.parametrize("name", PRODUCTS)
def test_same_bytes(builds, name):
    first, second = ((build / name).read_bytes() for build in builds)
    assert first == second


def test_no_path_of_the_build(builds):
    for build in builds:
        for name in PRODUCTS:
            assert str(build.parent).encode() not in (build / name).read_bytes()


def linked_archives(program):
    """Another reading of the linker's map: archives, not those of the build itself, of which a section has an address."""
    image = (program.parent / f"{program.name}.map").read_text().split("Linker script and memory map")[1]
    return {m[1] for m in re.finditer(r"0x0*[1-9a-f][0-9a-f]*\s+0x[1-9a-f][0-9a-f]*\s+/\S*/([^/\s]+)\.a\(", image)}


SOURCES = {"libcrypto": "openssl", "libssl": "openssl", "libcryptsetup": "cryptsetup", "libdevmapper": "lvm2",
           "libmicrohttpd": "libmicrohttpd", "libgnutls": "gnutls28", "libnettle": "nettle", "libhogweed": "nettle",
           "libgmp": "gmp", "libsqlite3": "sqlite3", "libpq": "postgresql-17", "libpgcommon": "postgresql-17",
           "libpgport": "postgresql-17", "libcbor": "libcbor", "libcurl": "curl", "libjson-c": "json-c", "libuuid": "util-linux", "libc": "glibc",
           "libm": "glibc", "libgcc": "gcc", "libgcc_eh": "gcc"}


@pytest.mark.parametrize("file", sorted(set(SBOM.values())))
def test_sbom(builds, file):
    sbom = json.loads((builds[0] / file).read_text())
    assert sbom["spdxVersion"] == "SPDX-2.3" and sbom["dataLicense"] == "CC0-1.0"
    assert sbom["SPDXID"] == "SPDXRef-DOCUMENT" and sbom["name"].startswith(file.removesuffix(".spdx.json") + "-0")
    assert re.fullmatch(r"https://spdx\.org/spdxdocs/[\w.-]+", sbom["documentNamespace"])
    assert sbom["creationInfo"] == {"created": "2023-11-14T22:13:20Z", "creators": [sbom["creationInfo"]["creators"][0]]}
    packages = {p["SPDXID"]: p for p in sbom["packages"]}
    assert len(packages) == len(sbom["packages"])
    for ref, package in packages.items():
        assert re.fullmatch(r"SPDXRef-[A-Za-z0-9.-]+", ref)
        assert {"name", "versionInfo", "downloadLocation", "licenseConcluded", "licenseDeclared", "copyrightText",
                "checksums"} <= package.keys()
        assert package["filesAnalyzed"] is False
        assert [c["algorithm"] for c in package["checksums"]] == ["SHA256"]
        assert re.fullmatch("[0-9a-f]{64}", package["checksums"][0]["checksumValue"])
    for relation in sbom["relationships"]:
        assert relation["relationshipType"] in ("DESCRIBES", "STATIC_LINK")
        assert {relation["spdxElementId"], relation["relatedSpdxElement"]} <= {*packages, "SPDXRef-DOCUMENT"}


@pytest.mark.parametrize("name", SBOM)
def test_sbom_names_what_is_linked_in(builds, name):
    sbom = json.loads((builds[0] / SBOM[name]).read_text())
    packages = {p["SPDXID"]: p for p in sbom["packages"]}
    program = next(p for p in sbom["packages"] if p["name"] == name)
    assert program["checksums"][0]["checksumValue"] == hashlib.sha256((builds[0] / name).read_bytes()).hexdigest()
    linked = [packages[r["relatedSpdxElement"]] for r in sbom["relationships"]
              if r["spdxElementId"] == program["SPDXID"] and r["relationshipType"] == "STATIC_LINK"]
    assert {re.sub(r"^gcc-\d+$", "gcc", p["name"]) for p in linked} == {SOURCES.get(a) or "tpm2-tss" for a in linked_archives(builds[0] / name)}
    for package in linked:
        if not package["packageFileName"].endswith(".a"):
            assert (package["name"], package["versionInfo"], package["checksums"][0]["checksumValue"]) in LOCK
