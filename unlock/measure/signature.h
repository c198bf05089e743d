/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef MU_MEASURE_SIGNATURE_H
#define MU_MEASURE_SIGNATURE_H

#include <openssl/evp.h>

#include "base/bytes.h"

/* The image builder's signatures: ECDSA P-256 or P-384 with SHA-384 (DER), or Ed25519 (RFC 8032).
 * Any other key is MU_CONFIG. For a baseline file the signed bytes are the file itself, so that
 * `openssl dgst -sha384 -verify` (ECDSA) checks it too. */

enum mu_status signature_load_public_key(const char *path, EVP_PKEY **ret,
                                         struct mu_error *err) MU_MUST_CHECK;
/* PEM, PKCS#8 or SEC1; encrypted keys ask on the terminal only. */
enum mu_status signature_load_private_key(const char *path, EVP_PKEY **ret,
                                          struct mu_error *err) MU_MUST_CHECK;
void signature_key_free(EVP_PKEY **key);

/* `context` (may be NULL) and its terminating zero byte are signed before the data. */
enum mu_status signature_make(EVP_PKEY *key, const char *context, struct bytes data,
                              struct buffer *ret, struct mu_error *err) MU_MUST_CHECK;
/* MU_REFUSE if it does not hold. */
enum mu_status signature_verify(EVP_PKEY *key, const char *context, struct bytes data,
                                struct bytes signature, struct mu_error *err) MU_MUST_CHECK;

#endif
