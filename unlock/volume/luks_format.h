/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef MU_VOLUME_LUKS_FORMAT_H
#define MU_VOLUME_LUKS_FORMAT_H

#include "base/secret.h"
#include "volume/luks_header.h"

#define LUKS_DATA_OFFSET (16u << 20)
#define LUKS_KEYSLOTS_SIZE (LUKS_DATA_OFFSET - 2 * BLANK_HEADER_COPY)

struct luks_new {
    const char *uuid;
    const struct secret *volume_key; /* LUKS_VOLUME_KEY_SIZE */
    const struct secret *key;        /* opens key slot 0 */
    const char *token;               /* JSON text of token 0 */
    unsigned sector_size;            /* 512 or 4096 */
};

/* A new LUKS2 header in a file in memory, both copies and key slot 0. The data begins at
 * LUKS_DATA_OFFSET, which is the size of the file. */
enum mu_status luks_format(const struct luks_new *make, int *ret_memfd,
                           struct mu_error *err) MU_MUST_CHECK;

#endif
