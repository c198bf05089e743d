# SPDX-License-Identifier: GPL-2.0-or-later
"""muctl update: images on an EFI system partition with systemd-boot, which of them may be put there, and which one is good."""
import hashlib
import json
import os
import shutil
import struct
from pathlib import Path

import event_log
import made_image
import pytest
import world as w

USAGE, REFUSE, RETRY, CONFIG = 1, 2, 3, 4
ADMIN_ARN = f"arn:aws:iam::{w.ACCOUNT}:role/key-admin"
CONFIGURES = 0x80000001  # EV_EFI_VARIABLE_DRIVER_CONFIG
ACTION = b"Calling EFI Application from Boot Option"
OSREL = 'ID=debian\nVERSION="13 (trixie)"\nPRETTY_NAME="Debian"\n'
SECURE_BOOT = w.TOP / "tests/data/secureboot"


def loader(magic="systemd-boot 257.9"):
    return made_image.pe({".sdmagic": f"#### LoaderInfo: {magic} ####".encode(), ".text": b"loader"})


def uki(initrd=b"initrd", osrel=OSREL, machine=0x8664, **sections):
    kernel = made_image.pe({".text": b"kernel"})
    image = made_image.pe({".sdmagic": b"#### LoaderInfo: systemd-stub 257.9 ####", ".osrel": osrel.encode(),
                           ".cmdline": b"root=x efi=noruntime", ".initrd": initrd, ".linux": kernel, **sections})
    return image.replace(struct.pack("<4sH", b"PE\0\0", 0x8664), struct.pack("<4sH", b"PE\0\0", machine), 1)


def authenticode(image, bank):
    """What firmware measures of an image without certificates: all but checksum and the directory entry of these."""
    pe = struct.unpack_from("<I", image, 60)[0]
    return hashlib.new(bank, image[:pe + 88] + image[pe + 92:pe + 168] + image[pe + 176:]).digest()


def measured(image, bank):
    """Digests of PCR 4 in a boot of this image by systemd-boot, without Secure Boot."""
    kernel = made_image.pe({".text": b"kernel"})
    yield from (hashlib.new(bank, data).digest() for data in (ACTION, w.SEPARATOR))
    yield from (authenticode(data, bank) for data in (loader(), image, kernel))


class Computer(w.World):
    """A world whose ESP is a folder, with an image that runs."""

    def __init__(self, folder):
        super().__init__(folder)
        self.tpm.measured = [(2, w.SEPARATOR), (3, w.SEPARATOR), *((7, data) for data in w.SECURE_BOOT_OFF)]
        self.running = self.old = uki()
        self.log = self.folder / "eventlog"
        self.measure(w.SECURE_BOOT_OFF[:-1])
        tpm_reboot = self.tpm.reboot

        def reboot():
            tpm_reboot()
            self.measure_image()
        self.tpm.reboot = reboot
        self.esp = self.folder / "esp"
        self.partition()
        self.settle()

    def measure(self, variables):
        self.log.write_bytes(event_log.spec_id() + b"".join(event_log.event(7, CONFIGURES, v) for v in variables))

    def measure_image(self):
        for digests in zip(measured(self.running, "sha256"), measured(self.running, "sha384")):
            values = ",".join(f"{bank}={digest.hex()}" for bank, digest in zip(("sha256", "sha384"), digests))
            self.tpm.tool("tpm2_pcrextend", f"4:{values}")

    def partition(self):
        shutil.rmtree(self.esp, ignore_errors=True)
        for place in ("EFI/BOOT", "EFI/Linux", "loader"):
            (self.esp / place).mkdir(parents=True)
        (self.esp / "EFI/BOOT/BOOTX64.EFI").write_bytes(loader())
        (self.esp / "EFI/Linux/linux-1.efi").write_bytes(self.old)
        (self.esp / "loader/loader.conf").write_text("timeout 0\neditor no\n")

    def configure(self, volumes=None, **boot):
        super().configure(volumes, **boot)
        text = self.config_path.read_text().replace("[tpm]\n", f"[tpm]\neventlog = {self.log}\n")
        self.config_path.write_text(text)

    def fresh(self):
        self.running = self.old
        self.measure(w.SECURE_BOOT_OFF[:-1])
        self.partition()
        super().fresh()

    def boot(self, image):
        self.running = image
        self.tpm.reboot()
        self.aws.fresh()
        return self.unlock()

    def images(self):
        return sorted(path.name for path in (self.esp / "EFI/Linux").iterdir())

    def put(self, name, image):
        (self.esp / "EFI/Linux" / name).write_bytes(image)

    def update(self, verb, *options, esp=True, **how):
        place = ["--esp", self.esp] if esp else []
        return w.muctl("update", verb, *options, *place, "--config", self.config_path, check=False, **how)

    def install(self, image, *options, **how):
        path = self.folder / "linux-2.efi"
        path.write_bytes(image)
        return self.update("install", path, *options, **how)

    def listed(self):
        done = self.update("list", "--json")
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)["images"]

    def baseline(self, image):
        """Of the image behind the loader, as a builder predicts it."""
        files = [self.folder / "predicted" / name for name in ("loader.efi", "image.efi")]
        files[0].parent.mkdir(exist_ok=True)
        for path, content in zip(files, (loader(), image)):
            path.write_bytes(content)
        found = self.folder / (hashlib.sha256(image).hexdigest()[:8] + ".json")
        w.muctl("baseline", "predict", "--image", files[0], "--image", files[1], "-o", found)
        return found

    def resign(self, *images):
        words = [word for image in images for word in ("--baseline", self.baseline(image))]
        w.muctl("enroll", "--resign", self.volume, *words, "--sign-key", self.signing_key)

    def policy_of(self, *images):
        words = [word for image in images for word in ("--baseline", self.baseline(image))]
        path = self.folder / "policy.json"
        w.muctl("policy", "kms", *words, "--principal", w.ROLE_ARN, "--admin", ADMIN_ARN, "--builder", w.BUILDER_ARN, "-o", path)
        return path


NEW, STRANGER = uki(b"another initrd"), uki(b"nobody enrolled this")


@pytest.fixture(scope="module")
def settled(tmp_path_factory):
    computer = Computer(tmp_path_factory.mktemp("update"))
    yield computer
    computer.stop()


@pytest.fixture
def computer(settled):
    settled.fresh()
    return settled


@pytest.fixture
def both(computer):
    """Its record allows the next image, too."""
    computer.resign(computer.old, NEW)
    return computer


def refused(done, code, *words):
    assert done.returncode == code, done.stderr + done.stdout
    said = " ".join(done.stderr.split())
    assert all(word in said for word in words), said


def test_what_runs_is_what_was_predicted(computer):
    """The premise of all that follows: `baseline predict` of loader and image is what the TPM shows, and it unlocks."""
    computer.resign(computer.old)
    assert computer.boot(computer.old).returncode == 0


# ---- install ----

def test_install(both):
    report = json.loads(both.install(NEW, "--json").stdout)
    assert report["installed"] and report["falls_back_to"] == "linux-1.efi" and report["tries"] == 3
    assert both.images() == ["linux-1.efi", "linux-2+3.efi"]
    assert Path(report["path"]).read_bytes() == NEW and (both.esp / "EFI/Linux/linux-1.efi").read_bytes() == both.old
    first, second = both.listed()
    assert (first["name"], first["tries_left"], first["booted"], first["admitted"]) == ("linux-2", 3, False, True)
    assert (second["name"], second["tries_left"], second["booted"], second["admitted"]) == ("linux-1", None, True, True)


def test_dry_run(both):
    done = both.install(NEW, "--dry-run", "--tries", "1", "--name", "linux-7")
    assert done.returncode == 0 and "linux-7+1.efi" in done.stdout and both.images() == ["linux-1.efi"]


def test_image_that_the_record_does_not_allow(both):
    refused(both.install(STRANGER), REFUSE, "linux-2.efi", "volume 'root'", "PCR 4", "muctl enroll DEVICE --resign",
            "--image BOOTX64.EFI --image linux-2.efi")
    assert both.images() == ["linux-1.efi"]


def test_record_of_somebody_else(both, tmp_path):
    w.run("openssl", "genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-384", "-out", tmp_path / "other.key")
    w.remove_token(both.volume)
    refused(both.install(NEW), REFUSE, "volume 'root'")
    both.enroll(both.volume, "--record-version", "9", key=tmp_path / "other.key")
    refused(both.install(NEW), REFUSE, "volume 'root'", "signature")
    assert both.images() == ["linux-1.efi"]


@pytest.mark.parametrize("image, words", [
    (uki(machine=0xaa64), ("aarch64", "x86-64", "BOOTX64.EFI")),
    (uki(machine=0x1c2), ("not known here",)),
    (NEW[:-600], ("outside the file",)),
    (b"a kernel, perhaps", ("not a PE image",)),
    (made_image.pe({".osrel": OSREL.encode(), ".text": b"no kernel"}), (".linux", "ukify")),
    (uki(osrel="VERSION=13\n"), (".osrel", "systemd-boot does not list")),
    (b"", ("not a PE image",))],
    ids=["aarch64", "another machine", "cut", "no image", "no kernel", "no system", "empty"])
def test_image_that_cannot_boot_here(both, image, words):
    refused(both.install(image), CONFIG, "linux-2.efi", *words)
    assert both.images() == ["linux-1.efi"]


def test_image_of_an_unknown_stub(both):
    image = NEW.replace(b"systemd-stub 257.9", b"another-stub 257.9")
    refused(both.install(image), CONFIG, "stub is not systemd-stub")


def test_missing_image(both):
    refused(both.update("install", both.folder / "nowhere.efi"), CONFIG, "nowhere.efi")


@pytest.mark.parametrize("name", ["auto-x", ".x", "a/b", "a+1", "", "x" * 250])
def test_name_that_is_none(both, name):
    refused(both.install(NEW, "--name", name), CONFIG, "cannot be the name")


def test_name_without_suffix(both):
    path = both.folder / "vmlinuz"
    path.write_bytes(NEW)
    refused(both.update("install", path), USAGE, "--name")


@pytest.mark.parametrize("tries", ["0", "10", "x"])
def test_number_of_tries(both, tries):
    refused(both.install(NEW, "--tries", tries), USAGE, "--tries")


@pytest.mark.parametrize("alter, words", [
    (lambda esp: (esp / "EFI/BOOT/BOOTX64.EFI").write_bytes(NEW), ("is not systemd-boot", "updating.md")),
    (lambda esp: (esp / "EFI/BOOT/BOOTX64.EFI").write_bytes(b"?"), ("not a PE image",)),
    (lambda esp: (esp / "EFI/BOOT/BOOTX64.EFI").unlink(), ("has no BOOT", "systemd-boot-efi")),
    (lambda esp: (esp / "loader/loader.conf").write_text("timeout 3\n default  linux-1.efi"), ("loader.conf", "'default'")),
    (lambda esp: ((esp / "loader/entries").mkdir(), (esp / "loader/entries/a.conf").write_text("linux /x\n")), ("a.conf", "remove it"))],
    ids=["no loader", "no image", "nothing", "a default", "another entry"])
def test_partition_that_does_not_count(both, alter, words):
    alter(both.esp)
    refused(both.install(NEW), CONFIG, *words)
    assert both.images() == ["linux-1.efi"]


def test_partition_in_lower_case(both):
    (both.esp / "EFI").rename(both.esp / "efi")
    (both.esp / "efi/BOOT").rename(both.esp / "efi/boot")
    (both.esp / "efi/boot/BOOTX64.EFI").rename(both.esp / "efi/boot/bootx64.efi")
    (both.esp / "efi/Linux").rename(both.esp / "efi/linux")
    assert both.install(NEW).returncode == 0
    assert (both.esp / "efi/linux/linux-2+3.efi").exists()


def test_name_that_would_not_boot_first(both):
    both.put("linux-9.efi", both.old)
    done = both.install(NEW)
    refused(done, CONFIG, "linux-9.efi before linux-2+3.efi", "--name linux-10")
    assert both.install(NEW, "--name", "linux-10").returncode == 0
    assert [i["name"] for i in both.listed()] == ["linux-10", "linux-9", "linux-1"]


def test_version_that_would_not_boot_first(both):
    image = uki(b"another initrd", osrel=OSREL.replace("13 (trixie)", "12 (bookworm)"))
    both.resign(both.old, image)
    refused(both.install(image), CONFIG, "12 (bookworm)", "13 (trixie)", "IMAGE_VERSION")


def test_name_that_is_taken(both):
    both.put("Linux-2+0-3.efi", STRANGER)
    refused(both.install(NEW), CONFIG, "there already", "--name linux-3")
    assert both.install(NEW, "--name", "linux-3").returncode == 0


def test_nothing_to_fall_back_to(both):
    """The one image is on trial, or not allowed."""
    (both.esp / "EFI/Linux/linux-1.efi").rename(both.esp / "EFI/Linux/linux-1+2-1.efi")
    refused(both.install(NEW), REFUSE, "nothing to fall back to", "muctl update good")
    both.partition()
    both.put("linux-1.efi", STRANGER)
    refused(both.install(NEW), REFUSE, "nothing to fall back to")


def test_too_little_room(both):
    """On a file system of its own."""
    path = both.folder / "linux-2.efi"
    path.write_bytes(NEW)
    script = f"""mkdir {both.folder}/small; mount -t tmpfs -o size=1m none {both.folder}/small
cp -r {both.esp}/. {both.folder}/small
{w.MUCTL} update install {path} --esp {both.folder}/small --config {both.config_path}"""
    done = w.unfold(w.run("unshare", "--mount", "sh", "-c", script, check=False, text=True))
    refused(done, CONFIG, "bytes left", "are needed", "muctl update prune")


def test_place_that_is_no_partition(both):
    refused(both.update("list", "--esp", "PARTLABEL=nowhere", esp=False), RETRY, "PARTLABEL=nowhere")
    refused(both.update("list", "--esp", both.config_path, esp=False), CONFIG, "measured-unlock.conf", "cannot be mounted")
    refused(both.update("list", "--esp", both.folder, esp=False), CONFIG, "EFI/BOOT has no BOOT")


# ---- Secure Boot, as the event log has it ----

def test_secure_boot_of_the_event_log(both):
    """On: db must let the image start."""
    pk, db = ((SECURE_BOOT / f"{name}.esl").read_bytes() for name in ("PK", "db"))
    both.measure([w.variable(w.GLOBAL, "SecureBoot", b"\1"), w.variable(w.GLOBAL, "PK", pk), w.variable(w.GLOBAL, "KEK"),
                  w.variable(w.DATABASE, "db", db), w.variable(w.DATABASE, "dbx")])
    refused(both.install(NEW), REFUSE, "image 1", "db")


def test_keys_in_setup_mode(both):
    """PCR 7 has what is enrolled, also while nothing is verified."""
    both.measure([w.variable(w.GLOBAL, "SecureBoot", b"\0"), w.variable(w.GLOBAL, "PK"), w.variable(w.GLOBAL, "KEK"),
                  w.variable(w.DATABASE, "db", (SECURE_BOOT / "db.esl").read_bytes()), w.variable(w.DATABASE, "dbx")])
    refused(both.install(NEW), REFUSE, "PCR 7")


def test_no_event_log(both):
    both.log.unlink()
    refused(both.install(NEW), CONFIG, "--eventlog")
    (both.folder / "log").write_bytes(event_log.spec_id())
    assert both.install(NEW, "--eventlog", both.folder / "log").returncode == 0


# ---- the key policy ----

def test_key_policy_in_a_file(both):
    refused(both.install(NEW, "--policy", both.policy_of(both.old)), REFUSE, "volume 'root'", "key policy", "another PCR 4",
            "muctl policy kms")
    assert both.images() == ["linux-1.efi"]
    done = both.install(NEW, "--policy", both.policy_of(both.old, NEW))
    assert done.returncode == 0 and "by the key policy, too" in done.stdout


def edited(policy, change):
    content = json.loads(policy.read_text())
    change(content["Statement"])
    policy.write_text(json.dumps(content))
    return policy


def deny_new(computer):
    pcr4 = json.loads(computer.baseline(NEW).read_text())["Measurements"]["PCR4"]
    return {"Sid": "withdrawn", "Effect": "Deny", "Principal": "*", "Action": "kms:*", "Resource": "*",
            "Condition": {"StringEqualsIgnoreCase": {w.NITRO + "4": pcr4.upper()}}}


def test_key_policy_that_denies(both):
    policy = edited(both.policy_of(both.old, NEW), lambda s: s.append(deny_new(both)))
    refused(both.install(NEW, "--policy", policy), REFUSE, "'withdrawn' denies kms:Decrypt")


def test_key_policy_that_allows_nobody(both):
    policy = edited(both.policy_of(both.old, NEW), lambda s: s.__setitem__(slice(None), [x for x in s if x["Effect"] == "Deny"]))
    refused(both.install(NEW, "--policy", policy), REFUSE, "no statement of it allows kms:Decrypt")
    policy.write_text("[]")
    refused(both.install(NEW, "--policy", policy), CONFIG, "key policy")


def online(computer, policy, *options):
    w.run(w.Aws.COMMAND, "key", "--dir", computer.aws.folder, "--policy", policy, w.KEY_ID)
    return computer.install(NEW, "--online", *options, env={**os.environ, **w.BUILDER_ENVIRONMENT})


def readable(statements):
    statements.append({"Sid": "read", "Effect": "Allow", "Principal": {"AWS": w.BUILDER_ARN}, "Action": "kms:GetKeyPolicy", "Resource": "*"})


def test_key_policy_of_kms(both):
    refused(online(both, both.policy_of(both.old, NEW)), REFUSE, "AccessDenied", "--policy")
    refused(online(both, edited(both.policy_of(both.old), readable)), REFUSE, "another PCR 4")
    assert both.images() == ["linux-1.efi"]
    credentials = both.folder / "credentials"
    credentials.write_text("".join(f"{name}={value}\n" for name, value in w.BUILDER_ENVIRONMENT.items()))
    done = online(both, edited(both.policy_of(both.old, NEW), readable), "--credentials", credentials)
    assert done.returncode == 0, done.stderr


def test_key_policies_of_several_keys(both):
    """Any of them may be the one that a machine has to do with."""
    other = w.KEY_ARN.replace(w.KEY_ID, w.OTHER_KEY_ID)
    volume = w.make_volume(both.folder / "several.img")
    both.enroll(volume, "--key-arn", other, "--baseline", both.baseline(NEW), baseline=both.baseline(both.old))
    both.configure({"root": volume})

    def put(images, key):
        w.run(w.Aws.COMMAND, "key", "--dir", both.aws.folder, "--policy", edited(both.policy_of(*images), readable), key)
    put([both.old], w.OTHER_KEY_ID)
    allowed = edited(both.policy_of(both.old, NEW), readable)
    refused(online(both, allowed), REFUSE, "another PCR 4", other)
    put([both.old, NEW], w.OTHER_KEY_ID)
    done = online(both, edited(both.policy_of(both.old, NEW), readable))
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("options", [("--online", "--policy", "f"), ("--credentials", "f")])
def test_options_that_exclude_each_other(both, options):
    refused(both.install(NEW, *options), USAGE, options[0])


# ---- good ----

@pytest.fixture
def tried(both):
    """It was installed, and boots: the loader has counted."""
    assert both.install(NEW).returncode == 0
    (both.esp / "EFI/Linux/linux-2+3.efi").rename(both.esp / "EFI/Linux/linux-2+2-1.efi")
    w.run(w.Aws.COMMAND, "key", "--dir", both.aws.folder, "--policy", both.policy_of(both.old, NEW), w.KEY_ID)
    return both


def test_good_after_the_unlock(tried):
    assert tried.boot(NEW).returncode == 0
    assert json.loads(tried.update("good", "--json").stdout)["marked"]
    assert tried.images() == ["linux-1.efi", "linux-2.efi"]
    assert [i["name"] for i in tried.listed()] == ["linux-2", "linux-1"]
    again = tried.update("good", "--json")  # also when systemd-bless-boot was first
    assert again.returncode == 0 and not json.loads(again.stdout)["marked"]


def test_the_old_one_runs_again(tried):
    """What failed stays on trial, and is named."""
    (tried.esp / "EFI/Linux/linux-2+2-1.efi").rename(tried.esp / "EFI/Linux/linux-2+0-3.efi")
    assert tried.boot(tried.old).returncode == 0
    done = tried.update("good")
    assert done.returncode == 0 and "linux-2+0-3.efi has no tries left" in done.stderr
    assert tried.images() == ["linux-1.efi", "linux-2+0-3.efi"]
    assert [i["name"] for i in tried.listed()] == ["linux-1", "linux-2"]


def test_not_good_without_the_unlock(tried):
    tried.running = NEW
    tried.tpm.reboot()
    refused(tried.update("good"), REFUSE, "no report")
    tried.report_path.write_text('{"result": "refuse"}')
    refused(tried.update("good"), REFUSE, "did not unlock")
    assert "linux-2+2-1.efi" in tried.images()


def test_not_good_if_another_one_runs(tried):
    """By PCR 4, whatever the partition says now."""
    assert tried.boot(NEW).returncode == 0
    tried.put("linux-2+2-1.efi", STRANGER)
    refused(tried.update("good"), REFUSE, "PCR 4 is that of no image")
    assert "linux-2+2-1.efi" in tried.images()


def test_good_overwrites_nothing(tried):
    assert tried.boot(NEW).returncode == 0
    tried.put("linux-2.efi", STRANGER)
    refused(tried.update("good"), CONFIG, "cannot be renamed")
    assert (tried.esp / "EFI/Linux/linux-2.efi").read_bytes() == STRANGER


def test_list_without_a_tpm(both):
    done = both.update("list", "--json", "--tcti", "device:/nowhere")
    assert done.returncode == 0 and {i["booted"] for i in json.loads(done.stdout)["images"]} == {None}
    assert "not known without a TPM" in both.update("list", "--tcti", "device:/nowhere").stdout


# ---- prune ----

def test_prune(tried):
    for name, image in (("linux-0.efi", STRANGER), ("linux-00+0-2.efi", STRANGER), ("linux-3.efi", uki(b"3"))):
        tried.put(name, image)
    refused(tried.update("prune"), USAGE, "--keep")
    before = tried.images()
    report = json.loads(tried.update("prune", "--keep", "1", "--dry-run", "--json").stdout)
    assert tried.images() == before
    assert [Path(p).name for p in report["removed"]] == ["linux-0.efi", "linux-00+0-2.efi"]
    assert tried.update("prune", "--keep", "1").returncode == 0
    # The newest good one, what is on trial, and what runs, though two others come before it.
    assert tried.images() == ["linux-1.efi", "linux-2+2-1.efi", "linux-3.efi"]


def test_prune_does_not_guess(tried):
    tried.running = STRANGER
    tried.tpm.reboot()
    refused(tried.update("prune", "--keep", "1"), REFUSE, "not known which one runs")
    assert len(tried.images()) == 2
