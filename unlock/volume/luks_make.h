/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef MU_VOLUME_LUKS_MAKE_H
#define MU_VOLUME_LUKS_MAKE_H

#include "base/secret.h"
#include "volume/luks_header.h"

#define LUKS_MAKE_DATA_OFFSET (16u << 20)

struct luks_make {
    const char *uuid;
    const struct secret *volume_key; /* LUKS_VOLUME_KEY_SIZE */
    const struct secret *key;        /* opens key slot 0 */
    const char *token;               /* JSON text of token 0 */
    unsigned sector_size;            /* 512 or 4096 */
};

/* A new LUKS2 header in memory, from byte 0 of the device to the end of key slot 0: both copies and
 * the slot's area (LUKS2 On-Disk Format Specification 1.1.x; the anti-forensic split is that of the
 * LUKS1 specification 1.2.3, 2.4). PBKDF2 with 1000 iterations, since both keys are random. The
 * data begins at LUKS_MAKE_DATA_OFFSET. */
enum mu_status luks_make_header(const struct luks_make *make, struct buffer *ret,
                                struct mu_error *err) MU_MUST_CHECK;

#endif
