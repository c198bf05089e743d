# SPDX-License-Identifier: GPL-2.0-or-later
"""What each way adds to an initramfs, in files and in compressed bytes: the files that a run opens, or
the packages that these files belong to."""
import re
import subprocess
from pathlib import Path

TOP = Path(__file__).resolve().parents[2]
OPENED = re.compile(r'(?:openat\(AT_FDCWD, |open\(|execve\()"(/[^"]+)"')
# A dracut image has these and their libraries anyway.
BASE = ("/usr/bin/sh", "/usr/bin/cat", "/usr/bin/mount", "/usr/bin/udevadm", "/usr/lib/systemd/systemd")
# The tests' TPM is behind a socket, a machine's is a device.
INSTEAD = {"libtss2-tcti-swtpm.so": "libtss2-tcti-device.so"}
# Of a package, an image has no use for these.
READING = tuple(f"/usr/share/{d}/" for d in ("doc", "man", "info", "locale", "lintian", "bash-completion", "zsh", "fish", "doc-base"))
BYTECODE = re.compile(r"__pycache__/(.*)\.cpython-\d+\.pyc$")


def libraries(program):
    text = subprocess.run(["ldd", program], capture_output=True, text=True, check=True).stdout
    return {Path(p).resolve() for p in re.findall(r"(/\S+) \(0x", text)}


def base_files():
    present = [p for p in BASE if Path(p).exists()]
    return set().union({Path(p).resolve() for p in present}, *(libraries(p) for p in present))


def in_image(path):
    """Not what belongs to the run: its folder, devices, /proc, the loader's cache, its script."""
    return path.is_file() and (path.is_relative_to("/usr") or path.is_relative_to("/etc/ssl"))


def traced(command, environment, trace):
    """-> the files of the system that a command and its children opened or started"""
    subprocess.run(["strace", "-f", "-qq", "-e", "trace=open,openat,execve", "-e", "status=successful",
                    "-o", trace, *command], env=environment, check=True, stdout=subprocess.DEVNULL,
                   stderr=subprocess.DEVNULL)
    found = {Path(p).resolve() for p in OPENED.findall(Path(trace).read_text())}
    found = {p for p in found if in_image(p)}
    return {as_on_a_machine(p) for p in found} - base_files()


def as_on_a_machine(path):
    for name, other in INSTEAD.items():
        if path.name.startswith(name):
            return Path(str(path).replace(name, other)).resolve(strict=True)
    return path


def owners(files):
    """-> path: its Debian package; bytecode, which no package has, belongs to its source's"""
    source = {p: Path(BYTECODE.sub(r"\1.py", str(p))) for p in files}
    names = {str(p) for p in source.values()}
    names |= {n.removeprefix("/usr") for n in names}  # dpkg keeps the path of before /usr was merged
    text = subprocess.run(["dpkg", "-S", *sorted(names)], capture_output=True, text=True).stdout
    found = {}
    for line in text.splitlines():
        package, _, path = line.partition(": ")
        if not line.startswith("diversion "):
            found[path if path.startswith("/usr") else "/usr" + path] = package.split(",")[0]
    return {p: found[str(s)] for p, s in source.items() if str(s) in found}


def of_package(package):
    text = subprocess.run(["dpkg", "-L", package], capture_output=True, text=True, check=True).stdout
    listed = {Path(line) for line in text.splitlines() if not line.startswith(READING)}
    return {p.resolve() for p in listed if p.is_file()}


def whole_packages(files):
    """-> packages, and all files of them. Of a package that a dracut image has anyway (of the base), and of
    files that no package has, only the files that were opened."""
    owner = owners(files)
    packages = set(owner.values()) - set(owners(base_files()).values())
    single = {p for p in files if owner.get(p) not in packages}
    return sorted(packages), single.union(*(of_package(p) for p in packages)) - base_files()


def ours(program):
    files = [p for p in (TOP / "hook").iterdir() if p.is_file()]
    for suffix in ("service", "conf", "network"):
        files += (TOP / "dracut-module").glob(f"*.{suffix}")
    return {program, *files}


def cpio(files):
    """The "newc" archive that the kernel unpacks."""
    out = bytearray()
    for number, (name, mode, data) in enumerate([*files, ("TRAILER!!!", 0, b"")]):
        fields = (number, mode, 0, 0, 1, 0, len(data), 0, 0, 0, 0, len(name.encode()) + 1, 0)
        out += b"070701" + b"".join(b"%08x" % f for f in fields) + name.encode() + b"\0"
        out += bytes(-len(out) % 4) + data
        out += bytes(-len(out) % 4)
    return bytes(out)


def compressed(data):
    return len(subprocess.run(["zstd", "-19", "-q", "-c"], input=data, capture_output=True, check=True).stdout)


def sizes(files):
    """-> number of files, bytes, bytes as a compressed archive of its own"""
    contents = [(str(p).lstrip("/"), p.stat().st_mode, p.read_bytes()) for p in sorted(files)]
    return {"files": len(contents), "bytes": sum(len(data) for _, _, data in contents),
            "compressed": compressed(cpio(contents))}
