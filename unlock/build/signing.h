/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef MU_BUILD_SIGNING_H
#define MU_BUILD_SIGNING_H

#include "base/signature.h"

#define SIGNATURE_MAX 256 /* bytes of a signature of any kind */

/* The private half of base/signature.h. PEM, PKCS#8 or SEC1; the passphrase of an encrypted key is
 * asked for on the terminal only. */
enum mu_status signing_load_key(const char *path, EVP_PKEY **ret,
                                struct mu_error *err) MU_MUST_CHECK;

/* What signature_verify() takes, for the same context. MU_CONFIG if the key cannot sign. */
enum mu_status signing_sign(EVP_PKEY *key, const char *context, struct bytes data,
                            struct buffer *ret, struct mu_error *err) MU_MUST_CHECK;

#endif
