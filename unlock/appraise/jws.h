/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef MU_APPRAISE_JWS_H
#define MU_APPRAISE_JWS_H

#include "jose/token.h"

/* Signed tokens (jose/token.h) and the public keys that go with them. */

#define JWK_THUMBPRINT_SIZE 44 /* SHA-256 as base64url, and a zero byte */

/* How the key signs (RFC 7518, 3.1): "ES384", "ES256", "RS256" if it is an RSA key of 2048 to 8192
 * bits; NULL: it does not. */
const char *jws_algorithm(EVP_PKEY *key);

/* The public half of such a key: the members that RFC 7638, 3.2 hashes, in that order. MU_REFUSE
 * for other keys. */
enum mu_status jws_public_key(EVP_PKEY *key, json_object **ret, struct mu_error *err) MU_MUST_CHECK;
/* RFC 7638, with SHA-256. */
enum mu_status jws_thumbprint(EVP_PKEY *key, char ret[static JWK_THUMBPRINT_SIZE],
                              struct mu_error *err) MU_MUST_CHECK;

/* {"alg","kid","typ":"JWT"} and the claims, signed by that private key. MU_REFUSE for other keys.
 */
enum mu_status token_sign(EVP_PKEY *key, json_object *claims, char **ret,
                          struct mu_error *err) MU_MUST_CHECK;

#endif
