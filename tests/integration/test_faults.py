# SPDX-License-Identifier: GPL-2.0-or-later
"""Each library call, TPM command and allocation of a boot fails once, in turn: never a mapped volume without the
fence, never a secret in memory that was given back, never a crash, always a class that fits (tests/faults/table)."""
import base64
import collections
import contextlib
import hashlib
import json
import os
import platform
import re
import socket
import struct
import subprocess
from types import SimpleNamespace

import pytest
import vault
import world as w
from test_attacks import put_policy
from test_blank import data_policy
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from vault_world import VaultWorld

FAULTS = w.TOP / "build/faults/faults"
MASK, WINDOW = 0x5a, 16
BANKS = {"sha1": (0x04, 20), "sha256": (0x0b, 32), "sha384": (0x0c, 48)}
SHARDS = 8
LOOP = 400
BLANK_SIZE = 33 << 20
TIMEOUT_S = 30

# Where the caller can do without, the boot goes on.
HARMLESS = {
    "report_write": "the report is for people", "log_line": "so are the messages",
    "begin": "saves time; release asks by itself", "revoke": "the token expires",
    "connect_kms": "saves time; Decrypt connects by itself", "explain_mismatch": "explains a refusal",
    "lock_the_rest": "secrets are locked one by one", "below": "jitter", "kms_explain": "words",
    "aws_credentials_from_imds": "retried until the deadline", "area_remove": "the next attestation removes it",
    "sync_folder_of": "durability of the report", "lock_device": "attestation is retried",
}
# What none of the boots here comes to, and why.
UNREACHED = {
    "Esys_NV_ReadPublic": "only with an NV index of somebody else", "Esys_TR_Close": "as above",
    "Esys_TR_FromTPMPublic": "as above", "Tss2_MU_TPMS_NV_PUBLIC_Marshal": "as above",
    "PEM_read_bio_PrivateKey": "muctl's part of a shared function", "crypt_deactivate": "only after another failure",
    "Tss2_Tcti_Swtpm_Init": "the TPM is the device here", "clock_nanosleep": "nothing is waited for",
    "d2i_X509": "explains a mismatch", "json_object_to_json_string": "as above", "unlink": "only after another failure",
    "ioctl": "the volume is a file", "mlockall": "only where the limit may be raised",
}
# How often these are called depends on when packets arrive.
POLLS = {"curl_multi_perform", "curl_multi_poll"}
# OpenSSL 3.0 dies by itself there, in its legacy provider, which the static program has not (no-legacy, no-module).
NOT_OURS = {"../crypto/provider_child.c"}
EARLY = {"process_harden", "signals_install", "sandbox_enter"}  # the unit that follows a failure closes the fence


def transact(port, command):
    with socket.create_connection(("127.0.0.1", port), timeout=20) as s:
        s.sendall(command)
        return s.recv(4096)


def tpm_command(code, body, tag=0x8001):
    return struct.pack(">HII", tag, 10 + len(body), code) + body


class Tpm:
    """The same as NitroTpm's methods, without a process for each step."""

    def __init__(self, port):
        self.port = port

    def send(self, *command, **options):
        answer = transact(self.port, tpm_command(*command, **options))
        assert answer[6:10] == bytes(4), answer.hex()
        return answer

    def extend(self, pcr, data):
        digests = b"".join(struct.pack(">H", BANKS[b][0]) + hashlib.new(b, data).digest() for b in ("sha256", "sha384"))
        self.send(0x182, struct.pack(">II", pcr, 9) + struct.pack(">IHBH", 0x40000009, 0, 0, 0) +
                  struct.pack(">I", 2) + digests, tag=0x8002)

    def reboot(self):
        assert transact(self.port + 1, struct.pack(">II", 2, 0)) == bytes(4)
        self.send(0x144, bytes(2))
        for pcr, data in w.NitroTpm.measured:
            self.extend(pcr, data)

    def fence_closed(self):
        """In every bank."""
        answers = [self.send(0x17e, struct.pack(">IHB", 1, alg, 3) + b"\0\x80\0") for alg, _ in BANKS.values()]
        return all(any(a[-size:]) for a, (_, size) in zip(answers, BANKS.values()))


def windows(name, secret):
    """Both ends of it, as the harness looks for them."""
    for part in {secret[:WINDOW], secret[-WINDOW:]}:
        yield f"{name} {bytes(b ^ MASK for b in part).hex()}\n"


def rsa_windows(key):
    numbers = key.private_numbers()
    for name in ("p", "q", "d", "dmp1", "dmq1", "iqmp"):
        value = getattr(numbers, name)
        for order in ("big", "little"):
            yield from windows(f"rsa-{name}", value.to_bytes((value.bit_length() + 7) // 8, order))


class Machine:
    """A world whose boot program is the one that fails."""

    tcti = ""  # the default, a device, which the harness makes swtpm

    def __init__(self, world):
        self.world, self.folder = world, world.folder
        world.fresh()
        world.configure(timeout=5, open="swap")
        path = world.config_path
        path.write_text(re.sub("tcti = .*", self.tcti, path.read_text()))
        self.tpm = Tpm(int(world.tpm.port))
        self.key_file, self.secrets_file, self.log_file = (self.folder / n for n in ("rsa.der", "secrets", "fault.log"))
        key, key_windows = self.private_key()
        self.key_file.write_bytes(key.private_bytes(
            serialization.Encoding.DER, serialization.PrivateFormat.TraditionalOpenSSL, serialization.NoEncryption()))
        volume_key, released_key = self.volume_key(), self.released_key()
        w.run("cryptsetup", "open", "--test-passphrase", "--key-file", "-", world.volume, input=released_key)
        self.secrets_file.write_text("".join([
            *key_windows, *windows("released-key", released_key), *windows("volume-key", volume_key),
            *windows("volume-key", volume_key[WINDOW:-WINDOW])]))
        segment = json.loads(w.run("cryptsetup", "luksDump", "--dump-json-metadata", world.volume).stdout)["segments"]["0"]
        self.table = f"{os.path.getsize(world.volume) // 512} {int(segment['offset']) // 512}"

    def private_key(self):
        """What the boot program "generates", and where it would show."""
        key = rsa.generate_private_key(65537, 2048)
        return key, rsa_windows(key)

    def volume_key(self):
        path = self.folder / "volume.key"
        path.unlink(missing_ok=True)
        w.run("cryptsetup", "luksDump", "-q", "--dump-volume-key", "--volume-key-file", path, "--key-file", "-",
              self.world.volume, input=w.PASSPHRASE)
        return path.read_bytes()

    def released_key(self):
        """As KMS would decrypt it, past its policy."""
        import kms
        record = w.aws_kms(self.world.volume)
        material = (self.folder / f"aws/key-{w.KEY_ID}").read_bytes()
        return kms.unseal(SimpleNamespace(material=material), base64.b64decode(record["ciphertext"]),
                          record["encryption_context"])

    def boot(self, fault=None, **more):
        """-> exit code (negative: signal, None: hangs), lines of the log, standard error"""
        self.tpm.reboot()
        self.log_file.unlink(missing_ok=True)
        environment = {**os.environ, "FAULT_LOG": str(self.log_file), "FAULT_SECRETS": str(self.secrets_file),
                       "FAULT_KEY": str(self.key_file), "FAULT_TPM": str(self.tpm.port), "FAULT_TABLE": self.table,
                       **more}
        if fault is not None:
            environment["FAULT"] = fault
        self.note_requests()
        try:
            done = subprocess.run([FAULTS, "unlock", "--config", self.world.config_path], env=environment, text=True,
                                  stdin=subprocess.DEVNULL, capture_output=True, timeout=TIMEOUT_S)
        except subprocess.TimeoutExpired as stuck:
            return None, [], (stuck.stderr or b"").decode()
        return done.returncode, self.log_file.read_text().splitlines(), done.stderr

    def note_requests(self):
        self.asked_before = (self.folder / "aws/requests.jsonl").stat().st_size

    def key_was_asked_for(self):
        with open(self.folder / "aws/requests.jsonl", encoding="utf-8") as f:
            f.seek(self.asked_before)
            return '"Decrypt"' in f.read()

    def what_is_left(self):
        """Nothing was written."""


class TpmMachine(Machine):
    """Its key is sealed to the TPM, which has no resource manager."""

    tcti = "tcti = device:/dev/tpm0"

    def released_key(self):
        record = json.loads(w.muctl("record", "show", self.world.volume, "--json").stdout)
        sealed = self.folder / "sealed.json"
        sealed.write_text(json.dumps({"tpm2": record["tpm2"], "baselines": record["baselines"]}))
        return w.run(w.MUCTL, "unseal", "--tcti", self.world.tpm.tcti, sealed).stdout

    def note_requests(self):
        """Nobody notes them."""

    def key_was_asked_for(self):
        return True


class VaultMachine(Machine):
    """Its key is in a Vault."""

    def private_key(self):
        key = ec.generate_private_key(ec.SECP384R1())
        number = key.private_numbers().private_value
        return key, [line for order in ("big", "little") for line in windows("ec-key", number.to_bytes(48, order))] + [
            *windows("released-text", base64.b64encode(self.released_key()))]

    def released_key(self):
        record = self.world.record()["kv"]
        text = self.world.vault.run("kv", "get", f"-version={record['version']}", "-field=key", "secret/volumes/root").stdout
        return base64.b64decode(text)

    def note_requests(self):
        self.world.relay.requests.clear()

    def key_was_asked_for(self):
        return bool(self.world.relay.asked("secret/data"))


class MakingMachine(Machine):
    """Its one volume is made in each boot anew, on a blank device."""

    def __init__(self, world):
        super().__init__(world)
        self.device = self.folder / "fault-data.img"
        text = world.config_path.read_text()
        world.config_path.write_text(text.replace("[volume root]", "[volume root]\ncreate = blank\nkey_arn = " + w.KEY_ARN)
                                     .replace(f"device = {world.volume}", f"device = {self.device}"))
        self.table = f"{BLANK_SIZE // 512} {(16 << 20) // 512}"

    def boot(self, fault=None, **more):
        self.device.unlink(missing_ok=True)
        with self.device.open("xb") as f:
            f.truncate(BLANK_SIZE)
        return super().boot(fault, **more)

    def key_was_asked_for(self):
        with open(self.folder / "aws/requests.jsonl", encoding="utf-8") as f:
            f.seek(self.asked_before)
            return '"GenerateDataKey"' in f.read()

    def what_is_left(self):
        """Zeros, the claim, or a volume; nothing where data belongs."""
        content = self.device.read_bytes()
        start = content[:16]
        if any(content[16 << 20:]) or not (start in (bytes(16), b"measured-unlock:") or start.startswith(b"LUKS")):
            return f"leaves {start!r}"
        return None


Row = collections.namedtuple("Row", "symbol value after classes name")
Call = collections.namedtuple("Call", "symbol path times frames text")
Fault = collections.namedtuple("Fault", "row number call nth functions")


def read_rows():
    """As the harness was built with: rows.h, in order."""
    text = (FAULTS.parent / "rows.h").read_text()
    symbols = re.findall(r'"([^"]+)"', text.splitlines()[0])
    found = re.findall(r'^    \{(\d+), \(long\)\((.*)\), [^,]+, (\d), "(\d+)", "(.*)"\},$', text, re.M)
    return [Row(symbols[int(i)], value, after == "1", {int(c) for c in classes}, name)
            for i, value, after, classes, name in found]


def read_calls(lines):
    for line in lines:
        word, *fields = line.split(" ")
        if word == "call":
            symbol, path, times, *rest = fields
            frames = [f for f in rest if re.fullmatch("[0-9a-f]+", f)] if not symbol.startswith("<") else []
            yield Call(symbol, path, int(times), tuple(frames), rest[-1] if not frames else "")


def name_frames(calls):
    """address -> function"""
    addresses = sorted({f for c in calls for f in c.frames})
    # The return address may be behind the function's last instruction.
    out = subprocess.run(["addr2line", "-f", "-e", FAULTS, *(hex(int(a, 16) - 1) for a in addresses)], check=True,
                         capture_output=True, text=True).stdout.splitlines()
    return dict(zip(addresses, out[::2]))


def occurrences(call):
    """An allocation inside a library stands for all of the same place in its source, three turns of a long loop for
    all of them."""
    if call.times > LOOP:
        return (1, call.times // 2, call.times)
    return range(1, 2 if call.symbol in ("<openssl-memory>", "<curl-memory>") else call.times + 1)


def calls_of(machine):
    """Of a boot in which nothing fails, as often as the least of two comes to them: how often depends on when packets arrive."""
    first, second = ({(c.symbol, c.path): c for c in calls_once(machine)} for _ in range(2))
    return sorted(call._replace(times=min(call.times, second[place].times)) for place, call in first.items() if place in second)


def calls_once(machine):
    code, lines, errors = machine.boot()
    assert code == 0, errors
    assert machine.tpm.fence_closed()
    assert [l for l in lines if l.startswith("activate")] == ["activate root 64 fence=closed"]
    assert [l for l in lines if l.startswith("leak")] == []
    return read_calls(lines)


def faults_of(calls):
    """Every failure of every call."""
    names = name_frames(calls)
    return [Fault(row, number, call, nth, [names[f] for f in call.frames] or [call.text])
            for call in calls if call.text.partition(":")[0] not in NOT_OURS
            for number, row in enumerate(read_rows()) if row.symbol == call.symbol for nth in occurrences(call)]


def tried(machine, fault):
    """The same. Which thread fills OpenSSL's caches decides where it allocates: such a call may take a few boots to come
    again."""
    for _ in range(6 if fault.call.symbol == "<openssl-memory>" else 1):
        wrong = tried_once(machine, fault)
        if wrong is None or not wrong.startswith("was not called again"):
            break
    return wrong


def tried_once(machine, fault):
    """-> what is wrong with how the program took it, or None"""
    code, lines, errors = machine.boot(f"{fault.number}:{fault.call.path}:{fault.nth}")
    if "fired" not in lines:
        return None if fault.call.symbol in POLLS else f"was not called again; exit {code}"
    activated = [l for l in lines if l.startswith("activate")]
    deactivated = [l for l in lines if l.startswith("deactivate")]
    leaks = [l for l in lines if l.startswith("leak")]
    closed = machine.tpm.fence_closed()
    allowed = set(fault.row.classes) | ({0} if HARMLESS.keys() & set(fault.functions) else set())
    if code is None:
        return f"hangs: {errors}"
    if code not in allowed:
        return f"exit {code}, not {sorted(allowed)}: {errors}"
    if any(not l.endswith("fence=closed") for l in activated):
        return "activated without a fence"
    if code == 0 and len(activated) != 1:
        return "says that it unlocked, and did not"
    if code != 0 and len(activated) != len(deactivated) and not fault.row.after:
        return f"failed, and left a volume mapped: {errors}"
    if not closed and (machine.key_was_asked_for() or not EARLY & set(fault.functions)):
        return f"exit {code}, and the fence is open: {errors}"
    return "; ".join(leaks) or machine.what_is_left()


def describe(fault):
    return (f"{fault.call.symbol} = {fault.row.name}{' after' if fault.row.after else ''}, call {fault.nth} of "
            f"{fault.call.times} in {' < '.join(fault.functions)}")


@pytest.fixture(scope="module")
def machine(settled_world):
    if platform.machine() != "x86_64":
        pytest.skip("the wrappers are assembly for x86-64")
    if not FAULTS.exists():
        pytest.skip("build/faults/faults is not built: make faults-program")
    return Machine(settled_world)


class EitherOf(w.TpmWorld):
    """Sealed for two baselines."""

    def enroll(self, volume, *options, **more):
        other = json.loads(self.complete.read_text())
        other["Measurements"]["PCR4"] = "ab" * 48
        path = self.folder / "other.json"
        path.write_text(json.dumps(other))
        return super().enroll(volume, "--baseline", path, *options, **more)


class Authorized(w.TpmWorld):
    """Sealed for whatever the builder signs, and a counter."""

    def enroll(self, volume, *options, **more):
        return super().enroll(volume, "--authorize", self.signing_key, "--counter", "0x01804d55", *options, **more)


@contextlib.contextmanager
def machine_of(kind, folder):
    folder.mkdir()
    world = kind(folder)
    try:
        world.settle()
        yield (TpmMachine if isinstance(world, w.TpmWorld) else VaultMachine)(world)
    finally:
        world.stop()


needs_vault = pytest.mark.skipif(vault.why_not() is not None, reason=f"no Vault: {vault.why_not()}")


def test_what_is_not_wiped_is_seen(machine):
    """The premise of looking for secrets in what is freed: what is no secret is found there."""
    uuid = w.run("cryptsetup", "luksUUID", machine.world.volume).stdout.strip()
    kept = machine.secrets_file.read_text()
    machine.secrets_file.write_text("".join(windows("uuid", uuid)))
    try:
        _, lines, _ = machine.boot()
    finally:
        machine.secrets_file.write_text(kept)
    assert {l.split()[2] for l in lines if l.startswith("leak uuid")} >= {"freed"}


def shards(count):
    """Of the faults; one of them is tried at each change."""
    return pytest.mark.parametrize("shard", [0, *(pytest.param(n, marks=pytest.mark.long) for n in range(1, count))])


def check_all(machine, faults):
    wrong = [f"{describe(f)}: {problem}" for f in faults if (problem := tried(machine, f))]
    assert not wrong, f"{len(wrong)} of {len(faults)}:\n" + "\n".join(wrong)


@shards(SHARDS)
def test_each_call_fails_once(machine, shard):
    check_all(machine, faults_of(calls_of(machine))[shard::SHARDS])


@pytest.mark.long
@pytest.mark.parametrize("kind", [EitherOf, Authorized])
def test_each_call_of_provider_tpm2_fails_once(machine, tmp_path, kind):
    """Those that a boot by KMS does not make from the same place."""
    places = {(call.symbol, call.path) for call in calls_of(machine)}
    with machine_of(kind, tmp_path / "tpm") as other:
        check_all(other, faults_of([c for c in calls_of(other) if (c.symbol, c.path) not in places]))


@contextlib.contextmanager
def making_machine(world):
    policy = w.key_policy(world.tpm.pcr(4))
    put_policy(world, data_policy(world.tpm.pcr(4)))
    try:
        yield MakingMachine(world)
    finally:
        put_policy(world, policy)
        Machine(world)  # its configuration and its keys are in the same places


@shards(SHARDS // 2)
def test_each_call_of_a_boot_that_makes_a_volume_fails_once(machine, shard):
    places = {(call.symbol, call.path) for call in calls_of(machine)}
    with making_machine(machine.world) as other:
        check_all(other, faults_of([c for c in calls_of(other) if (c.symbol, c.path) not in places])[shard::SHARDS // 2])


@needs_vault
@pytest.mark.long
@pytest.mark.parametrize("shard", range(SHARDS))
def test_each_call_of_provider_vault_fails_once(machine, tmp_path, shard):
    places = {(call.symbol, call.path) for call in calls_of(machine)}
    with machine_of(VaultWorld, tmp_path / "vault") as other:
        check_all(other, faults_of([c for c in calls_of(other) if (c.symbol, c.path) not in places])[shard::SHARDS])


@needs_vault
def test_all_is_reached(machine, tmp_path):
    called = {call.symbol for call in calls_of(machine)}
    with making_machine(machine.world) as other:
        called |= {call.symbol for call in calls_of(other)}
    for kind in (EitherOf, Authorized, VaultWorld):
        with machine_of(kind, tmp_path / kind.__name__) as other:
            called |= {call.symbol for call in calls_of(other)}
    assert {row.symbol for row in read_rows()} - called <= UNREACHED.keys()


def twin(machine, folder):
    """A volume of the same UUID and with the same record, of which the attacker knows the key."""
    path = w.make_volume(folder / "twin.img")
    uuid = w.run("cryptsetup", "luksUUID", machine.world.volume).stdout.decode().strip()
    w.run("cryptsetup", "luksUUID", "-q", "--uuid", uuid, path)
    w.run("cryptsetup", "luksAddKey", "-q", "--key-slot", "1", "--pbkdf", "pbkdf2", "--pbkdf-force-iterations", "1000",
          "--key-file", "-", "--keyfile-size", str(len(w.PASSPHRASE)), path, "/dev/stdin", input=w.PASSPHRASE + b"known")
    w.import_token(path, w.export_token(machine.world.volume))
    return path


def relabelled(machine, folder):
    path = folder / "relabelled.img"
    path.write_bytes(machine.world.volume.read_bytes())
    w.run("cryptsetup", "config", "--label", "other", path)
    return path


def blank(machine, folder):
    path = folder / "blank.img"
    path.write_bytes(bytes(machine.world.volume.stat().st_size))
    return path


@pytest.mark.parametrize("make", [twin, relabelled, blank])
def test_disk_changes_between_reads(machine, tmp_path, make):
    """Whatever is there from the second read on: either nothing of it was used, or it is refused."""
    other, read = make(machine, tmp_path), 1
    while True:
        read += 1
        code, lines, errors = machine.boot(FAULT_SWAP=f"{read}:{other}")
        if "swapped" not in lines:
            break
        assert machine.tpm.fence_closed()
        assert not [l for l in lines if l.startswith("leak")]
        activated = [l for l in lines if l.startswith("activate")]
        if code == 0:  # the key slot's bytes are the same in both
            assert make is relabelled and activated == ["activate root 64 fence=closed"]
            continue
        assert code == 2 and not activated, errors
    assert read > 4
