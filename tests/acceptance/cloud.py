# SPDX-License-Identifier: GPL-2.0-or-later
"""moto's AWS for an acceptance run (docs/examples/acceptance), behind the recorder of tests/packer.

What moto leaves out is put in here: AMIs that have the snapshot they were registered with, snapshots with a parent, blocks of
512 KiB and checksums that are looked at, keys that CloudFormation changes and deletes. An instance is a folder,
instances/ID: `image.json`, its AMI as registered; `blocks/`, where its disk differs from the one that there was first;
`policy.json`, the key's policy. Whoever is the machine writes `console`, and `stopped` when it has gone off; `terminated`
says that it has to.
"""
import argparse
import base64
import hashlib
import json
import sys
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parents[1] / "packer"))
from recorder import Recorder  # noqa: E402

BLOCK = 512 << 10


def snapshots():
    """EBS as it is: a snapshot begins as its parent, and what is put there has the checksum that was said."""
    from moto.ebs import responses
    from moto.ebs.models import EBSSnapshot
    begin = EBSSnapshot.__init__

    def init(self, *arguments, **options):
        begin(self, *arguments, **options)
        self.block_size, self.put, self.parent = BLOCK, {}, None

    def put_block(self, index, data, checksum, algorithm, length):
        good = base64.b64encode(hashlib.sha256(data).digest()).decode()
        assert (checksum, algorithm, int(length), len(data)) == (good, "SHA256", BLOCK, BLOCK), "not what was announced"
        self.put[index] = data
        place(self, index, data)

    start = responses.EBSResponse.start_snapshot

    def start_snapshot(self):
        answer = start(self)
        made, parent = (self.ebs_backend.snapshots[i] for i in (answer.result["SnapshotId"], self._get_param("ParentSnapshotId")))
        assert made.volume_size == parent.volume_size
        made.parent, made.blocks = parent, dict(parent.blocks)
        return answer

    complete = responses.EBSResponse.complete_snapshot

    def complete_snapshot(self):
        made = self.ebs_backend.snapshots[self._get_param("SnapshotId")]
        assert int(self.headers["x-amz-ChangedBlocksCount"]) == len(made.put) > 0
        return complete(self)

    EBSSnapshot.__init__, EBSSnapshot.put_block = init, put_block
    responses.EBSResponse.start_snapshot, responses.EBSResponse.complete_snapshot = start_snapshot, complete_snapshot


def place(snapshot, index, data):
    from moto.ebs.models import Block
    snapshot.blocks[index] = Block(data, base64.b64encode(hashlib.sha256(data).digest()).decode(), "SHA256", len(data))


def seed(backend, disk, size):
    """A snapshot of a disk; of its blocks those in the first `size` bytes that are not empty, as EBS has no others."""
    made = backend.start_snapshot(8, None, "the good one")
    made.status = "completed"
    with open(disk, "rb") as file:
        for index in range(size // BLOCK):
            data = file.read(BLOCK).ljust(BLOCK, b"\0")
            if data.strip(b"\0"):
                place(made, index, data)
    return made.snapshot_id


AS_REGISTERED = {"architecture": "Architecture", "boot_mode": "BootMode", "tpm_support": "TpmSupport", "uefi": "UefiData",
                 "root_device_name": "RootDeviceName", "virtualization_type": "VirtualizationType"}


def images():
    """AMIs are what they were registered as."""
    from moto.ec2.models.amis import Ami
    from moto.ec2.models.instance_types import InstanceType
    from moto.ec2.responses.amis import AmisResponse
    InstanceType._filter_attributes["nitro-tpm-support"] = ["NitroTpmSupport"]
    Ami.uefi = None

    def register_image(self):
        image = self.ec2_backend.register_image(self._get_param("Name"), self._get_param("Description", ""))
        mapping, = self._get_param("BlockDeviceMappings")
        self.ec2_backend.snapshots.pop(image.ebs_snapshot.id)
        image.ebs_snapshot = self.ec2_backend.snapshots[mapping["Ebs"]["SnapshotId"]]
        for name, parameter in AS_REGISTERED.items():
            setattr(image, name, self._get_param(parameter))
        assert mapping["DeviceName"] == image.root_device_name
        return type(self.describe_images())({"ImageId": image.id})
    AmisResponse.register_image = register_image


def keys():
    """Keys as CloudFormation treats them; the policy of a key is text, as KMS has it."""
    from moto.kms.models import Key, kms_backends
    create = Key.create_from_cloudformation_json.__func__

    def created(cls, resource_name, cloudformation_json, account_id, region_name, **more):
        key = create(cls, resource_name, cloudformation_json, account_id, region_name, **more)
        return update(cls, key, resource_name, cloudformation_json, account_id, region_name)

    def update(cls, original_resource, new_resource_name, cloudformation_json, account_id, region_name):
        original_resource.policy = json.dumps(cloudformation_json["Properties"]["KeyPolicy"])
        return original_resource

    def delete(self, account_id, region_name):
        kms_backends[account_id][region_name].schedule_key_deletion(self.id, 7)
    Key.create_from_cloudformation_json, Key.update_from_cloudformation_json = classmethod(created), classmethod(update)
    Key.delete = delete


def instances(folder):
    """Instances are folders."""
    from moto.core.responses import ActionResult
    from moto.ebs.models import ebs_backends
    from moto.ec2.responses.general import General
    from moto.ec2.responses.instances import InstanceResponse
    from moto.kms.models import kms_backends

    def describe(self):
        for instance in (i for r in self.ec2_backend.all_reservations() for i in r.instances):
            if (folder / instance.id / "stopped").exists() and instance.state == "running":
                instance.stop()
        return describe_before(self)

    def run(self):
        answer = run_before(self)
        instance, = answer.result.instances
        image = self.ec2_backend.amis[instance.image_id]
        snapshot = ebs_backends[self.current_account][self.region].snapshots[image.ebs_snapshot.id]
        home = folder / instance.id
        (home / "blocks").mkdir(parents=True)
        for index, data in snapshot.put.items():
            (home / f"blocks/{index}").write_bytes(data)
        policies = [json.loads(k.policy) for k in kms_backends[self.current_account][self.region].keys.values() if k.key_state == "Enabled"]
        (home / "policy.json").write_text(json.dumps(policies))
        launched = {"architecture": image.architecture, "uefi_data": image.uefi, "type": instance.instance_type}
        (home / "image.part").write_text(json.dumps(launched))
        (home / "image.part").rename(home / "image.json")
        return answer

    def terminate(self):
        for name in self._get_param("InstanceIds", []):
            (folder / name / "terminated").touch()
        return terminate_before(self)

    def get_console_output(self):
        name = self._get_param("InstanceId")
        console = folder / name / "console"
        said = console.read_bytes()[-65536:] if console.exists() else b""
        return ActionResult({"InstanceId": name, "Output": base64.b64encode(said).decode() if said else None})

    run_before, describe_before = InstanceResponse.run_instances, InstanceResponse.describe_instances
    terminate_before = InstanceResponse.terminate_instances
    InstanceResponse.run_instances, InstanceResponse.describe_instances = run, describe
    InstanceResponse.terminate_instances = terminate
    General.get_console_output = get_console_output


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--log", required=True)
    parser.add_argument("--region", required=True)
    parser.add_argument("--folder", type=Path, required=True, help="of the instances")
    parser.add_argument("--size", type=int, required=True, help="bytes of a disk that can be read")
    parser.add_argument("--refuse", nargs="*", default=[], metavar="ACTION")
    parser.add_argument("disk", nargs="+", help="a snapshot is made of each; `ready` names them")
    options = parser.parse_args()

    from moto.core import DEFAULT_ACCOUNT_ID
    from moto.ebs.models import ebs_backends
    from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
    from werkzeug.serving import make_server
    for change in snapshots, images, keys:
        change()
    instances(options.folder)
    made = [seed(ebs_backends[DEFAULT_ACCOUNT_ID][options.region], disk, options.size) for disk in options.disk]
    with open(options.log, "w") as log:
        recorder = Recorder(DomainDispatcherApplication(create_backend_app), log, options.refuse)
        server = make_server("127.0.0.1", options.port, recorder, threaded=True)
        print("ready", *made, flush=True)
        server.serve_forever()


if __name__ == "__main__":
    main()
