/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef MU_CTL_MONITOR_H
#define MU_CTL_MONITOR_H

#include <stdbool.h>

#include "base/error.h"

#define MONITOR_DEFAULT_PATH "/etc/measured-unlock/monitor.conf"

struct monitor_settings {
    char *verifier, *ca_file, *imds, *tcti;
    char *token;      /* file for the token; NULL: none is asked for */
    char *audience;   /* of the token; NULL: the verifier's first */
    unsigned timeout; /* seconds */
    bool identity;
};

/* Reads the file (NULL: only the defaults) into *settings, which is zeroed. */
enum mu_status monitor_settings_load(const char *path, struct monitor_settings *settings,
                                     struct mu_error *err) MU_MUST_CHECK;
/* MU_CONFIG if a required setting is missing; settings that are not set get their defaults. */
enum mu_status monitor_settings_check(struct monitor_settings *settings, const char *path,
                                      struct mu_error *err) MU_MUST_CHECK;
void monitor_settings_free(struct monitor_settings *settings);

#endif
