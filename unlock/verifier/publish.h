/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef MU_VERIFIER_PUBLISH_H
#define MU_VERIFIER_PUBLISH_H

#include "verifier/audience.h"

/* What relying parties fetch. */

#define PUBLISH_KEYS_PATH "/.well-known/jwks.json"

/* The public halves of all keys, as a JWK set (RFC 7517, 5). */
enum mu_status publish_keys(EVP_PKEY *const *key, size_t keys, char **ret,
                            struct mu_error *err) MU_MUST_CHECK;

/* OpenID Connect Discovery 1.0, 3, as far as it concerns those who check tokens: there is no
 * endpoint to log in at. *ret is NULL unless the issuer is a URL. */
enum mu_status publish_discovery(const char *issuer, const struct audiences *audiences, char **ret,
                                 struct mu_error *err) MU_MUST_CHECK;

#endif
