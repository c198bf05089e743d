/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef MU_BOOT_SEQUENCE_H
#define MU_BOOT_SEQUENCE_H

#include "base/config.h"

/* `measured-unlock unlock`: the sequence of docs/develop/design.md, "One boot". On any failure the
 * fence is closed before this returns. The report is written either way. */
enum mu_status boot_unlock(const char *config_path, bool activate,
                           struct mu_error *err) MU_MUST_CHECK;
/* `measured-unlock fence`. If the configuration is unusable, every PCR that can be the fence is
 * closed, and the failure is still returned: the image's fallback must not be taken from such a
 * file. */
enum mu_status boot_fence(const char *config_path, const char *reason,
                          struct mu_error *err) MU_MUST_CHECK;

#endif
