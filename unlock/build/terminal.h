/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef MU_BUILD_TERMINAL_H
#define MU_BUILD_TERMINAL_H

#include "base/secret.h"

#define TERMINAL_SECRET_MAX 512

/* Asks on the controlling terminal, without echo; standard input is never read. One line of 1 to
 * TERMINAL_SECRET_MAX bytes, its end not included. MU_CONFIG without a terminal. */
enum mu_status terminal_ask(const char *prompt, struct secret *ret,
                            struct mu_error *err) MU_MUST_CHECK;

#endif
