/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef MU_BASE_SECRET_H
#define MU_BASE_SECRET_H

#include "base/bytes.h"

/* Key material: own pages, locked, left out of core dumps, wiped when freed. */
struct secret {
    uint8_t *data;
    size_t len;
    size_t mapped;
};

enum mu_status secret_alloc(struct secret *ret, size_t len, struct mu_error *err) MU_MUST_CHECK;
enum mu_status secret_random(struct secret *ret, size_t len, struct mu_error *err) MU_MUST_CHECK;
void secret_free(struct secret *secret);
static inline struct bytes secret_view(const struct secret *s)
{
    return (struct bytes){s->data, s->len};
}

/* First thing in main(), before any thread or other library call: no core dumps, not dumpable,
 * umask 077, memory locked where allowed, and OpenSSL and libcurl wipe what they free. */
enum mu_status process_harden(struct mu_error *err) MU_MUST_CHECK;

#endif
