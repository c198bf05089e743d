# SPDX-License-Identifier: GPL-2.0-or-later
"""One boot of one disk: QEMU, OVMF, a TPM, and a network where AWS seems to be."""
import os
import shutil
import subprocess
import tempfile
import time
from pathlib import Path

from . import aws, firmware, marker
from .architecture import CHOSEN
from .namespace import Namespace
from .qmp import Qmp

TIMEOUT = 900
BANKS = "sha1,sha256,sha384"
COUNTED = ["-icount", "shift=0,sleep=on"]
ADDRESSES = ("net=169.254.169.0/24,host=169.254.169.254,dns=169.254.169.253,"
             "dhcpstart=169.254.169.15,ipv6=off")


class Machine:
    """with Machine(workshop, disk, policy) as m: m.wait(); m.seen["booted"]

    disk: raw image, written to. policy: the key policy of KMS. faults: argument
    lists of `aws-emulator fault`. check: shell the guest runs once it is up. running: it is up when
    systemd has started everything, else before systemd. stay: go on to a login instead of powering off. strings: SMBIOS type 11 strings, by which an outsider could hand a
    command line to systemd-stub. link: False starts with the cable out (see plug). console: the
    guest gets this terminal. tpm: the state of a TPM that was used before, of which it gets a copy.
    before: called with the machine before it is switched on, to start more in its namespace.
    variables: a variable store for firmware; Secure Boot is on if it has a PK. clock: the date that its clock shows first,
    instead of the present. counted: its time is one nanosecond an instruction, and the host's only while it waits.
    """

    def __init__(self, workshop, disk, policy, *, faults=(), check=None, running=False, stay=False, strings=(),
                 link=True, console=False, banks=BANKS, memory=1024, qemu=(), tpm=None,
                 before=None, variables=None, clock=None, counted=False):
        self.directory = Path(tempfile.mkdtemp(prefix="mu-vm-"))
        self._workshop, self._disk, self._policy, self._faults = workshop, disk, policy, faults
        self._link, self._console, self._banks = link, console, banks
        self._strings, self._memory, self._tpm_state = strings, memory, tpm
        self._extra = [*(["-rtc", f"base={clock}"] if clock else []), *(COUNTED if counted else []), *qemu]
        self._accel = "tcg,thread=single" if counted else os.environ.get("MU_ACCEL", "tcg,thread=multi")
        self.serial, self.marker = self.directory / "serial", self.directory / "marker"
        self.vars = self.directory / "vars.fd"
        self.vars.write_bytes(variables or firmware.empty())
        marker.write(self.marker, check, stay, running)
        self.seconds = self.qemu = self.qmp = None
        self._before = before

    def _command(self):
        drive = "if=none,format=raw,cache=unsafe"
        return [CHOSEN.emulator, "-nodefaults", *firmware.options(self.vars),
                "-accel", self._accel, "-cpu", os.environ.get("MU_CPU", CHOSEN.cpu),
                "-smp", os.environ.get("MU_SMP", "1"), "-m", str(self._memory), "-display", "none", "-no-reboot",
                "-drive", f"{drive},id=disk,file={self._disk}",
                "-device", "virtio-blk-pci,drive=disk,serial=disk,bootindex=1",
                "-drive", f"{drive},id=marker,file={self.marker}",
                "-device", "virtio-blk-pci,drive=marker,serial=marker",
                "-device", "virtio-rng-pci",
                "-netdev", f"user,id=net,{ADDRESSES}",
                "-device", "virtio-net-pci,id=nic,netdev=net,romfile=",
                "-chardev", f"socket,id=tpm,path={self.tpm.control}",
                "-tpmdev", "emulator,id=tpm,chardev=tpm", "-device", f"{CHOSEN.tpm},tpmdev=tpm",
                "-qmp", f"unix:{self.directory / 'qmp'},server=on,wait=off",
                "-serial", "mon:stdio" if self._console else f"file:{self.serial}",
                *(a for s in self._strings for a in ("-smbios", f"type=11,value={s}")),
                *self._extra, "-S"]

    def __enter__(self):
        self.namespace = Namespace(self.directory)
        spawn = self.namespace.spawn
        try:
            if self._tpm_state:
                shutil.copytree(self._tpm_state, self.directory / "tpm")
            self.tpm = aws.NitroTpm(spawn, self.directory / "tpm", self._workshop.nitrotpm_ca,
                                    self._banks)
            state = aws.copy_state(self._workshop.authorities / "aws", self.directory / "aws")
            self.aws = aws.Aws(spawn, state, self._workshop.nitrotpm_ca / "root.pem", self._policy,
                               "--kms-port", 443, "--imds-port", 80, "--dns-port", 53)
            for fault in self._faults:
                self.aws.fault(*fault)
            if self._before:
                self._before(self)
            self._start()
        except BaseException:
            self.__exit__()
            raise
        return self

    def _start(self):
        with open(self.directory / "qemu.log", "w") as log:
            streams = {} if self._console else {"stdin": subprocess.DEVNULL, "stdout": log,
                                                "stderr": log}
            self.qemu = self.namespace.spawn(*self._command(), **streams)
        self.qmp = Qmp(self.directory / "qmp")
        self.plug(self._link)
        self._began = time.monotonic()
        self.qmp("cont")

    def plug(self, up=True):
        self.qmp("set_link", name="nic", up=up)

    def wait(self, timeout=TIMEOUT):
        """Until the guest powered off (or rebooted); returns self."""
        try:
            self.qemu.wait(timeout)
        except subprocess.TimeoutExpired:
            raise TimeoutError(f"guest still runs after {timeout} s:\n{self.log()[-3000:]}") from None
        self.seconds = time.monotonic() - self._began
        return self

    def wait_serial(self, text, timeout=TIMEOUT):
        end = time.monotonic() + timeout
        while text not in self.log():
            if time.monotonic() > end or self.qemu.poll() is not None:
                raise TimeoutError(f"no {text!r} on the console:\n{self.log()[-3000:]}")
            time.sleep(0.1)
        return self

    def log(self):
        return self.serial.read_text(errors="replace") if self.serial.exists() else ""

    @property
    def seen(self):
        return marker.read(self.marker)

    @property
    def booted(self):
        return "booted" in self.seen

    def qemu_pid(self):
        """QEMU itself: nsenter forks it for the process namespace."""
        return int(Path(f"/proc/{self.qemu.pid}/task/{self.qemu.pid}/children").read_text().split()[0])

    def __exit__(self, *_):
        if self.qmp:
            self.qmp.close()
        self.namespace.close()
        for process in (self.qemu,):
            if process:
                process.wait()
        if "MU_KEEP" not in os.environ:
            shutil.rmtree(self.directory)
