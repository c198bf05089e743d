# SPDX-License-Identifier: GPL-2.0-or-later
"""What goes over wires in one run: TPM commands and connections, as strace sees them."""
import re
import subprocess
from collections import Counter
from pathlib import Path

# TPM 2.0 Part 2, 6.5.2
NAMES = {0x122: "NV_UndefineSpace", 0x12a: "NV_DefineSpace", 0x137: "NV_Write", 0x13c: "PCR_Event", 0x14e: "NV_Read",
         0x169: "NV_ReadPublic", 0x17a: "GetCapability", 0x17e: "PCR_Read", 0x20000001: "AWS_NSM_REQUEST"}
# Part 1, 18.2: tag (with or without sessions), size, code
COMMAND = re.compile(r'"\\x80\\x0[12]((?:\\x[0-9a-f]{2}){4})((?:\\x[0-9a-f]{2}){4})[^"]*"\.{0,3}, (\d+)')
CONNECT = re.compile(r"connect\(\d+, \{sa_family=AF_INET, sin_port=htons\((\d+)\)")


def number(escaped):
    return int(escaped.replace("\\x", ""), 16)


def traced(command, environment, trace, ports):
    """-> TPM commands by name, and connections by the name of a port; ports: number -> name"""
    subprocess.run(["strace", "-f", "-qq", "-xx", "-s", "10", "-e", "trace=connect,write,sendto", "-o", trace,
                    *command], env=environment, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    text = Path(trace).read_text()
    commands = Counter(NAMES.get(number(code), f"{number(code):#x}") for size, code, length in COMMAND.findall(text)
                       if number(size) == int(length))
    connections = Counter(ports[int(port)] for port in CONNECT.findall(text) if int(port) in ports)
    return {"tpm": dict(commands), "tpm_total": sum(commands.values()), "connections": dict(connections)}
