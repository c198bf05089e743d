/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef MU_CLI_SUGGEST_H
#define MU_CLI_SUGGEST_H

#include <stddef.h>

/* The name that `word` was probably meant to be: at most two letters (in short words one) are
 * inserted, dropped, changed or exchanged with their neighbour; case does not count. NULL if no
 * name is that close. */
const char *cli_suggest(const char *word, const char *const *names, size_t count);

#endif
