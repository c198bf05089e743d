# SPDX-License-Identifier: GPL-2.0-or-later
"""One build of docs/examples/packer by a real Packer, in a network namespace where EC2 seems to be (recorder.py).

PACKER names a Packer: 1.7 or later, with PACKER_PLUGIN_PATH where its Amazon plugin is, gets the template as it is. Debian's,
1.6.6 with the builders of its time, does not know five of its settings; they are taken out, and all else is tried.
"""
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

HERE = Path(__file__).resolve().parent
TOP = HERE.parents[1]
SOURCE = TOP / "docs/examples/packer"
TEMPLATE = SOURCE / "measured-unlock.pkr.hcl"
PROGRAM = os.environ.get("PACKER", "packer")
NEWER = r"(?m)^ *(?:boot_mode|uefi_data|tpm_support|imds_support) +=.*\n|^ *metadata_options \{[^}]*\}\n"
REGION, PROFILE, ADDRESS, PORT = "eu-west-1", "image-builder", "198.51.100.22", 8022
ENDPOINT = f"http://127.0.0.1:{PORT}"
LOCAL = ["ip", "address", "add", f"{ADDRESS}/32", "dev", "lo"]
# The newest one is what the template has to find. moto has no others.
IMAGES = [{"ami_id": f"ami-{n:017x}", "name": name, "owner_id": owner, "architecture": architecture, "creation_date": date,
           "virtualization_type": "hvm", "root_device_type": "ebs", "root_device_name": "/dev/xvda", "image_type": "machine",
           "public": True, "state": "available", "hypervisor": "xen", "image_location": f"amazon/{name}", "description": name,
           "sriov": "simple"}
          for n, (name, owner, architecture, date) in enumerate([
              ("debian-13-amd64-20260801-1", "136693071363", "x86_64", "2026-08-01T00:00:00.000Z"),
              ("debian-13-amd64-20261101-1", "136693071363", "x86_64", "2026-11-01T00:00:00.000Z"),
              ("debian-13-arm64-20261101-1", "136693071363", "arm64", "2026-11-01T00:00:00.000Z"),
              ("debian-12-amd64-20261102-1", "136693071363", "x86_64", "2026-11-02T00:00:00.000Z"),
              ("debian-13-amd64-20261103-1", "999999999999", "x86_64", "2026-11-03T00:00:00.000Z")], 1)]
NEWEST = {"x86_64": IMAGES[1]["ami_id"], "arm64": IMAGES[2]["ami_id"]}


def why_not():
    if not shutil.which(PROGRAM):
        return "packer is not installed (tests/setup installs it)"
    return None if os.geteuid() == 0 else "network namespaces need root"


def is_old():
    done = subprocess.run([PROGRAM, "version"], capture_output=True, text=True, env={**os.environ, "CHECKPOINT_DISABLE": "1"})
    return tuple(map(int, re.search(r"v(\d+)\.(\d+)", done.stdout).groups())) < (1, 7)


def without_newer(text):
    text, removed = re.subn(NEWER, "", text)
    assert removed == 5, "the template lacks a setting that the image cannot do without"
    return text


def template(folder):
    """The folder of the template for this Packer, which is told where EC2 is: an old one does not take that from outside."""
    copy = Path(shutil.copytree(SOURCE, folder / "template"))
    if is_old():
        (copy / "plugins.pkr.hcl").unlink()
        path = copy / TEMPLATE.name
        settings = f'  custom_endpoint_ec2 = "{ENDPOINT}"\n  skip_metadata_api_check = true\n'
        path.write_text(re.sub(r"(?m)^ +region +=", lambda m: settings + m[0], without_newer(path.read_text()), count=1))
    return copy


def ready(process):
    """What a program says when it is: "ready" and more words."""
    word, *more = process.stdout.readline().split() or [""]
    if word != "ready":
        raise RuntimeError(f"{process.args} did not start")
    return more


def make_login(folder):
    """The key pair by which Packer logs in to the instance."""
    key = rsa.generate_private_key(65537, 2048)
    (folder / "login").write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption()))
    (folder / "login.pub").write_bytes(key.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH) + b"\n")


class Ec2:
    """In a Namespace of the VM tests. packages: those of tests/integration/moto.txt. login: the folder of a key pair. refuse:
    actions that fail."""

    def __init__(self, namespace, folder, packages, login, refuse=()):
        self.namespace, self.folder, self.login, self.log = namespace, folder, login, folder / "requests.jsonl"
        self.environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(packages), "HOME": str(folder)}
        (folder / "images.json").write_text(json.dumps(IMAGES))
        namespace.spawn(*LOCAL).wait()
        self.subnet, = self.python(
            "recorder.py", "--region", REGION, "--port", PORT, "--log", self.log, "--images", folder / "images.json",
            "--profile", PROFILE, "--address", ADDRESS, "--key", login / "login", "--refuse", *refuse)

    def python(self, name, *arguments):
        """One of the programs beside this one, until the namespace ends."""
        with open(self.folder / f"{name}.log", "w") as log:
            return ready(self.namespace.spawn(sys.executable, HERE / name, *arguments, env=self.environment,
                                              stdout=subprocess.PIPE, stderr=log, text=True))

    def be_the_instance(self, folder):
        """This machine is, with a /mnt of its own, nothing to install and no need of sudo."""
        (folder / "sudo").write_text('#!/bin/sh\nexec "$@"\n')
        (folder / "apt-get").write_text("#!/bin/sh\n")
        for program in folder.iterdir():
            program.chmod(0o755)
        self.environment["PATH"] = f"{folder}:{self.environment['PATH']}"
        self.namespace.spawn("mount", "-t", "tmpfs", "mnt", "/mnt").wait()
        self.python("instance.py", "--address", ADDRESS, "--authorized-keys", self.login / "login.pub")

    def build(self, template, **variables):
        """Packer's exit code; what it says is in the file `packer.log`."""
        variables |= {"region": REGION, "instance_profile": PROFILE}
        options = [word for name, value in variables.items() for word in ("-var", f"{name}={value}")]
        environment = {**os.environ, "CHECKPOINT_DISABLE": "1", "AWS_ACCESS_KEY_ID": "A", "AWS_SECRET_ACCESS_KEY": "S",
                       "AWS_ENDPOINT_URL": ENDPOINT, "AWS_POLL_DELAY_SECONDS": "1", "HOME": str(self.folder)}
        with open(self.folder / "packer.log", "w") as log:
            return self.namespace.spawn(shutil.which(PROGRAM), "build", "-color=false", *options, template, env=environment,
                                        stdout=log, stderr=subprocess.STDOUT).wait()

    @property
    def said(self):
        return (self.folder / "packer.log").read_text()

    def requests(self, action=None):
        lines = [json.loads(line) for line in self.log.read_text().splitlines()]
        return [line for line in lines if action in (None, line["action"])]
