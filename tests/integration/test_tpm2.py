# SPDX-License-Identifier: GPL-2.0-or-later
"""The provider tpm2, `muctl seal` and `muctl unseal`. Nothing here starts a KMS; tpm2-tools is the second opinion."""
import base64
import contextlib
import json
import os
import pty
import re
import shutil
import socket
import threading
import time

import pytest
import world as w

OK, USAGE, REFUSE, RETRY, CONFIG = 0, 1, 2, 3, 4
PARENT = ["tpm2_createprimary", "-Q", "-C", "o", "-G", "ecc", "-a",
          "fixedtpm|fixedparent|sensitivedataorigin|userwithauth|noda|restricted|decrypt", "-c", "parent"]
SECRET = b"an API token \0\xff of some length"


@pytest.fixture(scope="module")
def settled(tmp_path_factory):
    yield from w.settled(w.TpmWorld(tmp_path_factory.mktemp("tpm2")))


@pytest.fixture
def world(settled):
    settled.fresh()
    return settled


@pytest.fixture
def tools(world, tmp_path):
    """tpm2-tools in a folder of its own; there is no resource manager, so what it leaves is flushed each time."""
    def run(*command, check=True, **options):
        environment = {**os.environ, "TPM2TOOLS_TCTI": world.tpm.tcti}
        done = w.run(*command, check=check, cwd=tmp_path, env=environment, **options)
        w.run("tpm2_flushcontext", "-t", env=environment)
        return done
    return run


def seal(world, *options, secret=SECRET, check=True):
    return w.run(w.MUCTL, "seal", "--tcti", world.tpm.tcti, *options, input=secret, check=check)


def unseal(world, *options, check=True):
    return w.run(w.MUCTL, "unseal", "--tcti", world.tpm.tcti, *options, check=check)


def refused(done, *, says, code=REFUSE):
    text = done.stderr if isinstance(done.stderr, str) else done.stderr.decode()
    said = " ".join(re.sub(r"\n(?:muctl|measured-unlock):   ", " ", text).split())
    assert done.returncode == code, said
    assert says in said, said


# A boot

def test_unlocks(world):
    done = world.unlock()
    assert done.returncode == OK, done.stderr
    assert "released by tpm2" in done.stderr and "attestation" not in done.stderr
    assert "tpm-unseal" in {s["name"] for s in world.report()["steps"]}
    assert world.fence_closed()


def unseal_as_root(world, check=False):
    """What root can do, with the record as it is in the header."""
    path = world.folder / "stolen"
    path.write_text(w.muctl("record", "show", world.volume, "--json").stdout)
    return unseal(world, path, check=check)


def test_the_tpm_refuses_root_after_the_fence(world):
    assert len(unseal_as_root(world, check=True).stdout) == 32  # the premise: before the fence it does not
    assert world.unlock().returncode == OK
    refused(unseal_as_root(world), says="the policy does not hold (0x99d)")


@pytest.mark.parametrize("pcr", [4, 7, 12, 15])
def test_the_tpm_refuses_altered_pcr(world, pcr):
    """Both: the program, and the TPM where the program is not asked."""
    world.tpm.extend(pcr, b"a boot kit")
    refused(unseal_as_root(world), says="the policy does not hold (0x99d)")
    done = world.unlock()
    refused(done, says=f"PCR {pcr}")
    assert world.fence_closed()


def test_baselines_that_are_not_here_yet(world):
    """Enrolled for the present image and the next one, as predicted; the next one boots, a third does not."""
    world.tpm.extend(4, b"the next image")
    coming = world.folder / "coming.json"
    w.muctl("baseline", "record", "--tcti", world.tpm.tcti, "-o", coming)
    world.tpm.reboot()
    world.enroll(world.volume, "--baseline", coming)
    assert world.unlock().returncode == OK
    world.tpm.reboot()
    world.tpm.extend(4, b"the next image")
    assert world.unlock().returncode == OK
    world.tpm.reboot()
    world.tpm.extend(4, b"a third image")
    refused(unseal_as_root(world), says="the policy does not hold")


@pytest.mark.parametrize("curve", ["P-256", "P-384"])
def test_resign(world, curve):
    """A signed policy: other baselines without passphrase, TPM or a new key slot; and only by that key."""
    authority, other = (world.folder / f"{name}-{curve}.key" for name in ("authority", "other"))
    for path in (authority, other):
        w.run("openssl", "genpkey", "-algorithm", "EC", "-pkeyopt", f"ec_paramgen_curve:{curve}", "-out", path)
    world.enroll(world.volume, "--authorize", authority)
    assert world.unlock().returncode == OK
    before = json.loads(w.muctl("record", "show", world.volume, "--json").stdout)
    world.tpm.reboot()
    world.tpm.extend(4, b"an updated image")
    updated = world.folder / "updated.json"
    w.muctl("baseline", "record", "--tcti", world.tpm.tcti, "-o", updated)
    refused(unseal_as_root(world), says="the policy does not hold")

    refused(world.enroll(world.volume, "--resign", check=False, baseline=updated), says="--authorize", code=USAGE)
    refused(world.enroll(world.volume, "--resign", "--authorize", other, check=False, baseline=updated),
            says="not the key that this volume was enrolled with")
    refused(world.enroll(world.volume, "--resign", "--authorize", authority, check=False, baseline=updated, key=other),
            says="signature")
    world.enroll(world.volume, "--resign", "--authorize", authority, "--baseline", world.complete, baseline=updated)
    after = json.loads(w.muctl("record", "show", world.volume, "--json").stdout)
    assert {k: after["tpm2"][k] == before["tpm2"][k] for k in after["tpm2"]} == {
        "public": True, "private": True, "parent": True, "fence_pcr": True, "authority": True, "signatures": False}
    assert (after["keyslot"], after["record_version"]) == (before["keyslot"], before["record_version"] + 1)
    assert world.unlock().returncode == OK
    world.tpm.reboot()
    assert world.unlock().returncode == OK, "the image before the update is still one of the baselines"

    # The TPM goes by the signature: another's over the same policy is none, and one over another policy neither.
    world.tpm.reboot()
    forged = json.loads((world.folder / "stolen").read_text())
    forged["tpm2"] = {**after["tpm2"], "signatures": after["tpm2"]["signatures"][::-1]}
    forged["baselines"] = after["baselines"]
    (world.folder / "forged").write_text(json.dumps(forged))
    refused(unseal(world, world.folder / "forged", check=False), says="the signature does not hold")


def test_the_tpm_refuses_an_image_that_trusts_another_builder(world, tmp_path):
    """The program in it is content with a record that the attacker signed for it (the premise); the TPM is not."""
    world.tpm.extend(4, b"the attacker's image")
    key, public = w.make_builder_key(tmp_path)
    w.muctl("baseline", "record", "--tcti", world.tpm.tcti, "-o", tmp_path / "evil.json")
    token = w.export_token(world.volume)
    record = json.loads(base64.b64decode(token["record"]))
    record["baselines"] = [{"Measurements": json.loads((tmp_path / "evil.json").read_text())["Measurements"]}]
    payload = write(tmp_path / "payload", json.dumps(record).encode())
    signed = write(tmp_path / "signed", b"measured-unlock record 1\0" + payload.read_bytes())
    token["record"] = base64.b64encode(payload.read_bytes()).decode()
    token["signature"] = base64.b64encode(w.run("openssl", "dgst", "-sha384", "-sign", key, signed).stdout).decode()
    number = next(iter(json.loads(w.run("cryptsetup", "luksDump", "--dump-json-metadata", world.volume).stdout)["tokens"]))
    w.run("cryptsetup", "token", "remove", "--token-id", number, world.volume)
    w.import_token(world.volume, token)
    world.configure(builder_key=public)
    done = world.unlock()
    assert "PCRs match the baseline signed by the image builder" in done.stderr
    refused(done, says="TPM: unseal: the policy does not hold")
    assert world.fence_closed()


def test_doctor(world):
    """Before the fence the key is released and opens the slot, after it the TPM refuses; KMS is not missed."""
    def findings():
        done = w.muctl("doctor", "--instance", "--online", "--json", "--tcti", world.tpm.tcti, "--config",
                       world.config_path, check=False)
        return {f["name"]: (f["result"], f["detail"]) for f in json.loads(done.stdout)["findings"]}
    found = findings()
    assert found["key"][0] == "ok" and "opens key slot" in found["key"][1], found
    assert {found["kms"][0], found["credentials"][0]} == {"ok"}
    assert world.unlock().returncode == OK
    assert findings()["key"][0] == "ok" and "denied, as it must be" in findings()["key"][1]


def test_resign_needs_an_authority(world):
    refused(world.enroll(world.volume, "--resign", check=False), says="enroll again", code=CONFIG)
    assert world.unlock().returncode == OK


def test_cleared_tpm(world):
    """A TPM that was cleared has another storage key, and says what was lost."""
    try:
        world.tpm.tool("tpm2_clear")
        refused(world.unlock(), says="was cleared since")
        assert world.fence_closed()
    finally:
        world.tpm.reboot()
        world.enroll(world.volume)  # by the passphrase, as the message says
        shutil.copy(world.volume, world.pristine)
    assert world.unlock().returncode == OK


def test_dictionary_attack_lockout_does_not_lock_us_out(world, tools):
    """Locked out, the TPM takes no password of objects under dictionary-attack protection; ours are not."""
    tools(*PARENT)
    tools("tpm2_create", "-Q", "-C", "parent", "-u", "u", "-r", "r", "-p", "password", "-i", "-", input=SECRET)
    tools("tpm2_dictionarylockout", "--setup-parameters", "--max-tries", "1", "--recovery-time", "1000",
          "--lockout-recovery-time", "1000")
    tools(*PARENT)
    tools("tpm2_load", "-Q", "-C", "parent", "-u", "u", "-r", "r", "-c", "object")
    wrong = tools("tpm2_unseal", "-c", "object", "-p", "wrong", check=False)
    locked = tools("tpm2_unseal", "-c", "object", "-p", "password", check=False)
    assert wrong.returncode != 0 and b"0x921" in locked.stderr, locked.stderr  # TPM_RC_LOCKOUT
    assert world.unlock().returncode == OK
    tools("tpm2_dictionarylockout", "--clear-lockout")


def test_owner_password(world):
    world.tpm.tool("tpm2_changeauth", "-c", "owner", "password")
    refused(world.unlock(), says="owner hierarchy has a password", code=CONFIG)
    world.tpm.tool("tpm2_changeauth", "-c", "owner", "-p", "password")


def test_record_of_another_fence(world):
    world.configure(fence_pcr=11)
    refused(world.unlock(), says="sealed with the fence PCR 15, and this image has 11")


def test_image_of_the_other_provider(world):
    world.config_path.write_text(world.config_path.read_text().replace("provider = tpm2", "provider = aws-kms"))
    refused(world.unlock(), says="the record's provider is 'tpm2'")


def test_sha256_only(tmp_path):
    """A TPM without SHA-384 serves this provider, whose baselines then are SHA-256; KMS is refused on it."""
    world = w.TpmWorld(tmp_path, "--banks", "sha1,sha256")
    try:
        world.tpm.reboot(banks=["sha256"])
        world.baked, world.complete = tmp_path / "baked.json", tmp_path / "complete.json"
        for pcrs, path in (("2,3,7,12,13,14", world.baked), ("2,3,4,7,12,13,14", world.complete)):
            w.muctl("baseline", "record", "--bank", "sha256", "--pcr", pcrs, "--tcti", world.tpm.tcti, "-o", path)
        world.volume = w.make_volume(tmp_path / "volume.img")
        world.enroll(world.volume)
        world.configure()
        assert world.unlock().returncode == OK
        assert world.tpm.pcr(15, "sha256") != "00" * 32
        refused(unseal_as_root(world), says="the policy does not hold")
        world.tpm.reboot(banks=["sha256"])
        world.config_path.write_text(world.config_path.read_text().replace("provider = tpm2", "provider = aws-kms"))
        refused(world.unlock(), says="not allocated in bank sha384", code=CONFIG)
        world.tpm.reboot(banks=["sha256"])
        sha384 = tmp_path / "sha384.json"
        sha384.write_text(json.dumps({"Measurements": {"HashAlgorithm": "SHA384", "PCR4": w.ZERO, "PCR12": w.ZERO},
                                      "Without": [2, 3, 13, 14]}))
        refused(world.enroll(world.volume, baseline=sha384, check=False), says="no sha384 bank", code=CONFIG)
        assert unseal(world, write(tmp_path / "s", seal(world).stdout)).stdout == SECRET  # SHA-256 of its own accord
    finally:
        world.stop()


# Small secrets

def write(path, content):
    path.write_bytes(content)
    return path


@pytest.mark.parametrize("size", [1, 128])
def test_seal(world, tmp_path, size):
    secret = os.urandom(size)
    sealed = seal(world, secret=secret).stdout
    assert secret.hex() not in sealed.hex() or size == 1
    assert unseal(world, write(tmp_path / "s", sealed)).stdout == secret
    unseal(world, tmp_path / "s", "-o", tmp_path / "out")
    assert (tmp_path / "out").read_bytes() == secret and (tmp_path / "out").stat().st_mode & 0o777 == 0o600
    world.tpm.extend(7, b"other")
    refused(unseal(world, tmp_path / "s", check=False), says="the policy does not hold")


@pytest.mark.parametrize("size", [0, 129])
def test_seal_size(world, size):
    assert seal(world, secret=b"x" * size, check=False).returncode == CONFIG


def test_seal_with_a_fence(world, tmp_path):
    sealed = write(tmp_path / "s", seal(world, "--fence-pcr", "15").stdout)
    assert unseal(world, sealed).stdout == SECRET
    assert world.unlock().returncode == OK
    refused(unseal(world, sealed, check=False), says="the policy does not hold")


def test_no_secret_on_a_terminal(world, tmp_path):
    sealed = write(tmp_path / "s", seal(world).stdout)
    command = [w.MUCTL, "unseal", "--tcti", world.tpm.tcti, sealed]
    ours, theirs = pty.openpty()
    done = w.run(*command, check=False, capture_output=False, stdout=theirs, stderr=-1)
    assert done.returncode == USAGE and b"not shown on a terminal" in done.stderr
    w.run(*command, "--force", capture_output=False, stdout=theirs)
    assert b"an API token" in os.read(ours, 1000)
    os.close(ours)
    os.close(theirs)


@pytest.mark.parametrize("field", ["public", "private", "parent"])
def test_changed_object(world, tmp_path, field):
    """A bit here and there in each part: refused, never given out, never a crash."""
    good = json.loads(seal(world).stdout)
    raw = base64.b64decode(good["tpm2"][field])
    for position in range(0, 8 * len(raw), 61):
        changed = bytearray(raw)
        changed[position // 8] ^= 1 << position % 8
        bad = {**good, "tpm2": {**good["tpm2"], field: base64.b64encode(changed).decode()}}
        done = unseal(world, write(tmp_path / "bad", json.dumps(bad).encode()), check=False)
        assert (done.returncode, done.stdout) == (REFUSE, b""), (position, done.stderr)


UNSEAL = bytes.fromhex("0000015e")
# TPM2_PCR_Event of PCR 14, without a password
EXTEND = bytes.fromhex("8002000000210000013c0000000e00000009400000090000000000" "0004") + b"evil"


class Tap:
    """Between a program and the TPM (swtpm's two ports): keeps what passes, can put a command before Unseal, and
    can lose the connection at a command, once."""

    def __init__(self, port, before_unseal=None, cut=None):
        first, self.seen, self.cut = w.two_free_ports(), bytearray(), cut
        self.before_unseal, self.unwanted = before_unseal, 0
        self.tcti = f"swtpm:host=127.0.0.1,port={first}"
        self.listeners = [socket.create_server(("127.0.0.1", first + i)) for i in (0, 1)]
        for i, listener in enumerate(self.listeners):
            threading.Thread(target=self._serve, args=(listener, int(port) + i), daemon=True).start()

    def _serve(self, listener, port):
        with contextlib.suppress(OSError):  # closed
            while True:
                ends = listener.accept()[0], socket.create_connection(("127.0.0.1", port))
                for one, other in (ends, ends[::-1]):
                    threading.Thread(target=self._copy, args=(one, other), daemon=True).start()

    def _copy(self, source, target):
        with contextlib.suppress(OSError):
            while data := source.recv(4096):
                self.seen += data
                if self.cut and data[6:10] == self.cut:
                    self.cut = None
                    break
                if self.before_unseal and data[6:10] == UNSEAL:
                    self.unwanted += 1
                    target.sendall(self.before_unseal)
                    while self.unwanted:
                        time.sleep(0.01)
                if self.unwanted:
                    self.unwanted -= 1
                    continue
                target.sendall(data)
        with contextlib.suppress(OSError):
            source.shutdown(socket.SHUT_RDWR)
            target.shutdown(socket.SHUT_WR)

    def close(self):
        for listener in self.listeners:
            listener.close()


def test_nothing_in_clear_on_the_bus(world, tmp_path, tools):
    tap = Tap(world.tpm.port)
    sealed = write(tmp_path / "s", w.run(w.MUCTL, "seal", "--tcti", tap.tcti, input=SECRET).stdout)
    assert w.run(w.MUCTL, "unseal", "--tcti", tap.tcti, sealed).stdout == SECRET
    assert len(tap.seen) > 1000 and SECRET not in tap.seen
    tap.seen.clear()  # the premise: tpm2_unseal in a plain session shows it
    theirs_unseal(tools, tmp_path, seal_pair(world, tmp_path), tcti=tap.tcti)
    assert SECRET in tap.seen
    tap.close()


@pytest.mark.parametrize("command", [0x131, 0x176, 0x157, 0x165],
                         ids=["CreatePrimary", "StartAuthSession", "Load", "FlushContext"])
def test_connection_is_lost(world, command):
    """Before the key it is asked for again; after it the fence is closed over a new connection. (Later than Load, the
    TPM is full: here is no resource manager that would flush what the lost connection held.)"""
    tap = Tap(world.tpm.port, cut=command.to_bytes(4, "big"))
    world.config_path.write_text(world.config_path.read_text().replace(world.tpm.tcti, tap.tcti))
    done = world.unlock()
    tap.close()
    assert tap.cut is None and done.returncode == OK, done.stderr
    world.tpm.tool("tpm2_flushcontext", "-t")
    world.tpm.tool("tpm2_flushcontext", "-s")
    world.tpm.tool("tpm2_flushcontext", "-l")
    assert world.fence_closed()


# tpm2-tools

def seal_pair(world, folder, *options):
    seal(world, "--public", folder / "u", "--private", folder / "r", *options)
    return "sha384:2,3,4,7,12,13,14"


def theirs_unseal(tools, folder, pcrs, tcti=None, check=True):
    extra = ["-T", tcti] if tcti else []
    tools(*PARENT)
    tools("tpm2_load", "-Q", "-C", "parent", "-u", "u", "-r", "r", "-c", "object")
    tools("tpm2_startauthsession", "--policy-session", "-S", "session")
    tools("tpm2_policypcr", "-Q", "-S", "session", "-l", pcrs)
    done = tools("tpm2_unseal", *extra, "-c", "object", "-p", "session:session", check=check)
    tools("tpm2_flushcontext", "session", check=False)
    return done


def test_tpm2_tools_unseal_ours(world, tools, tmp_path):
    assert theirs_unseal(tools, tmp_path, seal_pair(world, tmp_path)).stdout == SECRET
    baseline = seal_pair(world, tmp_path, "--baseline", world.complete, "--fence-pcr", "15")
    assert theirs_unseal(tools, tmp_path, baseline + ",15").stdout == SECRET
    world.tpm.extend(4, b"other")
    done = theirs_unseal(tools, tmp_path, baseline + ",15", check=False)
    assert done.returncode != 0 and b"0x99D" in done.stderr


def test_we_unseal_what_tpm2_tools_sealed(world, tools, tmp_path):
    tools(*PARENT)
    tools("tpm2_createpolicy", "-Q", "--policy-pcr", "-l", "sha256:4,12", "-L", "policy")
    tools("tpm2_create", "-Q", "-C", "parent", "-L", "policy", "-a", "fixedtpm|fixedparent", "-i", "-", "-u", "u",
          "-r", "r", input=SECRET)
    pair = ["--public", tmp_path / "u", "--private", tmp_path / "r", "--bank", "sha256", "--pcr"]
    assert unseal(world, *pair, "4,12").stdout == SECRET
    refused(unseal(world, *pair, "4,7,12", check=False), says="the policy does not hold")
    world.tpm.extend(12, b"init=/bin/sh")
    refused(unseal(world, *pair, "4,12", check=False), says="the policy does not hold")


def test_a_pcr_that_changes_between_policy_and_unseal(world, tmp_path):
    """Any PCR, also one that the policy does not name: the TPM gives up the session."""
    sealed = write(tmp_path / "s", seal(world, "--pcr", "4,7,12").stdout)
    tap = Tap(world.tpm.port, before_unseal=EXTEND)
    done = w.run(w.MUCTL, "unseal", "--tcti", tap.tcti, sealed, check=False)
    tap.close()
    assert world.tpm.pcr(14) != w.ZERO
    refused(done, says="a PCR changed meanwhile (0x128)")
    assert done.stdout == b""
    assert unseal(world, sealed).stdout == SECRET


# A counter that takes older records out of use

COUNTER = "0x01804d55"
ATTRIBUTES = "authread|authwrite|no_da|nt=counter"


@pytest.fixture
def next_image(world):
    """The baseline of the image that an update brings."""
    world.tpm.extend(4, b"the next image")
    path = world.folder / "next-image.json"
    w.muctl("baseline", "record", "--tcti", world.tpm.tcti, "-o", path)
    world.tpm.reboot()
    yield path
    if int(COUNTER, 16) in [int(word, 16) for word in world.tpm.tool("tpm2_getcap", "handles-nv-index").stdout.split()
                            if word.startswith(b"0x")]:
        world.tpm.tool("tpm2_nvundefine", COUNTER)


def count(world):
    return int.from_bytes(world.tpm.tool("tpm2_nvread", "-C", COUNTER, COUNTER).stdout, "big")


def boot_next(world):
    world.tpm.reboot()
    world.tpm.extend(4, b"the next image")
    return world.unlock()


def boot_old(world):
    world.tpm.reboot()
    return world.unlock()


def revoke(world, *options, check=True):
    return w.muctl("revoke", "--config", world.config_path, "--tcti", world.tpm.tcti, *options, check=check)


def update(world, next_image, *options):
    """Enrolled for this image, then for the next one alone, which has booted. The header of before, as a copy."""
    authorize = options[options.index("--authorize"):][:2] if "--authorize" in options else []
    world.enroll(world.volume, *options)
    before = world.folder / "before.img"
    shutil.copy(world.volume, before)
    world.enroll(world.volume, *(["--resign", *authorize] if authorize else options), baseline=next_image)
    assert boot_old(world).returncode == REFUSE
    done = boot_next(world)
    assert done.returncode == OK, done.stderr
    return before


def old_header_comes_back(world, before):
    """Over today's data: only the header is the old one."""
    after = world.folder / "after.img"
    shutil.copy(world.volume, after)
    with before.open("rb") as source, world.volume.open("r+b") as target:
        target.write(source.read(4 << 20))
    world.tpm.reboot()
    stolen = unseal_as_root(world)
    done = boot_old(world)
    shutil.copy(after, world.volume)
    return done, stolen


@pytest.mark.parametrize("authorized", [False, True], ids=["sealed", "authorized"])
def test_an_old_image_stays_a_way_in_without_a_counter(world, next_image, authorized):
    """The premise: neither minimum_record_version nor a new enrolment reaches what the old image accepts."""
    before = update(world, next_image, *(["--authorize", world.signing_key] if authorized else []))
    refused(revoke(world, check=False), says="no volume has a counter", code=CONFIG)
    assert old_header_comes_back(world, before)[0].returncode == OK


@pytest.mark.parametrize("authorized", [False, True], ids=["sealed", "authorized"])
def test_revoke_takes_an_old_image_out_of_use(world, next_image, authorized):
    before = update(world, next_image, "--counter", COUNTER, *(["--authorize", world.signing_key] if authorized else []))
    done, _ = old_header_comes_back(world, before)
    assert done.returncode == OK  # the premise: until then it opens
    assert boot_next(world).returncode == OK
    value = count(world)
    would = json.loads(revoke(world, "--dry-run", "--json").stdout)["counters"][0]
    assert (would["index"], would["before"], would["volumes"]) == (COUNTER, value, ["root"]) and count(world) == value
    assert "root" in revoke(world).stdout
    assert count(world) == would["after"] > value
    done, stolen = old_header_comes_back(world, before)
    refused(done, says="taken out of use")
    refused(stolen, says="taken out of use")
    assert world.fence_closed()
    assert boot_next(world).returncode == OK  # the good machine
    revoke(world)  # once more changes nothing
    assert count(world) == would["after"]


def test_old_and_new_image_overlap(world, next_image):
    """A record for both: raising the counter for it locks out what was before it, and neither of the two."""
    world.enroll(world.volume, "--counter", COUNTER)
    before = world.folder / "before.img"
    shutil.copy(world.volume, before)
    world.enroll(world.volume, "--baseline", next_image)  # the counter is kept
    assert boot_next(world).returncode == OK
    assert boot_old(world).returncode == OK
    revoke(world)
    assert boot_next(world).returncode == OK
    assert boot_old(world).returncode == OK
    refused(old_header_comes_back(world, before)[0], says="taken out of use")


def test_revoke_waits_for_the_record_to_boot(world, next_image):
    """Who raises the counter for a record that has not opened the volume yet may lock the machine out."""
    world.enroll(world.volume, "--counter", COUNTER)
    assert boot_old(world).returncode == OK
    world.enroll(world.volume, baseline=next_image)
    value = count(world)
    refused(revoke(world, check=False), says="reboot first")
    assert boot_old(world).returncode == REFUSE
    refused(revoke(world, check=False), says="reboot first")
    assert count(world) == value
    assert boot_next(world).returncode == OK
    revoke(world)
    assert count(world) > value


def test_counter_that_is_deleted(world, next_image, tools):
    """Made again it begins above the old count, and another index in its place has another Name."""
    before = update(world, next_image, "--counter", COUNTER)
    revoke(world)
    value = count(world)
    tools("tpm2_nvundefine", COUNTER)
    refused(boot_next(world), says="is gone")
    refused(old_header_comes_back(world, before)[0], says="is gone")
    tools("tpm2_nvdefine", COUNTER, "-s", "8", "-a", ATTRIBUTES)
    refused(old_header_comes_back(world, before)[0], says="is gone")  # not written yet
    tools("tpm2_nvincrement", "-C", COUNTER, COUNTER)
    assert count(world) > value
    refused(old_header_comes_back(world, before)[0], says="taken out of use")
    tools("tpm2_nvundefine", COUNTER)
    tools("tpm2_nvdefine", COUNTER, "-s", "8", "-a", "authread|authwrite|no_da")
    tools("tpm2_nvwrite", "-C", COUNTER, "-i", "-", COUNTER, input=bytes(8))
    assert count(world) == 0
    refused(old_header_comes_back(world, before)[0], says="the policy does not hold")


def test_approval_without_a_counter_is_none_with_one(world, next_image):
    """The same key signed the same PCRs when there was no counter; the policyRef tells them apart."""
    world.enroll(world.volume, "--authorize", world.signing_key)
    plain = json.loads(w.muctl("record", "show", world.volume, "--json").stdout)
    world.enroll(world.volume, "--authorize", world.signing_key, "--counter", COUNTER)
    bound = json.loads(w.muctl("record", "show", world.volume, "--json").stdout)
    assert len(unseal_as_root(world, check=True).stdout) == 32
    forged = {**bound["tpm2"], "signatures": plain["tpm2"]["signatures"]}
    for data in (forged, {k: v for k, v in forged.items() if k != "counter"},
                 {**bound["tpm2"], "counter": {"index": COUNTER, "limit": bound["tpm2"]["counter"]["limit"] + 1}}):
        (world.folder / "forged").write_text(json.dumps({**bound, "tpm2": data}))
        assert unseal(world, world.folder / "forged", check=False).returncode == REFUSE


def test_something_else_at_the_index(world, next_image, tools):
    tools("tpm2_nvdefine", COUNTER, "-s", "8", "-a", "ownerread|ownerwrite")
    before = world.volume.read_bytes()
    refused(world.enroll(world.volume, "--counter", COUNTER, check=False), says="not a counter of ours", code=CONFIG)
    for index in ("0x01d10200", "0x01800000", "0x1804d55", "none at all"):
        refused(world.enroll(world.volume, "--counter", index, check=False), says="--counter", code=USAGE)
    assert world.volume.read_bytes() == before


def test_tpm2_tools_agree_about_the_counter(world, next_image, tools, tmp_path):
    """The second opinion on the policy: PolicyPCR and PolicyNV by tpm2-tools give out the key, once."""
    world.enroll(world.volume, "--counter", COUNTER)
    data = json.loads(w.muctl("record", "show", world.volume, "--json").stdout)["tpm2"]
    for name, part in (("u", "public"), ("r", "private")):
        write(tmp_path / name, base64.b64decode(data[part]))
    write(tmp_path / "limit", data["counter"]["limit"].to_bytes(8, "big"))

    def theirs(check=True):
        tools(*PARENT)
        tools("tpm2_load", "-Q", "-C", "parent", "-u", "u", "-r", "r", "-c", "object")
        tools("tpm2_startauthsession", "--policy-session", "-S", "session")
        tools("tpm2_policypcr", "-Q", "-S", "session", "-l", "sha384:2,3,4,7,12,13,14,15")
        done = tools("tpm2_policynv", "-S", "session", "-C", COUNTER, "-i", "limit", COUNTER, "ule", check=check)
        if done.returncode == 0:
            done = tools("tpm2_unseal", "-c", "object", "-p", "session:session", check=check)
        tools("tpm2_flushcontext", "session")
        return done
    assert len(theirs().stdout) == 32
    while count(world) <= data["counter"]["limit"]:
        tools("tpm2_nvincrement", "-C", COUNTER, COUNTER)
    assert theirs(check=False).returncode != 0
