/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef MU_RELEASE_KMS_H
#define MU_RELEASE_KMS_H

#include "base/options.h"
#include "net/credentials.h"
#include "volume/record.h"

/* Region and partition out of arn:<partition>:kms:<region>:<account>:key/<id>; refuses aliases. */
enum mu_status kms_parse_key_arn(const char *arn, char ret_region[static 64],
                                 char ret_partition[static 32], struct mu_error *err) MU_MUST_CHECK;

/* The encryption context of a volume's key: "volume-uuid" and "volume-identity", and for a volume
 * that an instance made "volume-name", "volume-geometry" and "made-by" as well. The builder's
 * record is signed; an instance's has KMS and its MAC alone. */
enum mu_status aws_kms_context(const struct record *record, json_object **ret,
                               struct mu_error *err) MU_MUST_CHECK;

/* Puts the provider's data into the record: key, ciphertext and context. */
enum mu_status aws_kms_describe(const char *key_arn, struct bytes ciphertext, json_object *context,
                                struct record *record, struct mu_error *err) MU_MUST_CHECK;

/* Encrypt for enrolment: the ciphertext blob of `plaintext` under key and context. */
enum mu_status kms_encrypt(const struct aws_options *options,
                           const struct aws_credentials *credentials, const char *key_arn,
                           json_object *encryption_context, struct bytes plaintext,
                           struct deadline deadline, struct buffer *ret_ciphertext,
                           struct mu_error *err) MU_MUST_CHECK;

#endif
