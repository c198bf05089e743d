/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef MU_BASE_LANDLOCK_H
#define MU_BASE_LANDLOCK_H

#include <stddef.h>

#include "base/error.h"

struct writable {
    const char *path; /* a path that does not exist yet is skipped */
    enum {
        WRITABLE_DEVICES, /* files that exist now or later may be written, none may be made */
        WRITABLE_NODES,   /* a folder in which device nodes and links are made as well */
        WRITABLE_FILES, /* a folder in which files and folders are made, files removed; or a file */
    } what;
};

/* landlock(7). From here on this thread and the threads it starts can write only below these paths,
 * run no file, and send signals only to each other; reading stays allowed. Files that are open
 * already stay usable. *ret_abi: the version of Landlock in the kernel; 0 if the kernel has none,
 * and then nothing is restricted. Needs PR_SET_NO_NEW_PRIVS. With -DMU_UNFILTERED nothing is
 * restricted and *ret_abi is 0. */
enum mu_status landlock_confine(const struct writable *writable, size_t count, int *ret_abi,
                                struct mu_error *err) MU_MUST_CHECK MU_NONNULL_AT(3, 4);

#endif
