# SPDX-License-Identifier: GPL-2.0-or-later
"""The acceptance run (docs/examples/acceptance) against moto's EC2, with a machine of QEMU as each of its instances."""
import json
import re
import sys
import time

import pytest

from harness import aws, disk, driver, firmware, image, variables
from harness.architecture import CHOSEN
from harness.machine import Machine
from harness.workshop import MUCTL, TOP

sys.path[:0] = [str(TOP / "tests" / name) for name in ("integration", "vault", "packer", "acceptance")]
import acceptance  # noqa: E402
import aws_programs  # noqa: E402
import uefi_data  # noqa: E402
import world  # noqa: E402

ARCHITECTURE = {"aarch64": "arm64"}.get(CHOSEN.name, CHOSEN.name)
ROLES = {"InstanceRole": aws.ROLE_ARN, "KeyAdminRole": aws.ADMIN_ARN, "BuilderRole": aws.BUILDER_ARN}


def store_of(text):
    """EC2's variable store as OVMF's."""
    store = firmware.empty()
    for name, (guid, attributes, data) in (uefi_data.variables(text) if text else {}).items():
        store = variables.with_variable(store, name, guid, attributes, data)
    return store


def policy_of(home):
    """The key policy that the run has put, for the roles that these machines have."""
    policy, = json.loads((home / "policy.json").read_text())
    text = json.dumps(policy)
    for role, arn in ROLES.items():
        text = re.sub(rf"arn:aws:iam::\d+:role/[\w-]+-{role}-\w+", arn, text)
    return json.loads(text)


class Machines:
    def __init__(self, workshop, made):
        self.workshop, self.made, self.answers = workshop, made, []

    def __call__(self, home):
        launched = json.loads((home / "image.json").read_text())
        path = acceptance.as_launched(home, self.made, home / "disk")
        with Machine(self.workshop, path, policy_of(home), stay=True, variables=store_of(launched["uefi_data"])) as m:
            (home / "console").symlink_to(m.serial)
            while m.qemu.poll() is None and not (home / "terminated").exists():
                time.sleep(0.5)
            (home / "seen").write_text(m.log())
            (home / "seen").replace(home / "console")
            self.answers.append([r["status"] for r in m.aws.requests("Decrypt")])
        path.unlink()
        (home / "stopped").touch()


@pytest.mark.long
@driver.runs
def test_acceptance(site, tmp_path):
    """Unlocked, and then refused four times; KMS was asked for the key in the first boot alone."""
    if reason := acceptance.why_not():
        pytest.skip(reason)
    workshop, uki = site.workshop, site.ukis[image.SYSTEMD]
    root = image.rootfs(workshop.stage, acceptance.TREE, suite=workshop.suite, **workshop.settings())
    made = workshop.disk(uki, root=workshop.enroll(workshop.volume("acceptance", root), uki))
    package = tmp_path / {"x86_64": "measured-unlock_1_amd64.deb"}.get(CHOSEN.name, "measured-unlock_1_arm64.deb")
    package.touch()
    machines = Machines(workshop, made)
    cloud = acceptance.Cloud(tmp_path, aws_programs.pip_install("moto.txt"), world.two_free_ports(), {ARCHITECTURE: made},
                             workshop.baseline(uki), (1 + disk.ESP_MIB) * disk.MIB, second=0.5)
    try:
        with acceptance.Player(cloud.instances, machines):
            done = cloud.run("--build", package, "--report", tmp_path / "report", "--muctl", MUCTL, "--root",
                             workshop.nitrotpm_ca / "root.pem", "--timeout", 2400, "--yes")
        assert done.returncode == 0, done.stdout
        assert cloud.left() == []
    finally:
        cloud.close()
    told = json.loads((tmp_path / "report.json").read_text())
    assert told["ok"] and len(told["machines"][0]["steps"]) == 9
    good, *altered = machines.answers
    assert good[0] == 200 and 400 in good[1:] and 200 not in good[1:]
    # PCR 4 is in the signed baseline alone, and that is compared before a key is asked for, too.
    assert altered == [[], [], [], []]
