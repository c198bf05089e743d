/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <stdlib.h>
#include <string.h>

#include "net/aws_credentials.h"
#include "net/http.h"

void aws_credentials_free(struct aws_credentials *credentials)
{
    secret_free(&credentials->access_key_id);
    secret_free(&credentials->secret_access_key);
    secret_free(&credentials->session_token);
}

static enum mu_status copy_text(struct secret *ret, const char *name, const char *text, size_t max,
                                enum mu_status status, struct mu_error *err)
{
    struct bytes view = {(const uint8_t *)text, strlen(text)};

    if (!http_token_ok(view, 1, max))
        return mu_fail(err, status, "%s: must be 1 to %zu printable characters", name, max);
    MU_TRY(secret_alloc(ret, view.len, err));
    memcpy(ret->data, view.data, view.len);
    return MU_OK;
}

enum mu_status aws_credentials_make(const struct credentials_text *text, enum mu_status status,
                                    struct aws_credentials *ret, struct mu_error *err)
{
    MU_CLEANUP(aws_credentials_free) struct aws_credentials made = {0};

    MU_TRY(copy_text(&made.access_key_id, "access key ID", text->access_key_id, 128, status, err));
    MU_TRY(copy_text(&made.secret_access_key, "secret access key", text->secret_access_key, 256,
                     status, err));
    if (text->session_token != NULL)
        MU_TRY(copy_text(&made.session_token, "session token", text->session_token, 8192, status,
                         err));
    *ret = MU_TAKE(made);
    return MU_OK;
}

enum mu_status aws_credentials_from_environment(struct aws_credentials *ret, struct mu_error *err)
{
    struct credentials_text text = {
        .access_key_id = getenv("AWS_ACCESS_KEY_ID"),
        .secret_access_key = getenv("AWS_SECRET_ACCESS_KEY"),
        .session_token = getenv("AWS_SESSION_TOKEN"),
    };

    if (text.access_key_id == NULL || text.secret_access_key == NULL)
        return mu_fail(err, MU_CONFIG,
                       "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY are not both set");
    if (text.session_token != NULL && text.session_token[0] == '\0')
        text.session_token = NULL;
    return aws_credentials_make(&text, MU_CONFIG, ret, err);
}
