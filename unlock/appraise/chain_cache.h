/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef MU_APPRAISE_CHAIN_CACHE_H
#define MU_APPRAISE_CHAIN_CACHE_H

#include <openssl/x509.h>

#include "base/bytes.h"

/* Remembers which paths of CA certificates, root included, have been verified, and between which
 * times all their certificates are valid: verifying them is most of the cost of a document, and
 * they stay the same for hours. For any number of threads. The cache holds digests only; a path
 * that was dropped is verified again. */
struct chain_cache;

enum mu_status chain_cache_new(struct chain_cache **ret, struct mu_error *err) MU_MUST_CHECK;
void chain_cache_free(struct chain_cache **cache);

/* A path is path[1], path[2], ..., the root; the leaf, path[0], does not belong to it. */
bool chain_cache_knows(struct chain_cache *cache, const STACK_OF(X509) * path, int64_t at);
/* Call this only with a path that was verified, for whatever time. A path with constraints on the
 * names below it (RFC 5280, 4.2.1.10) is not kept. */
void chain_cache_add(struct chain_cache *cache, const STACK_OF(X509) * path);

#endif
