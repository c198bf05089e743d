/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "release/vault_client.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define JSON_TYPE "application/json"
#define MESSAGE_MAX 400
#define WRAPPING_MAX 1024

bool vault_path_ok(const char *path)
{
    static const char allowed[] =
        "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.~/";
    size_t len = strlen(path);

    if (len == 0 || len > VAULT_PATH_MAX / 4 || strspn(path, allowed) != len)
        return false;
    for (const char *segment = path; segment != NULL;) {
        size_t size = strcspn(segment, "/");

        if (size == 0 || strspn(segment, ".") == size)
            return false;
        segment = segment[size] == '/' ? segment + size + 1 : NULL;
    }
    return true;
}

/* Vault HTTP API, "HTTP status codes". */
static const struct {
    long http_status;
    enum mu_status status;
    const char *hint;
} meanings[] = {
    {400, MU_REFUSE, NULL},
    {403, MU_REFUSE, "no policy of this token allows this"},
    {404, MU_CONFIG, "not found: compare mount, path and namespace with the server's"},
    {405, MU_CONFIG, "this mount does not know the request: is it of the type it should be?"},
    {412, MU_RETRY, NULL},
    {429, MU_RETRY, NULL},
    {472, MU_RETRY, "a recovery replica"},
    {473, MU_RETRY, "a performance standby"},
    {503, MU_RETRY, "sealed or in maintenance: it has to be unsealed"},
    {307, MU_RETRY, "a standby that names another address: give the one of the load balancer"},
};

enum mu_status vault_explain(long http_status, struct bytes body, const char *path,
                             struct mu_error *err)
{
    MU_CLEANUP(json_free) json_object *object = NULL;
    json_object *errors = NULL;
    enum mu_status status = http_status >= 500 ? MU_RETRY : MU_REFUSE;
    const char *hint = NULL;
    const char *message = "";
    struct mu_error ignored;

    if (json_parse(body, "Vault", MU_REFUSE, &object, &ignored) == MU_OK &&
        json_member(object, "errors", json_type_array, MU_REFUSE, &errors, &ignored) == MU_OK &&
        json_object_is_type(json_object_array_get_idx(errors, 0), json_type_string))
        message = json_object_get_string(json_object_array_get_idx(errors, 0));
    for (size_t i = 0; i < MU_COUNT(meanings); i++) {
        if (meanings[i].http_status != http_status)
            continue;
        status = meanings[i].status;
        hint = meanings[i].hint;
    }
    return mu_fail(err, status, "Vault answered HTTP %ld for %.200s%s%.*s%s%s", http_status, path,
                   message[0] != '\0' ? ": " : "", MESSAGE_MAX, message, hint != NULL ? "; " : "",
                   hint != NULL ? hint : "");
}

enum mu_status vault_call(struct service *vault, const struct vault_request *request,
                          json_object **ret, struct mu_error *err)
{
    char path[VAULT_PATH_MAX + 4];
    char version[32] = "";
    char ttl[24] = "";
    struct http_request r = {
        .method = request->method,
        .header = {{"X-Vault-Request", text_view("true")},
                   {"X-Vault-Namespace", text_view(request->scope)},
                   {"X-Vault-Token", request->token},
                   {"Content-Type", text_view(request->body.len > 0 ? JSON_TYPE : "")}},
        .body = request->body,
        .total_ms = request->total_ms,
    };
    struct http_response response;

    if (request->version > 0)
        (void)snprintf(version, sizeof(version), "?version=%" PRId64, request->version);
    if ((size_t)snprintf(path, sizeof(path), "/v1/%s%s", request->path, version) >= sizeof(path))
        return mu_fail(err, MU_CONFIG, "Vault: the path %.64s... is too long", request->path);
    if (request->wrap_ttl > 0) {
        (void)snprintf(ttl, sizeof(ttl), "%" PRId64, request->wrap_ttl);
        r.header[4] = (struct http_header){"X-Vault-Wrap-TTL", text_view(ttl)};
    }
    MU_TRY(service_call(vault, &r, path, &response, err));
    if (response.status != 200 && response.status != 204)
        return vault_explain(response.status, response.body, request->path, err);
    *ret = NULL;
    return response.body.len == 0
               ? MU_OK
               : json_parse(response.body, "Vault's answer", MU_REFUSE, ret, err);
}

static enum mu_status secret_text(json_object *object, const char *name, struct secret *ret,
                                  struct mu_error *err)
{
    const char *text = NULL;
    size_t len;

    MU_TRY(json_string(object, name, VAULT_TOKEN_MAX, MU_REFUSE, &text, err));
    len = strlen(text);
    if (!http_token_ok(text_view(text), 1, VAULT_TOKEN_MAX) || strcspn(text, "\"\\") != len)
        return mu_fail(err, MU_REFUSE, "Vault's answer: \"%s\" is not a token", name);
    MU_TRY(secret_alloc(ret, len, err));
    memcpy(ret->data, text, len);
    return MU_OK;
}

/* ---- response wrapping: Vault documentation, "Response wrapping", "Response wrapping token
 * validation" ---- */

static enum mu_status check_creation_path(json_object *from, const char *path, struct mu_error *err)
{
    const char *found = NULL;

    MU_TRY(json_string(from, "creation_path", VAULT_PATH_MAX, MU_REFUSE, &found, err));
    if (strcmp(found, path) != 0)
        return mu_fail(
            err, MU_REFUSE,
            "the wrapping token was made for %.200s, not for %.200s: somebody replaced it", found,
            path);
    return MU_OK;
}

static enum mu_status look_up(struct service *vault, const struct vault_request *about,
                              const struct secret *token, struct mu_error *err)
{
    MU_CLEANUP(secret_free) struct secret body = {0};
    MU_CLEANUP(json_wipe) json_object *answer = NULL;
    struct vault_request request = {
        .method = "POST", .path = "sys/wrapping/lookup", .scope = about->scope};
    json_object *data = NULL;

    MU_TRY(secret_alloc(&body, token->len + 16, err));
    body.len = (size_t)snprintf((char *)body.data, body.len, "{\"token\":\"%.*s\"}",
                                (int)token->len, (const char *)token->data);
    request.body = secret_view(&body);
    MU_TRY(vault_call(vault, &request, &answer, err));
    MU_TRY(json_member(answer, "data", json_type_object, MU_REFUSE, &data, err));
    return check_creation_path(data, about->path, err);
}

static enum mu_status unwrap(struct service *vault, const struct vault_request *about,
                             const struct secret *token, json_object **ret, struct mu_error *err)
{
    struct vault_request request = {.method = "POST",
                                    .path = "sys/wrapping/unwrap",
                                    .scope = about->scope,
                                    .token = secret_view(token)};
    enum mu_status status = look_up(vault, about, token, err);

    if (status == MU_OK)
        status = vault_call(vault, &request, ret, err);
    if (status == MU_REFUSE)
        return mu_context(err, "the wrapped answer is not available (did somebody else unwrap it? "
                               "Vault's audit log says who)");
    return status;
}

enum mu_status vault_call_wrapped(struct service *vault, const struct vault_request *request,
                                  json_object **ret, struct mu_error *err)
{
    MU_CLEANUP(json_wipe) json_object *answer = NULL;
    MU_CLEANUP(secret_free) struct secret token = {0};
    json_object *info = NULL;

    MU_TRY(vault_call(vault, request, &answer, err));
    if (request->wrap_ttl > 0) {
        MU_TRY(json_member(answer, "wrap_info", json_type_object, MU_REFUSE, &info, err));
        MU_TRY(secret_text(info, "token", &token, err));
        json_wipe(&answer);
        MU_TRY(unwrap(vault, request, &token, &answer, err));
    }
    *ret = MU_TAKE(answer);
    return MU_OK;
}

/* ---- login and keys ---- */

/* The JWT is base64url and dots, the role a path: nothing in them needs an escape. */
static enum mu_status login_body(const char *role, const struct secret *jwt, struct secret *ret,
                                 struct mu_error *err)
{
    struct bytes token = secret_view(jwt);

    if (!vault_path_ok(role) || !http_token_ok(token, 1, HTTP_BODY_MAX / 2) ||
        memchr(token.data, '"', token.len) != NULL || memchr(token.data, '\\', token.len) != NULL)
        return mu_fail(err, MU_REFUSE, "the verifier's token is not a JWT");
    MU_TRY(secret_alloc(ret, strlen(role) + token.len + 32, err));
    ret->len = (size_t)snprintf((char *)ret->data, ret->len, "{\"role\":\"%s\",\"jwt\":\"%.*s\"}",
                                role, (int)token.len, (const char *)token.data);
    return MU_OK;
}

enum mu_status vault_login(struct service *vault, const char *scope, const char *mount,
                           const char *role, const struct secret *jwt, struct secret *ret_token,
                           struct mu_error *err)
{
    MU_CLEANUP(secret_free) struct secret body = {0};
    MU_CLEANUP(json_wipe) json_object *answer = NULL;
    char path[VAULT_PATH_MAX];
    struct vault_request request = {.method = "POST", .path = path, .scope = scope};
    json_object *auth = NULL;
    enum mu_status status;

    MU_TRY(login_body(role, jwt, &body, err));
    request.body = secret_view(&body);
    if ((size_t)snprintf(path, sizeof(path), "auth/%s/login", mount) >= sizeof(path))
        return mu_fail(err, MU_CONFIG, "the auth mount's name is too long");
    status = vault_call(vault, &request, &answer, err);
    if (status == MU_REFUSE)
        return mu_context(err,
                          "the role '%s' does not admit this machine: compare its bound_claims "
                          "with this boot's PCRs",
                          role);
    MU_TRY(status);
    MU_TRY(json_member(answer, "auth", json_type_object, MU_REFUSE, &auth, err));
    return secret_text(auth, "client_token", ret_token, err);
}

static enum mu_status decode(const char *base64, size_t size, struct secret *ret,
                             struct mu_error *err)
{
    MU_CLEANUP(buffer_wipe) struct buffer plain = {0};
    enum mu_status status = base64_decode(base64, size, MU_REFUSE, &plain, err);

    if (status == MU_REFUSE || (status == MU_OK && plain.len != size))
        status =
            mu_fail(err, MU_REFUSE, "Vault's answer is not a key of %zu bytes in base64", size);
    if (status == MU_OK)
        status = secret_alloc(ret, size, err);
    if (status == MU_OK)
        memcpy(ret->data, plain.data, size);
    return status;
}

enum mu_status vault_key(json_object *answer, bool kv, const char *name, size_t size,
                         struct secret *ret, struct mu_error *err)
{
    json_object *data = NULL;
    const char *text = NULL;

    MU_TRY(json_member(answer, "data", json_type_object, MU_REFUSE, &data, err));
    if (kv)
        MU_TRY(json_member(data, "data", json_type_object, MU_REFUSE, &data, err));
    MU_TRY(json_string(data, name, VAULT_TOKEN_MAX, MU_REFUSE, &text, err));
    return decode(text, size, ret, err);
}
