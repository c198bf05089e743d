/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef MU_JOSE_JWK_H
#define MU_JOSE_JWK_H

#include "base/json.h"
#include "base/openssl.h"

/* The two curves of JOSE that are accepted (RFC 7518, 3.4 and 6.2.1.1). */
struct jwk_curve {
    const char *group; /* OpenSSL's name */
    const char *crv, *alg;
    size_t size; /* of a coordinate, in bytes */
    const EVP_MD *(*digest)(void);
};

/* NULL if the key is on neither curve. */
const struct jwk_curve *jwk_curve_of(EVP_PKEY *key);

/* {"crv", "kty", "x", "y"}: what RFC 7638, 3.2 hashes, in that order. MU_REFUSE for other keys. */
enum mu_status jwk_from_key(EVP_PKEY *key, json_object **ret, struct mu_error *err) MU_MUST_CHECK;
/* MU_REFUSE unless the object has exactly those members and is a point on the curve. */
enum mu_status jwk_to_key(json_object *jwk, EVP_PKEY **ret, struct mu_error *err) MU_MUST_CHECK;

#endif
