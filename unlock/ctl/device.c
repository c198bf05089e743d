/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "ctl/ctl.h"
#include "volume/device.h"

/* udev's links are in lower case for the UUIDs of LUKS and of GPT partitions. */
static void lower_uuid(char *text)
{
    char *value = strchr(text, '=') + 1;

    for (char *c = text; c < value; c++)
        *c = (char)toupper((unsigned char)*c);
    if (strncmp(text, "UUID=", 5) != 0 && strncmp(text, "PARTUUID=", 9) != 0)
        return;
    for (char *c = value; *c != '\0'; c++)
        *c = (char)tolower((unsigned char)*c);
}

static bool is_name(const char *text)
{
    static const char *const kinds[] = {"UUID=", "PARTUUID=", "PARTLABEL=", "LABEL="};

    for (size_t i = 0; i < MU_COUNT(kinds); i++)
        if (strncasecmp(text, kinds[i], strlen(kinds[i])) == 0)
            return true;
    return false;
}

enum mu_status ctl_device(const char *text, char **ret, struct mu_error *err)
{
    MU_CLEANUP(string_free) char *name = NULL;
    char *path = realpath(text, NULL);

    *ret = path;
    if (path != NULL)
        return MU_OK;
    if (!is_name(text))
        return string_set(ret, text, err);
    MU_TRY(string_set(&name, text, err));
    if (volume_find_device(name, deadline_in(0), ret, err) == MU_OK)
        return MU_OK;
    lower_uuid(name);
    return volume_find_device(name, deadline_in(0), ret, err);
}
