/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "volume/device.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define POLL_MS 25u

/* As udev names its links: what is not in its list, and not UTF-8 of more than one byte, is \xNN
 * (udev(7), "String substitutions"; ENV{ID_FS_LABEL_ENC}). */
static enum mu_status escape(const char *text, char *to, size_t cap, struct mu_error *err)
{
    static const char plain[] = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
                                "#+-.:=@_";
    size_t len = 0;

    for (; *text != '\0' && len + 5 < cap; text++) {
        unsigned char c = (unsigned char)*text;

        if (c >= 0x80 || strchr(plain, c) != NULL)
            to[len++] = (char)c;
        else
            len += (size_t)snprintf(to + len, cap - len, "\\x%02x", c);
    }
    if (*text != '\0')
        return mu_fail(err, MU_CONFIG, "device name is too long");
    to[len] = '\0';
    return MU_OK;
}

static enum mu_status link_of(const char *spec, char *ret, size_t cap, struct mu_error *err)
{
    static const struct {
        const char *prefix, *folder;
    } kinds[] = {{"UUID=", "by-uuid"},
                 {"PARTUUID=", "by-partuuid"},
                 {"PARTLABEL=", "by-partlabel"},
                 {"LABEL=", "by-label"}};
    char name[NAME_MAX + 1];

    if (spec[0] == '/') {
        if ((size_t)snprintf(ret, cap, "%s", spec) >= cap)
            return mu_fail(err, MU_CONFIG, "device name is too long");
        return MU_OK;
    }
    for (size_t i = 0; i < MU_COUNT(kinds); i++) {
        size_t len = strlen(kinds[i].prefix);

        if (strncmp(spec, kinds[i].prefix, len) != 0 || spec[len] == '\0')
            continue;
        MU_TRY(escape(spec + len, name, sizeof(name), err));
        (void)snprintf(ret, cap, "/dev/disk/%s/%s", kinds[i].folder, name);
        return MU_OK;
    }
    return mu_fail(err, MU_CONFIG,
                   "device '%.64s': give /dev/..., UUID=, PARTUUID=, PARTLABEL= or LABEL=", spec);
}

/* The node and not the link: a second disk of that name may move the link meanwhile. Record and
 * identity decide whether the present one is right. */
enum mu_status volume_find_device(const char *spec, struct deadline deadline, char **ret,
                                  struct mu_error *err)
{
    char link[PATH_MAX];
    struct stat st;

    MU_TRY(link_of(spec, link, sizeof(link), err));
    do {
        char *path = realpath(link, NULL);

        if (path != NULL && stat(path, &st) == 0 && (S_ISBLK(st.st_mode) || S_ISREG(st.st_mode))) {
            *ret = path;
            return MU_OK;
        }
        free(path);
    } while (clock_pause_ms(POLL_MS, deadline));
    return mu_fail(err, MU_RETRY, "device %s did not appear in time", spec);
}
