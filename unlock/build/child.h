/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef MU_BUILD_CHILD_H
#define MU_BUILD_CHILD_H

#include "base/bytes.h"

#define CHILD_PATH "/usr/sbin:/usr/bin:/sbin:/bin"

/* Another program as a filter. */
struct child_program {
    char *const *argv; /* argv[0] is looked for in CHILD_PATH, never in this process's own PATH */
    char *const *environment;
    const char *package; /* that has it, for the message if it is not installed */
    bool quiet;          /* its standard error goes nowhere */
};

/* Gives it `input` and takes up to max bytes of output. *ret_success: it exited with 0. MU_CONFIG
 * if it cannot be started or writes more. */
enum mu_status child_run(const struct child_program *program, struct bytes input, size_t max,
                         struct buffer *ret, bool *ret_success, struct mu_error *err) MU_MUST_CHECK
    MU_NONNULL_AT(1, 4, 5, 6);

#endif
