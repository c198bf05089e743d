/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef MU_RELEASE_CREDENTIALS_H
#define MU_RELEASE_CREDENTIALS_H

#include "release/kms.h"

struct credentials_text {
    const char *access_key_id;
    const char *secret_access_key;
    const char *session_token; /* NULL if none */
};

/* Copies the texts into secrets; one that is not fit for a header fails with class `status`. */
enum mu_status aws_credentials_make(const struct credentials_text *text, enum mu_status status,
                                    struct aws_credentials *ret,
                                    struct mu_error *err) MU_MUST_CHECK;

#endif
