/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef MU_VERIFIER_VERIFIER_H
#define MU_VERIFIER_VERIFIER_H

#include <openssl/evp.h>

#include "appraise/chain_cache.h"
#include "verifier/approved.h"
#include "verifier/audience.h"
#include "verifier/challenge.h"
#include "verifier/reference.h"

/* All that a verifier works with: read at the start, read again on SIGHUP, never changed in
 * between. */
struct verifier {
    struct settings settings;
    struct reference_values reference;
    struct challenge_keys challenge;
    EVP_PKEY *signing_key[SETTINGS_KEYS_MAX]; /* all are published */
    size_t signing_keys;
    struct audiences audiences;
    char *jwks, *discovery;        /* publish.h */
    struct buffer root;            /* PEM; data NULL: AWS's */
    struct buffer certificate;     /* PEM, of TLS; a zero byte follows */
    struct secret certificate_key; /* the same */
    struct secret page_token;      /* data NULL: not demanded */
    struct buffer page_ca;         /* PEM, a zero byte follows; the same */
    int64_t certificate_until;     /* seconds since 1970 */
    struct chain_cache *chains;    /* this changes: verified paths */
    struct approved *approved;     /* and this: the approved images; NULL: not used */
    struct store *store;           /* where these are; not the verifier's own */
};

/* MU_CONFIG says which file is unusable, and why. */
enum mu_status verifier_load(const char *path, struct verifier **ret,
                             struct mu_error *err) MU_MUST_CHECK;
void verifier_free(struct verifier **verifier);

/* MU_CONFIG if something is unusable, or will be soon, at the time `at` (seconds since 1970). */
enum mu_status verifier_check(const struct verifier *verifier, int64_t at,
                              struct mu_error *err) MU_MUST_CHECK;

#endif
