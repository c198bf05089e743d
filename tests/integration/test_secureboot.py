# SPDX-License-Identifier: GPL-2.0-or-later
"""muctl secureboot: signature lists of certificates, and the variable store with which EC2 registers an image."""
import struct
import uuid
from pathlib import Path

import pytest
import uefi_data
from world import muctl, run

DATA = Path(__file__).resolve().parent.parent / "data/secureboot"
LIST, OWNER = 28, 16  # bytes before the owner, and of it
GLOBAL = uuid.UUID("8be4df61-93ca-11d2-aa0d-00e098032b8c")
DATABASE = uuid.UUID("d719b2cb-3d3a-4596-a3bc-dad00e67656f")


def make_certificate(folder, name, *kind):
    kind = kind or ("-newkey", "rsa:2048")
    run("openssl", "req", "-x509", *kind, "-nodes", "-subj", f"/CN={name}", "-days", "10",
        "-keyout", folder / f"{name}.key", "-out", folder / f"{name}.pem")
    return folder / f"{name}.pem"


@pytest.fixture(scope="module")
def db():
    """tests/data: a list that cert-to-efi-sig-list's format has, with its owner and its certificate."""
    content = (DATA / "db.esl").read_bytes()
    return content, uuid.UUID(bytes_le=content[LIST:LIST + OWNER]), content[LIST + OWNER:]


def test_list_of_a_certificate(tmp_path, db):
    content, owner, der = db
    (tmp_path / "cert.der").write_bytes(der)
    run("openssl", "x509", "-inform", "DER", "-in", tmp_path / "cert.der", "-out", tmp_path / "cert.pem")
    for name in ("cert.der", "cert.pem"):
        muctl("secureboot", "list", tmp_path / name, "--owner", str(owner).upper(), "-o", tmp_path / "out.esl")
        assert (tmp_path / "out.esl").read_bytes() == content


def test_list_of_several(tmp_path):
    first, second, third = (make_certificate(tmp_path, name) for name in ("a", "b", "c"))
    single = []
    for path in (first, second, third):
        muctl("secureboot", "list", path, "-o", tmp_path / "one.esl")
        single.append((tmp_path / "one.esl").read_bytes())
    both = tmp_path / "both.pem"
    both.write_text(first.read_text() + second.read_text())
    muctl("secureboot", "list", both, third, "-o", tmp_path / "all.esl")
    assert (tmp_path / "all.esl").read_bytes() == b"".join(single)


def test_list_warns_of_a_key_that_firmware_does_not_know(tmp_path):
    ec = make_certificate(tmp_path, "ec", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256")
    assert "not RSA" in muctl("secureboot", "list", ec, "-o", tmp_path / "ec.esl").stderr
    rsa = make_certificate(tmp_path, "rsa")
    assert muctl("secureboot", "list", rsa, "-o", tmp_path / "rsa.esl").stderr == ""


@pytest.mark.parametrize("arguments, code, message", [
    ([], 1, "operand"), (["KEY"], 4, "no X.509 certificate"), (["/dev/null"], 4, "no X.509 certificate"),
    (["CERT", "--owner", "812ed617-d55f-4346-a6d2-1510b678394"], 1, "must be a GUID"),
    (["CERT", "--owner", "812ed617d55f-4346-a6d2-1510b6783949a"], 1, "must be a GUID"),
    (["CERT", "--owner", "812ed617-d55f-4346-a6d2-1510b678394x"], 1, "must be a GUID"),
    (["CERT", "--owner", ""], 1, "must be a GUID")])
def test_list_refuses(tmp_path, arguments, code, message):
    cert = make_certificate(tmp_path, "x")
    words = {"CERT": cert, "KEY": cert.with_suffix(".key")}
    done = muctl("secureboot", "list", *(words.get(a, a) for a in arguments), "-o", tmp_path / "out", check=False)
    assert done.returncode == code and message in done.stderr
    assert not (tmp_path / "out").exists()


def store(path, check=True, **files):
    return muctl("secureboot", "store", *(f"--{name}={file}" for name, file in files.items()), "-o", path, check=check)


def expected(**files):
    return {name: (GLOBAL if name in ("PK", "KEK") else DATABASE, 0x27, file.read_bytes())
            for name, file in files.items()}


@pytest.mark.parametrize("names", [("PK", "KEK", "db", "dbx"), ("PK", "KEK", "db"), ("PK", "db")], ids="-".join)
def test_store_holds_the_variables(tmp_path, names):
    files = {name: DATA / f"{'leaf' if name == 'dbx' else name}.esl" for name in names}
    store(tmp_path / "data", **files)
    text = (tmp_path / "data").read_bytes()
    assert uefi_data.variables(text) == expected(**files)
    store(tmp_path / "again", **files)
    assert (tmp_path / "again").read_bytes() == text


def test_aws_reads_the_store(tmp_path):
    if uefi_data.why_not():
        pytest.skip(uefi_data.why_not())
    files = {"PK": DATA / "PK.esl", "KEK": DATA / "KEK.esl", "db": DATA / "db.esl", "dbx": DATA / "leaf.esl"}
    store(tmp_path / "data", **files)
    assert uefi_data.variables_by_aws((tmp_path / "data").read_bytes()) == expected(**files)


def test_an_empty_variable_is_none(tmp_path):
    """As the revocations of somebody who has not revoked anything; firmware measures the same for both."""
    files = {"PK": DATA / "PK.esl", "db": DATA / "db.esl"}
    store(tmp_path / "data", **files, dbx="/dev/null")
    assert uefi_data.variables((tmp_path / "data").read_bytes()) == expected(**files)


def test_a_store_is_as_long_as_ec2_takes(tmp_path):
    """Base64 of 48000 bytes and not one more: 31 around the variables, and what each variable has around its data."""
    files = {"PK": DATA / "PK.esl", "db": DATA / "db.esl", "dbx": tmp_path / "dbx.esl"}
    own = {name: 8 + len(name) + 8 + 16 + 4 + 16 + 8 + 32 for name in files}
    room = 48000 - 31 - 8 - sum(own.values()) - sum(files[n].stat().st_size for n in ("PK", "db"))
    for size, code in ((room, 0), (room + 1, 4)):
        unknown = bytes(16) + struct.pack("<III", size, 0, size - LIST)  # one entry of a type that nobody knows
        files["dbx"].write_bytes(unknown + bytes(size - LIST))
        done = store(tmp_path / f"data{code}", check=False, **files)
        assert done.returncode == code
    assert "64000 characters" in done.stderr
    assert len((tmp_path / "data0").read_bytes()) == 64000 and not (tmp_path / "data4").exists()


@pytest.mark.parametrize("files, code", [
    ({}, 1), ({"PK": "PK.esl"}, 1), ({"db": "db.esl"}, 1), ({"PK": "db.esl", "db": "direct.efi"}, 4)])
def test_store_refuses(tmp_path, files, code):
    done = store(tmp_path / "data", check=False, **{n: DATA / f for n, f in files.items()})
    assert done.returncode == code and not (tmp_path / "data").exists()


def test_a_certificate_is_not_a_variable(tmp_path):
    done = store(tmp_path / "data", check=False, PK=make_certificate(tmp_path, "x"), db=DATA / "db.esl")
    assert done.returncode == 4 and "muctl secureboot list" in done.stderr
