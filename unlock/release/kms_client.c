/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/retry.h"
#include "base/time.h"
#include "net/http.h"
#include "release/kms_client.h"

#define CONTENT_TYPE "application/x-amz-json-1.1"
#define WRAPPED_MAX 6144
/* AWS accepts five minutes; a smaller difference is not why a request was refused. */
#define CLOCK_OFFSET_MIN 60
#define PLAINTEXT_MAX 4096 /* AWS KMS API, Encrypt */

const struct kms_patience kms_patient = {.connect_ms = 5000, .total_ms = 15000, .again = true};
const struct kms_patience kms_brief = {.connect_ms = 2000, .total_ms = 5000};

struct kms {
    struct http *http;
    char url[KMS_URL_MAX];
    char scope[96];
    struct deadline deadline;
    time_t clock_offset; /* seconds that the server is ahead of this process's time */
    bool credentials_expired;
};

enum mu_status kms_open(const struct aws_options *options, const char *key_arn,
                        struct deadline deadline, struct kms **ret, struct mu_error *err)
{
    MU_CLEANUP(kms_close) struct kms *kms = calloc(1, sizeof(*kms));
    char region[64], partition[32];

    if (kms == NULL)
        return mu_oom(err);
    MU_TRY(kms_parse_key_arn(key_arn, region, partition, err));
    MU_TRY(kms_endpoint(options, region, partition, kms->url, err));
    (void)snprintf(kms->scope, sizeof(kms->scope), "aws:amz:%s:kms", region);
    kms->deadline = deadline;
    if (options->ca_file == NULL)
        return mu_fail(err, MU_CONFIG, "ca_file is not set");
    MU_TRY(http_open(options->ca_file, &kms->http, err));
    *ret = MU_TAKE(kms);
    return MU_OK;
}

void kms_close(struct kms **kms)
{
    if (*kms == NULL)
        return;
    http_close(&(*kms)->http);
    free(*kms);
    *kms = NULL;
}

bool kms_credentials_expired(const struct kms *kms)
{
    return kms->credentials_expired;
}

enum mu_status kms_connect(struct kms *kms, const struct kms_patience *patience,
                           struct mu_error *err)
{
    char url[KMS_URL_MAX + 8];
    struct http_request request = {
        .method = "GET",
        .url = url,
        .connect_ms = patience->connect_ms,
        .total_ms = patience->total_ms,
        .deadline = kms->deadline,
    };
    struct http_response response;
    struct retry retry = {.policy = &retry_service, .deadline = kms->deadline, .unanswered = true};
    enum mu_status status;

    (void)snprintf(url, sizeof(url), "%sping", kms->url);
    do
        status = http_perform(kms->http, &request, &response, err);
    while (patience->again && retry_after(&retry, status));
    return status;
}

static time_t now_s(void)
{
    return (time_t)(time_now_ms() / 1000);
}

/* curl signs with the machine's clock, or with the time in this header if it is given. It is given
 * only if the clock is wrong, because curl 7.88 sends a given header twice, which no server
 * accepts. */
static struct bytes amz_date(time_t offset, char text[static 17])
{
    time_t now = now_s() + offset;
    struct tm tm;

    if ((offset == 0 && time_ahead_s() == 0) || gmtime_r(&now, &tm) == NULL)
        return (struct bytes){0};
    return (struct bytes){(uint8_t *)text, strftime(text, 17, "%Y%m%dT%H%M%SZ", &tm)};
}

static bool content_type_ok(const char *type)
{
    size_t len = strcspn(type, "; ");

    return len == sizeof(CONTENT_TYPE) - 1 && strncmp(type, CONTENT_TYPE, len) == 0;
}

/* What is asked, and how. */
struct call {
    const char *target;
    const struct aws_credentials *credentials;
    struct bytes body;
    const struct kms_patience *patience;
};

static enum mu_status send_once(struct kms *kms, const struct call *call, struct http_response *ret,
                                struct mu_error *err)
{
    char date[17];
    struct http_request request = {
        .method = "POST",
        .url = kms->url,
        .header = {{"Content-Type", text_view(CONTENT_TYPE)},
                   {"X-Amz-Target", text_view(call->target)},
                   {"X-Amz-Date", amz_date(kms->clock_offset, date)},
                   {"X-Amz-Security-Token", secret_view(&call->credentials->session_token)}},
        .body = call->body,
        .sigv4 = kms->scope,
        .access_key_id = secret_view(&call->credentials->access_key_id),
        .secret_access_key = secret_view(&call->credentials->secret_access_key),
        .connect_ms = call->patience->connect_ms,
        .total_ms = call->patience->total_ms,
        .deadline = kms->deadline,
    };

    return http_perform(kms->http, &request, ret, err);
}

/* True if the server's clock explains the failure and was not yet followed. */
static bool correct_clock(struct kms *kms, time_t server)
{
    time_t offset = server - now_s();

    if (server == 0 || kms->clock_offset != 0 || llabs((long long)offset) < CLOCK_OFFSET_MIN)
        return false;
    kms->clock_offset = offset;
    return true;
}

static enum mu_status call_once(struct kms *kms, const struct call *call, json_object **ret,
                                struct mu_error *err)
{
    struct http_response response;
    struct kms_failure failure;
    enum mu_status status;

    kms->credentials_expired = false;
    MU_TRY(send_once(kms, call, &response, err));
    if (response.status == 200) {
        status = json_parse(response.body, "KMS's answer", MU_REFUSE, ret, err);
        if (status == MU_REFUSE && !content_type_ok(response.content_type))
            return mu_fail(err, MU_REFUSE, "%s: the answer's content type is '%s', not %s",
                           kms->url, response.content_type, CONTENT_TYPE);
        return status;
    }
    status = kms_explain(response.status, response.body, &failure, err);
    kms->credentials_expired = failure.credentials_expired;
    if (failure.clock_wrong && correct_clock(kms, response.date))
        return call_once(kms, call, ret, err);
    return status;
}

static enum mu_status perform(struct kms *kms, const struct call *call, json_object **ret,
                              struct mu_error *err)
{
    struct retry retry = {
        .policy = &retry_service, .deadline = kms->deadline, .error = err, .tell = true};
    enum mu_status status;

    do
        status = call_once(kms, call, ret, err);
    while (call->patience->again && !kms->credentials_expired && retry_after(&retry, status));
    return status;
}

enum mu_status kms_call(struct kms *kms, const char *target,
                        const struct aws_credentials *credentials, struct bytes body,
                        json_object **ret, struct mu_error *err)
{
    struct call call = {target, credentials, body, &kms_patient};

    return perform(kms, &call, ret, err);
}

enum mu_status kms_decrypt_body(const struct kms_decrypt_request *request, char **ret,
                                struct mu_error *err)
{
    MU_CLEANUP(json_free) json_object *body = json_object_new_object();
    MU_CLEANUP(string_free) char *document = NULL;
    json_object *recipient = json_object_new_object();
    const char *text;

    if (body == NULL || !json_add(body, "Recipient", recipient))
        return mu_oom(err);
    MU_TRY(base64_encode(request->document, &document, err));
    if (!json_add_text(body, "KeyId", request->key_arn) ||
        !(request->ciphertext != NULL ? json_add_text(body, "CiphertextBlob", request->ciphertext)
                                      : json_add_text(body, "KeySpec", "AES_256")) ||
        !json_add(body, "EncryptionContext", json_object_get(request->encryption_context)) ||
        !json_add_text(recipient, "KeyEncryptionAlgorithm", "RSAES_OAEP_SHA_256") ||
        !json_add_text(recipient, "AttestationDocument", document))
        return mu_oom(err);
    text = json_text(body);
    return text != NULL ? string_print(ret, err, "%s", text) : mu_oom(err);
}

enum mu_status kms_check_key(json_object *answer, const char *key_arn, struct mu_error *err)
{
    const char *key_id;

    MU_TRY(json_string(answer, "KeyId", 2048, MU_REFUSE, &key_id, err));
    if (strcmp(key_id, key_arn) != 0)
        return mu_fail(err, MU_REFUSE, "KMS answered for the key %.200s, not for %.200s", key_id,
                       key_arn);
    return MU_OK;
}

enum mu_status kms_decrypt_answer(json_object *answer, const char *key_arn,
                                  struct buffer *ret_wrapped, struct mu_error *err)
{
    json_object *plaintext = NULL;

    MU_TRY(kms_check_key(answer, key_arn, err));
    if (json_object_object_get_ex(answer, "Plaintext", &plaintext) && plaintext != NULL)
        return mu_fail(err, MU_REFUSE,
                       "KMS answered with a plaintext: the key was not bound to this machine");
    return json_base64(answer, "CiphertextForRecipient", WRAPPED_MAX, MU_REFUSE, ret_wrapped, err);
}

enum mu_status kms_decrypt(struct kms *kms, const struct aws_credentials *credentials,
                           const struct kms_decrypt_request *request, struct buffer *ret_ciphertext,
                           struct buffer *ret_wrapped, struct mu_error *err)
{
    const bool make = request->ciphertext == NULL;
    MU_CLEANUP(string_free) char *body = NULL;
    MU_CLEANUP(json_free) json_object *answer = NULL;
    struct call call = {.target = make ? "TrentService.GenerateDataKey" : "TrentService.Decrypt",
                        .credentials = credentials,
                        .patience = request->patience};

    MU_TRY(kms_decrypt_body(request, &body, err));
    call.body = text_view(body);
    MU_TRY(perform(kms, &call, &answer, err));
    MU_TRY(kms_decrypt_answer(answer, request->key_arn, ret_wrapped, err));
    return make ? json_base64(answer, "CiphertextBlob", KMS_CIPHERTEXT_MAX, MU_REFUSE,
                              ret_ciphertext, err)
                : MU_OK;
}

/* The plaintext is put before json-c's text by hand, so that no copy of it stays in json-c's
 * buffers. */
static enum mu_status encrypt_body(const char *key_arn, json_object *encryption_context,
                                   struct bytes plaintext, struct secret *ret, struct mu_error *err)
{
    MU_CLEANUP(json_free) json_object *rest = json_object_new_object();
    MU_CLEANUP(string_wipe) char *encoded = NULL;
    const char *text;
    int len;

    if (rest == NULL || !json_add_text(rest, "KeyId", key_arn) ||
        !json_add(rest, "EncryptionContext", json_object_get(encryption_context)) ||
        (text = json_text(rest)) == NULL)
        return mu_oom(err);
    MU_TRY(base64_encode(plaintext, &encoded, err));
    MU_TRY(secret_alloc(ret, strlen(encoded) + strlen(text) + 32, err));
    len = snprintf((char *)ret->data, ret->len, "{\"Plaintext\":\"%s\",%s", encoded, text + 1);
    ret->len = (size_t)len;
    return MU_OK;
}

enum mu_status kms_encrypt(const struct aws_options *options,
                           const struct aws_credentials *credentials, const char *key_arn,
                           json_object *encryption_context, struct bytes plaintext,
                           struct deadline deadline, struct buffer *ret_ciphertext,
                           struct mu_error *err)
{
    MU_CLEANUP(kms_close) struct kms *kms = NULL;
    MU_CLEANUP(secret_free) struct secret body = {0};
    MU_CLEANUP(json_free) json_object *answer = NULL;

    if (plaintext.len == 0 || plaintext.len > PLAINTEXT_MAX)
        return mu_fail(err, MU_INTERNAL, "KMS encrypts 1 to %d bytes", PLAINTEXT_MAX);
    MU_TRY(kms_open(options, key_arn, deadline, &kms, err));
    MU_TRY(encrypt_body(key_arn, encryption_context, plaintext, &body, err));
    MU_TRY(kms_call(kms, "TrentService.Encrypt", credentials, secret_view(&body), &answer, err));
    MU_TRY(kms_check_key(answer, key_arn, err));
    return json_base64(answer, "CiphertextBlob", KMS_CIPHERTEXT_MAX, MU_REFUSE, ret_ciphertext,
                       err);
}
