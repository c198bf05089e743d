/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef MU_APPRAISE_ECDSA_H
#define MU_APPRAISE_ECDSA_H

#include <openssl/evp.h>

#include "base/bytes.h"

#define ECDSA_MAX 96 /* of P-384 */

/* ECDSA as COSE and JOSE write it, r || s, each as long as the curve's field (RFC 9053, 2.1; RFC
 * 7518, 3.4). Signatures are of signature.len bytes, an even number of at most ECDSA_MAX. */
enum mu_status ecdsa_sign(EVP_PKEY *key, const EVP_MD *digest, struct bytes message, uint8_t *ret,
                          size_t len, struct mu_error *err) MU_MUST_CHECK;
/* MU_REFUSE, "the signature does not hold". */
enum mu_status ecdsa_verify(EVP_PKEY *key, const EVP_MD *digest, struct bytes message,
                            struct bytes signature, struct mu_error *err) MU_MUST_CHECK;

#endif
