# SPDX-License-Identifier: GPL-2.0-or-later
"""docs/examples/acceptance/run by AWS's own CLI against moto. Its instances are this host's measured-unlock with a TPM and a KMS
of the emulators; vm-tests/test_acceptance.py has whole machines."""
import base64
import gzip
import json
import os
import re
import shutil
import sys
import time

import aws_programs as programs
import event_log
import pytest
import uefi_data
import world as w

sys.path.append(str(w.TOP / "tests/acceptance"))
import acceptance  # noqa: E402

PAGE = w.TOP / "docs/guide/acceptance.md"
ESP_MIB = 4
STUB = "/usr/lib/systemd/boot/efi/linuxx64.efi.stub"
PLACES = {"x86_64": "EFI/BOOT/BOOTX64.EFI", "arm64": "EFI/BOOT/BOOTAA64.EFI"}
ACCOUNT = "123456789012"  # moto's
BANNER = "measured-unlock: BOOT REFUSED\nmeasured-unlock: reason: refused\nmeasured-unlock: fence:  closed\n"


@pytest.fixture(scope="module")
def disks(tmp_path_factory):
    """Architecture -> a disk whose EFI system partition has something like a UKI."""
    if reason := acceptance.why_not():
        pytest.skip(reason)
    folder, made = tmp_path_factory.mktemp("disks"), {}
    for name, text in ("osrel", 'ID=test\nPRETTY_NAME="a test"\n'), ("cmdline", "root=/dev/mapper/root console=ttyS0"):
        (folder / name).write_text(text)
    w.run("objcopy", *(word for n, a in (("osrel", "0x20000"), ("cmdline", "0x30000")) for word in (
        "--add-section", f".{n}={folder / n}", "--change-section-vma", f".{n}={a}")), STUB, folder / "uki.efi")
    for architecture, place in PLACES.items():
        esp, disk = folder / "esp", folder / f"{architecture}.raw"
        esp.unlink(missing_ok=True)
        w.run("truncate", "-s", f"{ESP_MIB}M", esp)
        w.run("mformat", "-i", esp, "-v", "ESP", "::")
        w.run("mmd", "-i", esp, "::EFI", "::EFI/BOOT")
        w.run("mcopy", "-i", esp, folder / "uki.efi", f"::{place}")
        w.run("truncate", "-s", "8M", disk)
        table = f"label: gpt\nstart=1MiB, size={ESP_MIB}MiB, type=U, name=esp\ntype=L, name=root\n"
        w.run("sfdisk", "--quiet", disk, input=table.encode())
        with open(disk, "r+b") as file:
            file.seek(acceptance.MIB)
            file.write(esp.read_bytes())
        made[architecture] = disk
    return made


class Host:
    """This host as each instance: what the firmware of a machine with that disk and these variables would measure, then
    measured-unlock, then what the unit in the image does."""

    def __init__(self, world, disks, blind=()):
        """blind: PCRs that firmware does not extend, so that an alteration unlocks."""
        self.world, self.disks, self.blind, self.altered = world, disks, blind, []

    def alterations(self, home):
        """PCR -> what firmware measures there besides, or instead."""
        image = json.loads((home / "image.json").read_text())
        good, place = self.disks[image["architecture"]], PLACES[image["architecture"]]
        disk = acceptance.as_launched(home, good, home / "disk")
        found, store = {}, uefi_data.variables(image["uefi_data"]) if image["uefi_data"] else {}
        if acceptance.esp_file(disk, place) != acceptance.esp_file(good, place):
            found[4] = acceptance.esp_file(disk, place)
            assert len(list((home / "blocks").iterdir())) == 1
        if "BootNext" in store:
            _, _, option = store[f"Boot{int.from_bytes(store['BootNext'][2], 'little'):04X}"]
            assert place.replace("/", "\\").encode("utf-16-le") in option
            found[12] = option[-80:]
        if "db" in store:
            found[7] = store["db"][2]
        if store.get("DriverOrder"):
            driver = acceptance.esp_file(disk, "EFI/acceptance.efi")
            assert driver[:2] == b"MZ" and "\\EFI\\acceptance.efi".encode("utf-16-le") in store["Driver0000"][2]
            found[2] = driver
        self.altered.append((image["architecture"], image["type"], *sorted(found)))
        return found

    def __call__(self, home):
        world = self.world
        world.fresh()
        for pcr, data in self.alterations(home).items():
            if pcr not in self.blind:
                world.tpm.extend(pcr, data)
        done = world.unlock()
        console = "[    1.000000] " + "\n[    1.000000] ".join(done.stderr.splitlines()) + "\n"
        if done.returncode != 0:
            (home / "console").write_text(console + BANNER)
            (home / "stopped").touch()
            return
        (home / "console").write_text(console)
        self.tell(home)

    def tell(self, home):
        """The program of docs/examples/acceptance/rootfs, with this world's paths."""
        log, script = home / "log", home / "acceptance"
        log.write_bytes(event_log.spec_id() + b"".join(
            event_log.event(pcr, event_log.EV_SEPARATOR if data == w.SEPARATOR else event_log.EV_EFI_ACTION, data)
            for pcr, data in self.world.tpm.measured))
        text = (acceptance.TREE / "usr/lib/measured-unlock/acceptance").read_text()
        paths = {"/etc/measured-unlock/measured-unlock.conf": self.world.config_path, "/dev/console": home / "told",
                 "/run/measured-unlock-acceptance": home / "work", "/run/measured-unlock/report.json": self.world.report_path,
                 "/usr/lib/measured-unlock/measured-unlock": w.UNLOCK, "sleep 60": "exit",
                 "muctl attest": f"{w.MUCTL} attest --tcti {self.world.tpm.tcti}",
                 "/sys/kernel/security/tpm0/binary_bios_measurements": log}
        for old, new in paths.items():
            assert old in text, old
            text = text.replace(old, str(new))
        # This world's configuration names the report already.
        text = text.replace("sed 's|", "sed '/^report = /d; s|")
        script.write_text(text)
        w.run("sh", script)
        # A line of the kernel's in the middle of the first round, which nobody sees whole then.
        told = (home / "told").read_text()
        broken = re.sub(r"(acceptance 1 document 2 [\w+/]{20})", r"\1[    9.123456] random: crng init done\n", told)
        assert broken != told
        with open(home / "console", "a") as console:
            console.write(broken + told.replace("acceptance 1 ", "acceptance 2 "))


@pytest.fixture
def start(tmp_path, disks, world):
    """-> a Cloud and the options of a run that builds for these architectures."""
    clouds = []

    def make(*architectures, **options):
        packages = []
        for architecture in architectures or ("x86_64",):
            packages.append(tmp_path / f"measured-unlock_1_{ {'x86_64': 'amd64'}.get(architecture, architecture)}.deb")
            packages[-1].touch()
        cloud = acceptance.Cloud(tmp_path, programs.pip_install("moto.txt"), w.two_free_ports(), disks, world.complete,
                                 (1 + ESP_MIB) * acceptance.MIB, **options)
        clouds.append(cloud)
        return cloud, ["--build", *packages, "--report", tmp_path / "report", "--muctl", w.MUCTL, "--root", world.tpm.root,
                       "--yes"]
    yield make
    for cloud in clouds:
        cloud.close()


def report(folder):
    return json.loads((folder / "report.json").read_text())


def steps(folder):
    return {(m["architecture"], s["name"]): s["ok"] for m in report(folder)["machines"] for s in m["steps"]}


NAMES = ["unlock", "fence", "document", "event-log", "timings", "command-line", "uki", "uefi-variable", "driver"]


def test_whole_run(start, world, disks, tmp_path):
    """Both architectures: unlocked, then refused four times each, for the right PCR; a report; nothing is left."""
    cloud, options = start("x86_64", "arm64")
    host = Host(world, disks)
    with acceptance.Player(cloud.instances, host):
        done = cloud.run(*options)
    assert done.returncode == 0, done.stdout + (tmp_path / "cloud.log").read_text()[-3000:]
    machines = ("x86_64", "c7i.large"), ("arm64", "c7g.large")
    assert host.altered == [(*machine, *pcr) for machine in machines for pcr in ((), (12,), (4,), (7,), (2,))]
    assert steps(tmp_path) == {(a, n): True for a in ("x86_64", "arm64") for n in NAMES}
    was_asked(cloud)
    assert cloud.left() == []
    is_told(tmp_path, world)
    is_masked(tmp_path)
    was_given(cloud, world)


def is_told(folder, world):
    """The report has what it says: a document that holds, its event log, the timings."""
    told = report(folder)
    assert told["ok"] and told["ended"] is None
    for machine in told["machines"]:
        (folder / "document").write_bytes(base64.b64decode(machine["document"]))
        assert w.muctl("verify", folder / "document", "--root", world.tpm.root, "--baseline", world.complete).returncode == 0
        assert machine["pcrs"]["15"].strip("0") != ""
        assert gzip.decompress(base64.b64decode(machine["eventlog_gz"])).startswith(event_log.spec_id())
        assert {"document", "kms-decrypt", "fence"} <= {s["name"] for s in machine["timings"]}
        assert any("PCR 12: expected" in line for line in machine["console"]["command-line"])
    page = (folder / "report.md").read_text()
    assert all(f"| {name} | yes |" in page for name in NAMES)


def is_masked(folder):
    for name in "report.json", "report.md":
        text = (folder / name).read_text()
        assert ACCOUNT not in text and "the secret key" not in text and "PRIVATE KEY" not in text, name


def was_given(cloud, world):
    """Packer's input is what docs/examples/packer/README.md wants, for the key and the roles of the stacks."""
    given = cloud.folder / "input-arm64"
    show = '. "$1"; echo "$KEY_ARN|$ROLE_ARN|$ADMIN_ARN|$BUILDER_ARN|$FILES"'
    conf = w.run("sh", "-c", show, "sh", given / "image.conf", text=True).stdout.strip().split("|")
    assert re.fullmatch(rf"arn:aws:kms:{acceptance.REGION}:{ACCOUNT}:key/[\w-]+", conf[0])
    roles = [re.search(r"role/.*-roles-(\w+)-\w+$", arn)[1] for arn in conf[1:4]]
    assert roles == ["InstanceRole", "KeyAdminRole", "BuilderRole"]
    assert conf[4] == "/mnt/image/in/measured-unlock_1_arm64.deb /mnt/image/in/acceptance.tar"
    listed = w.run("tar", "--list", "--verbose", "--file", given / "acceptance.tar", text=True).stdout
    assert re.search(r"^-rwxr-xr-x .* \./usr/lib/measured-unlock/acceptance$", listed, re.M)
    assert "multi-user.target.wants/measured-unlock-acceptance.service -> ../measured-unlock-acceptance.service" in listed
    policies = [json.loads((home / "policy.json").read_text()) for home in cloud.instances.iterdir()]
    pcr4 = json.loads(world.complete.read_text())["Measurements"]["PCR4"]
    assert all(len(p) == 1 and pcr4 in json.dumps(p) for p in policies)


PATHS = {"GET /snapshots/blocks": "GetSnapshotBlock", "POST /snapshots": "StartSnapshot",
         "PUT /snapshots/blocks": "PutSnapshotBlock", "POST /snapshots/completion": "CompleteSnapshot"}


def was_asked(cloud):
    """Every instance and image as docs/guide/getting-started.md has them, and with tags; the page names each action."""
    for request in cloud.requests("RunInstances"):
        asked = request["parameters"]
        assert asked["MetadataOptions.HttpTokens"] == "required"
        assert asked["TagSpecification.1.Tag.1.Key"] == "measured-unlock-acceptance"
        assert not [name for name in asked if name.startswith(("UserData", "KeyName", "SecurityGroup"))]
    registered = [r["parameters"] for r in cloud.requests("RegisterImage")]
    settings = "BootMode", "TpmSupport", "ImdsSupport", "EnaSupport"
    assert {tuple(p[name] for name in settings) for p in registered} == {("uefi", "v2.0", "v2.0", "true")}
    for store in {p["UefiData"] for p in registered if "UefiData" in p} if not uefi_data.why_not() else ():
        assert uefi_data.variables_by_aws(store.encode()) == uefi_data.variables(store), "AWS's own tool reads something else"
    named = set(re.findall(r"`(?:\w+:)?([A-Z]\w+)`", PAGE.read_text()))
    assert {PATHS.get(r["action"], r["action"]) for r in cloud.requests()} <= named


def take_an_ami(cloud, world):
    """The options of a run that takes an AMI, which somebody made with a role of his own."""
    cloud.aws("iam", "create-instance-profile", "--instance-profile-name", "web")
    snapshot = (cloud.folder / "snapshot-x86_64").read_text()
    ami = cloud.aws("ec2", "register-image", "--name", "web-1", "--architecture", "x86_64", "--virtualization-type", "hvm",
                    "--boot-mode", "uefi", "--tpm-support", "v2.0", "--root-device-name", "/dev/xvda",
                    "--block-device-mappings", f"DeviceName=/dev/xvda,Ebs={{SnapshotId={snapshot}}}")["ImageId"]
    return ["--ami", f"{ami}={world.complete}", "--profile", "web", "--type", "t3.micro"]


@pytest.mark.parametrize("pcr, step", [(12, "command-line"), pytest.param(2, "driver", marks=pytest.mark.long)])
def test_an_alteration_that_unlocks(start, world, disks, tmp_path, pcr, step):
    """It fails the run, and the report says that firmware did not take it. Here the run takes an AMI, which it leaves."""
    cloud, options = start()
    host = Host(world, disks, blind=(pcr,))
    with acceptance.Player(cloud.instances, host):
        done = cloud.run(*take_an_ami(cloud, world), *options[options.index("--report"):])
    assert done.returncode == 2, done.stdout
    assert {name for (_, name), ok in steps(tmp_path).items() if not ok} == {step}
    assert {instance_type for _, instance_type, *_ in host.altered} == {"t3.micro"}
    found, = (s["detail"] for s in report(tmp_path)["machines"][0]["steps"] if s["name"] == step)
    assert f"UNLOCKED; PCR {pcr} is as without it" in found
    assert not report(tmp_path)["ok"] and cloud.left() == ["web-1"]
    snapshots = [s["SnapshotId"] for s in cloud.aws("ec2", "describe-snapshots", "--owner-ids", "self")["Snapshots"]]
    assert (cloud.folder / "snapshot-x86_64").read_text() in snapshots


# Action that AWS refuses -> what the run must have asked for to clean up.
FAILURES = {"CreateStack": set(), "UpdateStack": {"DeregisterImage", "DeleteSnapshot", "DeleteStack"},
            "RunInstances": {"DeregisterImage", "DeleteStack"},
            "GetConsoleOutput": {"TerminateInstances", "DeregisterImage", "DeleteStack"},
            "PUT /snapshots/blocks": {"TerminateInstances", "DeleteSnapshot", "DeregisterImage", "DeleteStack"}}
QUICK = "CreateStack", "PUT /snapshots/blocks"


@pytest.mark.parametrize("refused", [pytest.param(n, marks=[] if n in QUICK else pytest.mark.long) for n in FAILURES])
def test_clean_up_after_a_failure(start, world, disks, tmp_path, refused):
    """Wherever it fails: the report says so, all that was made is gone, and the exit code is 3."""
    cloud, options = start(refuse=[refused])
    with acceptance.Player(cloud.instances, Host(world, disks)):
        done = cloud.run(*options)
    assert done.returncode == 3, done.stdout
    assert not report(tmp_path)["ok"] and "exit code" in report(tmp_path)["ended"]
    assert cloud.left() == [] and "not removed" not in done.stdout
    asked = {r["action"] for r in cloud.requests()}
    assert FAILURES[refused] <= asked, asked
    assert not list(tmp_path.glob("mu-acceptance-*")), "keys are left"


def test_interrupted(start, tmp_path):
    """Packer gets an interrupt, as it wants for its own clean-up, and then all is removed."""
    packer = f"trap 'touch {tmp_path}/interrupted; exit 1' INT; touch {tmp_path}/building; while :; do sleep 0.1; done"
    cloud, options = start(before=packer)
    with cloud.start(*options) as run:
        while not (tmp_path / "building").exists():
            assert run.poll() is None, run.stdout.read()
            time.sleep(0.1)
        run.terminate()
        said, _ = run.communicate()
    assert run.returncode == 3 and "interrupted (SIGTERM)" in said
    assert (tmp_path / "interrupted").exists() and cloud.left() == []


def test_kept_and_cleaned_up_later(start, tmp_path):
    cloud, options = start(before="exit 1")
    done = cloud.run(*options, "--keep")
    name = re.search(r"--clean-up (\w+)", done.stdout)[1]
    assert done.returncode == 3 and len([n for n in cloud.left() if name in n]) >= 2, done.stdout
    shutil.rmtree(re.search(r"Kept: ([^,]*),", done.stdout)[1])
    assert cloud.run("--clean-up", "00000000").returncode == 0 and cloud.left() != []
    assert cloud.run("--clean-up", name).returncode == 0 and cloud.left() == []


def test_asks_before_it_spends(start, tmp_path):
    cloud, options = start()
    done = cloud.run(*(o for o in options if o != "--yes"), answer="no\n")
    assert done.returncode == 0 and "together: 0.43" in done.stdout and "Nothing was made." in done.stdout
    assert {r["action"] for r in cloud.requests()} == {"GetCallerIdentity", "DescribeInstanceTypes"}
    assert not (tmp_path / "report.json").exists()


@pytest.mark.parametrize("change, code, words", [
    (["--type", "t2.micro"], 4, "no NitroTPM"), (["--build", "web.deb"], 4, "web.deb: want a package"),
    (["--muctl", "no-muctl"], 4, "no-muctl"), (["--ami", "ami-1=b"], 1, "either --build or --ami"),
    (["--clean-up", "x"], 1, "eight hexadecimal"), (["--report", "no/folder/r"], 4, "no such folder")])
def test_bad_input(start, change, code, words):
    cloud, options = start()
    done = cloud.run(*options, *change)
    assert (done.returncode, words in done.stdout) == (code, True), done.stdout
    assert not cloud.requests("CreateStack", "RunInstances")


def test_version_1_of_the_cli(tmp_path):
    (tmp_path / "aws").write_text("#!/bin/sh\necho aws-cli/1.45.11 Python/3.11\n")
    (tmp_path / "aws").chmod(0o755)
    done = w.run(acceptance.RUN, "--region", "r", "--clean-up", "00000000", check=False, text=True,
                 env={**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"})
    assert done.returncode == 4 and "version 2 is needed" in done.stderr


# docs/guide/acceptance.md

def rows(text, columns):
    """The cells of tables that begin with these columns."""
    found = []
    for table in re.findall(rf"^\| {re.escape(columns)} \|.*\n\|[-|]+\n((?:\|.*\n)+)", text, re.M):
        found += [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in table.splitlines()]
    return found


def named_tests(row):
    return ", ".join(re.findall(r"`test_\w+\.(?:py|c)::test_\w+`", row[-1]))


def claims():
    """{claim: tests} of docs/guide/threat-model.md: what attackers cannot do, and what enters a boot."""
    text = (w.TOP / "docs/guide/threat-model.md").read_text()
    cannot, inputs = rows(text, "cannot | because"), rows(text, "input | who writes it, when it acts")
    assert len(cannot) > 40 and len(inputs) > 40
    return {row[0].replace("(#", "(threat-model.md#"): named_tests(row) for row in cannot + inputs}


def seen():
    return rows(PAGE.read_text(), "claim | step | seen on EC2")


def test_every_claim_has_a_row():
    """With the tests that the threat model names for it, and no other claims and tests. What is missing can be pasted."""
    table = {row[0]: named_tests(row) for row in seen()}
    wanted, there = (dict(sorted(d.items())) for d in (claims(), table))
    missing = [f"| {claim} | | | {named} |" for claim, named in wanted.items() if there.get(claim) != named]
    assert missing == [] and set(there) == set(wanted), "\n".join(missing)


def test_seen_on_ec2_is_a_report():
    """Of a step of the run; empty, or the report that shows it, which lies in the folder of reports."""
    for claim, step, ec2, _ in seen():
        assert not step or set(re.findall(r"`([\w-]+)`", step)) <= set(NAMES), claim
        for path in re.findall(r"\]\(([^)]*)\)", ec2):
            told = json.loads((PAGE.parent / path).with_suffix(".json").read_text())
            assert step and told["ok"], claim
        assert ec2 == "" or "](" in ec2, claim
