# SPDX-License-Identifier: GPL-2.0-or-later
"""Boots that refuse and power off. The twins are in test_unlocks.py: the good machine unlocks."""
import base64

import pytest

from harness import aws, firmware, header, image, luks, measuring, suites, variables
from harness.uki import Uki, cpio
from harness.workshop import run

NEVER, DENIED, RELEASED, ANY = "never asked", "denied", "released", "any"


def assert_refused(m, reason, kms=NEVER):
    m.wait()
    assert not m.booted, "it came up"
    log = " ".join(m.log().split())
    assert "BOOT REFUSED" in log, m.log()
    assert reason in log, m.log()
    assert "fence: closed" in log, m.log()
    answers = [r["status"] for r in m.aws.requests("Decrypt")]
    if kms == NEVER:
        assert not answers
    elif kms == DENIED:
        assert answers and 200 not in answers
    elif kms == RELEASED:
        assert 200 in answers


# Tampering with what boots

@pytest.mark.guests(*suites.NAMES)
@pytest.mark.parametrize("kind", [image.SYSTEMD, image.PLAIN])
def test_changed_command_line(site, kind):
    """Handed in by a boot entry, which every stub takes it from without Secure Boot."""
    line = Uki(site.ukis[kind]).section(".cmdline").decode().rstrip("\0") + " rd.break init=/bin/sh"
    with site.boot(kind, variables=variables.booting(firmware.empty(), measuring.PLACE, line)) as m:
        assert_refused(m, "PCR 12")


@pytest.mark.needs("systemd >= 254")
def test_changed_command_line_of_smbios(site):
    with site.boot(strings=["io.systemd.stub.kernel-cmdline-extra=rd.break init=/bin/sh"]) as m:
        assert_refused(m, "PCR 12")


def test_changed_uki(site):
    uki = Uki(site.ukis[image.SYSTEMD]).patch(".osrel", b"PRETTY_NAME", b"pretty_name")
    with site.boot(uki=uki.save(site.workshop.scratch / "changed.efi")) as m:
        assert_refused(m, "PCR 4")


@pytest.mark.long
def test_changed_initramfs(site):
    good = site.ukis[image.PLAIN]
    uki = Uki(good).append(".initrd", cpio({"etc/harmless": b"?"}))
    with site.boot(uki=uki.save(site.workshop.scratch / "longer.efi")) as m:
        assert_refused(m, "PCR 4")


def test_initramfs_of_an_attacker(site):
    """An initramfs that trusts the attacker's builder key satisfies itself, but not KMS."""
    scratch, names = site.workshop.scratch, ("evil.key", "evil.pem")
    key, public = (scratch / n for n in names)
    run("openssl", "genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-384", "-out", key)
    run("openssl", "pkey", "-in", key, "-pubout", "-out", public)
    evil = {"etc/measured-unlock/builder.pem": public.read_bytes()}
    uki = Uki(site.ukis[image.PLAIN]).append(".initrd", cpio(evil)).save(scratch / "evil.efi")
    volume = site.workshop.enroll(site.volume(), uki, key=key)
    with site.boot(uki=uki, volumes={"root": volume}) as m:
        assert_refused(m, "refused", kms=DENIED)
        assert "PCRs match the baseline signed by the image builder" in m.log()
    with site.boot(uki=uki, volumes={"root": volume}, allow=[uki]) as m:
        m.wait()
        assert m.booted, "the attack does not work even where KMS demands no PCR 4: " + m.log()


def test_unreadable_configuration(site):
    """Which TPM and which PCR it meant is not known: the fence is closed in the default device."""
    config = {"etc/measured-unlock/measured-unlock.conf": b"[boot]\nno_such_key = 1\n[volume root]\ndevice = /dev/vda\n"}
    uki = Uki(site.ukis[image.SYSTEMD]).append(".initrd", cpio(config)).save(site.workshop.scratch / "unreadable.efi")
    with site.boot(uki=uki) as m:
        m.wait()
        log = " ".join(m.log().split())
        assert not m.booted and not m.aws.requests("Decrypt"), log
        assert all(words in log for words in ("no_such_key", "fence closed: no key can be had", "BOOT REFUSED")), log


@pytest.mark.long
def test_shell_in_the_image(site):
    """An image whose own command line asks for a shell before anything is measured. The premise: without our hook there
    is one, as root, with an open fence."""
    asked = {"etc/cmdline.d/99-shell.conf": b"rd.shell=1 rd.break=pre-mount\n"}
    unhooked = {**asked, **{f"{place}/dracut/hooks/emergency/00-emergency.sh": b":\n" for place in ("usr/lib", "var/lib")}}
    for name, files in (("asked", asked), ("unhooked", unhooked)):
        uki = Uki(site.ukis[image.PLAIN]).append(".initrd", cpio(files)).save(site.workshop.scratch / f"{name}.efi")
        volume = site.workshop.enroll(site.volume(), uki)
        with site.boot(uki=uki, volumes={"root": volume}, allow=[uki]) as m:
            if files is asked:
                assert_refused(m, "dracut gave up", kms=ANY)
            else:
                m.wait_serial("pre-mount:/#")


# Tampering with the volume

def flip_signature(metadata):
    token = header.token_of(metadata)
    raw = bytearray(base64.b64decode(token["signature"]))
    raw[-1] ^= 1
    token["signature"] = base64.b64encode(raw).decode()


def null_segment(metadata):
    metadata["segments"]["0"]["encryption"] = "cipher_null-ecb"


def null_keyslot(metadata):
    metadata["keyslots"][header.token_of(metadata)["keyslots"][0]]["area"]["encryption"] = "cipher_null-ecb"


def second_segment(metadata):
    first = metadata["segments"]["0"]
    first["size"] = str(64 << 20)
    metadata["segments"]["1"] = {"type": "linear", "offset": str(int(first["offset"]) + (64 << 20)),
                                 "size": "dynamic"}


def reencryption(metadata):
    metadata["config"]["requirements"] = {"mandatory": ["online-reencrypt-v2"]}


@pytest.mark.long
@pytest.mark.parametrize("change, reason", [
    (flip_signature, "signature"), (null_segment, "segment-cipher"), (null_keyslot, "keyslot"),
    (second_segment, "segment"), (reencryption, "requirements")], ids=lambda v: getattr(v, "__name__", ""))
def test_changed_header(site, change, reason):
    volume = site.volume()
    with header.edited(volume) as metadata:
        change(metadata)
    with site.boot(image.PLAIN, volumes={"root": volume}) as m:
        assert_refused(m, reason)


@pytest.mark.long
def test_record_of_another_volume(site):
    volume = site.volume()
    other = luks.make(site.workshop.scratch / "other.luks", site.workshop.small_plain())
    site.workshop.enroll(other, *site.ukis.values())
    with header.edited(volume) as metadata:
        metadata["tokens"] = luks.metadata(other)["tokens"]
    with site.boot(image.PLAIN, volumes={"root": volume}) as m:
        assert_refused(m, "enrolment record: made for volume")


def test_record_too_old(site):
    volume = site.workshop.enroll(site.new_volume(), *site.ukis.values(),
                                  version=1, boot="minimum_record_version = 1")
    with site.boot(image.PLAIN, volumes={"root": volume}) as m:
        assert_refused(m, "version 1 is older than 2")


def test_swapped_volume(site):
    """Same UUID, same record, same key slots, same size; but the payload is under the attacker's key."""
    good = site.volume()
    uuid = luks.cryptsetup("luksUUID", good).decode().strip()
    volume = luks.make(site.workshop.scratch / "swapped.luks", site.workshop.small_plain(), "--uuid", uuid)
    run("truncate", "-s", good.stat().st_size, volume)
    genuine = luks.metadata(good)
    with header.edited(volume) as metadata:
        metadata["tokens"] = genuine["tokens"]
        slot = header.token_of(metadata)["keyslots"][0]
        metadata["keyslots"][slot] = metadata["keyslots"].pop("0")
        for digest in metadata["digests"].values():
            digest["keyslots"] = [slot]
    with site.boot(image.PLAIN, volumes={"root": volume}) as m:
        assert_refused(m, "refused", kms=RELEASED)


# Tampering with the network, and trouble

@pytest.mark.long
def test_unknown_authority(site):
    with site.boot(image.PLAIN, faults=[["tls", "unknown-ca"]]) as m:
        assert_refused(m, "certificate")


@pytest.mark.long
def test_answer_of_another_key(site):
    faults = [["--value", aws.OTHER_KEY_ARN, "kms", "key-id"]]
    with site.boot(image.PLAIN, faults=faults) as m:
        assert_refused(m, "key", kms=RELEASED)


def test_killed(site):
    uki = site.workshop.uki(image.PLAIN, trees=[image.GUEST / "killer"])
    volume = site.workshop.enroll(site.new_volume(), uki)
    with site.boot(uki=uki, volumes={"root": volume}, allow=[uki],
                   faults=[["--value", "60", "--operation", "Decrypt", "kms", "delay"]]) as m:
        assert_refused(m, "killed", kms=ANY)


@pytest.mark.long
def test_no_sha384_bank(site):
    with site.boot(banks="sha1,sha256") as m:
        assert_refused(m, "sha384")
