/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef MU_POLICY_FORMAT_H
#define MU_POLICY_FORMAT_H

#include "base/json.h"

/* A key policy in the format of other tools: "json" is the policy itself; "cloudformation" a
 * template and "terraform" a .tf.json that make a KMS key with this policy, which both tools keep
 * when all else is deleted. *policy becomes the result. MU_USAGE: unknown format. */
enum mu_status policy_format(const char *format, json_object **policy,
                             struct mu_error *err) MU_MUST_CHECK;

#endif
