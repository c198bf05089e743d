/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef MU_BASE_SECRET_H
#define MU_BASE_SECRET_H

#include "base/bytes.h"

#define SECRETS_MAX 64 /* allocated at any one time */

/* Key material: own pages, locked, left out of core dumps, not inherited by a child, wiped when
 * freed. */
struct secret {
    uint8_t *data;
    size_t len;
    size_t mapped;
};

enum mu_status secret_alloc(struct secret *ret, size_t len,
                            struct mu_error *err) MU_MUST_CHECK MU_NONNULL;
enum mu_status secret_random(struct secret *ret, size_t len,
                             struct mu_error *err) MU_MUST_CHECK MU_NONNULL;
void secret_free(struct secret *secret) MU_NONNULL;
/* From now on a secret that cannot be locked is a failure (MU_CONFIG). */
void secret_require_lock(void);
/* Zeroes the contents of all secrets that are allocated now. Safe in a signal handler. */
void secret_wipe_all(void);
static inline struct bytes secret_view(const struct secret *s)
{
    return (struct bytes){s->data, s->len};
}

/* realloc and free that wipe what they free; OpenSSL gets them from process_harden, libcurl by
 * curl_global_init_mem(flags, malloc, wiping_free, wiping_realloc, strdup, calloc). */
void *wiping_realloc(void *old, size_t size);
void wiping_free(void *memory);

#endif
