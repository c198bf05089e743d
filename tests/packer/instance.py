# SPDX-License-Identifier: GPL-2.0-or-later
"""An SSH server that runs what it is told to on this machine, as an instance would on itself."""
import argparse
import asyncio

import asyncssh


async def run(process):
    child = await asyncio.create_subprocess_shell(process.command, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
                                                  stderr=asyncio.subprocess.PIPE)
    await process.redirect(stdin=child.stdin, stdout=child.stdout, stderr=child.stderr)
    process.exit(await child.wait())


async def serve(options):
    await asyncssh.listen(options.address, 22, server_host_keys=[asyncssh.generate_private_key("ssh-ed25519")],
                          authorized_client_keys=options.authorized_keys, process_factory=run, encoding=None, sftp_factory=True,
                          allow_scp=True)
    print("ready", flush=True)
    await asyncio.Event().wait()


parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--address", required=True)
parser.add_argument("--authorized-keys", required=True)
asyncio.run(serve(parser.parse_args()))
