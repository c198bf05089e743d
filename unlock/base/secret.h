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

enum mu_status secret_alloc(struct secret *ret, size_t len, struct mu_error *err) MU_MUST_CHECK;
enum mu_status secret_random(struct secret *ret, size_t len, struct mu_error *err) MU_MUST_CHECK;
void secret_free(struct secret *secret);
/* Zeroes the contents of all of them that are allocated now. Safe in a signal handler. */
void secret_wipe_all(void);
static inline struct bytes secret_view(const struct secret *s)
{
    return (struct bytes){s->data, s->len};
}

/* malloc and friends that wipe what they free; OpenSSL gets them from process_harden, libcurl by
 * curl_global_init_mem(flags, wiping_malloc, wiping_free, wiping_realloc, wiping_strdup,
 * wiping_calloc). */
void *wiping_malloc(size_t size);
void *wiping_calloc(size_t count, size_t size);
void *wiping_realloc(void *old, size_t size);
char *wiping_strdup(const char *text);
void wiping_free(void *memory);

enum process_kind {
    PROCESS_BOOT, /* measured-unlock: a secret that cannot be locked is a failure (MU_CONFIG) */
    PROCESS_TOOL, /* muctl: secrets are locked where allowed */
};

/* First thing in main(), before any thread or other library call: no core dumps, not dumpable,
 * umask 077, all memory locked where allowed, and OpenSSL wipes what it frees. */
enum mu_status process_harden(enum process_kind kind, struct mu_error *err) MU_MUST_CHECK;

#endif
