/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef MU_RELEASE_KMS_H
#define MU_RELEASE_KMS_H

#include "base/options.h"
#include "net/aws_credentials.h"
#include "release/kms_keys.h"

/* Encrypt for enrolment: the ciphertext blob of `plaintext` under key and context. */
enum mu_status kms_encrypt(const struct aws_options *options,
                           const struct aws_credentials *credentials, const char *key_arn,
                           json_object *encryption_context, struct bytes plaintext,
                           struct deadline deadline, struct buffer *ret_ciphertext,
                           struct mu_error *err) MU_MUST_CHECK;

#endif
