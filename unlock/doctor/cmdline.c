/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "doctor/doctor.h"
#include "doctor/words.h"

#define CMDLINE_MAX 65536
#define WORD_SHOWN 80

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

static bool begins_with_one_of(const char *text, const char *const *prefixes)
{
    for (; *prefixes != NULL; prefixes++)
        if (strncmp(text, *prefixes, strlen(*prefixes)) == 0)
            return true;
    return false;
}

enum root_kind { ROOT_OURS, ROOT_UNKNOWN, ROOT_PARTITION, ROOT_ELSEWHERE };

/* UUID= and LABEL= lie inside the volume, LVM above it: neither can be looked up from here. Of the
 * others, check-root refuses at boot those that the unlock did not make. */
static enum root_kind kind_of_root(const struct config *config, const char *root)
{
    static const char *const inside[] = {"UUID=", "LABEL=", "/dev/disk/by-uuid/",
                                         "/dev/disk/by-label/", NULL};
    static const char *const partitions[] = {
        "PARTUUID=",   "PARTLABEL=", "/dev/nvme",         "/dev/sd",  "/dev/xvd", "/dev/vd",
        "/dev/mmcblk", "/dev/hd",    "/dev/disk/by-part", "gpt-auto", NULL};
    static const char *const elsewhere[] = {
        "live:", "nfs",      "nbd",      "iscsi",     "http:",     "https:",   "ftp:",
        "tftp:", "cifs",     "dhcp",     "fcoe",      "virtiofs:", "/dev/nfs", "/dev/cifs",
        "tmpfs", "/dev/nbd", "/dev/ram", "/dev/loop", NULL};

    if (strncmp(root, "block:", 6) == 0)
        root += 6;
    if (begins_with_one_of(root, inside) || names_mapping(config, root))
        return ROOT_OURS;
    if (begins_with_one_of(root, partitions))
        return ROOT_PARTITION;
    return begins_with_one_of(root, elsewhere) ? ROOT_ELSEWHERE : ROOT_UNKNOWN;
}

static void check_root(struct doctor *doctor, const char *name, const char *where, const char *root)
{
    static const char fix[] = "put root=/dev/mapper/MAPPING there, of a [volume] section";

    switch (kind_of_root(&doctor->config, root)) {
    case ROOT_OURS:
        doctor_ok(doctor, name, "%s: root=%.*s", where, WORD_SHOWN, root);
        break;
    case ROOT_UNKNOWN:
        doctor_warn(doctor, name, fix,
                    "%s: root=%.*s is not the mapping of a configured volume; it must lie on one",
                    where, WORD_SHOWN, root);
        break;
    case ROOT_PARTITION:
        doctor_fail(doctor, MU_CONFIG, name, fix,
                    "%s: root=%.*s is a partition, not the mapping of a volume: it is refused",
                    where, WORD_SHOWN, root);
        break;
    case ROOT_ELSEWHERE:
        doctor_fail(doctor, MU_CONFIG, name, fix,
                    "%s: root=%.*s is not on a volume that is unlocked: it is refused", where,
                    WORD_SHOWN, root);
        break;
    }
}

/* The root of each reader, if they do not agree. */
static void check_roots(struct doctor *doctor, const char *name, const char *where,
                        const struct cmdlines *line)
{
    static const char fix[] = "put root=/dev/mapper/MAPPING there, of a [volume] section";
    const char *said = NULL;

    for (size_t i = 0; i < CMDLINE_READERS; i++) {
        const struct cmdline_word *root = cmdline_last(&line->as[i], "root");

        if (line->as[i].reader == CMDLINE_KERNEL) /* dracut's is the same, but for "--" */
            continue;
        if (root == NULL || root->value == NULL || root->value[0] == '\0') {
            doctor_warn(doctor, name, fix, "%s: no root= on the command line", where);
            return;
        }
        if (said == NULL || strcmp(root->value, said) != 0)
            check_root(doctor, name, where, root->value);
        said = root->value;
    }
}

static void report_way(struct doctor *doctor, const char *name, const char *where,
                       const struct cmdline_word *word, const struct way *way)
{
    char text[WORD_SHOWN];

    (void)snprintf(text, sizeof(text), "%s%s%s", word->name, word->value != NULL ? "=" : "",
                   word->value != NULL ? word->value : "");
    if (way->open)
        doctor_fail(doctor, MU_CONFIG, name, "take it out and build the image again", "%s: '%s' %s",
                    where, text, way->what);
    else
        doctor_warn(doctor, name, "take it out, unless it is wanted", "%s: '%s' %s", where, text,
                    way->what);
}

/* A word that several readers obey is reported once. */
static unsigned check_words(struct doctor *doctor, const char *name, const char *where,
                            const struct cmdline *line, bool *said)
{
    bool to_init = false;
    unsigned found = 0;

    for (size_t i = 0; i < line->count; i++) {
        const struct cmdline_word *word = &line->word[i];
        const struct way *way = doctor_way_of(line->reader, word);

        if (way != NULL && !said[word->position]) {
            said[word->position] = true;
            report_way(doctor, name, where, word, way);
            found++;
        }
        if (line->reader == CMDLINE_KERNEL && word->to_init && !to_init && i + 1 < line->count) {
            to_init = true;
            doctor_warn(doctor, name, "take '--' out, unless it is wanted",
                        "%s: the words after '--' are for init, not for the kernel", where);
            found++;
        }
    }
    return found;
}

static enum mu_status check_line(struct doctor *doctor, const char *name, const char *where,
                                 struct bytes text, bool needs_root, struct mu_error *err)
{
    MU_CLEANUP(cmdlines_free) struct cmdlines line = {0};
    unsigned found = 0;
    bool *said;

    MU_TRY(cmdlines_parse(text, &line, err));
    said = calloc(text.len + 1, sizeof(*said));
    if (said == NULL)
        return mu_oom(err);
    for (size_t i = 0; i < CMDLINE_READERS; i++)
        found += check_words(doctor, name, where, &line.as[i], said);
    free(said);
    if (needs_root)
        check_roots(doctor, name, where, &line);
    else if (found == 0)
        doctor_ok(doctor, name, "%s: nothing that opens a door", where);
    return MU_OK;
}

void doctor_command_line(struct doctor *doctor, const char *name, const char *where,
                         struct bytes text, bool needs_root)
{
    struct mu_error err = {0};

    if (check_line(doctor, name, where, text, needs_root, &err) != MU_OK)
        doctor_fail(doctor, err.status, name, "try again", "%s: %s", where, err.text);
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
