/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef MU_BOOT_REPORT_H
#define MU_BOOT_REPORT_H

#include "base/error.h"
#include "volume/luks_header.h"

struct report_volume {
    const char *name;
    const char *mapping;
    const struct luks_header *header;
    const struct record *record;
    bool created; /* in this boot */
};

/* {"result":"unlocked","volumes":[...],"steps":[{"name","start_us","end_us"}]}; times in
 * microseconds since boot. `failure` NULL: unlocked. Nothing in it is secret. */
enum mu_status report_write(const char *path, const struct mu_error *failure,
                            const struct report_volume *volumes, size_t count,
                            struct mu_error *err) MU_MUST_CHECK;

#endif
