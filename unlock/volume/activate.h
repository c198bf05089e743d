/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef MU_VOLUME_ACTIVATE_H
#define MU_VOLUME_ACTIVATE_H

#include "base/secret.h"
#include "volume/luks_header.h"

/* Maps the device as /dev/mapper/<mapping>, using the memory copy of the header only. MU_REFUSE if
 * a mapping of that name exists already: it is not ours. */
enum mu_status volume_activate(const struct luks_header *header, const char *mapping, bool discard,
                               const struct secret *volume_key, struct mu_error *err) MU_MUST_CHECK;

#endif
