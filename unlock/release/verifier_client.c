/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "attest/nsm.h"
#include "attest/token.h"
#include "release/vault_client.h"

#define EXPIRES_MAX 86400
#define DETAIL_MAX 400

static const char *text_member(json_object *object, const char *name)
{
    json_object *member = NULL;

    return json_object_object_get_ex(object, name, &member) &&
                   json_object_is_type(member, json_type_string)
               ? json_object_get_string(member)
               : "";
}

static enum mu_status class_of(long http_status)
{
    if (http_status == 429 || http_status >= 500)
        return MU_RETRY;
    return http_status == 404 || http_status == 405 || http_status == 413 ? MU_CONFIG : MU_REFUSE;
}

/* An answer other than 200: {"error": a word, "detail": a sentence}. */
static enum mu_status explain(long http_status, struct bytes body, bool *ret_stale,
                              struct mu_error *err)
{
    MU_CLEANUP(json_free) json_object *object = NULL;
    const char *hint = "";
    const char *error, *detail;
    struct mu_error ignored;

    if (json_parse(body, "verifier", MU_REFUSE, &object, &ignored) != MU_OK ||
        !json_object_is_type(object, json_type_object))
        json_free(&object);
    error = object != NULL ? text_member(object, "error") : "";
    detail = object != NULL ? text_member(object, "detail") : "";
    *ret_stale = http_status == 400 && strcmp(error, "nonce") == 0;
    if (http_status == 403)
        hint = "; its baselines do not know this boot";
    else if (http_status == 404)
        hint = "; is there a 'muctl verifier' at this address?";
    return mu_fail(err, *ret_stale ? MU_RETRY : class_of(http_status),
                   "the verifier answered HTTP %ld %.64s%s%.*s%s", http_status, error,
                   detail[0] != '\0' ? ": " : "", DETAIL_MAX, detail, hint);
}

static enum mu_status post(struct service *verifier, const char *path, struct bytes body,
                           json_object **ret, bool *ret_stale, struct mu_error *err)
{
    static const char json[] = "application/json";
    struct http_request request = {
        .method = "POST",
        .header = {{"Content-Type", {(const uint8_t *)json, sizeof(json) - 1}}},
        .body = body,
    };
    struct http_response response;

    *ret_stale = false;
    MU_TRY(service_call(verifier, &request, path, &response, err));
    if (response.status != 200)
        return explain(response.status, response.body, ret_stale, err);
    return json_parse(response.body, "the verifier's answer", MU_REFUSE, ret, err);
}

enum mu_status verifier_challenge(struct service *verifier, struct buffer *ret_nonce,
                                  int64_t *ret_seconds, struct mu_error *err)
{
    static const char body[] = "{}";
    MU_CLEANUP(json_free) json_object *answer = NULL;
    MU_CLEANUP(buffer_free) struct buffer nonce = {0};
    const char *hex = NULL;
    int64_t seconds;
    bool stale;

    MU_TRY(post(verifier, "/v1/challenge", (struct bytes){(const uint8_t *)body, sizeof(body) - 1},
                &answer, &stale, err));
    MU_TRY(json_integer(answer, "expires_in", 1, EXPIRES_MAX, MU_REFUSE, &seconds, err));
    MU_TRY(json_string(answer, "nonce", (size_t)2 * NSM_FIELD_MAX, MU_REFUSE, &hex, err));
    MU_TRY(buffer_alloc(&nonce, strlen(hex) / 2, err));
    if (!hex_decode(hex, nonce.data, nonce.len))
        return mu_fail(err, MU_REFUSE, "the verifier's nonce is not hex");
    *ret_seconds = seconds;
    *ret_nonce = nonce;
    nonce = (struct buffer){0};
    return MU_OK;
}

enum mu_status verifier_attest(struct service *verifier, struct bytes document, char **ret_token,
                               int64_t *ret_seconds, bool *ret_stale, struct mu_error *err)
{
    MU_CLEANUP(string_free) char *base64 = NULL;
    MU_CLEANUP(string_free) char *body = NULL;
    MU_CLEANUP(json_free) json_object *answer = NULL;
    const char *token = NULL;
    int64_t seconds;
    int len;

    MU_TRY(base64_encode(document, &base64, err));
    len = asprintf(&body, "{\"document\":\"%s\"}", base64);
    if (len < 0) {
        body = NULL;
        return mu_oom(err);
    }
    MU_TRY(post(verifier, "/v1/attest", (struct bytes){(uint8_t *)body, (size_t)len}, &answer,
                ret_stale, err));
    MU_TRY(json_integer(answer, "expires_in", 1, EXPIRES_MAX, MU_REFUSE, &seconds, err));
    MU_TRY(json_string(answer, "token", TOKEN_MAX, MU_REFUSE, &token, err));
    *ret_token = strdup(token);
    *ret_seconds = seconds;
    return *ret_token != NULL ? MU_OK : mu_oom(err);
}
