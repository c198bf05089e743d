/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef MU_POLICY_FETCH_H
#define MU_POLICY_FETCH_H

#include "release/kms.h"

/* The key policy that KMS has (AWS KMS API, GetKeyPolicy): for administrators, and for others whom
 * the policy allows it. */
enum mu_status policy_fetch(const struct aws_options *options,
                            const struct aws_credentials *credentials, const char *key_arn,
                            struct deadline deadline, json_object **ret,
                            struct mu_error *err) MU_MUST_CHECK;

#endif
