/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef MU_POLICY_ARN_H
#define MU_POLICY_ARN_H

#include "base/error.h"
#include <stddef.h>

#define POLICY_NAMES_MAX 16

/* Arguments of one option, borrowed from argv, each once. */
struct policy_names {
    const char *name[POLICY_NAMES_MAX];
    size_t count;
};

/* All fail with MU_USAGE. */
enum mu_status policy_add_name(struct policy_names *names, const char *option, const char *text,
                               struct mu_error *err) MU_MUST_CHECK;
/* A role or user of IAM: no session, no account root, no wildcard. */
enum mu_status policy_add_arn(struct policy_names *names, const char *option, const char *text,
                              struct mu_error *err) MU_MUST_CHECK;
enum mu_status policy_add_uuid(struct policy_names *names, const char *text,
                               struct mu_error *err) MU_MUST_CHECK;
enum mu_status policy_add_hex(struct policy_names *names, const char *text, size_t digits,
                              struct mu_error *err) MU_MUST_CHECK;
/* MU_USAGE if a name is in both. */
enum mu_status policy_check_apart(const struct policy_names *a, const char *option_a,
                                  const struct policy_names *b, const char *option_b,
                                  struct mu_error *err) MU_MUST_CHECK;

#endif
