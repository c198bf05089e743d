/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "release/verifier_client.h"

#include <stdio.h>
#include <string.h>

#include "attest/attest.h"
#include "jose/token.h"

#define EXPIRES_MAX 86400
#define DETAIL_MAX 400

/* Why: docs/develop/decisions/release.md. */
static enum mu_status class_of(long http_status, const char *error, bool stale)
{
    if (http_status == 429 || http_status >= 500 || stale)
        return MU_RETRY;
    return http_status == 403 && strcmp(error, "refused") == 0 ? MU_REFUSE : MU_CONFIG;
}

/* An answer other than 200: {"error": a word, "detail": a sentence}. */
static enum mu_status explain(long http_status, json_object *answer, bool *ret_stale,
                              struct mu_error *err)
{
    const char *error = json_text_of(answer, "error"), *detail = json_text_of(answer, "detail");
    const char *hint = "";
    enum mu_status class;

    *ret_stale = http_status == 400 && strcmp(error, "nonce") == 0;
    class = class_of(http_status, error, *ret_stale);
    if (class == MU_REFUSE)
        hint = "; none of its baselines matches this boot, or it serves other accounts";
    else if (class == MU_CONFIG && error[0] == '\0')
        hint = "; is there a 'mu-verifier serve' at this address?";
    return mu_fail(err, class, "the verifier answered HTTP %ld %.64s%s%.*s%s", http_status, error,
                   detail[0] != '\0' ? ": " : "", DETAIL_MAX, detail, hint);
}

static enum mu_status post(struct service *verifier, const char *path, const char *body,
                           json_object **ret, bool *ret_stale, struct mu_error *err)
{
    struct http_request request = {
        .method = "POST",
        .header = {{"Content-Type", text_view("application/json")}},
        .body = text_view(body),
    };
    struct http_response response;
    enum mu_status status;

    *ret = NULL;
    *ret_stale = false;
    MU_TRY(service_call(verifier, &request, path, &response, err));
    status = json_parse(response.body, "the verifier's answer", MU_CONFIG, ret, err);
    if (status == MU_OK && !json_object_is_type(*ret, json_type_object)) {
        json_free(ret);
        status = mu_fail(err, MU_CONFIG, "the verifier's answer is not a JSON object");
    }
    return response.status == 200 ? status : explain(response.status, *ret, ret_stale, err);
}

enum mu_status verifier_challenge(struct service *verifier, struct buffer *ret_nonce,
                                  int64_t *ret_seconds, bool *ret_identity, struct mu_error *err)
{
    MU_CLEANUP(json_free) json_object *answer = NULL;
    MU_CLEANUP(buffer_free) struct buffer nonce = {0};
    const char *hex = NULL;
    int64_t seconds;
    bool stale;

    MU_TRY(post(verifier, "/v1/challenge", "{}", &answer, &stale, err));
    MU_TRY(json_string(answer, "nonce", (size_t)2 * NSM_FIELD_MAX, MU_CONFIG, &hex, err));
    MU_TRY(buffer_alloc(&nonce, strlen(hex) / 2, err));
    if (!hex_decode(hex, nonce.data, nonce.len))
        return mu_fail(err, MU_CONFIG, "the verifier's nonce is not hex");
    MU_TRY(json_integer(answer, "expires_in", 1, EXPIRES_MAX, MU_CONFIG, &seconds, err));
    *ret_seconds = seconds;
    *ret_identity = json_text_of(answer, "identity")[0] != '\0';
    *ret_nonce = MU_TAKE(nonce);
    return MU_OK;
}

static enum mu_status add_base64(json_object *body, const char *name, struct bytes value,
                                 struct mu_error *err)
{
    MU_CLEANUP(string_free) char *text = NULL;

    MU_TRY(base64_encode(value, &text, err));
    return json_add_text(body, name, text) ? MU_OK : mu_oom(err);
}

enum mu_status verifier_attest(struct service *verifier, const struct verifier_evidence *evidence,
                               json_object **ret_answer, bool *ret_stale, struct mu_error *err)
{
    MU_CLEANUP(json_free) json_object *body = json_object_new_object();
    const char *text;

    *ret_answer = NULL;
    *ret_stale = false;
    MU_TRY(add_base64(body, "document", evidence->document, err));
    if (evidence->identity.len > 0)
        MU_TRY(add_base64(body, "identity", evidence->identity, err));
    if (evidence->audience != NULL && !json_add_text(body, "audience", evidence->audience))
        return mu_oom(err);
    text = json_text(body);
    return text != NULL ? post(verifier, "/v1/attest", text, ret_answer, ret_stale, err)
                        : mu_oom(err);
}

enum mu_status verifier_token(json_object *answer, const char **ret_token, int64_t *ret_seconds,
                              struct mu_error *err)
{
    MU_TRY(json_integer(answer, "expires_in", 1, EXPIRES_MAX, MU_CONFIG, ret_seconds, err));
    return json_string(answer, "token", TOKEN_MAX, MU_CONFIG, ret_token, err);
}
