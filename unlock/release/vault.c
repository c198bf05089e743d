/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "release/vault.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <openssl/ec.h>
#include <openssl/evp.h>
#include <openssl/x509.h>

#include "attest/attest.h"
#include "base/log.h"
#include "base/retry.h"
#include "base/task.h"
#include "base/trace.h"
#include "jose/token.h"
#include "net/imds.h"
#include "release/provider.h"
#include "release/vault_client.h"
#include "release/verifier_client.h"
#include "tpm/fence.h"
#include "volume/record.h"

#define CURVE "P-384"
#define SPKI_MAX 256
/* Tokens are used for half of the time that they are valid. */
#define LIFE_USED 2
#define REVOKE_MS 3000

/* What leads to one volume's key: its verifier, its Vault, and what was obtained so far. */
struct provider_volume {
    const struct provider_session *session;
    struct vault_record record;
    json_object *data; /* what `record` borrows from */
    struct service *verifier, *vault;
    struct task begin; /* owns the volume until it is waited for */
    struct buffer nonce;
    uint64_t nonce_until_us;
    bool wants_identity;    /* the verifier does */
    struct buffer identity; /* the instance identity document; does not change during a boot */
    struct secret jwt;
    uint64_t jwt_until_us;
    struct retry retry;
};

struct provider_session {
    struct provider_options options;
    struct deadline deadline;
    atomic_bool stop;
    EVP_PKEY *key;
    struct provider_volume volume[CONFIG_VOLUMES_MAX];
    size_t volumes;
};

static uint64_t until_us(int64_t seconds)
{
    return clock_now_us() + (uint64_t)seconds * 1000000 / LIFE_USED;
}

static enum mu_status have_nonce(struct provider_volume *volume, struct mu_error *err)
{
    int64_t seconds;

    if (volume->nonce.data != NULL && clock_now_us() < volume->nonce_until_us)
        return MU_OK;
    buffer_free(&volume->nonce);
    volume->retry.unanswered = true;
    MU_TRY(MU_STEP("challenge", verifier_challenge(volume->verifier, &volume->nonce, &seconds,
                                                   &volume->wants_identity, err)));
    volume->retry.unanswered = false;
    volume->nonce_until_us = until_us(seconds);
    return MU_OK;
}

/* The instance's account: an image does not show it, and AWS's root is one for all accounts. */
static enum mu_status have_identity(struct provider_volume *volume, struct mu_error *err)
{
    const struct provider_session *session = volume->session;

    if (!volume->wants_identity || volume->identity.data != NULL)
        return MU_OK;
    return MU_STEP("identity", imds_identity(session->options.aws.imds, session->deadline,
                                             &volume->identity, err));
}

/* Only to save time later: what fails here fails again in release, and is reported then. */
static void *begin(void *argument)
{
    struct provider_volume *volume = argument;
    struct http_request health = {.method = "GET", .total_ms = REVOKE_MS};
    struct http_response ignored;
    struct mu_error error;

    while (retry_after(&volume->retry, have_nonce(volume, &error)))
        ;
    if (volume->nonce.data == NULL)
        return NULL;
    (void)(service_call(volume->vault, &health, "/v1/sys/health", &ignored, &error) == MU_OK);
    (void)(have_identity(volume, &error) == MU_OK);
    return NULL;
}

static void volume_free(struct provider_volume *volume)
{
    struct mu_error ignored;

    (void)task_wait(&volume->begin, &ignored);
    service_close(&volume->verifier);
    service_close(&volume->vault);
    json_free(&volume->data);
    buffer_free(&volume->nonce);
    buffer_free(&volume->identity);
    secret_free(&volume->jwt);
}

static void session_finish(struct provider_session **session)
{
    struct provider_session *s = *session;

    if (s == NULL)
        return;
    atomic_store(&s->stop, true);
    for (size_t i = 0; i < s->volumes; i++)
        volume_free(&s->volume[i]);
    EVP_PKEY_free(s->key);
    free(s);
    *session = NULL;
}

static enum mu_status session_start(const struct provider_options *options,
                                    struct deadline deadline, struct provider_session **ret,
                                    struct mu_error *err)
{
    MU_CLEANUP(session_finish) struct provider_session *session = calloc(1, sizeof(*session));

    if (session == NULL)
        return mu_oom(err);
    session->options = *options;
    session->deadline = deadline;
    session->deadline.part = &session->stop;
    session->key = EVP_EC_gen(CURVE);
    if (session->key == NULL)
        return mu_fail(err, MU_INTERNAL, "cannot make an EC key");
    *ret = MU_TAKE(session);
    return MU_OK;
}

static enum mu_status session_volume(struct provider_session *session, const struct record *record,
                                     struct provider_volume **ret, struct mu_error *err)
{
    const struct vault_options *options = &session->options.vault;
    struct provider_volume *volume;

    if (record->by_instance)
        return mu_fail(err, MU_REFUSE,
                       "record: an instance cannot make one for the provider vault");
    if (session->volumes == CONFIG_VOLUMES_MAX)
        return mu_fail(err, MU_INTERNAL, "more than %d volumes", CONFIG_VOLUMES_MAX);
    volume = &session->volume[session->volumes++];
    volume->session = session;
    volume->retry = (struct retry){.policy = &retry_service, .deadline = session->deadline};
    volume->data = json_object_get(record->provider_data);
    MU_TRY(vault_parse_record(volume->data, &volume->record, err));
    MU_TRY(service_open("verifier", volume->record.verifier, options->verifier_ca_file,
                        session->deadline, &volume->verifier, err));
    MU_TRY(service_open("Vault", volume->record.address, options->ca_file, session->deadline,
                        &volume->vault, err));
    MU_TRY(task_start(&volume->begin, begin, volume, err));
    *ret = volume;
    return MU_OK;
}

/* The first connection to the verifier comes before the first document. */
static enum mu_status have_nonce_in_time(struct provider_volume *volume, struct tpm *tpm,
                                         struct mu_error *err)
{
    MU_CLEANUP(buffer_free) struct buffer document = {0};
    enum mu_status status = have_nonce(volume, err);

    if (status == MU_OK || !service_clock_is_behind(volume->verifier))
        return status;
    MU_TRY(MU_STEP("time", nsm_attest(tpm, &(struct nsm_fields){0}, &document, err)));
    return have_nonce(volume, err);
}

/* A document holds SHA-384 alone: a fence in other banks alone would have no effect. */
static enum mu_status get_document(struct provider_volume *volume, struct tpm *tpm,
                                   struct buffer *ret, struct mu_error *err)
{
    uint8_t spki[SPKI_MAX];
    uint8_t *end = spki;
    int len = i2d_PUBKEY(volume->session->key, NULL);

    if (len <= 0 || len > SPKI_MAX || i2d_PUBKEY(volume->session->key, &end) != len)
        return mu_fail(err, MU_INTERNAL, "the public key cannot be encoded");

    struct nsm_fields fields = {.nonce = buffer_view(&volume->nonce),
                                .public_key = {spki, (size_t)len}};

    MU_TRY(fence_require_bank(tpm, volume->session->options.fence_pcr, HASH_SHA384, err));
    return MU_STEP("document", nsm_attest(tpm, &fields, ret, err));
}

/* A nonce is used once. */
static enum mu_status ask_verifier(struct provider_volume *volume, struct bytes document,
                                   struct mu_error *err)
{
    MU_CLEANUP(json_free) json_object *answer = NULL;
    const char *token;
    int64_t seconds;
    bool stale = false;
    const struct verifier_evidence evidence = {.document = document,
                                               .identity = buffer_view(&volume->identity)};
    enum mu_status status = verifier_attest(volume->verifier, &evidence, &answer, &stale, err);

    volume->retry.unanswered = !service_answered(volume->verifier);
    if (status != MU_RETRY || stale)
        buffer_free(&volume->nonce);
    MU_TRY(status);
    MU_TRY(verifier_token(answer, &token, &seconds, err));
    MU_TRY(token_decrypt(token, volume->session->key, &volume->jwt, err));
    volume->jwt_until_us = until_us(seconds);
    return MU_OK;
}

/* The verifier's token for this boot. */
static enum mu_status have_jwt(struct provider_volume *volume, struct tpm *tpm,
                               struct mu_error *err)
{
    MU_CLEANUP(buffer_free) struct buffer document = {0};

    if (volume->jwt.data != NULL && clock_now_us() < volume->jwt_until_us)
        return MU_OK;
    secret_free(&volume->jwt);
    MU_TRY(have_nonce_in_time(volume, tpm, err));
    MU_TRY(have_identity(volume, err));
    MU_TRY(get_document(volume, tpm, &document, err));
    MU_TRY(MU_STEP("verifier", ask_verifier(volume, buffer_view(&document), err)));
    log_line("attestation accepted by %s", volume->record.verifier);
    return MU_OK;
}

static bool printed(int len, size_t size)
{
    return len >= 0 && (size_t)len < size;
}

static enum mu_status read_kv(struct provider_volume *volume, struct vault_request request,
                              json_object **ret, struct mu_error *err)
{
    const struct vault_record *r = &volume->record;
    char path[VAULT_PATH_MAX];

    if (!printed(snprintf(path, sizeof(path), "%s/data/%s", r->mount, r->path), sizeof(path)))
        return mu_fail(err, MU_CONFIG, "the path of the key is too long");
    request.method = "GET";
    request.path = path;
    request.version = r->version;
    return vault_call_wrapped(volume->vault, &request, ret, err);
}

static enum mu_status decrypt_transit(struct provider_volume *volume, struct vault_request request,
                                      json_object **ret, struct mu_error *err)
{
    const struct vault_record *r = &volume->record;
    MU_CLEANUP(string_free) char *body = NULL;
    char path[VAULT_PATH_MAX];
    bool context = r->context != NULL;

    if (!printed(snprintf(path, sizeof(path), "%s/decrypt/%s", r->mount, r->key), sizeof(path)))
        return mu_fail(err, MU_CONFIG, "the name of the key is too long");
    MU_TRY(string_print(&body, err, "{\"ciphertext\":\"%s\"%s%s%s}", r->ciphertext,
                        context ? ",\"context\":\"" : "", context ? r->context : "",
                        context ? "\"" : ""));
    request.method = "POST";
    request.path = path;
    request.body = text_view(body);
    return vault_call_wrapped(volume->vault, &request, ret, err);
}

/* Best effort: a token that is not revoked ends by itself. */
static void revoke(struct provider_volume *volume, const struct secret *token)
{
    MU_CLEANUP(json_wipe) json_object *answer = NULL;
    struct vault_request request = {.method = "POST",
                                    .path = "auth/token/revoke-self",
                                    .scope = volume->record.scope,
                                    .token = secret_view(token),
                                    .total_ms = REVOKE_MS};
    struct mu_error error;

    if (MU_STEP("vault-revoke", vault_call(volume->vault, &request, &answer, &error)) != MU_OK)
        log_line("the token is not revoked, it will expire: %s", error.text);
}

static enum mu_status read_key(struct provider_volume *volume, const struct secret *token,
                               struct secret *ret_key, struct mu_error *err)
{
    const struct vault_record *r = &volume->record;
    MU_CLEANUP(json_wipe) json_object *answer = NULL;
    struct vault_request request = {
        .scope = r->scope, .token = secret_view(token), .wrap_ttl = r->wrap_ttl};

    MU_TRY(MU_STEP("vault-read", r->kv ? read_kv(volume, request, &answer, err)
                                       : decrypt_transit(volume, request, &answer, err)));
    return vault_key(answer, r->kv, r->kv ? r->field : "plaintext", RELEASE_KEY_SIZE, ret_key, err);
}

static enum mu_status from_vault(struct provider_volume *volume, struct secret *ret_key,
                                 struct mu_error *err)
{
    const struct vault_record *r = &volume->record;
    MU_CLEANUP(secret_free) struct secret token = {0};
    enum mu_status status;

    MU_TRY(MU_STEP("vault-login", vault_login(volume->vault, r->scope, r->auth_mount, r->role,
                                              &volume->jwt, &token, err)));
    status = read_key(volume, &token, ret_key, err);
    revoke(volume, &token);
    return status;
}

static enum mu_status release_once(struct provider_volume *volume, struct tpm *tpm,
                                   struct secret *ret_key, struct mu_error *err)
{
    enum mu_status status;

    MU_TRY(have_jwt(volume, tpm, err));
    status = from_vault(volume, ret_key, err);
    volume->retry.unanswered = !service_answered(volume->vault);
    return status;
}

static enum mu_status volume_release(struct provider_volume *volume, struct tpm *tpm,
                                     struct secret *ret_key, struct mu_error *err)
{
    enum mu_status status;

    MU_TRY(task_wait(&volume->begin, err));
    volume->retry.attempt = 0;
    volume->retry.error = err;
    do
        status = release_once(volume, tpm, ret_key, err);
    while (retry_after(&volume->retry, status));
    return status;
}

/* The record names the verifier to convince, so the document is made in release. */
const struct provider provider_vault = {
    .name = "vault",
    .start = session_start,
    .volume = session_volume,
    .release = volume_release,
    .finish = session_finish,
};
