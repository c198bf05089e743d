# SPDX-License-Identifier: GPL-2.0-or-later
"""What the guides name exists: links, tests, verbs and options; and what needs no AWS runs as it stands."""
import functools
import json
import os
import re
import shlex
import tempfile
from pathlib import Path

import aws_programs as programs
import pytest
import world as w

PAGES = [*sorted(w.TOP.glob("*.md")), *sorted((w.TOP / "docs").rglob("*.md"))]
# What stands beside what it describes.
BESIDE = sorted(p for folder in ("tests", "vm-tests") for p in (w.TOP / folder).rglob("README.md"))
ids = {"ids": lambda p: str(p.relative_to(w.TOP))}
LAPTOP = (w.TOP / "docs/guide/laptop.md").read_text()


def shell(text):
    """The indented blocks, joined to a script."""
    return "".join(line[4:] or "\n" for line in text.splitlines(True) if line.startswith("    "))


def anchors(page):
    """As GitHub makes them of headings."""
    headings = re.findall(r"^#+ (.*)$", re.sub(r"^```.*?^```", "", page.read_text(), flags=re.M | re.S), re.M)
    return {re.sub(r"[^\w -]", "", h.lower()).replace(" ", "-") for h in headings}


@pytest.mark.parametrize("page", [*PAGES, *BESIDE], **ids)
def test_links(page):
    for target, anchor in re.findall(r"\]\(([^)#\s]*)(?:#([^)\s]*))?\)", page.read_text()):
        if "://" not in target:
            path = page.parent / target if target else page
            assert path.exists(), f"({target}) leads nowhere"
            assert not anchor or anchor in anchors(path), f"({target}#{anchor}): there is no such heading"


def free_of_tables(text):
    """Its lines, without what cannot be broken: tables, code, links."""
    text = re.sub(r"^```.*?^```", "", text, flags=re.M | re.S)
    return [re.sub(r"\]\([^)]*\)", "]", line) for line in text.splitlines() if not line.startswith(("|", "    "))]


@pytest.mark.parametrize("page", PAGES, **ids)
def test_lines_are_short(page):
    assert [line for line in free_of_tables(page.read_text()) if len(line) > 120] == []


@pytest.mark.parametrize("page", sorted((w.TOP / "docs/develop").rglob("*.md")), **ids)
def test_files_of_the_developers_pages(page):
    """Each file of the tree that they name is there."""
    named = re.findall(r"`((?:unlock|tests|vm-tests|hook|dracut-module|docs)/[\w./-]+)`", page.read_text())
    assert [name for name in named if not re.search("VERB|NAME", name) and not (w.TOP / name).exists()] == []


def test_size_of_the_trusted_part():
    """What rooms.md says, within 3 percent; `make` counts the same lines."""
    said = int(re.search(r"about ([\d,]+) lines", (w.TOP / "docs/develop/rooms.md").read_text())[1].replace(",", ""))
    rooms = re.search(r"^TRUSTED +:= (.*)$", (w.TOP / "Makefile").read_text(), re.M)[1].split()
    counted = sum(p.read_bytes().count(b"\n") for room in rooms for p in (w.TOP / "unlock" / room).glob("*.[ch]"))
    assert len(rooms) > 5 and abs(said - counted) <= 0.03 * counted, f"{said} lines are said, {counted} are there"


def test_rooms_are_those_of_the_makefile():
    makefile, page = (w.TOP / "Makefile").read_text(), (w.TOP / "docs/develop/rooms.md").read_text()
    rooms = [room for name in ("TRUSTED", "TOOLS", "RELYING")
             for room in re.search(rf"^{name} +:= (.*)$", makefile, re.M)[1].split()]
    listed = re.findall(r"^\| `(\w+)` \|", page, re.M)
    trusted = re.search(r"^TRUSTED +:= (.*)$", makefile, re.M)[1].split()
    assert listed[:len(trusted)] == trusted and sorted(listed) == sorted(rooms)


def test_vectors_of_the_formats():
    """Each value that formats.md shows is one that a unit test holds against the program."""
    page = (w.TOP / "docs/develop/formats.md").read_text()
    values = re.findall(r"^    ([0-9A-Za-z+/]{40,}=*)$", page, re.M)
    held = "".join(p.read_text() for p in sorted((w.TOP / "tests/unit").glob("test_*.c")))
    held = re.sub(r'"\s*\\?\s*"', "", held)
    assert len(values) > 10 and [value for value in values if value not in held] == []


def test_threat_model_names_tests_that_exist():
    text = (w.TOP / "docs/guide/threat-model.md").read_text()
    named = set(re.findall(r"(test_\w+\.(?:py|c))::(test_\w+)", text))
    files = [p for folder in ("tests", "vm-tests") for p in (w.TOP / folder).rglob("test_*")]
    missing = [f"{file}::{test}" for file, test in named if not any(
        re.search(rf"^(?:def |TEST\(){test}[()]", p.read_text(), re.M) for p in files if p.name == file)]
    assert len(named) > 40 and missing == []


# What docs/guide/threat-model.md has a row for, under "What enters a boot". It only grows.
INPUTS = {
    "EFI variables": """
        SystemdOptions FactoryResetRequest HibernateLocation LoaderEntry* LoaderConfig* LoaderDevicePartUUID Boot####
        BootOrder BootNext Driver#### DriverOrder SysPrep#### PlatformRecovery#### OsIndications ConIn ConOut PK KEK db dbx
        SecureBoot MokList MokListX MokListTrusted MokSBState SbatLevel MemoryOverwriteRequestControl""".split(),
    "Firmware and the machine": [
        "drivers and option ROMs", "io.systemd.stub.kernel-cmdline-extra", "io.systemd.credential", "fw_cfg",
        "ACPI tables", "device tree", "clock", "initrds by the firmware protocol", "random seed"],
    "The ESP": [
        "UKI", "profiles of a UKI", "*.addon.efi", "*.cred", "*.sysext.raw", "*.confext.raw", "loader.conf",
        "boot entries", "microcode", "bootconfig", "TPM of software"],
    "Disks": [
        "header", "PARTLABEL", "root=", "LVM", "MD RAID", "btrfs", "gpt-auto", "swap", "hibernation",
        "LUKS volumes of his own", "partition table", "exchanged"],
    "Network and user data": ["DHCP", "IMDS", "cloud-init", "systemd-imds", "download", "KMS"],
    "The console": [
        "boot menu", "interactive credentials", "emergency", "breakpoints", "first boot", "debugger",
        "SysRq", "crash dumps"],
    "What follows a boot, and what a good boot extends by itself": [
        "kexec", "restart without a reset", "systemd-pcrphase", "systemd-pcrosseparator.service",
        "systemd-tpm2-setup-early.service", "systemd-pcrmachine", "systemd-pcrfs", "IMA"],
}


def census():
    """{section: rows}, each row the cells: input, who and when, shown by, shut by, tests."""
    text = (w.TOP / "docs/guide/threat-model.md").read_text()
    text = text[text.index("## What enters a boot"):text.index("## Ledger of known attacks")]
    rows = {}
    for section in text.split("\n### ")[1:]:
        lines = re.findall(r"^\| .*$", section, re.M)[1:]
        rows[section.partition("\n")[0]] = [re.split(r"(?<!\\)\|", line)[1:-1] for line in lines]
    return rows


@pytest.mark.parametrize("section", INPUTS)
def test_census_has_every_input(section):
    first = "\n".join(row[0] for row in census()[section])
    assert [name for name in INPUTS[section] if name not in first] == []


def test_census_rows_are_whole():
    """What shuts it, and a test; or it says that it is a known gap, and why."""
    assert set(census()) == set(INPUTS)
    for row in (row for rows in census().values() for row in rows):
        assert len(row) == 5 and all(cell.strip() for cell in row), row
        assert re.search(r"test_\w+\.(py|c)::test_", row[4]) or re.match(r" known gap: \w+", row[4]), row[0]


def test_census_has_every_door():
    """dracut-module/doors shuts an input that has a row; a row names no door that is none."""
    table = (w.TOP / "dracut-module/doors").read_text().splitlines()
    doors = {line.split()[1] for line in table if line and line[0] != "#"}
    shut = " ".join(row[3] for rows in census().values() for row in rows)
    lists = re.findall(r"doors? ((?:`[^`]+`,? ?)+)", shut)
    named = {name for words in lists for name in re.findall(r"`([^`]+)`", words)}
    assert len(doors) > 40 and doors - named == set() and named - doors == set()


RUN = {"muctl": w.muctl, "mu-verifier": w.mu_verifier}


@functools.cache
def options(program, verb):
    return set(re.findall(r"(?<![\w-])--?[a-zA-Z][a-zA-Z-]*", RUN[program](*verb.split(), "--help").stdout)) | {"--help"}


@pytest.mark.parametrize("program", RUN)
@pytest.mark.parametrize("page", PAGES, **ids)
def test_commands_of_our_programs(page, program):
    """Each `muctl VERB ...` in a code block or between backticks has a verb and options that there are."""
    verbs = re.findall(r"^  ([a-z]+(?: [a-z]+)?)  ", RUN[program]("--help").stdout, re.M)
    text = page.read_text().replace("\\\n", " ")
    fenced = re.compile(r"^```.*?^```", re.M | re.S)
    code = [line for block in fenced.findall(text) for line in block.splitlines()]
    text = fenced.sub("", text)
    code += re.findall(r"^    (.*)$", text, re.M) + re.findall(r"`([^`]+)`", text)
    for line in (found for c in code for found in re.findall(program + r" ([a-z][^|;&`)]*)", c)):
        verb = next((v for v in verbs if re.match(v + r"\b", line)), None)
        whole = [v.split()[0] for v in verbs]
        assert verb or line.split()[0].rstrip(",") in whole, f"{program} {line}: no such verb"
        if verb:
            used = set(re.findall(r"(?<=\s)--?[a-zA-Z][a-zA-Z-]*", line))
            assert used <= options(program, verb), f"{program} {line}: {used - options(program, verb)}"


# What the AWS CLI adds to each command, and what it fills in where the API has it required.
OF_THE_CLI, FILLED_IN = {"query", "output", "region", "profile"}, {"MinCount", "MaxCount"}


@functools.cache
def aws_model(service):
    return pytest.importorskip("botocore.session").get_session().get_service_model(service)


def check_aws(line, whole):
    """A command of the AWS CLI against the model of its service: operation, options, values of those that have a list."""
    xform_name = pytest.importorskip("botocore").xform_name
    service, operation, *words = shlex.split(re.split(r" [|#] |\)", line)[0])
    model = aws_model(service)
    operations = {xform_name(name, "-"): name for name in model.operation_names}
    shape = model.operation_model(operations[operation]).input_shape
    members = {xform_name(name, "-"): name for name in shape.members}
    given = {word[2:]: words[n + 1] if n + 1 < len(words) else "" for n, word in enumerate(words) if word.startswith("--")}
    assert set(given) <= set(members) | OF_THE_CLI, line
    if whole:
        assert set(shape.required_members) <= {members.get(name) for name in given} | FILLED_IN, line
    for name, value in given.items():
        allowed = getattr(shape.members[members[name]], "enum", []) if name in members else []
        if len(allowed) < 50:  # no list of instance types, which has become longer since
            assert not allowed or value in allowed, f"{line}: {value}"


def aws_commands(text):
    """(command, whether it is one to be typed) for each `aws SERVICE OPERATION ...`."""
    text = text.replace("\\\n", " ")
    blocks = [line.strip() for line in re.findall(r"^    +(aws .*)$", text, re.M)]
    return [(line[4:], True) for line in blocks] + [
        (" ".join(line.split()), False) for line in re.findall(r"`aws ((?!configure)[a-z0-9]+ [a-z][^`]*)`", text)]


@pytest.mark.parametrize("page", [p for p in PAGES if aws_commands(p.read_text())], **ids)
def test_commands_of_aws(page):
    for line, whole in aws_commands(page.read_text()):
        check_aws(line, whole)


@pytest.mark.parametrize("line", [
    "kms create-kee --policy file://p", "kms create-key --polity file://p", "kms put-key-policy --key-id K",
    "ec2 register-image --name web --tpm-support v3.0"])
def test_commands_of_aws_that_are_wrong(line):
    """So that it means something when none is found."""
    with pytest.raises((AssertionError, KeyError)):
        check_aws(line, True)


GUIDE = (w.TOP / "docs/guide/getting-started.md").read_text()


def step(number):
    return re.search(rf"^## {number}\. .*?(?=^## )", GUIDE, re.M | re.S)[0]


@pytest.fixture
def typist(tmp_path):
    """Runs the lines of a guide in a folder where the sources are, with an `aws` that writes down how it was called."""
    programs = tmp_path / "bin"
    programs.mkdir()
    (programs / "muctl").symlink_to(w.MUCTL)
    (programs / "aws").write_text(f"""#!/bin/sh
echo "$1 $2" >>{tmp_path}/calls
for word; do
    case $word in file://*) jq -e . "${{word#file://}}" >/dev/null || exit 1 ;; esac
done
[ "$2" != get-key-policy ] || cat policy.json
""")
    (programs / "aws").chmod(0o755)
    (tmp_path / "docs").symlink_to(w.TOP / "docs")

    def type_in(script):
        return w.run("bash", "-euxo", "pipefail", "-c", script, cwd=tmp_path, text=True,
                     env={"PATH": f"{programs}:/usr/sbin:/usr/bin:/sbin:/bin", "HOME": tmp_path})
    type_in.folder = tmp_path
    type_in.calls = lambda: (tmp_path / "calls").read_text().splitlines()
    return type_in


def baseline(folder, name):
    (folder / name).write_text(json.dumps({"Measurements": {"HashAlgorithm": "SHA384", **{
        f"PCR{n}": f"{n:02x}" * 48 for n in (2, 3, 4, 7)}, **{f"PCR{n}": "00" * 48 for n in (12, 13, 14)}}}))
    return folder / name


def test_getting_started(typist):
    """Keys, roles, first policy, and all that an image is made of, as typed; then what came of the build."""
    folder = typist.folder
    package = re.search(r"build/measured-unlock_\S+\.deb", step(1))[0]
    (folder / "build").mkdir()
    (folder / package).touch()
    fourth = step(4)
    typist(shell(step(2)) + shell(step(3)) + shell(fourth[:fourth.index("`input/passphrase`")]))
    assert typist.calls() == ["iam create-role", "iam create-instance-profile", "iam add-role-to-instance-profile"] * 2 + ["kms create-key"]
    assert w.muctl("policy", "lint", folder / "first-policy.json").returncode == 0
    needs = (w.TOP / "docs/examples/packer/README.md").read_text().split("## What it needs")[1].split("| role |")[0]
    wanted = re.findall(r"^\| ((?:`[^`]+`(?:, )?)+) \|", needs, re.M)
    names = {name for cell in wanted for name in re.findall(r"`([^`]+)`", cell)} - {"authorized_keys", "measured-unlock_*.deb"}
    assert {p.name for p in (folder / "input").iterdir()} == names | {Path(package).name} and len(names) > 5
    passphrase = folder / "input/passphrase"
    assert passphrase.stat().st_mode & 0o077 == 0 and not passphrase.read_bytes().endswith(b"\n")
    # What 60-baseline and 80-policy put into output.tar.
    w.muctl("baseline", "sign", baseline(folder, "baseline.json"), "--key", folder / "builder.key")
    w.muctl("policy", "kms", "--baseline", folder / "baseline.json", "--principal", w.ROLE_ARN, "--builder", w.BUILDER_ARN,
            "--admin", f"arn:aws:iam::{w.ACCOUNT}:role/key-admin", "-o", folder / "key-policy.json")
    w.run("tar", "--create", "--file=output.tar", "--remove-files", "baseline.json", "baseline.json.sig", "key-policy.json", cwd=folder)
    typist(shell(step(5)))
    assert typist.calls()[-1] == "kms put-key-policy"


@pytest.fixture(scope="module")
def moto(tmp_path_factory):
    with programs.moto(tmp_path_factory.mktemp("moto")) as aws:
        yield aws


def test_getting_started_on_moto(typist, moto):
    """The roles, the key, its policy and the image as AWS's own program asks for them."""
    folder = typist.folder
    (folder / "bin/aws").write_text(moto)
    key = typist(shell(step(2)) + shell(step(3))).stdout.splitlines()[-1]
    assert key.startswith("arn:aws:kms:eu-west-1:")
    assert set(json.loads(typist("aws iam list-instance-profiles --query 'InstanceProfiles[].Roles[].RoleName'").stdout)) == {
        "web", "image-builder"}
    policy = folder / "key-policy.json"
    w.muctl("policy", "kms", "--baseline", baseline(folder, "baseline.json"), "--principal", w.ROLE_ARN, "--builder", w.BUILDER_ARN,
            "--admin", f"arn:aws:iam::{w.ACCOUNT}:role/key-admin", "-o", policy)
    put, = re.findall(r"^    (aws kms put-key-policy .*)$", step(5), re.M)
    get, = re.findall(r"`(aws kms get-key-policy [^`]*)`", GUIDE.replace("\\|", "|"))
    typist((put + "\n" + get).replace("KEY", key))
    assert json.loads(typist(get.split(" | ")[0].replace("KEY", key)).stdout) == json.loads(policy.read_text())
    volume = typist("aws ec2 create-volume --availability-zone eu-west-1a --size 1 --query VolumeId --output text").stdout.strip()
    snapshot, image = re.findall(r"^    (aws ec2 (?:create-snapshot|register-image)(?: .*\\\n)*.*)$", step(4), re.M)
    snapshot = typist(snapshot.replace("vol-...", volume)).stdout.strip()
    image = json.loads(typist(image.replace("snap-...", snapshot)).stdout)["ImageId"]
    found = json.loads(typist(f"aws ec2 describe-images --image-ids {image}").stdout)["Images"][0]
    assert found["Name"] == "web-1", found


def test_key_policy_guide(typist):
    folder = typist.folder
    baseline(folder, "complete.json")
    w.make_volume(folder / "volume.img")
    typist(shell((w.TOP / "docs/guide/key-policy.md").read_text().split("## What it says")[0]))
    assert typist.calls() == ["kms create-key", "kms get-key-policy"]
    volume = w.run("cryptsetup", "luksUUID", folder / "volume.img", text=True).stdout.strip()
    assert volume in (folder / "policy.json").read_text()


def test_update_guide(typist):
    """The policies for the new image alone and for both; `baseline diff` says by its exit status that they differ."""
    folder, text = typist.folder, (w.TOP / "docs/guide/updating.md").read_text()
    baseline(folder, "old.json")
    baseline(folder, "new.json").write_text((folder / "old.json").read_text().replace("04" * 48, "44" * 48))
    diff, = re.findall(r"^    (muctl baseline diff .*)$", text, re.M)
    assert "exit status 2" in text
    typist(f"{diff} || [ $? = 2 ]")
    policies = re.findall(r"^ +muctl policy kms(?:.*\\\n)+.*\n.*\n.*$", text, re.M)
    assert len(policies) == 2
    for found, both in zip(policies, (False, True)):
        typist(found)
        assert ("04" * 48 in (folder / "policy.json").read_text()) == both
    assert typist.calls() == ["kms put-key-policy"] * 2


@pytest.mark.parametrize("section, run, verb, key", [
    ("watch", w.mu_verifier, "list", "silence"), ("monitor", w.muctl, "monitor --timeout 1", "ca_file")])
def test_configurations_of_the_monitoring_guide(tmp_path, section, run, verb, key):
    """Each is read to its end: what fails is the store or the verifier that is not there. The twin: a misspelt key."""
    text = (w.TOP / "docs/guide/monitoring.md").read_text()
    example = shell(re.search(rf"^    \[{section}\]\n(?:    .*\n|\n)+", text, re.M)[0])
    example = example.replace("https://verifier.example.com", "https://127.0.0.1:1").replace("/var/lib/measured-unlock", str(tmp_path))
    path = tmp_path / "example.conf"
    for content, good in ((example, True), (example.replace(f"{key} =", f"{key}s ="), False)):
        path.write_text(content)
        done = run(*verb.split(), "--config", path, check=False)
        assert done.returncode in (3, 4) and (f"{path}:" in done.stderr.replace(" ", "")) != good, done.stderr


@pytest.fixture
def ordinary_user():
    """A command that makes another one run as nobody, if we are root and nobody can read the programs; and his home."""
    drop = ["setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups"]
    if os.geteuid() != 0 or w.run(*drop, "test", "-x", w.MUCTL, check=False).returncode != 0:
        drop = []
    with tempfile.TemporaryDirectory(dir="/tmp") as home:
        if drop:
            os.chown(home, 65534, 65534)
        yield drop, Path(home)


def test_laptop_guide(ordinary_user):
    """As whoever logs in to a Debian system: not root, and without /usr/sbin in PATH."""
    drop, home = ordinary_user
    script = shell(LAPTOP[LAPTOP.index("## Without a machine"):])
    # What the guide itself stops in its last lines holds the output open, if it does not come to them.
    script = "trap '[ ! -d ${work-/none}/tpm ] || { kill $(jobs -p); tests/nitrotpm/nitrotpm stop --dir $work/tpm; }' EXIT\n" + script
    assert script.count("\n") > 50
    done = w.run(*drop, "bash", "-euxc", script, cwd=w.TOP, text=True, check=False, timeout=900,
                 env={"PATH": "/usr/local/bin:/usr/bin:/bin:/usr/local/games:/usr/games", "TMPDIR": home, "HOME": home,
                      "port": str(w.two_free_ports())})
    assert done.returncode == 0, done.stderr[-3000:]
    assert "signature        good" in done.stdout and '"result":"unlocked"' in done.stdout.replace(": ", ":")
    assert done.stdout.count("\n}\n") >= 1, "report.json ends in the middle of a line"
    assert "PCR 15" in done.stderr
    assert "everybody on this machine" not in w.unfold(done).stderr
    assert list(home.glob("tmp.*")) == []
