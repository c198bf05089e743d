# SPDX-License-Identifier: GPL-2.0-or-later
"""docs/examples/packer: what can be said about the template and its scripts without EC2. The VM tests run the scripts."""
import base64
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

import aws_programs as programs
import packer_build
import pytest
import uefi_data
import world as w

sys.path.append(str(w.TOP / "vm-tests"))
from harness.namespace import Namespace  # noqa: E402

PACKER = w.TOP / "docs/examples/packer"
TEMPLATE = PACKER / "measured-unlock.pkr.hcl"
STEPS = sorted(p for p in (PACKER / "provision").iterdir())


def packer(*arguments):
    """Without a network: nothing is downloaded, nobody is told."""
    if reason := packer_build.why_not():
        pytest.skip(reason)
    return subprocess.run(["unshare", "--net", packer_build.PROGRAM, *map(str, arguments)], text=True, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, env={**os.environ, "CHECKPOINT_DISABLE": "1"})


@pytest.fixture
def template(tmp_path):
    """The template for this Packer."""
    if reason := packer_build.why_not():
        pytest.skip(reason)
    (tmp_path / "input").mkdir()
    return packer_build.template(tmp_path) / TEMPLATE.name


def validate(path):
    return packer("validate", "-var", "region=eu-west-1", "-var", "instance_profile=builder",
                  "-var", f"input={path.parents[1]}/input/", path.parent)


@pytest.mark.parametrize("name", sorted(p.name for p in PACKER.glob("*.hcl")))
def test_template_is_formatted(name):
    done = packer("fmt", "-check", "-diff", PACKER / name)
    assert done.returncode == 0, done.stdout


def test_template_syntax():
    done = packer("validate", "-syntax-only", TEMPLATE)
    assert done.returncode == 0, done.stdout


def test_template_is_valid(template):
    done = validate(template)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("old, new", [
    ("ami_virtualization_type", "ami_virtualisation_type"),
    ('source_device_name    = "/dev/xvdf"', 'source_device_name    = "/dev/xvdg"'),
    ("provision/50-esp", "provision/50-no-such-step")])
def test_validation_finds(template, old, new):
    """So that it means something when it finds nothing."""
    text = template.read_text()
    assert old in text
    template.write_text(text.replace(old, new))
    assert validate(template).returncode != 0


def test_image_is_registered_for_attestation():
    text = TEMPLATE.read_text()
    for setting in ('boot_mode = "uefi"', 'tpm_support = "v2.0"', 'imds_support = "v2.0"', "ena_support = true",
                    'http_tokens = "required"'):
        assert re.search(r"(?m)^ *" + setting.replace(" = ", " += ") + "$", text), setting


def test_template_compares_the_variable_stores(tmp_path):
    """What the AMI is registered with is known before the builder starts, what the image needs only after."""
    off, on = re.search(r'inline = \[local\.variable_store == "" \? "(.*)" :\s+"(.*)"\]', TEMPLATE.read_text()).groups()
    store = tmp_path / "out/uefi-data"
    store.parent.mkdir()
    cases = ((off, None, True), (off, "a", False), (on, "a", True), (on, "b", False), (on, None, False))
    for command, made, good in cases:
        store.unlink(missing_ok=True)
        if made:
            store.write_text(made)
        text = command.replace("${local.variable_store}", "a").replace("/mnt/image", str(tmp_path)).replace("sudo ", "")
        assert (subprocess.run(["sh", "-e", "-c", text], capture_output=True).returncode == 0) == good, (text, made)


def test_template_runs_every_step_in_order():
    assert re.findall(r"provision/([^\"]+)", TEMPLATE.read_text()) == [p.name for p in STEPS]


# Builds by a real Packer, with EC2, the instance and the steps of stand-ins. vm-tests/test_builder.py has the real steps.

STEP = """. "$1"
mkdir -p "$OUT"
echo {name} >>"$OUT/steps"
stat -c "%a %n" "$WORK"/in/* >"$OUT/input"
"""
# What only a Packer of our days asks for: 1.16.0 with plugin 1.8 did, of moto.
ONLY_NEW = {"ec2:DeleteVolume"}
# What EC2 wants besides for a request: that to run an instance has tags, and a role.
IMPLIED = {"ec2:CreateTags", "iam:PassRole"}


class Build:
    def __init__(self, folder, refuse=(), fail=None, **variables):
        """fail: a step that does."""
        if reason := packer_build.why_not():
            pytest.skip(reason)
        packages = programs.pip_install("moto.txt")
        folder.mkdir(exist_ok=True)
        template = packer_build.template(folder)
        for step in (template / "provision").iterdir():
            step.write_text("exit 1\n" if step.name == fail else STEP.format(name=step.name))
        for name in "programs", "input":
            (folder / name).mkdir()
        (folder / "input/image.conf").write_text("WORK=/mnt/image\nOUT=$WORK/out\n")
        (folder / "input/builder.key").write_text("secret")
        (folder / "input/builder.key").chmod(0o644)
        self.output = folder / "output.tar"
        namespace = Namespace(folder)
        try:
            packer_build.make_login(folder)
            self.ec2 = packer_build.Ec2(namespace, folder, packages, folder, refuse)
            self.ec2.be_the_instance(folder / "programs")
            if variables.pop("subnet", None):
                variables["subnet_id"] = self.ec2.subnet
            self.code = self.ec2.build(template, input=f"{folder}/input/", output=self.output, **variables)
        finally:
            namespace.close()

    def parameters(self, action):
        """Of the one request for this action, without what is drawn, or the same for all."""
        request, = self.ec2.requests(action)
        return {k: v for k, v in request["parameters"].items() if k not in ("Version", "ClientToken") and v != ""}

    @property
    def asked(self):
        return [f"{r['service']}:{r['action']}" for r in self.ec2.requests()]


def matches(parameters, expected, newer):
    """Each parameter, and no other. A Packer of our days may have more of them, but what is listed here it must have."""
    if packer_build.is_old():
        return parameters == expected
    return expected.items() | newer.items() <= parameters.items()


@pytest.mark.parametrize("architecture, instance_type", [("x86_64", "c7i.large"), ("arm64", "c7g.large")])
def test_requests_of_a_build(tmp_path, architecture, instance_type):
    done = Build(tmp_path, architecture=architecture, volume_size=9, ssh_from='["192.0.2.0/24"]')
    assert done.code == 0, done.ec2.said
    volume = {"Ebs.DeleteOnTermination": "true", "Ebs.Iops": "3000", "Ebs.Throughput": "125", "Ebs.VolumeSize": "9",
              "Ebs.VolumeType": "gp3"}
    key, group = done.parameters("CreateKeyPair")["KeyName"], done.parameters("DeleteSecurityGroup")["GroupId"]
    run = done.parameters("RunInstances")
    assert matches(run, {
        "ImageId": packer_build.NEWEST[architecture], "InstanceType": instance_type, "MinCount": "1", "MaxCount": "1", "KeyName": key,
        "SecurityGroupId.1": group, "IamInstanceProfile.Name": packer_build.PROFILE, "EbsOptimized": "false",
        "InstanceInitiatedShutdownBehavior": "stop", "TagSpecification.1.ResourceType": "instance",
        "TagSpecification.1.Tag.1.Key": "Name", "TagSpecification.1.Tag.1.Value": "Packer Builder",
        "BlockDeviceMapping.1.DeviceName": "/dev/xvdf", **{f"BlockDeviceMapping.1.{k}": v for k, v in volume.items()}},
        {"MetadataOptions.HttpEndpoint": "enabled", "MetadataOptions.HttpTokens": "required",
         "MetadataOptions.HttpPutResponseHopLimit": "1"}), run
    opened = done.parameters("AuthorizeSecurityGroupIngress")
    assert opened == {"GroupId": group, "IpPermissions.1.IpProtocol": "tcp", "IpPermissions.1.FromPort": "22",
                      "IpPermissions.1.ToPort": "22", "IpPermissions.1.IpRanges.1.CidrIp": "192.0.2.0/24"}

    instance = done.parameters("StopInstances")["InstanceId.1"]
    assert done.parameters("ModifyInstanceAttribute") == {"InstanceId": instance, "EnaSupport.Value": "true"}
    snapshot = done.ec2.requests("DescribeSnapshots")[0]["parameters"]["SnapshotId.1"]
    assert set(done.parameters("CreateSnapshot")) == {"VolumeId", "Description"}
    registered = done.parameters("RegisterImage")
    assert re.fullmatch(r"measured-unlock-\d{10}", registered.pop("Name"))
    assert matches(registered, {
        "Architecture": architecture, "VirtualizationType": "hvm", "EnaSupport": "true", "RootDeviceName": "/dev/xvda",
        "BlockDeviceMapping.1.DeviceName": "/dev/xvda", "BlockDeviceMapping.1.Ebs.SnapshotId": snapshot,
        **{f"BlockDeviceMapping.1.{k}": v for k, v in volume.items()}},
        {"BootMode": "uefi", "TpmSupport": "v2.0"}), registered
    assert "BlockDeviceMapping.2.DeviceName" not in registered

    modified = [r["parameters"] for r in done.ec2.requests("ModifyImageAttribute")]
    image = re.search(r"eu-west-1: (ami-\w+)", done.ec2.said)[1]
    assert {m["ImageId"] for m in modified} == {image}
    assert [m["Description.Value"] for m in modified if "Description.Value" in m] == [
        "Its root is encrypted and unlocks if it boots as built (measured-unlock)"]
    assert [m["ImdsSupport.Value"] for m in modified if "ImdsSupport.Value" in m] == ([] if packer_build.is_old() else ["v2.0"])
    assert not [k for m in modified for k in m if "LaunchPermission" in k]
    assert done.parameters("TerminateInstances") == {"InstanceId.1": instance}
    assert done.parameters("DeleteKeyPair") == {"KeyName": key}

    with tarfile.open(done.output) as archive:
        members = {m.name: archive.extractfile(m).read().decode() for m in archive if m.isfile()}
    assert members["./steps"].split() == [p.name for p in STEPS]
    assert members["./input"].split() == ["600", "/mnt/image/in/builder.key", "600", "/mnt/image/in/image.conf"]


CLEANED = ["ec2:TerminateInstances", "ec2:DeleteSecurityGroup", "ec2:DeleteKeyPair"]
WAYS = {"a build": ({"subnet": True}, CLEANED), "no instance": ({"refuse": ["RunInstances"]}, CLEANED[1:]),
        "a step": ({"fail": "70-enroll"}, CLEANED), "no image": ({"refuse": ["RegisterImage"]}, ["ec2:DeleteSnapshot", *CLEANED]),
        "no attribute": ({"refuse": ["ModifyImageAttribute"]}, ["ec2:DeregisterImage", "ec2:DeleteSnapshot", *CLEANED])}


def test_policy_is_what_builds_ask_for(tmp_path):
    """iam-policy.json has the actions of all builds, also of those that fail half-way and clean up, and no others."""
    asked = set()
    for number, (name, (options, last)) in enumerate(WAYS.items()):
        done = Build(tmp_path / str(number), **options)
        assert (done.code == 0) == (name == "a build"), (name, done.ec2.said)
        assert [a for a in done.asked if a in last] == last, (name, done.ec2.said)
        asked |= set(done.asked)
    assert "sts:GetCallerIdentity" not in asked or not packer_build.is_old()
    statements = json.loads((PACKER / "iam-policy.json").read_text())["Statement"]
    allowed = [action for s in statements for action in ([s["Action"]] if isinstance(s["Action"], str) else s["Action"])]
    assert sorted(allowed) == sorted((asked - {"sts:GetCallerIdentity"}) | IMPLIED | ONLY_NEW)


def test_policy_is_for_one_role():
    """No role but the builder's, and that only to EC2."""
    statements = json.loads((PACKER / "iam-policy.json").read_text())["Statement"]
    assert {s["Effect"] for s in statements} == {"Allow"}
    profile, role = (next(s for s in statements if s["Action"] == a) for a in ("iam:GetInstanceProfile", "iam:PassRole"))
    assert profile["Resource"].endswith(":instance-profile/image-builder") and role["Resource"].endswith(":role/image-builder")
    assert role["Condition"] == {"StringEquals": {"iam:PassedToService": "ec2.amazonaws.com"}}


@pytest.mark.parametrize("passphrase, warned", [("a passphrase\n", True), ("a passphrase", False)])
def test_passphrase_that_nobody_can_type(tmp_path, passphrase, warned):
    (tmp_path / "cryptsetup").write_text(f"#!/bin/sh\necho \"$@\" >{tmp_path}/called\n")
    (tmp_path / "cryptsetup").chmod(0o755)
    (tmp_path / "passphrase").write_text(passphrase)
    (tmp_path / "conf").write_text(f"WORK={tmp_path}\nPASSPHRASE={tmp_path}/passphrase\n")
    done = w.run("sh", PACKER / "provision/20-encrypt", tmp_path / "conf", text=True,
                 env={"PATH": f"{tmp_path}:{os.environ['PATH']}"})
    assert ("ends with a newline" in done.stderr) == warned and (tmp_path / "called").exists()


def test_shellcheck():
    if not shutil.which("shellcheck"):
        pytest.skip("shellcheck is not installed")
    done = subprocess.run(["shellcheck", *STEPS, PACKER / "image.conf.example", PACKER / "customize.example"],
                          capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


def test_every_variable_is_documented():
    """Upper-case names are the variables file's."""
    documented = set(re.findall(r"(?m)^([A-Z_]+)=", (PACKER / "image.conf.example").read_text()))
    for step in STEPS:
        used = set(re.findall(r"\$\{?([A-Z][A-Z_]+)", step.read_text()))
        assert used <= documented, step.name


def test_example_image_takes_no_user_data():
    """Neither cloud-init, nor what would put its name back on the command line."""
    text = (PACKER / "image.conf.example").read_text()
    packages = re.search(r"(?m)^PACKAGES='(.*)'$", text)[1].split()
    assert "openssh-server" in packages and not {p for p in packages if p.startswith("cloud")}
    assert "cloud-init" not in re.search(r"(?m)^CMDLINE='(.*)'$", text)[1]


def test_customize_example(tmp_path):
    """Host keys are made by the instance, since nothing else does it; who logs in is part of the image."""
    root, programs = tmp_path / "root", tmp_path / "bin"
    for folder in root / "etc/ssh", programs:
        folder.mkdir(parents=True)
    (root / "etc/ssh/ssh_host_rsa_key").write_text("of the builder")
    (programs / "systemctl").write_text("#!/bin/sh\n")
    (programs / "systemctl").chmod(0o755)
    (root / "usr/lib/systemd/system").mkdir(parents=True)
    for unit in "systemd-networkd", "ssh":
        (root / f"usr/lib/systemd/system/{unit}.service").touch()
    script = shutil.copy(PACKER / "customize.example", tmp_path / "customize")
    keys = tmp_path / "authorized_keys"
    for given in (False, True):
        if given:
            keys.write_text("ssh-ed25519 AAAA somebody\n")
        subprocess.run(["sh", script, root], check=True, env={"PATH": f"{programs}:{os.environ['PATH']}"})
        assert (root / "root/.ssh/authorized_keys").exists() == given
    assert "ExecStartPre=ssh-keygen -A" in (root / "etc/systemd/system/ssh.service.d/host-keys.conf").read_text()
    assert not (root / "etc/ssh/ssh_host_rsa_key").exists()


def test_disk_with_data_is_left_alone(tmp_path):
    disk, conf = tmp_path / "disk", tmp_path / "image.conf"
    data = bytes(1000) + b"somebody's" + bytes(2 << 20)
    disk.write_bytes(data)
    conf.write_text(f"WORK={tmp_path}\nVOLUME=root\nESP_MIB=64\nDISK={disk}\n")
    done = subprocess.run([PACKER / "provision/10-partition", conf], capture_output=True, text=True)
    assert done.returncode == 1 and "not blank" in done.stderr
    assert disk.read_bytes() == data


# Secure Boot: the steps that it changes, without the ones between them

STUB = Path("/usr/lib/systemd/boot/efi/linuxx64.efi.stub")


class Builder:
    """The builder's machine when 30-system has run, and dracut will have made the stub itself into a UKI."""

    def __init__(self, folder):
        self.work, self.out, self.input = folder, folder / "out", folder / "in"
        self.root, self.uki = folder / "root", folder / "out/uki.efi"
        for path in (self.out, self.input, self.root / "usr/bin", self.root / STUB.parent.relative_to("/")):
            path.mkdir(parents=True)
        shutil.copy(w.MUCTL, self.root / "usr/bin/muctl")
        shutil.copy(STUB, self.root / STUB.relative_to("/"))
        shutil.copy(STUB, self.uki)
        (self.input / "measured-unlock.conf").write_text("[volume root]\ndevice = PARTLABEL=root\n")
        key, public = w.make_builder_key(self.input)
        self.variables = {"WORK": folder, "OUT": self.out, "MUCTL": folder / "muctl", "FILES": "", "SIGN_KEY": key,
                          "CONFIG": self.input / "measured-unlock.conf", "BUILDER_PEM": public,
                          "BASELINES": self.out / "baseline.json", "ROLE_ARN": w.ROLE_ARN,
                          "ADMIN_ARN": f"arn:aws:iam::{w.ACCOUNT}:role/key-admin", "BUILDER_ARN": w.BUILDER_ARN}

    def make_key(self, name="secure-boot"):
        key, cert = (self.input / f"{name}.{end}" for end in ("key", "pem"))
        w.run("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", f"/CN={name}", "-days", "10",
              "-keyout", key, "-out", cert)
        return key, cert

    def secure_boot(self, **more):
        """The switch."""
        key, cert = self.make_key()
        self.variables |= {"SECURE_BOOT_CERT": cert, "SECURE_BOOT_SIGNER": f"sbsign --key {key} --cert {cert}", **more}
        return key, cert

    def step(self, *names):
        conf = self.work / "image.conf"
        conf.write_text("".join(f"{n}={shlex.quote(str(v))}\n" for n, v in self.variables.items()))
        for name in names:
            done = subprocess.run([PACKER / "provision" / name, conf], capture_output=True, text=True)
            if done.returncode != 0:
                break
        return done

    def build(self):
        done = self.step("35-configure", "37-bake", "42-sign", "60-baseline", "80-policy")
        assert done.returncode == 0, done.stderr

    def pcr7(self, path):
        return json.loads(path.read_text())["Measurements"]["PCR7"]

    @property
    def baked(self):
        return self.root / "etc/measured-unlock/baseline.json"


@pytest.fixture
def builder(tmp_path):
    if not STUB.exists() or not shutil.which("sbsign"):
        pytest.skip("systemd-boot-efi or sbsigntool is not installed (tests/setup installs both)")
    return Builder(tmp_path)


def signature_list(cert):
    """By efitools' rule: type, sizes, owner, certificate."""
    der = w.run("openssl", "x509", "-in", cert, "-outform", "DER").stdout
    owner = bytes.fromhex("17d62e815fd54643a6d21510b6783949")
    sizes = ((28 + 16 + len(der)).to_bytes(4, "little"), bytes(4), (16 + len(der)).to_bytes(4, "little"))
    return bytes.fromhex("a159c0a5e494a74a87b5ab155c2bf072") + b"".join(sizes) + owner + der


def enrolled(builder):
    return {name: data for name, (_, _, data) in uefi_data.variables((builder.out / "uefi-data").read_bytes()).items()}


def test_without_the_switch_nothing_is_signed(builder):
    builder.build()
    assert builder.uki.read_bytes() == STUB.read_bytes()
    assert not (builder.out / "uefi-data").exists() and not (builder.out / "variables").exists()
    assert json.loads((builder.out / "baseline.json").read_text())["SecureBoot"] == "off"
    assert builder.pcr7(builder.baked) == builder.pcr7(builder.out / "baseline.json")


def test_secure_boot_by_one_switch(builder):
    builder.build()
    off = builder.pcr7(builder.baked)
    _, cert = builder.secure_boot()
    builder.build()
    assert w.run("sbverify", "--cert", cert, builder.uki, check=False).returncode == 0
    assert enrolled(builder) == dict.fromkeys(("PK", "KEK", "db"), signature_list(cert))
    complete = builder.pcr7(builder.out / "baseline.json")
    assert complete == builder.pcr7(builder.baked) != off
    policy = (builder.out / "key-policy.json").read_text()
    assert complete in policy and off not in policy


def test_aws_reads_the_variable_store(builder):
    if uefi_data.why_not():
        pytest.skip(uefi_data.why_not())
    _, cert = builder.secure_boot()
    builder.build()
    by_aws = uefi_data.variables_by_aws((builder.out / "uefi-data").read_bytes())
    assert {n: v[2] for n, v in by_aws.items()} == dict.fromkeys(("PK", "KEK", "db"), signature_list(cert))


def example(builder, **values):
    """image.conf.example with some of its variables set, and no package to install."""
    text = (PACKER / "image.conf.example").read_text()
    for name, value in {"WORK": builder.work, "FILES": "", "CUSTOMIZE": "", **values}.items():
        text, count = re.subn(rf"(?m)^{name}=.*$", f"{name}={value}", text)
        assert count == 1, name
    return text


def test_the_switch_is_the_certificate(builder):
    """As README.md has it: one variable of the example; and the variable store for Packer, which is made before."""
    key, cert = builder.make_key()
    assert (key.name, cert.name) == ("secure-boot.key", "secure-boot.pem")
    conf, own, store = (builder.work / name for name in ("image.conf", "own.esl", "uefi-data"))
    conf.write_text(example(builder, SECURE_BOOT_CERT="$WORK/in/secure-boot.pem"))
    for name in ("35-configure", "37-bake", "42-sign", "60-baseline"):
        w.run(PACKER / "provision" / name, conf)
    assert w.run("sbverify", "--cert", cert, builder.uki, check=False).returncode == 0
    assert json.loads((builder.out / "baseline.json").read_text())["SecureBoot"] == "on"
    w.muctl("secureboot", "list", cert, "-o", own)
    w.muctl("secureboot", "store", "--PK", own, "--KEK", own, "--db", own, "-o", store)
    assert store.read_bytes() == (builder.out / "uefi-data").read_bytes()


def test_given_variables(builder):
    """db has somebody else's certificate first, and PK comes with its authentication."""
    (_, platform), (_, other) = builder.make_key("platform"), builder.make_key("other")
    time_and_signature = bytes(16) + (24 + 5).to_bytes(4, "little") + bytes.fromhex("0002f10e") + bytes(16) + b"PKCS7"
    files = {"PK": time_and_signature + signature_list(platform), "KEK": signature_list(platform),
             "DBX": signature_list(platform)}
    for name, content in files.items():
        (builder.input / name).write_bytes(content)
    _, cert = builder.secure_boot(**{f"SECURE_BOOT_{name}": builder.input / name for name in (*files, "DB")})
    (builder.input / "DB").write_bytes(signature_list(other) + signature_list(cert))
    builder.build()
    assert enrolled(builder) == {"PK": signature_list(platform), "KEK": signature_list(platform),
                                 "db": signature_list(other) + signature_list(cert), "dbx": signature_list(platform)}
    assert builder.pcr7(builder.out / "baseline.json") == builder.pcr7(builder.baked)


def test_signer_command(builder):
    """A key that is somewhere else: the command alone knows where."""
    key, cert = builder.secure_boot(SECURE_BOOT_SIGNER=f"{builder.input}/signer its-option")
    hidden = key.rename(builder.work.parent / f"{builder.work.name}.key")
    (builder.input / "signer").write_text(f"""#!/bin/sh -eu
        [ "$1 $2 $3" = "its-option --output $4" ]
        sbsign --key {hidden} --cert {cert} --output "$3" "$4"
        """)
    (builder.input / "signer").chmod(0o755)
    builder.build()
    assert w.run("sbverify", "--cert", cert, builder.uki, check=False).returncode == 0


@pytest.mark.parametrize("signer", ["false", "true"])
def test_what_is_not_signed_is_not_built(builder, signer):
    """Neither where the command fails nor where it only says that it signed."""
    builder.secure_boot(SECURE_BOOT_SIGNER=signer)
    done = builder.step("35-configure", "37-bake")
    assert done.returncode != 0 and not builder.baked.exists()
    assert signer == "false" or "nothing in db lets the image start" in done.stderr
    done = builder.step("42-sign", "60-baseline")
    assert done.returncode != 0 and not (builder.out / "baseline.json").exists()


def holders(folder, secret):
    return [p for p in folder.rglob("*") if p.is_file() and not p.is_symlink() and secret in p.read_bytes()]


def test_signing_key_stays_with_the_builder(builder):
    """In no form: a line of its PEM, its DER or that in base64, one of its primes. What is public of it is found."""
    key, _ = builder.secure_boot()
    builder.build()
    der = w.run("openssl", "pkey", "-in", key, "-outform", "DER").stdout
    text = w.run("openssl", "rsa", "-in", key, "-noout", "-text").stdout.decode()
    modulus, prime = (bytes.fromhex(re.sub(r"[\s:]", "", re.search(rf"{name}:([\s0-9a-f:]+)", text)[1]))
                      for name in ("modulus", "prime1"))
    line = key.read_bytes().splitlines()[15]  # past the modulus, which is in the first 300 bytes
    for secret in (line, der[600:660], base64.b64encode(der)[800:880], prime[1:]):
        assert holders(builder.root, secret) == holders(builder.out, secret) == []
    assert holders(builder.input, line) == [key]
    assert builder.uki in holders(builder.out, modulus)
