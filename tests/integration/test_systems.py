# SPDX-License-Identifier: GPL-2.0-or-later
"""docs/examples/packer/provision for systems that are not Debian's: a repository of packages with the names and files of Amazon
Linux 2023, by the real dnf and rpm, in place of its own, which cannot be had here. What is in these packages is mostly
nothing; the stub is a real one of systemd 252."""
import os
import re
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

import aws_programs as programs
import pytest
import world as w
from test_packages import UNLOCK, make
from test_packer import PACKER, STUB

sys.path.append(str(w.TOP / "vm-tests"))
from harness import steps  # noqa: E402

VERSION, OLDER = "6.12.58-82.121.amzn2023.x86_64", "6.1.158-180.294.amzn2023.x86_64"
RELEASE = 'NAME="Amazon Linux"\nVERSION="2023"\nID="amzn"\nID_LIKE="fedora"\nVERSION_ID="2023"\n'
# Makes an image that is the stub alone, and says how it was called.
DRACUT = """#!/usr/bin/sh
echo "$*" >/called
for last; do :; done
cp /usr/lib/systemd/boot/efi/linuxx64.efi.stub "$last"
"""
# What the steps run, where they run in the system itself.
CHROOT = "bash cat chroot install ln ls mkdir mount mv od rm sed sort tail umount".split()
SPEC = """Name: {name}
Version: 1{version}
Release: 1.amzn2023
Summary: {name}
License: none
AutoReqProv: no
{requires}
%global __os_install_post %{{nil}}
%global debug_package %{{nil}}
%global _build_id_links none
%description
%install
cp -a {files}/. %{{buildroot}}/
%files
{listed}
"""


def program(tree, *names):
    """Of this machine, with the libraries and the files that it reads."""
    for name in names:
        path = shutil.which(name)
        linked = subprocess.run(["ldd", path], capture_output=True, text=True).stdout.split()
        for source in [path, *(word for word in linked if word.startswith("/"))]:
            target = tree / "usr" / os.path.realpath(Path(source).parent).removeprefix("/usr/").lstrip("/") / Path(source).name
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(source, target)


def files_of_packages(folder):
    """{package: folder with its files}"""
    def put(package, path, content="", mode=0o644):
        target = folder / package / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(content)
        target.chmod(mode)
        return target
    for name in ("systemd", "systemd-udev", "cryptsetup", "device-mapper", "kmod", "iproute", "e2fsprogs", "binutils", "zstd",
                 "dracut-network", "bash", "glibc-minimal-langpack", "ca-certificates", "sudo", "dnf"):
        put(name, f"usr/share/licenses/{name}/LICENSE")
    base = folder / "filesystem"
    put("filesystem", "etc/os-release", RELEASE)
    for name in "proc", "dev", "boot", "tmp":
        (base / name).mkdir(exist_ok=True)
    for name in "bin", "sbin", "lib", "lib64":
        (base / "usr" / name).mkdir(parents=True, exist_ok=True)
        (base / name).symlink_to(f"usr/{name}")
    program(base, "sh", "cp")
    program(folder / "rpm", "rpm")
    program(folder / "coreutils", *CHROOT)
    macros = Path("/usr/lib/rpm/macros").read_text()
    put("rpm", "usr/lib/rpm/macros", re.sub(r"(?m)^%_dbpath\s.*$", "%_dbpath /var/lib/rpm", macros))
    shutil.copy("/usr/lib/rpm/rpmrc", folder / "rpm/usr/lib/rpm")
    put("dracut", "usr/bin/dracut", DRACUT, 0o755)
    put("kernel", f"usr/lib/modules/{VERSION}/vmlinuz", "a kernel")
    put("kernel", f"usr/lib/modules/{OLDER}/vmlinuz", "an older one")
    # Left behind when a kernel was removed.
    put("kernel", "usr/lib/modules/6.18.1-1.amzn2023.x86_64/extra/driver.ko")
    put("systemd-networkd", "usr/lib/systemd/system/systemd-networkd.service", "[Install]\nWantedBy=multi-user.target\n")
    put("openssh-server", "usr/lib/systemd/system/sshd.service", "[Install]\nWantedBy=multi-user.target\n")
    shutil.copy(STUB, put("systemd-boot", "usr/lib/systemd/boot/efi/linuxx64.efi.stub"))
    return {path.name: path for path in folder.iterdir()}


@pytest.fixture(scope="module")
def repository(tmp_path_factory):
    """A folder with one .repo file."""
    for needed in "dnf", "createrepo_c", "rpmbuild":
        if not shutil.which(needed):
            pytest.skip(f"{needed} is not installed (tests/setup installs it)")
    if not STUB.exists():
        pytest.skip("systemd-boot-efi is not installed (tests/setup installs it)")
    folder = tmp_path_factory.mktemp("repository")
    for name, files in files_of_packages(folder / "files").items():
        listed = "\n".join(f'"/{p.relative_to(files)}"' for p in sorted(files.rglob("*")) if p.is_symlink() or not p.is_dir())
        empty = "\n".join(f'%dir "/{p.relative_to(files)}"' for p in sorted(files.rglob("*"))
                          if p.is_dir() and not p.is_symlink() and not any(p.iterdir()))
        spec = folder / f"{name}.spec"
        spec.write_text(SPEC.format(name=name, files=files, listed=f"{listed}\n{empty}", version="02" if "dracut" in name else "",
                                    requires="" if name == "filesystem" else "Requires: filesystem"))
        w.run("rpmbuild", "--quiet", "-bb", "--define", f"_topdir {folder}/build", "--define", f"_rpmdir {folder}/rpms",
              "--target", "x86_64", spec)
    w.run("createrepo_c", "--quiet", folder / "rpms")
    (folder / "repos").mkdir()
    (folder / "repos/amazonlinux.repo").write_text(
        f"[amazonlinux]\nname=amazonlinux\nbaseurl=file://{folder}/rpms\nenabled=1\ngpgcheck=0\n")
    return folder / "repos"


class System:
    """The builder's work folder."""

    def __init__(self, folder):
        self.work, self.root, self.out = folder, folder / "root", folder / "out"
        key, public = w.make_builder_key(folder)
        (folder / "measured-unlock.conf").write_text("[volume root]\ndevice = PARTLABEL=root\n")
        self.variables = {"OUT": self.out, "CONFIG": folder / "measured-unlock.conf", "BUILDER_PEM": public, "SIGN_KEY": key,
                          "ARCH": "x86_64", "FILES": "", "CMDLINE": "quiet"}

    def run(self, *names, **more):
        return steps.run(self.work, *names, **{**self.variables, **more})

    def refused(self, name, **more):
        with pytest.raises(RuntimeError) as refusal:
            self.run(name, **more)
        return str(refusal.value)


@pytest.fixture
def system(tmp_path):
    if os.geteuid() != 0:
        pytest.skip("mounts and chroot need root")
    return System(tmp_path)


def test_shape_of_amazon_linux(repository, system, tmp_path):
    """From dnf to the image's baseline, with the package of `make rpm`."""
    system.run("30-system", SYSTEM="dnf:2023", MIRROR=repository, PACKAGES="systemd-networkd openssh-server")
    assert (system.root / "etc/os-release").read_text() == RELEASE
    # Debian's dnf would have it at /root.
    assert (system.root / "var/lib/rpm/rpmdb.sqlite").exists() and not (system.root / "root/.rpmdb").exists()
    package = make("rpm", tmp_path / "rpm")[UNLOCK]
    system.run("35-configure", "37-bake", "40-image", "60-baseline", FILES=package, CUSTOMIZE=PACKER / "customize.example")
    assert (system.root / "usr/lib/dracut/modules.d/55measured-unlock/module-setup.sh").exists()
    called = (system.root / "called").read_text()
    assert f"--kver {VERSION} --kernel-image /usr/lib/modules/{VERSION}/vmlinuz --uefi" in called
    assert "root=/dev/mapper/root quiet /uki.efi" in called
    assert (system.out / "uki.efi").read_bytes() == STUB.read_bytes() and (system.out / "baseline.json.sig").exists()
    wanted = system.root / "etc/systemd/system/multi-user.target.wants"
    assert {p.name for p in wanted.iterdir()} == {"systemd-networkd.service", "sshd.service"}


def test_shape_by_kiwi(repository, system, tmp_path):
    """docs/examples/kiwi from its description to the archive, by the profile for such systems."""
    packages = programs.pip_install("kiwi.txt")
    if not shutil.which("rsync"):
        pytest.skip("rsync is not installed (tests/setup installs it)")
    description, public, target = shutil.copytree(PACKER.parent / "kiwi", tmp_path / "kiwi"), tmp_path / "public", tmp_path / "made"
    public.mkdir()
    for source in make("rpm", tmp_path / "rpm")[UNLOCK], system.variables["CONFIG"], system.variables["BUILDER_PEM"]:
        shutil.copy(source, public)
    (public / "image.conf").write_text((PACKER / "image.conf.example").read_text() + steps.text(CUSTOMIZE="", CMDLINE="quiet")
                                       + 'FILES="$WORK/in/measured-unlock-[0-9]*.rpm"\nBUILDER_PEM=$WORK/in/'
                                       + system.variables["BUILDER_PEM"].name)
    with tarfile.open(description / "input.tar", "w") as archive:
        archive.add(PACKER / "provision", "image/provision")
        archive.add(public, "image/in")
    (tmp_path / "kiwi.yml").write_text("xz:\n  options: -0\n")
    done = w.run("unshare", "--mount", "--propagation", "private", sys.executable, packages / "bin/kiwi-ng", "--config", tmp_path / "kiwi.yml",
                 "--profile", "dnf", "system", "build", "--description", description, "--target-dir", target, "--set-repo",
                 f"file://{repository.parent}/rpms,rpm-md,system,,,,,,,false",
                 env={"PATH": os.environ["PATH"], "PYTHONPATH": str(packages), "HOME": str(tmp_path)}, check=False, text=True)
    assert done.returncode == 0, done.stdout[-5000:] + done.stderr[-3000:]
    (archive,) = target.glob("*.tar.xz")
    with tarfile.open(archive) as made:
        read = lambda name: made.extractfile(f"{name}").read()
        assert read("boot/uki.efi") == STUB.read_bytes()
        called = read("called").decode()
        assert f"--kver {VERSION} --kernel-image /usr/lib/modules/{VERSION}/vmlinuz --uefi" in called
        assert "root=/dev/mapper/root quiet /uki.efi" in called
        assert not [name for name in made.getnames() if name.startswith("image")]


@pytest.mark.parametrize("files, message", [
    ((), "want one stub of systemd, found"),
    (("linuxx64.efi.stub", "linuxia32.efi.stub"), "want one stub of systemd, found")])
def test_stub_is_not_found(system, files, message):
    folder = system.root / "usr/lib/systemd/boot/efi"
    folder.mkdir(parents=True)
    for name in files:
        (folder / name).touch()
    assert message in (said := system.refused("37-bake")) and "37-bake: exit 4" in said


def test_kernel_is_not_found(system):
    """Modules without an image, and an image without modules, are what removed kernels leave."""
    (system.root / f"usr/lib/modules/{VERSION}").mkdir(parents=True)
    (system.root / "boot").mkdir()
    (system.root / f"boot/vmlinuz-{OLDER}").touch()
    assert "40-image: no kernel" in (said := system.refused("40-image")) and "40-image: exit 4" in said


def test_unknown_system(system):
    assert "SYSTEM=fedora:43: no such archive" in (said := system.refused("30-system", SYSTEM="fedora:43")) and "exit 4" in said


def test_unknown_architecture(system):
    said = system.refused("30-system", SYSTEM="dnf:2023", ARCH="riscv64")
    assert "ARCH=riscv64: known are" in said and "exit 4" in said


@pytest.fixture
def images(system):
    """A boot loader and two images: the stub is a PE image for x86-64, as they are."""
    if not STUB.exists():
        pytest.skip("systemd-boot-efi is not installed (tests/setup installs it)")
    system.out.mkdir()
    (system.work / "esp").touch()
    older = system.work / "linux-0.efi"
    for path in system.out / "uki.efi", system.out / "boot.efi", older:
        path.write_bytes(STUB.read_bytes() + path.name.encode())
    return older


def on_the_esp(system, place):
    done = w.run("mdir", "-b", "-i", system.work / "esp", f"::{place}", text=True)
    return sorted(line.rsplit("/", 1)[1] for line in done.stdout.split())


def test_two_images(system, images):
    system.run("50-esp", ESP_MIB=64, BOOT_LOADER="systemd-boot", IMAGE_NAME="linux-1", MORE_IMAGES=images)
    assert on_the_esp(system, "EFI/Linux") == ["linux-0.efi", "linux-1.efi"] and on_the_esp(system, "EFI/BOOT") == ["BOOTX64.EFI"]
    assert w.run("mtype", "-i", system.work / "esp", "::EFI/Linux/linux-0.efi").stdout == images.read_bytes()


def test_images_that_are_not_put_there(system, images):
    data = bytearray(images.read_bytes())
    machine = int.from_bytes(data[60:64], "little") + 4
    data[machine:machine + 2] = b"\x64\xaa"
    graviton = system.work / "graviton.efi"
    graviton.write_bytes(data)
    missing, text = system.work / "missing.efi", system.work / "measured-unlock.conf"
    same = Path(shutil.copy(images, system.out / "linux-1.efi"))
    for more, loader, message in (
            (graviton, "systemd-boot", "is for another machine"), (missing, "systemd-boot", "missing.efi: no such image"),
            (text, "systemd-boot", "neither for x86-64 nor for aarch64"), (same, "systemd-boot", "set IMAGE_NAME"),
            (images, "", "set BOOT_LOADER=systemd-boot")):
        said = system.refused("50-esp", ESP_MIB=64, BOOT_LOADER=loader, MORE_IMAGES=more)
        assert message in said and "50-esp: exit 4" in said, said
    assert (system.work / "esp").stat().st_size == 0


@pytest.mark.parametrize("units, enabled", [
    (["systemd-networkd", "NetworkManager", "ssh", "sshd"], ["ssh", "systemd-networkd"]),
    (["NetworkManager", "sshd"], ["NetworkManager", "sshd"]), (["sshd"], None), (["NetworkManager"], None)])
def test_units_that_the_example_enables(tmp_path, units, enabled):
    root = tmp_path / "root"
    (root / "usr/lib/systemd/system").mkdir(parents=True)
    (root / "etc/ssh").mkdir(parents=True)
    for unit in units:
        (root / f"usr/lib/systemd/system/{unit}.service").write_text("[Install]\nWantedBy=multi-user.target\n")
    (root / "etc/resolv.conf").symlink_to(tmp_path / "of the builder")
    done = w.run("sh", PACKER / "customize.example", root, check=False, text=True)
    assert done.returncode == (4 if enabled is None else 0), done.stderr
    assert not (tmp_path / "of the builder").exists()
    if enabled:
        wanted = root / "etc/systemd/system/multi-user.target.wants"
        assert sorted(p.stem for p in wanted.iterdir()) == enabled
