/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef MU_VOLUME_OPEN_H
#define MU_VOLUME_OPEN_H

#include "base/secret.h"
#include "volume/luks_header.h"

/* Opens the key slot in the memory copy with the released key, and returns the volume key.
 * MU_REFUSE if the released key does not fit. */
enum mu_status volume_open_keyslot(const struct luks_header *header, int keyslot,
                                   const struct secret *key, struct secret *ret_volume_key,
                                   struct mu_error *err) MU_MUST_CHECK;

/* HMAC-SHA-384(volume key, "measured-unlock volume identity 1" || 00 || UUID text). */
enum mu_status volume_identity(const struct secret *volume_key, const char *uuid,
                               uint8_t ret[static VOLUME_IDENTITY_SIZE],
                               struct mu_error *err) MU_MUST_CHECK;
/* The same, for a volume that a record names. MU_REFUSE if it has another identity. */
enum mu_status volume_check_identity(const struct secret *volume_key, const char *uuid,
                                     const uint8_t enrolled[static VOLUME_IDENTITY_SIZE],
                                     uint8_t ret[static VOLUME_IDENTITY_SIZE],
                                     struct mu_error *err) MU_MUST_CHECK;

#endif
