/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef MU_BOOT_MAKE_H
#define MU_BOOT_MAKE_H

#include "release/provider.h"
#include "volume/blank.h"

/* Volumes with create = blank (docs/data-volumes.md). */

/* Has the provider make a key, shows that it gives it out again, and only then makes the volume on
 * the blank device. */
enum mu_status make_blank_volume(const struct volume_config *config,
                                 const struct provider *provider, struct provider_session *session,
                                 const char *device, struct blank *blank, struct record *ret_record,
                                 struct secret *ret_key, struct mu_error *err) MU_MUST_CHECK;

#endif
