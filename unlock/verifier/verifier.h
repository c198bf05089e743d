/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef MU_VERIFIER_MATERIAL_H
#define MU_VERIFIER_MATERIAL_H

#include <openssl/evp.h>

#include "attest/chain_cache.h"
#include "attest/jwk.h"
#include "verifier/challenge.h"
#include "verifier/golden.h"

/* All that a verifier works with: read when it starts, read anew on SIGHUP, never changed. */
struct material {
    struct settings settings;
    struct golden_set golden;
    struct challenge_keys challenge;
    EVP_PKEY *signing_key[SETTINGS_KEYS_MAX]; /* the first signs, all are published */
    size_t signing_keys;
    char *jwks;                    /* RFC 7517, 5 */
    struct buffer root;            /* PEM; data NULL: AWS's */
    struct buffer certificate;     /* PEM, of TLS; a zero byte follows */
    struct secret certificate_key; /* the same */
    int64_t certificate_until;     /* seconds since 1970 */
    struct chain_cache *chains;    /* all that changes: what was verified */
};

/* MU_CONFIG says which file is unusable, and why. */
enum mu_status material_load(const char *path, struct material **ret,
                             struct mu_error *err) MU_MUST_CHECK;
void material_free(struct material **material);

/* What will not do any more, or soon, at the time `at` (seconds since 1970): MU_CONFIG. */
enum mu_status material_check(const struct material *material, int64_t at,
                              struct mu_error *err) MU_MUST_CHECK;

#endif
