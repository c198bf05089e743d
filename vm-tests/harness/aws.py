# SPDX-License-Identifier: GPL-2.0-or-later
"""The stand-ins for AWS around one machine: NitroTPM, KMS, IMDS and a name server."""
import json
import shutil
import subprocess
from pathlib import Path

TESTS = Path(__file__).resolve().parents[2] / "tests"
NITROTPM, AWS = TESTS / "nitrotpm/nitrotpm", TESTS / "aws/aws-emulator"

REGION, ACCOUNT, ROLE = "eu-west-1", "111122223333", "measured-unlock-instance"
INSTANCE = "i-0123456789abcdef0"
KEY_ID, OTHER_KEY_ID = (f"{n}234abcd-12ab-34cd-56ef-1234567890ab" for n in (1, 2))
KEY_ARN, OTHER_KEY_ARN = (f"arn:aws:kms:{REGION}:{ACCOUNT}:key/{i}" for i in (KEY_ID, OTHER_KEY_ID))
ROLE_ARN, BUILDER_ARN, ADMIN_ARN = (f"arn:aws:iam::{ACCOUNT}:role/{r}" for r in (ROLE, "image-builder", "key-admin"))
BUILDER = {"access_key": "AKIAIOSFODNN7EXAMPLE", "role": "image-builder",
           "secret": "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"}
BUILDER_ENVIRONMENT = {"AWS_ACCESS_KEY_ID": BUILDER["access_key"],
                       "AWS_SECRET_ACCESS_KEY": BUILDER["secret"]}
ZERO = "00" * 48
# Every machine has some: who may write it makes a mount out of it where systemd 261 or later imports it as credentials.
USER_DATA = json.dumps({"systemd.credentials": [{"name": "fstab.extra", "text": "tmpfs /srv tmpfs x-initrd.mount 0 0\n"}]})


class Service:
    """A program that prints one line 'ready ...' and runs until it is killed."""

    def __init__(self, spawn, *argv):
        self._process = spawn(*argv, stdout=subprocess.PIPE, text=True)
        word, _, self.ready = self._process.stdout.readline().partition(" ")
        if word != "ready":
            raise RuntimeError(f"{argv[0]} did not start")

    def close(self):
        self._process.terminate()
        self._process.wait(20)
        self._process.stdout.close()


class NitroTpm(Service):
    def __init__(self, spawn, directory, ca, banks):
        self.directory, self.control = directory, directory / "ctrl"
        super().__init__(spawn, NITROTPM, "run", "--dir", directory, "--unix", "--ca", ca,
                         "--banks", banks, "--instance-id", INSTANCE)


class Aws(Service):
    """directory: a copy of the workshop's; policy: the keys' policy; ports: further options of aws-emulator run."""

    def __init__(self, spawn, directory, nitrotpm_root, policy, *ports):
        self.directory = directory
        config = directory / "config.json"
        config.write_text(json.dumps({
            "region": REGION, "account": ACCOUNT, "role": ROLE, "instance_id": INSTANCE,
            "nitrotpm_root": str(nitrotpm_root), "builder": BUILDER, "user_data": USER_DATA,
            "keys": [{"id": i, "policy": policy} for i in (KEY_ID, OTHER_KEY_ID)]}))
        super().__init__(spawn, AWS, "run", "--dir", directory, "--config", config, *ports)
        self.info = json.loads(self.ready)

    def fault(self, *argv):
        """As on the command line of aws-emulator fault."""
        subprocess.run([AWS, "fault", "--dir", self.directory, *argv], check=True)

    def requests(self, operation=None):
        path = Path(self.info["requests"])
        lines = path.read_text().splitlines() if path.exists() else []
        found = [json.loads(line) for line in lines]
        return [r for r in found if operation in (None, r.get("operation"))]


def copy_state(source, target):
    shutil.copytree(source, target, ignore=shutil.ignore_patterns("*.jsonl", "admin"))
    return target
