/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "base/names.h"

#include <nss.h>
#include <stddef.h>

#include "base/error.h"

void names_without_modules(void)
{
    static const char *const lookup[][2] = {
        {"hosts", "files dns"}, {"networks", "files"}, {"services", "files"},
        {"protocols", "files"}, {"passwd", "files"},   {"group", "files"},
    };

    for (size_t i = 0; i < MU_COUNT(lookup); i++)
        __nss_configure_lookup(lookup[i][0], lookup[i][1]);
}
