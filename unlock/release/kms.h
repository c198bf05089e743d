/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef MU_RELEASE_KMS_H
#define MU_RELEASE_KMS_H

#include "base/clock.h"
#include "base/config.h"
#include "base/secret.h"
#include "volume/record.h"

/* AWS credentials: from IMDSv2 (boot, or a builder on EC2) or from the environment (builder). */
struct aws_credentials {
    struct secret access_key_id; /* text, not zero-terminated */
    struct secret secret_access_key;
    struct secret session_token; /* empty if none */
};
void aws_credentials_free(struct aws_credentials *credentials);
/* AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_SESSION_TOKEN; MU_CONFIG if not set. */
enum mu_status aws_credentials_from_environment(struct aws_credentials *ret,
                                                struct mu_error *err) MU_MUST_CHECK;
/* IMDSv2, retried until the deadline (AWS EC2 User Guide, "Use IMDSv2"). */
enum mu_status aws_credentials_from_imds(const char *imds, struct deadline deadline,
                                         struct aws_credentials *ret,
                                         struct mu_error *err) MU_MUST_CHECK;

/* Region and partition out of arn:<partition>:kms:<region>:<account>:key/<id>; refuses aliases. */
enum mu_status kms_parse_key_arn(const char *arn, char ret_region[static 64],
                                 char ret_partition[static 32], struct mu_error *err) MU_MUST_CHECK;

/* Encrypt for enrolment: the ciphertext blob of `plaintext` under key and context. */
enum mu_status kms_encrypt(const struct config *config, const struct aws_credentials *credentials,
                           const char *key_arn, json_object *encryption_context,
                           struct bytes plaintext, struct deadline deadline,
                           struct buffer *ret_ciphertext, struct mu_error *err) MU_MUST_CHECK;

#endif
