/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef MU_JOSE_TOKEN_H
#define MU_JOSE_TOKEN_H

#include "base/secret.h"
#include "jose/jwk.h"

#define TOKEN_MAX 32768 /* characters of a compact token */

/* JSON web tokens in compact form: what the verifier issues is a signed one (RFC 7515, 7519) inside
 * an encrypted one (RFC 7516). These functions refuse what they do not make themselves: other
 * algorithms, "none", other members of the header ("crit", "jwk", "zip", "apu", ...), other
 * curves. */

/* A token encrypted to a public key with A256GCM, {"alg","enc","cty":"JWT",...}: to P-256 or P-384
 * by ECDH-ES with a key of its own each time (RFC 7518, 4.6), to RSA of 2048 bits and more by
 * RSA-OAEP-256 (4.3). MU_REFUSE for other keys. */
enum mu_status token_encrypt(const char *inner, EVP_PKEY *to, char **ret,
                             struct mu_error *err) MU_MUST_CHECK;
/* The content of a token that was encrypted by ECDH-ES; a zero byte follows it, which is not
 * counted. MU_REFUSE. */
enum mu_status token_decrypt(const char *token, EVP_PKEY *key, struct secret *ret,
                             struct mu_error *err) MU_MUST_CHECK;

/* RFC 7518, 4.6.2, the key for `algorithm`; 16 or 32 bytes. Exported for its test. */
enum mu_status token_agree(EVP_PKEY *mine, EVP_PKEY *theirs, const char *algorithm,
                           struct bytes apu, struct bytes apv, size_t len, struct secret *ret,
                           struct mu_error *err) MU_MUST_CHECK;

#endif
