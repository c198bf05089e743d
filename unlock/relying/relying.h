/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef MU_RELYING_RELYING_H
#define MU_RELYING_RELYING_H

#include "cli/cli.h"

/* The verbs of mu-verifier; the table is in main.c. */
extern const struct verb verb_serve, verb_check;
extern const struct verb verb_init;
extern const struct verb verb_watch, verb_list, verb_forget;
extern const struct verb verb_audit;

#endif
