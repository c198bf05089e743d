# SPDX-License-Identifier: GPL-2.0-or-later
"""One boot on the host: everything of `measured-unlock unlock` but the mapping. Each refusal's twin is test_unlocks."""
import base64
import json
import os
import re
import time

import emulator
import event_log
import pytest
import world as w

OK, USAGE, REFUSE, RETRY, CONFIG = 0, 1, 2, 3, 4
# The real objects; MU_WITHOUT names defences to leave out.
WEAK = w.BUILD / "attacks/weak"


def refused(world, code=REFUSE, *, says, asked=False):
    """Exit code, message, closed fence, a report that says so, and KMS asked or not."""
    done = world.unlock()
    assert done.returncode == code, done.stderr
    assert says in " ".join(done.stderr.split()), done.stderr
    assert world.fence_closed()
    assert world.report()["result"] == ("refused" if code == REFUSE else "failed")
    assert bool(world.aws.decrypts()) == asked
    return done


def test_unlocks(world):
    done = world.unlock()
    assert done.returncode == OK, done.stderr
    report = world.report()
    assert report["result"] == "unlocked"
    assert [v["name"] for v in report["volumes"]] == ["root"]
    names = {s["name"] for s in report["steps"]}
    assert {"pcr-read", "header", "record", "baseline", "document", "kms-decrypt", "keyslot", "identity",
            "fence"} <= names
    assert all(s["end_us"] >= s["start_us"] > 0 for s in report["steps"])
    # By two clocks, which need not run alike.
    assert all(0 <= s["cpu_us"] <= 1.1 * (s["end_us"] - s["start_us"]) + 1000 for s in report["steps"])
    cpu = {s["name"]: s["cpu_us"] for s in report["steps"]}
    assert cpu["rsa-key"] > cpu["fence"]
    assert world.fence_closed()
    assert [r["decision"] for r in world.aws.decrypts()] == ["allow"]


def test_console_lines_are_short(world):
    world.tpm.extend(12, b"init=/bin/sh")
    done = w.run(w.UNLOCK, "unlock", "--config", world.config_path, "--no-activate", check=False, text=True)
    assert done.returncode == REFUSE and len(done.stderr.splitlines()) > 2
    assert max(len(line) for line in done.stderr.splitlines()) < 100


def test_second_unlock_in_one_boot_is_refused(world):
    assert world.unlock().returncode == OK
    world.aws.fresh()
    refused(world, says="PCR 15")


def ask_kms_as_root(world, folder):
    """What root in the running system can do: own RSA key, fresh document, the role's credentials, botocore."""
    key, spki = emulator.rsa_key()
    (folder / "spki").write_bytes(spki)
    w.muctl("attest", "--public-key", folder / "spki", "--tcti", world.tpm.tcti, "-o", folder / "document")
    record = w.aws_kms(world.volume)
    client = emulator.Emulator.kms(world.aws, emulator.Emulator.role_keys(world.aws))
    return client.decrypt(
        CiphertextBlob=base64.b64decode(record["ciphertext"]), KeyId=record["key_arn"],
        EncryptionContext=record["encryption_context"],
        Recipient={"KeyEncryptionAlgorithm": "RSAES_OAEP_SHA_256",
                   "AttestationDocument": (folder / "document").read_bytes()})


def test_kms_denies_root_after_the_fence(world, tmp_path):
    """The premise: before the fence the same request is granted. The defence: PCR 15 in the key policy."""
    assert ask_kms_as_root(world, tmp_path)["CiphertextForRecipient"]
    assert world.unlock().returncode == OK
    world.aws.fresh()
    with pytest.raises(Exception, match="AccessDenied"):
        ask_kms_as_root(world, tmp_path)
    assert [r["failed"] for r in world.aws.decrypts()] == [[w.NITRO + "15"]]


@pytest.mark.parametrize("pcr", [2, 3, 4, 7, 12, 13, 14])
def test_altered_pcr(world, pcr):
    world.tpm.extend(pcr, b"a boot kit")
    done = refused(world, says=f"PCR {pcr}")
    assert world.tpm.pcr(pcr)[:16] in done.stderr


def without(path, pcr, knowingly):
    """The baseline lacks the PCR; knowingly: it says so."""
    found = json.loads(path.read_text())
    found["Measurements"].pop(f"PCR{pcr}", None)
    path.write_text(json.dumps({**found, "Without": [pcr]} if knowingly else found))


@pytest.fixture
def secure_boot_off(tmp_path):
    """A machine of its own, whose PCR 7 is that of every one whose Secure Boot is off."""
    own = w.World(tmp_path / "off")
    own.tpm.measured = [m for m in own.tpm.measured if m[0] != 7] + [(7, data) for data in w.SECURE_BOOT_OFF]
    own.settle()
    yield own
    own.stop()


@pytest.mark.parametrize("pcr", [2, 3, 13, 14])
def test_clean_pcr(secure_boot_off, pcr):
    """The premise: an enrolment that leaves the PCR out knowingly unlocks whatever is loaded; without that word neither
    enrolment nor boot takes such a baseline. The defence: the default set."""
    machine = secure_boot_off
    assert machine.unlock().returncode == OK
    machine.tpm.reboot()
    machine.aws.fresh()
    machine.tpm.extend(pcr, b"a driver, an extension image or a key")
    refused(machine, says=f"PCR {pcr}")
    for path in (machine.baked, machine.complete):
        without(path, pcr, knowingly=False)
    done = machine.enroll(machine.volume, check=False)
    assert done.returncode == CONFIG and f"lacks PCR {pcr}:" in " ".join(done.stderr.replace("muctl:", "").split())
    machine.tpm.reboot()
    refused(machine, says=f"lacks PCR {pcr}:", code=CONFIG)
    for path in (machine.baked, machine.complete):
        without(path, pcr, knowingly=True)
    machine.enroll(machine.volume)
    machine.tpm.reboot()
    machine.tpm.extend(pcr, b"a driver, an extension image or a key")
    assert machine.unlock().returncode == OK


@pytest.mark.parametrize("provider", ["aws-kms", "tpm2"])
def test_baseline_that_any_image_fits(secure_boot_off, provider):
    """The baked baseline, given to enroll by mistake: with Secure Boot off nothing in it depends on what is booted."""
    machine = secure_boot_off
    done = w.muctl("enroll", machine.volume, "--provider", provider, "--baseline", machine.baked, "--sign-key",
                   machine.signing_key, "--key-file", "-", *(["--key-arn", w.KEY_ARN] if provider == "aws-kms" else []),
                   input=w.PASSPHRASE.decode(), check=False)
    assert done.returncode == CONFIG and "any image fits" in " ".join(done.stderr.replace("muctl:", "").split())


EXPORTED = {"Version": 1, "AccessKeyId": w.BUILDER["access_key"], "SecretAccessKey": w.BUILDER["secret"]}
LINES = "AWS_ACCESS_KEY_ID={access_key}\nAWS_SECRET_ACCESS_KEY={secret}\nAWS_CREDENTIAL_EXPIRATION={until}\n"


def exported(how, until="2999-01-01T00:00:00+00:00"):
    """What `aws configure export-credentials --format HOW` prints."""
    if how == "process":
        return json.dumps({**EXPORTED, "Expiration": until}, indent=2) + "\n"
    return "".join(("export " if how == "env" else "") + line for line in LINES.format(until=until, **w.BUILDER).splitlines(True))


def enroll_with(world, given, text):
    """`muctl enroll --credentials`, with none in the environment and no instance that has a role."""
    (world.folder / "passphrase").write_bytes(w.PASSPHRASE)
    (world.folder / "exported").write_text(text)
    return w.muctl("enroll", world.volume, "--volume", "root", "--key-arn", w.KEY_ARN, "--baseline", world.complete, "--sign-key",
                   world.signing_key, "--key-file", world.folder / "passphrase", "--endpoint", world.aws.info["kms_endpoint"],
                   "--ca-file", world.aws.info["ca_file"], "--credentials", "-" if given == "-" else world.folder / "exported",
                   input=text, check=False, env={k: v for k, v in os.environ.items() if not k.startswith("AWS_")})


@pytest.mark.parametrize("given", ["-", "file"])
@pytest.mark.parametrize("how", ["process", "env", "env-no-export"])
def test_enroll_with_exported_credentials(world, how, given):
    done = enroll_with(world, given, exported(how))
    assert done.returncode == OK, done.stderr
    assert world.unlock().returncode == OK


@pytest.mark.parametrize("text, says", [
    (exported("process", "2026-01-01T00:00:00+00:00"), "expired at 2026-01-01"),
    (exported("env", "2026-01-01T00:00:00Z"), "expired at 2026-01-01"),
    (exported("process", "soon"), "RFC 3339"),
    (json.dumps({**EXPORTED, "Version": 2}), "Version"), (json.dumps({"AccessKeyId": "A"}), "Version"),
    (json.dumps({**EXPORTED, "SecretAccessKey": 1}), "SecretAccessKey"), (json.dumps({**EXPORTED, "SessionToken": ""}), "SessionToken"),
    ('{"Version": 1,', "JSON"), ("[default]\naws_access_key_id = A\n", "export-credentials"),
    ("AWS_ACCESS_KEY_ID=A B\nAWS_SECRET_ACCESS_KEY=S\n", "access key ID"), ("AWS_ACCESS_KEY_ID=A\0\nAWS_SECRET_ACCESS_KEY=S\n", "zero")])
def test_credentials_that_are_none(world, text, says):
    """Nothing is asked of anybody."""
    done = enroll_with(world, "-", text)
    assert done.returncode == CONFIG and says in done.stderr and w.BUILDER["secret"] not in done.stderr, done.stderr


def with_log(world, folder, *changes):
    """The machine's event log beside it: what it measured, and these events, which are extended too."""
    events = [(7, event_log.EV_EFI_ACTION, b"secure boot is on"), (4, event_log.EV_EFI_ACTION, b"the boot loader")]
    for pcr, kind, data in changes:
        world.tpm.extend(pcr, data)
    path = folder / "binary_bios_measurements"
    path.write_bytes(event_log.spec_id() + b"".join(event_log.event(*e) for e in [*events, *changes]))
    world.config_path.write_text(world.config_path.read_text().replace("[tpm]", f"[tpm]\neventlog = {path}"))


@pytest.mark.parametrize("text, shown", [
    ("init=/bin/sh", "init=/bin/sh"), ("x" * 300, "x" * 300), ("rd.break " * 60, "rd.break rd.break"),
    ("\x1b[2J\nPCRs match", "[2J"), ("\u2603 root=/dev/sdb", "root=/dev/sdb")],
    ids=["shell", "one long word", "many words", "escape sequence", "snowman"])
def test_refusal_shows_the_command_line(world, tmp_path, text, shown):
    """On a serial console: what changed, in printable lines of less than 100 characters."""
    with_log(world, tmp_path, (12, event_log.EV_IPL, (text + "\0").encode("utf-16-le")))
    done = w.run(w.UNLOCK, "unlock", "--config", world.config_path, "--no-activate", check=False, text=True)
    lines = done.stderr.splitlines()
    assert done.returncode == REFUSE and max(map(len, lines)) < 100
    assert all(line.startswith("measured-unlock: ") and line.isascii() and line.isprintable() for line in lines)
    said = " ".join(line.removeprefix("measured-unlock:").strip() for line in lines)
    assert "without this event it would match" in said and "command line was handed in from outside: " in said
    assert shown.replace(" ", "") in said.replace(" ", "")
    assert f"PCR 12: expected {w.ZERO[:16]}..., found {world.tpm.pcr(12)[:16]}..." in said
    assert world.fence_closed() and world.aws.decrypts() == []


def test_refusal_names_the_new_image(world, tmp_path):
    """PCR 4 is in the signed part only; a loader that the log does not show proves nothing."""
    with_log(world, tmp_path, (4, event_log.EV_EFI_ACTION, b"another boot loader"))
    done = refused(world, says="PCR 4: the event log explains it; without this event it would match:")
    assert "new: event 3 EV_EFI_ACTION: another boot loader" in " ".join(done.stderr.split())
    world.fresh()
    with_log(world, tmp_path)
    world.tpm.extend(4, b"another boot loader")
    refused(world, says="PCR 4: the event log does not lead to the value found, so it proves nothing")


def test_no_sha384_bank(tmp_path, world):
    """Policies and documents know SHA-384 only."""
    tpm = w.NitroTpm(tmp_path / "tpm", "--banks", "sha1,sha256")
    try:
        text = world.config_path.read_text().replace(world.tpm.tcti, tpm.tcti)
        world.config_path.write_text(text)
        done = world.unlock()
    finally:
        tpm.stop()
    assert done.returncode == CONFIG and "sha384" in done.stderr.lower()
    assert world.aws.decrypts() == []


def test_signature_by_another_builder(world, tmp_path):
    key, _ = w.make_builder_key(tmp_path)
    world.enroll(world.volume, "--record-version", "2", key=key)
    refused(world, says="signature")


def test_record_of_another_volume(world, tmp_path):
    """A record moved from one volume to another, with its key slot number."""
    other = w.make_volume(tmp_path / "other.img")
    w.import_token(other, {**w.export_token(world.volume), "keyslots": ["0"]})
    world.configure({"root": other})
    refused(world, says="record")


def test_record_too_old(world):
    world.configure(minimum_record_version=1000)
    refused(world, says="version")


def test_volume_swapped_for_one_with_the_same_uuid_and_a_known_key(world, tmp_path):
    """The attacker copies the token and adds a key slot with a key that he knows; only KMS's key counts."""
    uuid = w.run("cryptsetup", "luksUUID", world.volume).stdout.decode().strip()
    other = w.make_volume(tmp_path / "other.img")
    w.run("cryptsetup", "luksUUID", "-q", "--uuid", uuid, other)
    record = json.loads(w.muctl("record", "show", world.volume, "--json").stdout)
    w.run("cryptsetup", "luksAddKey", "-q", "--key-slot", str(record["keyslot"]), "--pbkdf", "pbkdf2",
          "--pbkdf-force-iterations", "1000", "--key-file", "-", "--keyfile-size", str(len(w.PASSPHRASE)), other,
          "/dev/stdin", input=w.PASSPHRASE + b"known to the attacker")
    w.import_token(other, w.export_token(world.volume))
    world.configure({"root": other})
    refused(world, says="volume 'root'", asked=True)


@pytest.mark.parametrize("name", ["seg-cipher-null", "slot-cipher-null"])
def test_null_cipher_header(world, tmp_path, name):
    vector = w.VECTORS / "luks-headers" / f"{name}.img.xz"
    if not vector.exists():
        pytest.skip(f"{vector} is absent")
    image = tmp_path / "image"
    with image.open("wb") as out:
        w.run("xz", "-dc", vector, capture_output=False, stdout=out)
    world.configure({"root": image})
    refused(world, says="cipher")


def test_two_volumes(world, tmp_path):
    second = w.make_volume(tmp_path / "data.img")
    world.enroll(second, "--volume", "data")
    world.configure({"root": world.volume, "data": second})
    done = world.unlock()
    assert done.returncode == OK, done.stderr
    assert [v["name"] for v in world.report()["volumes"]] == ["root", "data"]
    assert len(world.aws.decrypts()) == 2


def test_one_bad_volume_of_two_refuses_both(world, tmp_path):
    second = w.make_volume(tmp_path / "data.img")
    world.configure({"root": world.volume, "data": second})
    refused(world, says="volume 'data'")


def test_one_of_several_baselines(world):
    """Old and new image in one record: the machine may run either."""
    other = world.folder / "next.json"
    text = json.loads(world.complete.read_text())
    text["Measurements"]["PCR4"] = "ab" * 48
    other.write_text(json.dumps(text))
    world.enroll(world.volume, "--baseline", other, baseline=other)
    refused(world, says="PCR 4")
    world.fresh()
    world.enroll(world.volume, "--baseline", other)
    assert world.unlock().returncode == OK


@pytest.mark.parametrize("error", ["ThrottlingException", "KMSInternalException", "DependencyTimeoutException"])
def test_waits_out_transient_errors(world, error):
    world.aws.fault("kms", "error", error, operation="Decrypt", count=2)
    assert world.unlock().returncode == OK
    assert len(world.aws.decrypts()) == 3


@pytest.mark.parametrize("status", [429, 500, 503])
def test_waits_out_http_errors(world, status):
    world.aws.fault("kms", "status", status, operation="Decrypt", count=2)
    assert world.unlock().returncode == OK


@pytest.mark.parametrize("fault,value", [("status", 503), ("status", 404), ("close", None), ("short-body", None),
                                         ("code", "AssumeRoleUnauthorizedAccess"), ("bad-json", None)])
def test_waits_out_imds(world, fault, value):
    world.aws.fault("imds", fault, value, count=2)
    assert world.unlock().returncode == OK


def test_expired_credentials_are_fetched_again(world):
    world.aws.fault("kms", "error", "ExpiredTokenException", operation="Decrypt", count=1)
    assert world.unlock().returncode == OK


@pytest.mark.parametrize("error", ["AccessDeniedException", "InvalidCiphertextException", "DisabledException",
                                   "IncorrectKeyException"])
def test_final_errors_are_not_retried(world, error):
    world.aws.fault("kms", "error", error, operation="Decrypt")
    refused(world, says=error, asked=True)
    assert len(world.aws.decrypts()) == 1


@pytest.mark.parametrize("fault,value", [
    ("wrong-plaintext", None), ("plaintext-length", 31), ("plaintext-length", 33), ("other-recipient", None),
    ("garbage-cms", None), ("truncated-cms", None), ("no-cms", None), ("plaintext-too", None),
    ("key-id", f"arn:aws:kms:{w.REGION}:{w.ACCOUNT}:key/{w.OTHER_KEY_ID}")])
def test_wrong_answers_of_kms(world, fault, value):
    world.aws.fault("kms", fault, value, operation="Decrypt")
    refused(world, says="volume 'root'", asked=True)


@pytest.mark.parametrize("name", ["unknown-ca", "wrong-name", "expired-certificate"])
def test_wrong_certificate(world, name):
    world.aws.fault("tls", name)
    refused(world, says="certificate")


def test_deadline(world):
    """What does not end is given up when the time is over, as 'retry'."""
    world.configure(timeout=5)
    world.aws.fault("kms", "error", "ThrottlingException", operation="Decrypt")
    start = time.monotonic()
    refused(world, RETRY, says="ThrottlingException", asked=True)
    assert time.monotonic() - start < 15


def test_device_that_never_appears(world):
    world.configure({"root": "/dev/disk/by-uuid/no-such-device"}, timeout=5)
    done = world.unlock()
    assert done.returncode == RETRY and "no-such-device" in done.stderr
    assert world.fence_closed() and world.aws.decrypts() == []


def test_mismatch_does_not_wait_for_the_device(world):
    world.configure({"root": "/dev/disk/by-uuid/no-such-device"}, timeout=60)
    world.tpm.extend(7, b"other keys")
    start = time.monotonic()
    assert world.unlock().returncode == REFUSE
    assert time.monotonic() - start < 20
    assert world.fence_closed()


@pytest.mark.parametrize("fault,value,code", [
    ("wrong-public-key", None, REFUSE), ("enclave", None, REFUSE), ("truncated", None, REFUSE),
    ("garbage", None, REFUSE), ("duplicate-key", None, REFUSE), ("oversized", None, REFUSE),
    ("error", "InternalError", RETRY)])
def test_bad_documents(world, fault, value, code):
    world.configure(timeout=6)
    world.tpm.fault(fault, *(["--value", value] if value else []))
    done = world.unlock()
    assert done.returncode == code, done.stderr
    assert world.fence_closed() and world.aws.decrypts() == []


@pytest.mark.parametrize("fault", ["wrong-signature", "other-root", "expired-leaf", "pcr"])
def test_documents_that_kms_refuses(world, fault):
    options = ["--value", "4=" + "ee" * 48] if fault == "pcr" else []
    world.tpm.fault(fault, *options)
    done = world.unlock()
    assert done.returncode == REFUSE, done.stderr
    assert all(r.get("decision") != "allow" or r.get("error") for r in world.aws.decrypts())


@pytest.mark.parametrize("content", ["", "[boot]\n", "[boot]\nbaseline = x\n", "no section\n", "[volume root]\ndevice=a\n",
                                     "[boot]\nshell = yes\n[volume root]\ndevice = UUID=1\n"])
def test_bad_configuration_closes_the_fence(world, content):
    """That of the default device, for which MU_DEFAULT_TPM stands in; the file cannot be trusted to name another. A boot
    with the device itself is test_unreadable_configuration of vm-tests."""
    world.config_path.write_text(content + "[tpm]\ntcti = swtpm:host=127.0.0.1,port=1\n")
    assert not world.fence_closed()
    done = world.unlock(program=WEAK, env={**os.environ, "MU_DEFAULT_TPM": world.tpm.tcti})
    assert done.returncode == CONFIG, done.stderr
    assert str(world.config_path) in done.stderr
    assert world.fence_closed()


@pytest.mark.parametrize("content", ["", "{}", "[]", "{\"Measurements\":{}}", "not json", "{\"Measurements\":{\"PCR4\":1}}"])
def test_bad_baseline(world, content):
    world.baked_copy = world.folder / "bad.json"
    world.baked_copy.write_text(content)
    world.configure(baseline=world.baked_copy)
    done = world.unlock()
    assert done.returncode == CONFIG, done.stderr
    assert world.fence_closed() and world.aws.decrypts() == []


def test_fence_is_idempotent(world):
    config = world.config_path
    assert w.run(w.UNLOCK, "fence", "--config", config).returncode == OK
    assert world.fence_closed()
    value = world.tpm.pcr(15)
    assert w.run(w.UNLOCK, "fence", "--config", config).returncode == OK
    assert world.tpm.pcr(15) == value


@pytest.mark.parametrize("arguments", [[], ["lock"], ["unlock", "now"], ["unlock", "--force"], ["unlock", "--config"]])
def test_usage(arguments):
    done = w.run(w.UNLOCK, *arguments, check=False)
    assert done.returncode == USAGE and b"--help" in done.stderr


def test_left_over_nv_indexes_are_removed(world):
    """An index of a boot that crashed neither blocks this one nor stays."""
    def indexes():
        return world.tpm.tool("tpm2_getcap", "handles-nv-index").stdout
    before = indexes()
    assert world.unlock().returncode == OK
    assert indexes() == before
    world.tpm.reboot()
    world.tpm.kill_while_it_attests(w.UNLOCK, "unlock", "--config", world.config_path, "--no-activate")
    assert indexes() != before
    world.tpm.reboot()
    assert world.unlock().returncode == OK
    assert indexes() == before


def shows(text, secret):
    """Whether six bytes of it in a row are in the text: as they are, as hex, or as base64."""
    plain = re.sub(r"[\s:]", "", text)
    parts = {secret[at:at + 6] for at in range(len(secret) - 5)}
    return any(p.hex() in plain.lower() or base64.b64encode(p).decode() in plain or p.decode("latin-1") in text
               for p in parts)


@pytest.mark.parametrize("fault, code", [(None, OK), ("plaintext-too", REFUSE)])
def test_nothing_secret_is_printed(world, tmp_path, fault, code):
    """The premise: the program that says its volume key (tests/attacks/weak.c) is caught, whatever the form."""
    def said(**options):
        world.tpm.reboot()
        done = world.unlock(**options)
        return done.returncode, done.stdout + done.stderr + world.report_path.read_text()

    volume_key = tmp_path / "vk"
    w.run("cryptsetup", "luksDump", "-q", "--dump-volume-key", "--volume-key-file", volume_key, "--key-file", "-",
          world.volume, input=w.PASSPHRASE)
    role = emulator.Emulator.role_keys(world.aws)
    secrets = [volume_key.read_bytes(), world.released_key()]
    for form in ("hex", "base64"):
        assert shows(said(program=WEAK, env={**os.environ, "MU_WITHOUT": f"silence-{form}"})[1], secrets[0])
    if fault:
        world.aws.fault("kms", fault, operation="Decrypt")
    found, text = said()
    assert found == code, text
    assert [s for s in secrets if shows(text, s)] == []
    assert not any(shows(text, str(s).encode()) for s in role[1:])
