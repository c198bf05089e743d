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
    const char *released_by; /* the ARN of a KMS key; NULL: the provider's name says enough */
    bool provisioned;        /* in this boot */
};

/* The folder of `path`, made if it is missing. */
enum mu_status report_folder(const char *path, char **ret, struct mu_error *err) MU_MUST_CHECK;

/* {"result":"unlocked","open_doors":[...],"volumes":[...],
 *  "steps":[{"name","start_us","end_us","cpu_us"}]};
 * times in microseconds since boot; a step that failed has "failed": true. `failure` NULL:
 * unlocked. `open` is that of the configuration, or NULL. Nothing in it is secret. Beside it, an
 * empty file created/MAPPING for each volume that was made in this boot and is mapped now. */
enum mu_status report_write(const char *path, const struct mu_error *failure, const char *open,
                            const struct report_volume *volumes, size_t count,
                            struct mu_error *err) MU_MUST_CHECK;

#endif
