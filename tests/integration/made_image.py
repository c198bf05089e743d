# SPDX-License-Identifier: GPL-2.0-or-later
"""A machine's root with this project installed, and initramfs images made from it by the dracut module's own install().

Only dracut itself is a stand-in: its functions as far as module-setup.sh uses them, and then cpio(1) and a compressor.
"""
import shutil
import struct

import world as w

MODULE = "usr/lib/dracut/modules.d/55measured-unlock"
UNITS = "usr/lib/systemd/system"
GENERATORS = "usr/lib/systemd/system-generators"
HOOKS = "usr/lib/dracut/hooks"
COMPRESS = {"zstd": ["zstd", "-q"], "gzip": ["gzip"], "xz": ["xz", "--check=crc32"], "lz4": ["lz4", "-l", "-q"],
            "bzip2": ["bzip2"], "lzma": ["xz", "--format=lzma"], "lzop": ["lzop"], "none": ["cat"]}
# Other modules' parts of an image with systemd.
OF_OTHERS = {"usr/lib/systemd/systemd", "usr/lib/systemd/systemd-networkd", f"{GENERATORS}/systemd-cryptsetup-generator",
             f"{GENERATORS}/systemd-fstab-generator", f"{UNITS}/systemd-ask-password-console.path"}
SBAT = b"systemd-stub,1,The systemd Developers,systemd,257,https://systemd.io/\n"
STUBS = r"""
from() { case $1 in "$root"/*) echo "$1" ;; *) echo "$root$1" ;; esac; }
inst_simple() { local f; f=$(from "$1"); [ -e "$f" ] || return 1
    mkdir -p "$initdir$(dirname "${2:-$1}")"; cp "$f" "$initdir${2:-$1}"; }
inst_script() { inst_simple "$@"; }
inst_multiple() { :; }
inst_hook() { inst_simple "$3" "/usr/lib/dracut/hooks/$1/$2-${3##*/}"; }
dracut_need_initqueue() { :; }
dracut_module_included() { case " $included " in *" $1 "*) return 0 ;; esac; return 1; }
dfatal() { echo "dfatal $*" >&2; }
dinfo() { :; }
"""


def install(root):
    """What `make install DESTDIR=root` puts there, as far as images are made from it."""
    module = root / MODULE
    module.mkdir(parents=True)
    for path in [*(w.TOP / "hook").iterdir(), *(w.TOP / "dracut-module").iterdir()]:
        shutil.copy(path, module)
    (root / "usr/bin").mkdir(parents=True)
    (root / "usr/bin/muctl").symlink_to(w.MUCTL)
    for name, text in (("lib/measured-unlock/measured-unlock", "a program, that nobody starts here\n" * 99),
                       ("share/measured-unlock/amazon-roots.pem", (module / "amazon-roots.pem").read_text())):
        (root / "usr" / name).parent.mkdir(parents=True)
        (root / "usr" / name).write_text(text)


def tree(root, folder, systemd=True):
    """The content of an image, as the dracut module of that root makes it."""
    shutil.rmtree(folder, ignore_errors=True)
    (folder / HOOKS).mkdir(parents=True)
    script = (f"set -eu\nroot={root} dracutsysrootdir={root} moddir={root}/{MODULE} initdir={folder} hostonly= "
              f"included='{'systemd systemd-networkd' if systemd else 'network-legacy'}' "
              f"systemdsystemunitdir=/{UNITS}\n{STUBS}. $moddir/module-setup.sh\ninstall\n")
    w.run("bash", "-c", script)
    if systemd:
        (folder / GENERATORS).mkdir()
        for path in OF_OTHERS:
            (folder / path).write_text("#!/bin/sh\n")
    return folder


def archive(folder):
    names = "\n".join(str(p.relative_to(folder)) for p in [folder, *sorted(folder.rglob("*"))])
    return w.run("cpio", "-o", "-H", "newc", "--quiet", cwd=folder, input=names.encode()).stdout


def early(folder):
    """An uncompressed archive before the real one, as for microcode."""
    path = folder / "kernel/x86/microcode"
    path.mkdir(parents=True)
    (path / "GenuineIntel.bin").write_bytes(b"microcode " * 99)
    data = archive(folder)
    return data + bytes(-len(data) % 512)


def compress(data, how="zstd"):
    return w.run(*COMPRESS[how], input=data).stdout


def initramfs(folder, how="zstd"):
    return compress(archive(folder), how)


def pe(sections):
    """PE32+ (PE/COFF Specification, 3 and 4): headers and sections, nothing that could be started.

    The sections are a dictionary, or pairs if a name occurs twice."""
    sections = list(sections.items() if isinstance(sections, dict) else sections)
    headers, body = bytearray(1024), bytearray()

    def put(at, fmt, *values):
        struct.pack_into("<" + fmt, headers, at, *values)
    put(0, "2s58xI", b"MZ", 64)
    put(64, "4sHH12xHH", b"PE\0\0", 0x8664, len(sections), 240, 0x22e)
    put(88, "H", 0x20b)
    put(88 + 60, "I", len(headers))
    put(88 + 108, "I", 16)
    for i, (name, data) in enumerate(sections):
        size = -(-len(data) // 512) * 512
        put(328 + 40 * i, "8s4I", name.encode(), len(data), 0x100000 * (i + 1), size, len(headers) + len(body))
        body += data.ljust(size, b"\0")
    return bytes(headers + body)


def doors(*kinds):
    """Lines of the table, each as its five fields."""
    lines = (w.TOP / "dracut-module/doors").read_text().splitlines()
    return [f for f in (line.split(None, 4) for line in lines if line and line[0] != "#") if f[0] in kinds]


WORDS = " ".join(door[1] for door in doors("word"))


def uki(path, initrd, cmdline="root=/dev/mapper/root " + WORDS):
    path.write_bytes(pe({".sbat": SBAT, ".cmdline": cmdline.encode(), ".linux": pe({".text": b"kernel"}), ".initrd": initrd}))
    return path


def profiles(path, initrd, *profiles):
    """A UKI with profiles, each of them its own sections; the base is that of uki()."""
    base = [(".sbat", SBAT), (".cmdline", f"root=/dev/mapper/root {WORDS}".encode()), (".initrd", initrd),
            (".linux", pe({".text": b"kernel"}))]
    path.write_bytes(pe([*base, *(section for profile in profiles for section in profile)]))
    return path
