# SPDX-License-Identifier: GPL-2.0-or-later
"""A software TPM for one machine."""
import subprocess

BANKS = "sha1,sha256,sha384"


class Swtpm:
    """A plain swtpm, without the NitroTPM command."""

    def __init__(self, namespace, directory, banks=BANKS):
        self.state, self.control = directory / "tpm", directory / "tpm.sock"
        self.state.mkdir(exist_ok=True)
        with open(directory / "tpm.log", "w") as log:
            subprocess.run(["swtpm_setup", "--tpm2", "--tpmstate", self.state, "--pcr-banks", banks,
                            "--not-overwrite"], check=True, stdout=log, stderr=log)
            self._process = namespace.spawn(
                "swtpm", "socket", "--tpm2", "--tpmstate", f"dir={self.state}",
                "--ctrl", f"type=unixio,path={self.control}", stdout=log, stderr=log)

    def close(self):
        self._process.kill()
        self._process.wait()
