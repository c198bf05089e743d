/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef MU_BASE_LOG_H
#define MU_BASE_LOG_H

#include <stddef.h>

#include "base/error.h"

/* One line on standard error, "measured-unlock: ..." (the name given to log_init). Lines longer
 * than 99 characters are folded at spaces, since the EC2 console cuts into long ones. */
void log_init(const char *name) MU_NONNULL;
void log_line(const char *format, ...) MU_PRINTF(1, 2) MU_NONNULL_AT(1);
/* How much of text goes on a line of `room` columns: up to the last space that fits. */
size_t log_fold(const char *text, size_t room) MU_NONNULL;
/* "refused: text", "not ready: text", ... according to the class. */
void log_error(const struct mu_error *err) MU_NONNULL;

#endif
