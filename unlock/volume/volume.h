/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef MU_VOLUME_VOLUME_H
#define MU_VOLUME_VOLUME_H

#include "base/clock.h"
#include "base/secret.h"
#include "volume/luks_header.h"

/* "/dev/...", "UUID=...", "PARTUUID=...", "PARTLABEL=...", "LABEL=..." -> a path that exists now
 * (the udev links under /dev/disk/by-*). Waits in short steps until the deadline, then MU_RETRY. */
enum mu_status volume_find_device(const char *spec, struct deadline deadline, char **ret,
                                  struct mu_error *err) MU_MUST_CHECK;

/* Opens the key slot in the memory copy with the released key, and returns the volume key.
 * MU_REFUSE if the released key does not fit. */
enum mu_status volume_open_keyslot(const struct luks_header *header, int keyslot,
                                   const struct secret *key, struct secret *ret_volume_key,
                                   struct mu_error *err) MU_MUST_CHECK;

/* HMAC-SHA-384(volume key, "measured-unlock volume identity 1" || 00 || UUID text). */
enum mu_status volume_identity(const struct secret *volume_key, const char *uuid,
                               uint8_t ret[static VOLUME_IDENTITY_SIZE],
                               struct mu_error *err) MU_MUST_CHECK;

/* Maps the device as /dev/mapper/<mapping>, using the memory copy of the header only. MU_REFUSE if
 * a mapping of that name exists already: it is not ours. */
enum mu_status volume_activate(const struct luks_header *header, const char *mapping, bool discard,
                               const struct secret *volume_key, struct mu_error *err) MU_MUST_CHECK;

#endif
