/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef MU_ATTEST_CHAIN_CACHE_H
#define MU_ATTEST_CHAIN_CACHE_H

#include <openssl/x509.h>

#include "base/bytes.h"

/* Which paths of CA certificates, root included, have been verified, and between which times all of
 * them are valid: most of what a document costs, and the same for hours. For any number of threads.
 * It holds digests only; whoever is forgotten is verified again. */
struct chain_cache;

enum mu_status chain_cache_new(struct chain_cache **ret, struct mu_error *err) MU_MUST_CHECK;
void chain_cache_free(struct chain_cache **cache);

/* A path is path[1], path[2], ..., the root; path[0], the leaf, is no part of it. */
bool chain_cache_knows(struct chain_cache *cache, const STACK_OF(X509) * path, int64_t at);
/* To be called with what was verified at some time, and nothing else. A path with constraints on
 * what may stand below it (RFC 5280, 4.2.1.10) is not kept. */
void chain_cache_add(struct chain_cache *cache, const STACK_OF(X509) * path);

#endif
