/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef MU_VERIFIER_AUDIENCE_H
#define MU_VERIFIER_AUDIENCE_H

#include "base/openssl.h"
#include "verifier/settings.h"

/* For whom a token is. The settings and the key live with the verifier. */
struct audience {
    const struct audience_settings *settings;
    EVP_PKEY *signing_key;
};

struct audiences {
    struct audience item[SETTINGS_AUDIENCES_MAX]; /* the first is taken if none is asked for */
    size_t count;
};

/* The value of "aud". */
const char *audience_value(const struct audience *audience);
/* By its value; NULL: the first. Returns NULL if there is none. */
const struct audience *audience_find(const struct audiences *set, const char *value);

/* signing_key[i] belongs to settings->signing_key[i]. MU_CONFIG: a name of a key that has no
 * section, one value twice, or a profile that cannot be made. */
enum mu_status audiences_load(const struct settings *settings, EVP_PKEY *const *signing_key,
                              const char *path, struct audiences *ret,
                              struct mu_error *err) MU_MUST_CHECK;

/* True if OpenID Connect takes the text as an issuer (Discovery 1.0, 2.1): https, a host, perhaps a
 * path, no query and no fragment. */
bool issuer_is_url(const char *issuer);

#endif
