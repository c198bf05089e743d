#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""muctl's TPM access against swtpm, with tpm2-tools as the second opinion."""
import hashlib
import json
import os

import pytest

import world as worlds

ALL = [str(n) for n in range(24)]


@pytest.fixture(scope="module")
def tpm(tmp_path_factory):
    service = worlds.NitroTpm(tmp_path_factory.mktemp("tpm"))
    yield service
    service.stop()


def muctl(service, *arguments, check=True):
    return worlds.muctl(*arguments, check=check, env={**os.environ, "MU_TCTI": service.tcti})


def tpm2(service, *command):
    return service.tool(*command).stdout.decode()


def indexes(service):
    return tpm2(service, "tpm2_getcap", "handles-nv-index").split()


def pcrs(service, bank):
    report = json.loads(muctl(service, "pcr", "--bank", bank, "--json").stdout)
    assert report["bank"] == bank
    return report["pcrs"]


@pytest.mark.parametrize("bank", ["sha1", "sha256", "sha384"])
def test_pcr_agrees_with_tpm2_tools(tpm, bank):
    for pcr in (4, 11, 23):
        tpm2(tpm, "tpm2_pcrextend", f"{pcr}:{bank}={hashlib.new(bank, bytes([pcr])).hexdigest()}")
    lines = tpm2(tpm, "tpm2_pcrread", bank).splitlines()
    theirs = dict(line.replace(" ", "").split(":0x") for line in lines if ":0x" in line.replace(" ", ""))
    ours = pcrs(tpm, bank)
    assert list(ours) == ALL
    assert ours == {n: value.lower() for n, value in theirs.items()}


def test_pcr_text_and_selection(tpm):
    values = pcrs(tpm, "sha384")
    assert muctl(tpm, "pcr", "12,4", "0").stdout == "".join(f"PCR {n}: {values[n]}\n" for n in ("0", "4", "12"))
    explicit = worlds.muctl("pcr", "--tcti", tpm.tcti, "4")
    assert explicit.stdout == f"PCR 4: {values['4']}\n"


@pytest.mark.parametrize("arguments,code,says", [
    (["24"], 1, "list of PCRs"),
    (["--bank", "sha3"], 1, "sha3"),
    (["--colour"], 1, "--colour"),
    (["--bank", "sha512"], 4, "no sha512 bank, only sha1 sha256 sha384"),
    (["--tcti", "tabrmd"], 4, "must be device:PATH or swtpm:"),
    (["--tcti", "device:/nonexistent"], 3, "/nonexistent"),
    (["--tcti", "swtpm:host=127.0.0.1,port=1"], 3, "swtpm:host=127.0.0.1,port=1"),
])
def test_pcr_failures(tpm, arguments, code, says):
    done = worlds.run(worlds.MUCTL, "pcr", *arguments, check=False, text=True,
                      env={**os.environ, "MU_TCTI": tpm.tcti})
    assert (done.returncode, done.stdout) == (code, "")
    # Long lines are folded for the EC2 console.
    lines = done.stderr.splitlines()
    assert all(len(line) <= 99 for line in lines)
    assert says in " ".join(line.removeprefix("muctl:").strip() for line in lines)


def test_no_sha384_bank(tmp_path):
    service = worlds.NitroTpm(tmp_path, "--banks", "sha256")
    try:
        done = muctl(service, "pcr", check=False)
        assert done.returncode == 4 and "no sha384 bank, only sha256" in done.stderr
        assert muctl(service, "pcr", "--bank", "sha256", "4").stdout == f"PCR 4: {'00' * 32}\n"
    finally:
        service.stop()


def test_attest_leaves_no_index(tpm, tmp_path):
    before = indexes(tpm)
    muctl(tpm, "attest", "-o", tmp_path / "document")
    assert (tmp_path / "document").stat().st_size > 4000
    assert indexes(tpm) == before


def test_index_of_a_killed_process_is_removed(tpm, tmp_path):
    before = indexes(tpm)
    tpm.kill_while_it_attests(worlds.MUCTL, "attest", "-o", tmp_path / "never", env={**os.environ, "MU_TCTI": tpm.tcti})
    left = [index for index in indexes(tpm) if index not in before]
    assert "0x1800000" in "".join(left).lower() and not (tmp_path / "never").exists()
    muctl(tpm, "attest", "-o", tmp_path / "document")
    assert indexes(tpm) == before


def test_indexes_of_others_stay(tpm, tmp_path):
    # At the first place we would take, with our size and attributes, but not ours.
    tpm2(tpm, "tpm2_nvdefine", "0x01800000", "-s", "8192", "-a", "authread|authwrite|no_da")
    before = indexes(tpm)
    muctl(tpm, "attest", "-o", tmp_path / "document")
    assert indexes(tpm) == before
    tpm2(tpm, "tpm2_nvundefine", "0x01800000")


def test_owner_authorisation_is_named(tpm, tmp_path):
    tpm2(tpm, "tpm2_changeauth", "-c", "owner", "secret")
    done = muctl(tpm, "attest", "-o", tmp_path / "document", check=False)
    tpm2(tpm, "tpm2_changeauth", "-c", "owner", "-p", "secret")
    assert done.returncode == 4 and "owner hierarchy has an authorisation value" in done.stderr
    muctl(tpm, "attest", "-o", tmp_path / "document")


def test_an_ordinary_tpm_is_named(ordinary_tpm, tmp_path):
    done = worlds.muctl("attest", "--tcti", ordinary_tpm, "-o", tmp_path / "document", check=False)
    assert done.returncode == 4 and "not a NitroTPM" in done.stderr
    assert not (tmp_path / "document").exists()
