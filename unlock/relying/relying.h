/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef MU_RELYING_RELYING_H
#define MU_RELYING_RELYING_H

#include "cli/cli.h"
#include "fleet/watch.h"

/* How many digits of an image's id name it. */
#define ID_DIGITS_MIN 8

/* The verbs of mu-verifier; the table is in main.c. */
extern const struct verb verb_serve, verb_check;
extern const struct verb verb_init;
extern const struct verb verb_watch, verb_list, verb_forget;
extern const struct verb verb_audit;
extern const struct verb verb_image_approve, verb_image_revoke, verb_image_list, verb_image_show;

/* What the verbs about a fleet take. Without a file, a store that is named will do. */
#define FLEET_OPTIONS                                                                              \
    "      --config FILE   default " WATCH_DEFAULT_PATH "\n"                                       \
    "      --store STORE   instead of the configuration's: sqlite:PATH or postgresql:CONNINFO\n"
struct watch_source fleet_source(const char *config, const char *store);
/* What is kept of the past of one instance, the newest first. */
enum mu_status history_print(struct store *store, const char *id, bool json,
                             struct mu_error *err) MU_MUST_CHECK;

#endif
