/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef MU_NET_AWS_CREDENTIALS_H
#define MU_NET_AWS_CREDENTIALS_H

#include "base/secret.h"

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

struct credentials_text {
    const char *access_key_id;
    const char *secret_access_key;
    const char *session_token; /* NULL if none */
};

/* Copies the texts into secrets; a text that cannot be a header fails with class `status`. */
enum mu_status aws_credentials_make(const struct credentials_text *text, enum mu_status status,
                                    struct aws_credentials *ret,
                                    struct mu_error *err) MU_MUST_CHECK;

#endif
