# SPDX-License-Identifier: GPL-2.0-or-later
"""An acceptance run (docs/examples/acceptance/run) by AWS's own CLI against moto (cloud.py), with machines of the test's own
as its instances."""
import json
import os
import shutil
import subprocess
import sys
import threading
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
EXAMPLE = HERE.parents[1] / "docs/examples/acceptance"
RUN, TREE = EXAMPLE / "run", EXAMPLE / "rootfs"
REGION = "eu-west-1"
MIB = 1 << 20
# Debian's, since the first one on the path may be another.
CLI = "/usr/bin/aws"

# What Packer does, as far as the run can see it. What it was given stays in a folder beside it.
PACKER = """#!/bin/sh -eu
[ "$1" = build ] || exit 0
for word; do
    case $word in -*) ;; *=*) eval "${{word%%=*}}='${{word#*=}}'" ;; esac
done
cp -r "$input" "{folder}/input-$architecture"
{before}
aws --region "$region" ec2 register-image --name "$name-$(date +%s)" --architecture "$architecture" --virtualization-type hvm \\
    --ena-support --boot-mode uefi --tpm-support v2.0 --imds-support v2.0 --root-device-name /dev/xvda \\
    --block-device-mappings "DeviceName=/dev/xvda,Ebs={{SnapshotId=$(cat {folder}/snapshot-$architecture)}}"
cp {baseline} "{folder}/baseline.json"
tar --create --file="$output" --directory={folder} ./baseline.json
"""


def why_not():
    done = subprocess.run([CLI, "--version"], capture_output=True, text=True) if os.path.exists(CLI) else None
    if not done or not done.stdout.startswith("aws-cli/2"):
        return "the AWS CLI of version 2 is not installed (tests/setup installs it)"
    return None


class Cloud:
    """packages: those of tests/integration/moto.txt. disks: architecture -> what an image of it is. refuse: actions that
    fail. before: shell that Packer runs first. second: how long one of the run's is."""

    def __init__(self, folder, packages, port, disks, baseline, size, refuse=(), before="", second=0.02):
        self.folder, self.log, self.instances = folder, folder / "requests.jsonl", folder / "instances"
        self.instances.mkdir()
        (folder / "bin").mkdir()
        (folder / "images.json").write_text("[]")
        environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(packages), "HOME": str(folder),
                       "MOTO_AMIS_PATH": str(folder / "images.json")}
        with open(folder / "cloud.log", "w") as log:
            self.process = subprocess.Popen(
                [sys.executable, HERE / "cloud.py", "--port", str(port), "--log", self.log, "--region", REGION,
                 "--folder", self.instances, "--size", str(size), *(["--refuse", *refuse] if refuse else []), "--",
                 *disks.values()], stdout=subprocess.PIPE, stderr=log, text=True, env=environment)
        word, *snapshots = self.process.stdout.readline().split() or [""]
        assert word == "ready", (folder / "cloud.log").read_text()
        for architecture, snapshot in zip(disks, snapshots):
            (folder / f"snapshot-{architecture}").write_text(snapshot)
        self.environment = {**os.environ, "PATH": f"{folder}/bin:{os.environ['PATH']}", "HOME": str(folder),
                            "AWS_ACCESS_KEY_ID": "A", "AWS_SECRET_ACCESS_KEY": "the secret key", "ACCEPTANCE_SECOND": str(second)}
        self.environment.pop("PYTHONPATH", None)
        self._program("aws", f'#!/bin/sh\nexec {CLI} --endpoint-url http://127.0.0.1:{port} "$@"\n')
        self._program("packer", PACKER.format(folder=folder, baseline=baseline, before=before))

    def _program(self, name, text):
        (self.folder / "bin" / name).write_text(text)
        (self.folder / "bin" / name).chmod(0o755)

    def aws(self, *words):
        done = subprocess.run([self.folder / "bin/aws", "--region", REGION, "--output", "json", *words], env=self.environment,
                              stdout=subprocess.PIPE, check=True)
        return json.loads(done.stdout or "null")

    def start(self, *words, **options):
        """A run; what it says is in stdout."""
        return subprocess.Popen([RUN, "--region", REGION, *map(str, words)], env=self.environment, text=True, cwd=self.folder,
                                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, **options)

    def run(self, *words, answer=""):
        """The same, ended."""
        with self.start(*words) as run:
            said, _ = run.communicate(answer)
        return subprocess.CompletedProcess(run.args, run.returncode, said)

    def requests(self, *actions):
        lines = [json.loads(line) for line in self.log.read_text().splitlines()]
        return [line for line in lines if not actions or line["action"] in actions]

    def left(self):
        """What is still there of what a run makes."""
        instances = [i["State"]["Name"] for r in self.aws("ec2", "describe-instances")["Reservations"] for i in r["Instances"]]
        images = [i["Name"] for i in self.aws("ec2", "describe-images", "--owners", "self")["Images"]]
        snapshots = [s["SnapshotId"] for s in self.aws("ec2", "describe-snapshots", "--owner-ids", "self", "--filters",
                                                      "Name=tag-key,Values=measured-unlock-acceptance")["Snapshots"]]
        stacks = [s["StackName"] for s in self.aws("cloudformation", "list-stacks")["StackSummaries"]
                  if s["StackStatus"] != "DELETE_COMPLETE"]
        keys = [self.aws("kms", "describe-key", "--key-id", k["KeyId"])["KeyMetadata"]["KeyState"]
                for k in self.aws("kms", "list-keys")["Keys"]]
        roles = [r["RoleName"] for r in self.aws("iam", "list-roles")["Roles"]]
        gone = {"terminated", "PendingDeletion"}
        return [name for name in (*instances, *images, *snapshots, *stacks, *keys, *roles) if name not in gone]

    def close(self):
        self.process.terminate()
        self.process.wait()
        self.process.stdout.close()


class Player(threading.Thread):
    """Is each instance in turn: play(its folder). with Player(...): what goes wrong in it is raised at the end."""

    def __init__(self, instances, play):
        super().__init__(daemon=True)
        self.instances, self.play, self.ended, self.error, self.played = instances, play, False, None, []

    def run(self):
        while not self.ended:
            for home in sorted(self.instances.iterdir()):
                if home.name not in self.played and (home / "image.json").exists():
                    self.played.append(home.name)
                    try:
                        self.play(home)
                    except BaseException as error:  # which the test raises
                        self.error = error
                        (home / "stopped").touch()
            time.sleep(0.05)

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *exception):
        self.ended = True
        self.join()
        if self.error and not exception[0]:
            raise self.error


def as_launched(home, disk, path):
    """The disk of an instance: that of its AMI, with the blocks that were put into its snapshot."""
    shutil.copy(disk, path)
    with open(path, "r+b") as target:
        for block in (home / "blocks").iterdir():
            target.seek(int(block.name) * (512 << 10))
            target.write(block.read_bytes())
    return path


def esp_file(disk, place):
    """A file of the EFI system partition, which begins at 1 MiB; None if there is none."""
    done = subprocess.run(["mcopy", "-n", "-i", f"{disk}@@{MIB}", f"::{place}", "-"], capture_output=True,
                          env={**os.environ, "MTOOLS_SKIP_CHECK": "1"})
    return done.stdout if done.returncode == 0 else None
