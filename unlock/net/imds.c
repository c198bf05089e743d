/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "net/imds.h"

#include <stdio.h>
#include <string.h>

#include <openssl/crypto.h>

#include "base/json.h"
#include "base/retry.h"
#include "base/trace.h"
#include "net/aws_credentials.h"
#include "net/http.h"

#define TOKEN_TTL "300" /* seconds */
#define TOKEN_MAX 1024
#define ROLE_MAX 64 /* IAM's limit for role names */
#define ROLES_PATH "/latest/meta-data/iam/security-credentials/"
#define FORBIDDEN_MAX 5
#define URL_MAX 512

static const struct retry_policy patient = {
    .first_ms = 20, .longest_ms = 1000, .unanswered_ms = RETRY_UNANSWERED_MS};
/* For what a boot can do without. */
static const struct retry_policy brief = {
    .first_ms = 20, .longest_ms = 200, .unanswered_ms = RETRY_UNANSWERED_MS, .attempts = 3};

struct imds {
    struct http *http;
    const char *base;
    struct retry retry;
    struct trace_start start; /* at 0 once there was a first answer */
    unsigned forbidden;
    uint8_t token[TOKEN_MAX];
    size_t token_len;
};

static void imds_wipe(struct imds *imds)
{
    http_close(&imds->http);
    OPENSSL_cleanse(imds->token, sizeof(imds->token));
}

/* The link may come up at any moment: short first attempts, since a lost SYN is sent again only
 * after a second. */
static unsigned connect_limit_ms(const struct imds *imds)
{
    unsigned limit_ms = 250 * (imds->retry.attempt + 1);

    return limit_ms < 2000 ? limit_ms : 2000;
}

static enum mu_status request(struct imds *imds, const char *method, const char *path,
                              const struct http_header *header, struct http_response *ret,
                              struct mu_error *err)
{
    char url[URL_MAX];
    struct http_request r = {
        .method = method,
        .url = url,
        .header = {*header},
        .connect_ms = connect_limit_ms(imds),
        .total_ms = 5000,
        .deadline = imds->retry.deadline,
    };

    if ((size_t)snprintf(url, sizeof(url), "%s%s", imds->base, path) >= sizeof(url))
        return mu_fail(err, MU_CONFIG, "the IMDS address is too long");
    imds->retry.unanswered = true;
    MU_TRY(http_perform(imds->http, &r, ret, err));
    imds->retry.unanswered = false;
    if (imds->start.at_us != 0)
        (void)trace_step("network", imds->start, MU_OK);
    imds->start.at_us = 0;
    return MU_OK;
}

/* EC2 User Guide, "Use the Instance Metadata Service to access instance metadata". */
static enum mu_status check_status(struct imds *imds, const char *path, long status,
                                   struct mu_error *err)
{
    switch (status) {
    case 200:
        return MU_OK;
    case 401:
        imds->token_len = 0;
        return mu_fail(err, MU_RETRY, "IMDS %s: the session token is no longer valid", path);
    case 403:
        return mu_fail(err, ++imds->forbidden < FORBIDDEN_MAX ? MU_RETRY : MU_CONFIG,
                       "IMDS %s: forbidden; enable the instance metadata service for this instance",
                       path);
    case 404:
        return mu_fail(
            err, MU_RETRY,
            strncmp(path, ROLES_PATH, strlen(ROLES_PATH)) == 0
                ? "IMDS %s: not found; the instance has no IAM role (or not yet): attach "
                  "an instance profile"
                : "IMDS %s: not found",
            path);
    default:
        return mu_fail(err, status == 429 || status >= 500 ? MU_RETRY : MU_CONFIG,
                       "IMDS %s: HTTP status %ld", path, status);
    }
}

static enum mu_status get_token(struct imds *imds, struct mu_error *err)
{
    static const char path[] = "/latest/api/token";
    static const struct http_header ttl = {"X-aws-ec2-metadata-token-ttl-seconds",
                                           {(const uint8_t *)TOKEN_TTL, sizeof(TOKEN_TTL) - 1}};
    struct http_response response;

    MU_TRY(request(imds, "PUT", path, &ttl, &response, err));
    MU_TRY(check_status(imds, path, response.status, err));
    if (!http_token_ok(response.body, 1, sizeof(imds->token)))
        return mu_fail(err, MU_RETRY, "IMDS %s: the answer is not a token", path);
    memcpy(imds->token, response.body.data, response.body.len);
    imds->token_len = response.body.len;
    return MU_OK;
}

static enum mu_status get(struct imds *imds, const char *path, struct bytes *ret,
                          struct mu_error *err)
{
    const struct http_header token = {"X-aws-ec2-metadata-token", {imds->token, imds->token_len}};
    struct http_response response;

    MU_TRY(request(imds, "GET", path, &token, &response, err));
    MU_TRY(check_status(imds, path, response.status, err));
    *ret = response.body;
    return MU_OK;
}

static enum mu_status get_role_path(struct imds *imds, char ret_path[static URL_MAX],
                                    struct mu_error *err)
{
    static const char role_characters[] =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+=,.@_-";
    struct bytes role;
    const uint8_t *newline;

    MU_TRY(get(imds, ROLES_PATH, &role, err));
    newline = memchr(role.data, '\n', role.len);
    if (newline != NULL)
        role.len = (size_t)(newline - role.data);
    if (role.len > ROLE_MAX || !bytes_all_of(role, role_characters))
        return mu_fail(err, MU_RETRY, "IMDS %s: the answer is not the name of a role", ROLES_PATH);
    (void)snprintf(ret_path, URL_MAX, ROLES_PATH "%.*s", (int)role.len, (const char *)role.data);
    return MU_OK;
}

enum mu_status imds_parse_credentials(struct bytes json, struct aws_credentials *ret,
                                      struct mu_error *err)
{
    MU_CLEANUP(json_wipe) json_object *object = NULL;
    struct credentials_text text = {0};
    const char *code;

    MU_TRY(json_parse(json, "IMDS credentials", MU_RETRY, &object, err));
    MU_TRY(json_string(object, "Code", 128, MU_RETRY, &code, err));
    if (strcmp(code, "Success") != 0)
        return mu_fail(err, MU_RETRY, "IMDS has no credentials for the instance's role: %s", code);
    MU_TRY(json_string(object, "AccessKeyId", 128, MU_RETRY, &text.access_key_id, err));
    MU_TRY(json_string(object, "SecretAccessKey", 256, MU_RETRY, &text.secret_access_key, err));
    MU_TRY(json_string(object, "Token", 8192, MU_RETRY, &text.session_token, err));
    return aws_credentials_make(&text, MU_RETRY, ret, err);
}

static enum mu_status fetch_credentials(struct imds *imds, void *ret, struct mu_error *err)
{
    char path[URL_MAX];
    struct bytes json;

    MU_TRY(get_role_path(imds, path, err));
    MU_TRY(get(imds, path, &json, err));
    return imds_parse_credentials(json, ret, err);
}

static enum mu_status fetch_identity(struct imds *imds, void *ret, struct mu_error *err)
{
    struct bytes body;

    MU_TRY(get(imds, "/latest/dynamic/instance-identity/rsa2048", &body, err));
    return buffer_copy(ret, body, err);
}

static enum mu_status fetch_region(struct imds *imds, void *ret, struct mu_error *err)
{
    static const char path[] = "/latest/meta-data/placement/region";
    struct bytes body;

    MU_TRY(get(imds, path, &body, err));
    if (body.len >= IMDS_REGION_MAX || !bytes_all_of(body, "abcdefghijklmnopqrstuvwxyz0123456789-"))
        return mu_fail(err, MU_RETRY, "IMDS %s: the answer is not the name of a region", path);
    (void)snprintf(ret, IMDS_REGION_MAX, "%.*s", (int)body.len, (const char *)body.data);
    return MU_OK;
}

static enum mu_status retried(const char *base, const struct retry_policy *policy,
                              struct deadline deadline,
                              enum mu_status (*fetch)(struct imds *, void *, struct mu_error *),
                              void *ret, struct mu_error *err)
{
    MU_CLEANUP(imds_wipe)
    struct imds imds = {
        .base = base,
        .retry = {.policy = policy, .deadline = deadline, .error = err, .tell = true},
        .start = policy == &patient ? trace_begin() : (struct trace_start){0}};
    enum mu_status status;

    if (strncmp(base, "http://", 7) != 0)
        return mu_fail(err, MU_CONFIG, "imds: '%s' does not begin with http://", base);
    MU_TRY(http_open(NULL, &imds.http, err));
    do {
        status = imds.token_len == 0 ? get_token(&imds, err) : MU_OK;
        if (status == MU_OK)
            status = fetch(&imds, ret, err);
    } while (retry_after(&imds.retry, status));
    return status;
}

enum mu_status aws_credentials_from_imds(const char *base, struct deadline deadline,
                                         struct aws_credentials *ret, struct mu_error *err)
{
    return retried(base, &patient, deadline, fetch_credentials, ret, err);
}

enum mu_status imds_identity(const char *base, struct deadline deadline, struct buffer *ret,
                             struct mu_error *err)
{
    return retried(base, &patient, deadline, fetch_identity, ret, err);
}

enum mu_status imds_region(const char *base, struct deadline deadline,
                           char ret[static IMDS_REGION_MAX], struct mu_error *err)
{
    return retried(base, &brief, deadline, fetch_region, ret, err);
}
