/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "vectors.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/file.h"

#define VECTOR_MAX 1048576

struct buffer vector_load(const char *name)
{
    const char *folder = getenv("MU_VECTORS");
    struct buffer content = {0};
    struct mu_error err;
    char path[512];

    (void)snprintf(path, sizeof(path), "%s/%s", folder ? folder : "../shared/vectors", name);
    if (file_read(path, VECTOR_MAX, &content, &err) != MU_OK) {
        print_message("skipped: %s\n", err.text);
        skip();
    }
    return content;
}
