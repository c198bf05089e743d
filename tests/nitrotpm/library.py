# SPDX-License-Identifier: GPL-2.0-or-later
"""libtpms.so.0 with the NitroTPM command: Debian's static archive linked again with nitrotpm.c."""
import hashlib
import os
import re
import shutil
import subprocess
import tempfile

HERE = os.path.dirname(os.path.realpath(__file__))
SOURCE = os.path.join(HERE, 'nitrotpm.c')
WRAPPED = ('ExecuteCommand', 'CommandCodeToCommandIndex', 'TPM2_NV_ReadLock',
           'CommandCapGetCCList', 'TPMCapGetProperties', 'TPM2B_NV_PUBLIC_Unmarshal',
           'TPMS_NV_PUBLIC_Unmarshal', 'NvDefineIndex', 'stderr')
CFLAGS = ['-std=gnu17', '-O2', '-fPIC', '-Wall', '-Wextra']


class BuildError(Exception):
    pass


def output(*command):
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def installed(name):
    """Where the compiler finds a library, or an error that names the package."""
    path = output('cc', f'-print-file-name={name}').strip()
    if not os.path.isabs(path):
        raise BuildError(f'{name} not found: install the package libtpms-dev')
    return os.path.realpath(path)


def version_script(shared):
    """The symbol versions of the distribution's library, which swtpm was linked against."""
    nodes = {}
    for line in output('objdump', '-T', shared).splitlines():
        found = re.search(r'\.text\s+[0-9a-f]+\s+\(?(LIBTPMS_[0-9.]+)\)?\s+(\w+)$', line)
        if found:
            nodes.setdefault(found[1], []).append(found[2])
    if not nodes:
        raise BuildError(f'{shared} exports no versioned symbols')
    text = ''.join(f'{node} {{ global: {" ".join(s + ";" for s in sorted(names))} }};\n'
                   for node, names in sorted(nodes.items()))
    return text.replace('};', 'local: *; };', 1)


def cache_root():
    base = os.environ.get('MU_CACHE') or os.path.join(
        os.environ.get('XDG_CACHE_HOME') or os.path.expanduser('~/.cache'), 'measured-unlock')
    return os.path.abspath(base)


def cache_key(*paths):
    digest = hashlib.sha256(output('cc', '--version').encode())
    for path in paths:
        with open(path, 'rb') as f:
            digest.update(hashlib.sha256(f.read()).digest())
    return digest.hexdigest()[:16]


def link(archive, shared, target):
    script = os.path.join(os.path.dirname(target), 'libtpms.map')
    with open(script, 'w') as f:
        f.write(version_script(shared))
    wrap = '-Wl,' + ','.join(f'--wrap={symbol}' for symbol in WRAPPED)
    result = subprocess.run(
        ['cc', *CFLAGS, '-shared', '-o', target, SOURCE, '-Wl,-soname,libtpms.so.0',
         '-Wl,-Bsymbolic', '-Wl,-z,defs', f'-Wl,--version-script={script}', wrap,
         '-Wl,--whole-archive', archive, '-Wl,--no-whole-archive', '-lcrypto'],
        capture_output=True, text=True)
    if result.returncode != 0:
        raise BuildError(f'cannot link libtpms again:\n{result.stderr}')


def build():
    """Build unless cached; returns the folder to put into LD_LIBRARY_PATH."""
    archive, shared = installed('libtpms.a'), installed('libtpms.so')
    folder = os.path.join(cache_root(),
                          'nitrotpm-' + cache_key(SOURCE, __file__, archive, shared))
    if os.path.exists(os.path.join(folder, 'libtpms.so.0')):
        return folder
    os.makedirs(cache_root(), exist_ok=True)
    work = tempfile.mkdtemp(dir=cache_root(), prefix='nitrotpm-new-')
    os.chmod(work, 0o755)
    try:
        link(archive, shared, os.path.join(work, 'libtpms.so.0'))
        os.rename(work, folder)
    except OSError:  # another process was first
        if not os.path.exists(os.path.join(folder, 'libtpms.so.0')):
            raise
    finally:
        shutil.rmtree(work, ignore_errors=True)
    return folder
