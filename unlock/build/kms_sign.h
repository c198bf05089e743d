/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef MU_BUILD_KMS_SIGN_H
#define MU_BUILD_KMS_SIGN_H

#include "release/kms.h"

/* AWS KMS API, Sign, of a SHA-384 digest with ECDSA_SHA_384; the signature is DER (RFC 3279 2.2.3).
 * An answer for another key is MU_REFUSE. */
enum mu_status kms_sign(const struct aws_options *options,
                        const struct aws_credentials *credentials, const char *key_arn,
                        struct bytes digest, struct deadline deadline, struct buffer *ret,
                        struct mu_error *err) MU_MUST_CHECK;

#endif
