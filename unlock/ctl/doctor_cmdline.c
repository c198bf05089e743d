/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <stdio.h>
#include <string.h>

#include "base/file.h"
#include "ctl/doctor.h"

#define CMDLINE_MAX 65536
#define WORD_SHOWN 80
#define BLANKS " \t\r\n"

/* Arguments that lead past measured-unlock, or to a shell before the fence is closed;
 * docs/dracut.md says which of them the image itself shuts; the others are the builder's own wish,
 * since the command line is measured. A name that ends in '=' or '.' stands for whatever follows.
 */
static const struct door {
    const char *name;
    bool open; /* to anybody, in this very boot */
    const char *what;
} doors[] = {
    {"init=", false, "starts another program in place of init"},
    {"rdinit=", false, "starts another program in place of the initramfs's init"},
    {"systemd.unit=", false, "starts another unit"},
    {"rd.systemd.unit=", false, "starts another unit in the initramfs"},
    {"systemd.crash_shell", false, "opens a shell when systemd crashes"},
    {"systemd.crash_shell=", false, "opens a shell when systemd crashes"},
    {"systemd.debug_shell", true, "opens a root shell on a console"},
    {"systemd.debug_shell=", true, "opens a root shell on a console"},
    {"systemd.debug-shell", true, "opens a root shell on a console"},
    {"systemd.debug-shell=", true, "opens a root shell on a console"},
    {"systemd.mask=measured-unlock", true, "switches a unit of measured-unlock off"},
    {"rd.systemd.mask=measured-unlock", true, "switches a unit of measured-unlock off"},
    {"rd.systemd.debug_shell", false, "asks for a root shell in the initramfs"},
    {"rd.systemd.debug_shell=", false, "asks for a root shell in the initramfs"},
    {"rd.shell", false, "asks for an emergency shell"},
    {"rd.shell=", false, "asks for an emergency shell"},
    {"rd.break", false, "asks for a shell in the initramfs"},
    {"rd.break=", false, "asks for a shell in the initramfs"},
    {"rd.emergency=shell", false, "asks for an emergency shell"},
    {"rd.luks.", false, "has another module open LUKS volumes, with a passphrase"},
    {"luks.", false, "has another program open LUKS volumes, with a passphrase"},
    {"resume=", false, "resumes from a disk"},
    {"emergency", false, "asks for an emergency shell"},
    {"rescue", false, "asks for a rescue shell"},
    {"single", false, "asks for a rescue shell"},
};

/* "rd.shell=0" is what shuts it. */
static bool is_off(const char *word)
{
    static const char *const off[] = {"=0", "=no", "=off", "=false"};

    for (size_t i = 0; i < sizeof(off) / sizeof(off[0]); i++) {
        size_t len = strlen(off[i]);

        if (strlen(word) > len && strcmp(word + strlen(word) - len, off[i]) == 0)
            return true;
    }
    return false;
}

static const struct door *door_of(const char *word)
{
    for (size_t i = 0; i < sizeof(doors) / sizeof(doors[0]); i++) {
        size_t len = strlen(doors[i].name);
        char last = doors[i].name[len - 1];
        bool prefix = last == '=' || last == '.' || strchr(doors[i].name, '=') != NULL;

        if (strncmp(word, doors[i].name, len) == 0 && (prefix || word[len] == '\0'))
            return is_off(word) ? NULL : &doors[i];
    }
    return NULL;
}

static bool names_mapping(const struct config *config, const char *path)
{
    static const char prefix[] = "/dev/mapper/";

    if (strncmp(path, prefix, sizeof(prefix) - 1) != 0)
        return false;
    for (size_t i = 0; i < config->volumes; i++)
        if (strcmp(config->volume[i].mapping, path + sizeof(prefix) - 1) == 0)
            return true;
    return false;
}

/* A partition is not what the unlock makes; check-root refuses it at boot. */
static bool is_partition(const char *root)
{
    static const char *const prefixes[] = {"PARTUUID=", "PARTLABEL=", "/dev/nvme",        "/dev/sd",
                                           "/dev/xvd",  "/dev/vd",    "/dev/disk/by-part"};

    for (size_t i = 0; i < sizeof(prefixes) / sizeof(prefixes[0]); i++)
        if (strncmp(root, prefixes[i], strlen(prefixes[i])) == 0)
            return true;
    return false;
}

/* UUID= and LABEL= lie inside the volume, LVM above it: neither can be looked up from here. */
static void check_root(struct doctor *doctor, const char *name, const char *where, const char *root)
{
    static const char fix[] = "put root=/dev/mapper/MAPPING there, of a [volume] section";

    if (root[0] == '\0')
        doctor_warn(doctor, name, fix, "%s: no root= on the command line", where);
    else if (is_partition(root))
        doctor_fail(doctor, MU_CONFIG, name, fix,
                    "%s: root=%s is a partition, not the mapping of a volume: it is refused", where,
                    root);
    else if (strncmp(root, "/dev/", 5) == 0 && !names_mapping(&doctor->config, root))
        doctor_warn(doctor, name, fix,
                    "%s: root=%s is not the mapping of a configured volume; it must lie on one",
                    where, root);
    else
        doctor_ok(doctor, name, "%s: root=%s", where, root);
}

static void check_word(struct doctor *doctor, const char *name, const char *where, const char *word,
                       unsigned *found)
{
    const struct door *door = door_of(word);

    if (door == NULL)
        return;
    ++*found;
    if (door->open)
        doctor_fail(doctor, MU_CONFIG, name, "take it out and build the image again",
                    "%s: '%.*s' %s", where, WORD_SHOWN, word, door->what);
    else
        doctor_warn(doctor, name, "take it out, unless it is wanted", "%s: '%.*s' %s", where,
                    WORD_SHOWN, word, door->what);
}

void doctor_command_line(struct doctor *doctor, const char *name, const char *where,
                         struct bytes line, bool needs_root)
{
    char text[CMDLINE_MAX], root[WORD_SHOWN] = "";
    size_t len = line.len < sizeof(text) ? line.len : sizeof(text) - 1;
    unsigned found = 0;
    char *word = text;

    if (len > 0)
        memcpy(text, line.data, len);
    text[len] = '\0';
    while (*(word += strspn(word, BLANKS)) != '\0') {
        char *end = word + strcspn(word, BLANKS);
        bool last = *end == '\0';

        *end = '\0';
        if (strncmp(word, "root=", 5) == 0)
            (void)snprintf(root, sizeof(root), "%s", word + 5);
        check_word(doctor, name, where, word, &found);
        if (last)
            break;
        word = end + 1;
    }
    if (needs_root)
        check_root(doctor, name, where, root);
    else if (found == 0)
        doctor_ok(doctor, name, "%s: nothing that opens a door", where);
}

void doctor_check_cmdline(struct doctor *doctor)
{
    MU_CLEANUP(buffer_free) struct buffer line = {0};
    struct mu_error err = {0};

    if (file_read("/proc/cmdline", CMDLINE_MAX, &line, &err) == MU_OK)
        doctor_command_line(doctor, "running-cmdline", "/proc/cmdline", buffer_view(&line), false);
    else
        doctor_warn(doctor, "running-cmdline", "mount /proc", "%s", err.text);
}
