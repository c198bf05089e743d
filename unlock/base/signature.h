/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef MU_BASE_SIGNATURE_H
#define MU_BASE_SIGNATURE_H

#include <openssl/pem.h>

#include "base/bytes.h"
#include "base/openssl.h"

/* The image builder's signatures: ECDSA P-256 or P-384 with SHA-384 (DER), or Ed25519 (RFC 8032).
 * Any other key is MU_CONFIG. For a baseline file the signed bytes are the file itself, so that
 * `openssl dgst -sha384 -verify` (ECDSA) checks it too. */

/* ask: NULL for a public key; for a private key, a callback that gives its passphrase. */
enum mu_status signature_load_key(const char *path, pem_password_cb *ask, EVP_PKEY **ret,
                                  struct mu_error *err) MU_MUST_CHECK MU_NONNULL_AT(1, 3, 4);

/* The keys that an image trusts: one, or two while a new one takes over from the old. */
#define PUBLIC_KEYS_MAX 2
struct public_keys {
    EVP_PKEY *key[PUBLIC_KEYS_MAX];
    size_t count;
};
void public_keys_free(struct public_keys *keys);
/* As many PEM blocks as there are in the file; MU_CONFIG if there are more, or anything else. */
enum mu_status signature_load_keys(const char *path, struct public_keys *ret,
                                   struct mu_error *err) MU_MUST_CHECK MU_NONNULL;

/* The bytes that are signed: `context` (may be NULL) and its terminating zero byte, then the data.
 * *ret_digest is NULL for Ed25519, which does its own hashing. */
enum mu_status signature_message(EVP_PKEY *key, const char *context, struct bytes data,
                                 const EVP_MD **ret_digest, struct buffer *ret,
                                 struct mu_error *err) MU_MUST_CHECK MU_NONNULL_AT(1, 4, 5, 6);
/* MU_REFUSE if the signature is invalid. */
enum mu_status signature_verify(EVP_PKEY *key, const char *context, struct bytes data,
                                struct bytes signature, struct mu_error *err) MU_MUST_CHECK
    MU_NONNULL_AT(1, 5);
/* MU_REFUSE if it is of none of the keys. */
enum mu_status signature_verify_any(const struct public_keys *keys, const char *context,
                                    struct bytes data, struct bytes signature,
                                    struct mu_error *err) MU_MUST_CHECK MU_NONNULL_AT(1, 5);

#endif
