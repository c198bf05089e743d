/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "doctor/words.h"

#include <string.h>

#define K BY_KERNEL
#define S BY_SYSTEMD
#define D BY_DRACUT

/* The first row that fits counts, so the narrow ones stand before the wide ones. */
/* clang-format off */
static const struct way ways[] = {
    /* Another init, or what init is told. */
    {"init", K | S | D, WHEN_VALUE, "/bin/sh", true, "starts a root shell in place of init"},
    {"init", K | S | D, WHEN_CONTAINS, "/bash", true, "starts a root shell in place of init"},
    {"init", K | S | D, WHEN_CONTAINS, "/dash", true, "starts a root shell in place of init"},
    {"init", K | S | D, WHEN_CONTAINS, "busybox", true, "starts a root shell in place of init"},
    {"init", K | S | D, WHEN_THERE, NULL, false, "starts another program in place of init"},
    {"rdinit", K, WHEN_THERE, NULL, false, "starts another program in place of the initramfs's init"},
    {"initrd", K, WHEN_THERE, NULL, false, "loads another initramfs"},
    {"initrdmem", K, WHEN_THERE, NULL, false, "takes another initramfs from memory"},
    {"noinitrd", K, WHEN_THERE, NULL, false, "boots without the initramfs"},
    {"bootconfig", K, WHEN_THERE, NULL, false, "adds to the command line what stands behind the initramfs"},
    {"--*", K, WHEN_THERE, NULL, false, "is an option of init, not of the kernel"},

    /* The environment of init and, with it, of units. */
    {"LD_*", K, WHEN_THERE, NULL, false, "loads code into init by its environment"},
    {"GLIBC_TUNABLES", K, WHEN_THERE, NULL, false, "changes the C library by the environment of init"},
    {"GCONV_PATH", K, WHEN_THERE, NULL, false, "loads code into init by its environment"},
    {"MALLOC_*", K, WHEN_THERE, NULL, false, "changes the C library by the environment of init"},
    {"PATH", K, WHEN_THERE, NULL, false, "says where init looks for programs"},
    {"BASH_ENV", K, WHEN_THERE, NULL, false, "has shell scripts run another one first"},
    {"ENV", K, WHEN_THERE, NULL, false, "has shell scripts run another one first"},
    {"SHELLOPTS", K, WHEN_THERE, NULL, false, "changes how shell scripts run"},
    {"BASHOPTS", K, WHEN_THERE, NULL, false, "changes how shell scripts run"},
    {"PS4", K, WHEN_THERE, NULL, false, "is run by shell scripts that show what they do"},
    {"SYSTEMD_PROC_CMDLINE", K, WHEN_THERE, NULL, false, "replaces this command line for systemd"},
    {"SYSTEMD_*", K, WHEN_THERE, NULL, false, "steers systemd by its environment"},
    {"systemd.setenv", S, WHEN_THERE, NULL, false, "puts a variable into the environment of every unit"},

    /* Credentials. */
    {"systemd.set_credential", S, WHEN_THERE, NULL, false, "passes a credential, which can be a unit, a password or a key"},
    {"systemd.set_credential_binary", S, WHEN_THERE, NULL, false, "passes a credential, which can be a unit, a password or a key"},
    {"systemd.import_credentials", S, WHEN_ON, NULL, false, "takes credentials from outside the measured image"},
    {"systemd.credentials_boot_policy", S, WHEN_THERE, NULL, false, "says which credentials from outside are taken"},
    {"systemd.random_seed", S, WHEN_THERE, NULL, false, "seeds random numbers with what everybody can read"},

    /* Units. */
    {"systemd.unit", S, WHEN_THERE, NULL, false, "starts another unit"},
    {"systemd.mask", S, WHEN_VALUE, "measured-unlock", true, "switches a unit of measured-unlock off"},
    {"systemd.mask", S, WHEN_THERE, NULL, false, "switches a unit off"},
    {"systemd.wants", S, WHEN_VALUE, "debug-shell", true, "opens a root shell on a console"},
    {"systemd.wants", S, WHEN_VALUE, "breakpoint-", true, "opens a root shell on a console"},
    {"systemd.wants", S, WHEN_THERE, NULL, false, "starts another unit"},
    {"systemd.run", S, WHEN_THERE, NULL, false, "runs a command as root"},
    {"systemd.pull", S, WHEN_THERE, NULL, false, "downloads an image of a system"},
    {"emergency", S, WHEN_ALONE, NULL, false, "asks for an emergency shell"},
    {"-b", S, WHEN_ALONE, NULL, false, "asks for an emergency shell"},
    {"rescue", S, WHEN_ALONE, NULL, false, "asks for a rescue shell"},
    {"single", S, WHEN_ALONE, NULL, false, "asks for a rescue shell"},
    {"-s", S, WHEN_ALONE, NULL, false, "asks for a rescue shell"},
    {"s", S, WHEN_ALONE, NULL, false, "asks for a rescue shell"},
    {"S", S, WHEN_ALONE, NULL, false, "asks for a rescue shell"},
    {"1", S, WHEN_ALONE, NULL, false, "asks for a rescue shell"},
    {"2", S, WHEN_ALONE, NULL, false, "starts another target"},
    {"3", S, WHEN_ALONE, NULL, false, "starts another target"},
    {"4", S, WHEN_ALONE, NULL, false, "starts another target"},
    {"5", S, WHEN_ALONE, NULL, false, "starts another target"},

    /* Shells and questions on the console. */
    {"rd.systemd.debug_shell", S, WHEN_ON, NULL, false, "asks for a root shell in the initramfs"},
    {"systemd.debug_shell", S, WHEN_ON, NULL, true, "opens a root shell on a console"},
    {"rd.systemd.break", S, WHEN_ON, NULL, false, "asks for a root shell in the initramfs"},
    {"systemd.break", S, WHEN_ON, NULL, true, "opens a root shell on a console"},
    {"systemd.crash_shell", S, WHEN_ON, NULL, false, "opens a shell when systemd crashes"},
    {"systemd.confirm_spawn", S, WHEN_ON, NULL, true, "lets anybody at the console skip units"},
    {"systemd.firstboot", S, WHEN_ON, NULL, false, "lets the console set the password of root at a first boot"},
    {"systemd.condition_first_boot", S, WHEN_ON, NULL, false, "makes this a first boot, which asks the console"},
    {"systemd.factory_reset", S, WHEN_ON, NULL, false, "erases partitions"},
    {"systemd.ssh_listen", S, WHEN_THERE, NULL, false, "opens another way to log in by SSH"},
    {"rd.shell", D, WHEN_ON, NULL, false, "asks for an emergency shell"},
    {"rdshell", D, WHEN_ON, NULL, false, "asks for an emergency shell"},
    {"rd.break", D, WHEN_THERE, NULL, false, "asks for a shell in the initramfs"},
    {"rdbreak", D, WHEN_THERE, NULL, false, "asks for a shell in the initramfs"},
    {"rd.emergency", D, WHEN_VALUE, "shell", false, "asks for an emergency shell"},
    {"rd.cmdline", D, WHEN_VALUE, "ask", true, "lets anybody at the console add to the command line"},

    /* Mounts, and another root or /usr. */
    {"systemd.mount_extra", S, WHEN_THERE, NULL, false, "mounts something else"},
    {"systemd.swap_extra", S, WHEN_THERE, NULL, false, "swaps to a disk, where memory is readable"},
    {"systemd.gpt_auto", S, WHEN_ON, NULL, false, "mounts partitions of the disk by their type alone"},
    {"systemd.volatile", S, WHEN_ON, NULL, false, "lays memory over the root file system"},
    {"systemd.image_policy", S, WHEN_THERE, NULL, false, "says how unprotected an image may be"},
    {"systemd.image_filter", S, WHEN_THERE, NULL, false, "says which partitions are taken for the system's"},
    {"overlayroot", S | D, WHEN_ON, NULL, false, "lays another file system over the root file system"},
    {"rootovl", D, WHEN_ON, NULL, false, "lays another file system over the root file system"},
    {"rd.overlay", D, WHEN_ON, NULL, false, "lays another file system over the root file system"},
    {"rd.overlay.*", D, WHEN_ON, NULL, false, "lays another file system over the root file system"},
    {"rd.live.*", D, WHEN_ON, NULL, false, "boots an image that lies on a disk or in the network"},
    {"rd.writable.fsimg", D, WHEN_ON, NULL, false, "boots an image that lies on a disk or in the network"},
    {"rd.noverifyssl", D, WHEN_ON, NULL, false, "takes downloads from anybody"},
    {"rd.cio_accept", D, WHEN_THERE, NULL, false, "brings further disks in"},
    {"rd.auto", D, WHEN_ON, NULL, false, "assembles whatever disks there are"},
    {"netroot", D, WHEN_THERE, NULL, false, "takes the root file system from the network"},
    {"nfsroot", K | D, WHEN_THERE, NULL, false, "takes the root file system from the network"},
    {"cifsroot", K, WHEN_THERE, NULL, false, "takes the root file system from the network"},
    {"iscsiroot", D, WHEN_THERE, NULL, false, "takes disks from the network"},
    {"iscsi_*", D, WHEN_ON, NULL, false, "takes disks from the network"},
    {"rd.iscsi.*", D, WHEN_ON, NULL, false, "takes disks from the network"},
    {"rd.nvmf.*", D, WHEN_ON, NULL, false, "takes disks from the network"},
    {"fcoe", D, WHEN_THERE, NULL, false, "takes disks from the network"},
    {"ip", D, WHEN_CONTAINS, "ibft", false, "takes disks from a table of the firmware"},
    {"dm_mod.create", K, WHEN_THERE, NULL, false, "makes a device-mapper device of its own"},
    {"resume", K | S | D, WHEN_THERE, NULL, false, "resumes from a disk"},
    {"luks.*", S, WHEN_ON, NULL, false, "has another program open LUKS volumes, with a passphrase"},
    {"luks", S, WHEN_ON, NULL, false, "has another program open LUKS volumes, with a passphrase"},
    {"rd.luks*", D, WHEN_ON, NULL, false, "has another module open LUKS volumes, with a passphrase"},
    {"rd_LUKS_*", D, WHEN_THERE, NULL, false, "has another module open LUKS volumes, with a passphrase"},

    /* User data, or what else configures the system from outside. */
    {"ds", S | D, WHEN_THERE, NULL, false, "says where cloud-init takes user data from"},
    {"ci.*", S | D, WHEN_ON, NULL, false, "says where cloud-init takes user data from"},
    {"cloud-config-url", S | D, WHEN_THERE, NULL, false, "has cloud-init download its configuration"},
    {"ignition.*", S | D, WHEN_ON, NULL, false, "has Ignition configure the system from outside"},

    /* Code and tables that the kernel takes, and programs that it starts. */
    {"module.sig_enforce", K, WHEN_OFF, NULL, false, "lets the kernel load unsigned modules"},
    {"lockdown", K, WHEN_VALUE, "none", false, "lets root change the running kernel"},
    {"initcall_blacklist", K, WHEN_NOT, "efivarfs_init", false, "leaves parts of the kernel out"},
    {"acpi_rsdp", K, WHEN_THERE, NULL, false, "takes ACPI's tables, which are code, from elsewhere in memory"},
    {"firmware_class.path", K, WHEN_THERE, NULL, false, "loads firmware from elsewhere"},
    {"tpm.disable_pcr_integrity", K, WHEN_ON, NULL, false, "leaves PCR extensions unprotected on the way to the TPM"},
    {"sysctl.kernel.sysrq", K, WHEN_ON, NULL, false, "opens SysRq keys to the console"},
    {"sysctl.kernel.core_pattern", K, WHEN_THERE, NULL, false, "names a program that the kernel runs as root"},
    {"sysctl.kernel.modprobe", K, WHEN_THERE, NULL, false, "names a program that the kernel runs as root"},
    {"sysctl.kernel.poweroff_cmd", K, WHEN_THERE, NULL, false, "names a program that the kernel runs as root"},
    {"sysctl.kernel.hotplug", K, WHEN_THERE, NULL, false, "names a program that the kernel runs as root"},
    {"systemd.early_core_pattern", S, WHEN_THERE, NULL, false, "says what takes the memory of crashed programs"},
};
/* clang-format on */

static bool applies(enum cmdline_reader reader, const struct way *way,
                    const struct cmdline_word *word)
{
    const char *value = word->value != NULL ? word->value : "";

    switch (way->when) {
    case WHEN_ALONE:
        return word->value == NULL;
    case WHEN_ON:
        return !cmdline_is_off(reader, word);
    case WHEN_OFF:
        return cmdline_is_off(reader, word);
    case WHEN_VALUE:
        return strncmp(value, way->value, strlen(way->value)) == 0;
    case WHEN_CONTAINS:
        return strstr(value, way->value) != NULL;
    case WHEN_NOT:
        return strcmp(value, way->value) != 0;
    case WHEN_THERE:
        break;
    }
    return true;
}

const struct way *doctor_way_of(enum cmdline_reader reader, const struct cmdline_word *word)
{
    const char *plain = cmdline_without_rd(reader, word->name);

    if (reader == CMDLINE_KERNEL && word->to_init)
        return NULL;
    for (size_t i = 0; i < MU_COUNT(ways); i++) {
        const struct way *way = &ways[i];

        if ((way->readers & (1u << reader)) != 0 &&
            (cmdline_name_is(reader, word->name, way->name) ||
             cmdline_name_is(reader, plain, way->name)) &&
            applies(reader, way, word))
            return way;
    }
    return NULL;
}
