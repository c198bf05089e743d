/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef MU_BASE_MOUNTS_H
#define MU_BASE_MOUNTS_H

#include "base/bytes.h"

/* proc_pid_mountinfo(5): ID PARENT MAJ:MIN ROOT POINT OPTIONS [TAG...] - TYPE SOURCE OPTIONS, a
 * line a mount. Blank, tab, line feed and backslash inside a field are octal: \040. */

#define MOUNTS_MAX_BYTES (4u << 20)

struct mount {
    char *device;                       /* "MAJ:MIN" */
    char *root, *point, *type, *source; /* unescaped */
};

struct mounts {
    struct mount *mount;
    size_t count;
    char *text; /* the memory that they point into */
};

/* Takes the file's content; a malformed line is MU_INTERNAL. */
enum mu_status mounts_parse(struct bytes content, struct mounts *ret,
                            struct mu_error *err) MU_MUST_CHECK MU_NONNULL;
void mounts_free(struct mounts *mounts) MU_NONNULL;

#endif
