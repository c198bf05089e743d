# SPDX-License-Identifier: GPL-2.0-or-later
"""The verifier in containers: `make oci`, looked at by the tools of others, and run from its own root."""
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tarfile

import aws_programs
import pytest
import relying
import world as w
import yaml
from test_verifier import GOLDEN, fleet, make_party  # noqa: F401

EXAMPLES = w.TOP / "docs/examples/containers"
USER = 65532
NAME = "measured-unlock-verifier"
PLAIN = {k: v for k, v in os.environ.items() if not k.startswith(("MAKE", "MU_BUILD"))}


def make(folder):
    """Packed anew from the programs that are there; nothing is compiled."""
    stage = folder / "stage"
    w.run("make", "-s", f"install-{NAME}", f"DESTDIR={stage}/{NAME}", "PREFIX=/usr", "SYSCONFDIR=/etc", cwd=w.TOP, env=PLAIN)
    deps = w.run("make", "-s", "--no-print-directory", "--eval=print: ; @echo $(DEPS)", "print", cwd=w.TOP, env=PLAIN, text=True).stdout
    shutil.copy(f"{deps.strip()}/versions", stage)
    w.run(w.TOP / "unlock/packaging/build", "oci", stage, folder, cwd=w.TOP, env=PLAIN)
    return next(folder.glob("*.oci.tar"))


@pytest.fixture(scope="module")
def image(tmp_path_factory):
    return make(tmp_path_factory.mktemp("oci"))


@pytest.fixture(scope="module")
def layout(image, tmp_path_factory):
    folder = tmp_path_factory.mktemp("layout")
    with tarfile.open(image) as tar:
        tar.extractall(folder)
    return folder


@pytest.fixture(scope="module")
def root(layout, tmp_path_factory):
    """Unpacked by umoci."""
    bundle = tmp_path_factory.mktemp("bundle") / "bundle"
    tag = json.loads((layout / "index.json").read_text())["manifests"][0]["annotations"]["org.opencontainers.image.ref.name"]
    w.run("umoci", "unpack", "--image", f"{layout}:{tag}", bundle)
    return bundle


def test_same_bytes_again(image, tmp_path):
    assert make(tmp_path).read_bytes() == image.read_bytes()


def test_every_blob_is_its_digest(layout):
    blobs = list((layout / "blobs/sha256").iterdir())
    assert len(blobs) == 3
    for blob in blobs:
        assert hashlib.sha256(blob.read_bytes()).hexdigest() == blob.name


def test_skopeo(image):
    seen = json.loads(w.run("skopeo", "inspect", f"oci-archive:{image}", text=True).stdout)
    assert seen["Os"] == "linux" and seen["Architecture"] == w.run("dpkg", "--print-architecture", text=True).stdout.strip()
    config = json.loads(w.run("skopeo", "inspect", "--config", f"oci-archive:{image}", text=True).stdout)["config"]
    assert config["User"] == f"{USER}:{USER}" and config["Entrypoint"] == ["/usr/bin/mu-verifier"] and config["Cmd"] == ["serve"]


def test_nothing_else_is_in_it(root):
    files = {str(p.relative_to(root / "rootfs")) for p in (root / "rootfs").rglob("*") if p.is_file()}
    programs = {f for f in files if os.access(root / "rootfs" / f, os.X_OK)}
    assert programs == {"usr/bin/mu-verifier"}
    assert all(f.startswith("usr/share/doc/") for f in files - programs - {"etc/passwd", "etc/group"}), files
    assert {f"usr/share/doc/{NAME}/{f}" for f in ("copyright", "linked-sources", f"{NAME}.spdx.json")} <= files
    assert (root / "rootfs/var/lib/measured-unlock").stat().st_uid == USER


def test_serves_from_its_own_root(root, fleet, tmp_path):  # noqa: F811
    """As the runtime would start it: that user, that root, its configuration read-only, no capabilities."""
    config = json.loads((root / "config.json").read_text())
    assert config["process"]["user"]["uid"] == USER
    party = make_party(tmp_path / "party", fleet)
    inside = root / "rootfs/etc/measured-unlock"
    inside.mkdir(exist_ok=True)
    text = party.config.read_text().replace(f"{party.folder}/", "/etc/measured-unlock/")
    shutil.copytree(party.folder, inside, dirs_exist_ok=True)
    shutil.copy(fleet.root_pem, inside / "root.pem")
    (inside / "verifier.conf").write_text(text.replace(str(fleet.root_pem), "/etc/measured-unlock/root.pem"))
    w.run("chown", "-R", f"0:{USER}", inside)
    w.run("chmod", "-R", "u=rwX,g=rX,o=", inside)
    log = tmp_path / "log"
    with open(log, "wb") as to:
        process = subprocess.Popen(["chroot", f"--userspec={USER}:{USER}", "--groups=", root / "rootfs",
                                    *config["process"]["args"]], stderr=to)
    try:
        verifier = relying.Running(party, log, process)
        key = relying.p384()
        assert verifier.ask("/healthz")[0] == 200
        assert verifier.attest(fleet.draft(verifier.nonce(), GOLDEN, relying.spki(key)).encode())[0] == 200
        with open(f"/proc/{process.pid}/status") as status:
            assert f"Uid:\t{USER}\t{USER}\t{USER}\t{USER}\n" in status.read()
    finally:
        process.terminate()
        process.wait(20)


def test_compose_file(tmp_path):
    """Its form, by docker-compose; and that it starts what the image has."""
    shutil.copy(EXAMPLES / "compose.yaml", tmp_path)
    done = w.run("docker-compose", "-f", tmp_path / "compose.yaml", "config", "-q", text=True, check=False)
    assert done.returncode == 0, done.stderr
    (tmp_path / "compose.yaml").write_text((EXAMPLES / "compose.yaml").read_text().replace("cap_drop: [ALL]", "cap_drop: ALL"))
    assert w.run("docker-compose", "-f", tmp_path / "compose.yaml", "config", "-q", check=False).returncode != 0, "the premise"


VALIDATE = """
import sys, kubernetes_validate, yaml
for document in yaml.safe_load_all(sys.stdin):
    try:
        kubernetes_validate.validate(document, kubernetes_validate.latest_version(), strict=True)
    except kubernetes_validate.ValidationError as error:
        print(error.message)
"""


def validate(text):
    """What Kubernetes' own schemas say against it."""
    packages = aws_programs.pip_install("moto.txt")
    done = w.run(sys.executable, "-c", VALIDATE, input=text, text=True, env={**os.environ, "PYTHONPATH": str(packages)})
    return done.stdout


def test_kubernetes_manifests():
    text = (EXAMPLES / "kubernetes.yaml").read_text()
    assert validate(text) == ""
    assert validate(text.replace("replicas: 2", "replicas: two")), "the premise"
    assert validate(text.replace("runAsNonRoot", "runAsNobody")), "the premise"


def test_examples_start_what_there_is():
    """Each container's arguments are a verb of the program, and nobody runs as root."""
    verbs = {d["command"][0] for d in yaml.safe_load((EXAMPLES / "compose.yaml").read_text())["services"].values() if "command" in d}
    for document in yaml.safe_load_all((EXAMPLES / "kubernetes.yaml").read_text()):
        if document["kind"] != "Deployment":
            continue
        pod = document["spec"]["template"]["spec"]
        assert pod["securityContext"]["runAsUser"] == USER
        for container in pod["containers"]:
            verbs.add(container["args"][0])
            assert container["securityContext"]["readOnlyRootFilesystem"] and container["resources"]["limits"]
    assert verbs == {"serve", "watch"}
    for verb in verbs:
        assert w.mu_verifier(verb, "--help").returncode == 0
