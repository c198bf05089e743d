/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef MU_TPM_HASH_H
#define MU_TPM_HASH_H

#include <openssl/evp.h>

#include "base/bytes.h"

#define HASH_MAX_SIZE 64

/* TPM_ALG_ID values (TCG Algorithm Registry, table 3). */
enum hash_alg {
    HASH_NONE = 0,
    HASH_SHA1 = 0x0004,
    HASH_SHA256 = 0x000b,
    HASH_SHA384 = 0x000c,
    HASH_SHA512 = 0x000d,
};

size_t hash_size(enum hash_alg alg);                       /* bytes; 0 if unknown */
const char *hash_name(enum hash_alg alg);                  /* "sha384"; "unknown" */
enum hash_alg hash_from_name(const char *name) MU_NONNULL; /* any case; HASH_NONE if unknown */
const EVP_MD *hash_md(enum hash_alg alg);                  /* NULL if unknown */

struct digest {
    uint8_t bytes[HASH_MAX_SIZE];
};

enum mu_status hash_bytes(enum hash_alg alg, struct bytes data, struct digest *ret,
                          struct mu_error *err) MU_MUST_CHECK MU_NONNULL;
/* TPM 2.0 Part 1, 11.4.6.3: new = H(old || value); value is a digest of the same algorithm. */
enum mu_status hash_extend(enum hash_alg alg, struct digest *pcr, const uint8_t *value,
                           struct mu_error *err) MU_MUST_CHECK MU_NONNULL;

#endif
