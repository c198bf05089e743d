/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "release/vault.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <openssl/ec.h>
#include <openssl/evp.h>
#include <openssl/x509.h>

#include "attest/nsm.h"
#include "attest/token.h"
#include "base/log.h"
#include "base/trace.h"
#include "release/provider.h"
#include "release/task.h"
#include "release/vault_client.h"
#include "tpm/fence.h"

#define CURVE "P-384"
#define SPKI_MAX 256
/* What is obtained is used for half of the time that it is good for. */
#define LIFE_USED 2
#define REVOKE_MS 3000

/* The way to one volume's key: its verifier, its Vault, and what was obtained so far. */
struct link {
    const struct provider_session *session;
    char volume_uuid[UUID_TEXT_SIZE];
    struct vault_record record;
    json_object *data; /* what `record` borrows from */
    struct service *verifier, *vault;
    struct task begin; /* uses the link alone until it is waited for */
    struct buffer nonce;
    uint64_t nonce_until_us;
    struct secret jwt;
    uint64_t jwt_until_us;
    bool waits_for_answer; /* nobody answered the last time */
};

struct provider_session {
    const struct config *config;
    struct deadline deadline;
    atomic_bool stop;
    EVP_PKEY *key;
    struct tpm *tpm;
    struct link link[CONFIG_VOLUMES_MAX];
    size_t links;
};

static uint64_t until_us(int64_t seconds)
{
    return now_us() + (uint64_t)seconds * 1000000 / LIFE_USED;
}

/* True if another attempt should be made after this one. */
static bool again(struct link *link, enum mu_status status, unsigned attempt)
{
    return status == MU_RETRY &&
           backoff_sleep(attempt, link->waits_for_answer ? 20 : 50,
                         link->waits_for_answer ? HTTP_NO_ANSWER_PAUSE_MS : 5000,
                         link->session->deadline);
}

static enum mu_status have_nonce(struct link *link, struct mu_error *err)
{
    int64_t seconds;
    uint64_t start = now_us();

    if (link->nonce.data != NULL && start < link->nonce_until_us)
        return MU_OK;
    buffer_free(&link->nonce);
    link->waits_for_answer = true;
    MU_TRY(verifier_challenge(link->verifier, &link->nonce, &seconds, err));
    link->waits_for_answer = false;
    link->nonce_until_us = until_us(seconds);
    trace_step("challenge", start);
    return MU_OK;
}

/* Only to save time later: what fails here fails again in release, and is reported then. */
static void *begin(void *argument)
{
    struct link *link = argument;
    struct http_request health = {.method = "GET", .total_ms = REVOKE_MS};
    struct http_response ignored;
    struct mu_error error;
    unsigned attempt = 0;

    while (again(link, have_nonce(link, &error), attempt))
        attempt++;
    if (link->nonce.data != NULL)
        (void)(service_call(link->vault, &health, "/v1/sys/health", &ignored, &error) == MU_OK);
    return NULL;
}

static void link_free(struct link *link)
{
    service_close(&link->verifier);
    service_close(&link->vault);
    json_free(&link->data);
    buffer_free(&link->nonce);
    secret_free(&link->jwt);
}

static void session_finish(struct provider_session **session)
{
    struct provider_session *s = *session;
    struct mu_error ignored;

    if (s == NULL)
        return;
    atomic_store(&s->stop, true);
    for (size_t i = 0; i < s->links; i++) {
        (void)task_wait(&s->link[i].begin, &ignored);
        link_free(&s->link[i]);
    }
    EVP_PKEY_free(s->key);
    free(s);
    *session = NULL;
}

static enum mu_status session_start(const struct config *config, struct deadline deadline,
                                    struct provider_session **ret, struct mu_error *err)
{
    MU_CLEANUP(session_finish) struct provider_session *session = calloc(1, sizeof(*session));

    if (session == NULL)
        return mu_oom(err);
    session->config = config;
    session->deadline = (struct deadline){deadline.at_us, &session->stop};
    session->key = EVP_EC_gen(CURVE);
    if (session->key == NULL)
        return mu_fail(err, MU_INTERNAL, "cannot make an EC key");
    *ret = session;
    session = NULL;
    return MU_OK;
}

static struct link *find_link(struct provider_session *session, const struct record *record)
{
    for (size_t i = 0; i < session->links; i++) {
        if (strcmp(session->link[i].volume_uuid, record->volume_uuid) == 0)
            return &session->link[i];
    }
    return NULL;
}

static enum mu_status open_link(struct provider_session *session, const struct record *record,
                                struct link *link, struct mu_error *err)
{
    const struct config *config = session->config;

    if (record->by_instance)
        return mu_fail(err, MU_REFUSE, "record: an instance makes none for the provider vault");
    link->session = session;
    (void)snprintf(link->volume_uuid, sizeof(link->volume_uuid), "%s", record->volume_uuid);
    link->data = json_object_get(record->provider_data);
    MU_TRY(vault_parse_record(link->data, &link->record, err));
    MU_TRY(service_open("verifier", link->record.verifier, config->verifier_ca_file,
                        session->deadline, &link->verifier, err));
    return service_open("Vault", link->record.address, config->vault_ca_file, session->deadline,
                        &link->vault, err);
}

static enum mu_status prepare_link(struct provider_session *session, const struct record *record,
                                   struct link **ret, struct mu_error *err)
{
    struct link *link = &session->link[session->links];
    enum mu_status status;

    *ret = find_link(session, record);
    if (*ret != NULL)
        return MU_OK;
    if (session->links == CONFIG_VOLUMES_MAX)
        return mu_fail(err, MU_CONFIG, "more than %d volumes", CONFIG_VOLUMES_MAX);
    status = open_link(session, record, link, err);
    if (status != MU_OK) {
        link_free(link);
        return status;
    }
    session->links++;
    *ret = link;
    return task_start(&link->begin, begin, link, err);
}

static enum mu_status session_prepare(struct provider_session *session, const struct record *record,
                                      struct mu_error *err)
{
    struct link *unused;

    return prepare_link(session, record, &unused, err);
}

/* Who has to be convinced stands in the record, which is not read yet: the document is made in
 * release. A document holds SHA-384 alone: a fence in other banks would keep nobody out. */
static enum mu_status session_attest(struct provider_session *session, struct tpm *tpm,
                                     struct mu_error *err)
{
    session->tpm = tpm;
    for (unsigned attempt = 0;; attempt++) {
        enum mu_status status =
            fence_require_bank(tpm, session->config->fence_pcr, HASH_SHA384, err);

        if (status != MU_RETRY || !backoff_sleep(attempt, 50, 2000, session->deadline))
            return status;
    }
}

static enum mu_status get_document(struct link *link, struct buffer *ret, struct mu_error *err)
{
    uint8_t spki[SPKI_MAX];
    uint8_t *end = spki;
    int len = i2d_PUBKEY(link->session->key, NULL);
    uint64_t start = now_us();

    if (len <= 0 || len > SPKI_MAX || i2d_PUBKEY(link->session->key, &end) != len)
        return mu_fail(err, MU_INTERNAL, "the public key cannot be encoded");

    struct nsm_fields fields = {.nonce = buffer_view(&link->nonce),
                                .public_key = {spki, (size_t)len}};

    MU_TRY(nsm_attest(link->session->tpm, &fields, ret, err));
    trace_step("document", start);
    return MU_OK;
}

/* The verifier's token for this boot. A nonce serves once. */
static enum mu_status have_jwt(struct link *link, struct mu_error *err)
{
    MU_CLEANUP(buffer_free) struct buffer document = {0};
    MU_CLEANUP(string_free) char *token = NULL;
    int64_t seconds;
    bool stale = false;
    enum mu_status status;
    uint64_t start;

    if (link->jwt.data != NULL && now_us() < link->jwt_until_us)
        return MU_OK;
    secret_free(&link->jwt);
    MU_TRY(have_nonce(link, err));
    MU_TRY(get_document(link, &document, err));
    start = now_us();
    status = verifier_attest(link->verifier, buffer_view(&document), &token, &seconds, &stale, err);
    link->waits_for_answer = !service_answered(link->verifier);
    if (status != MU_RETRY || stale)
        buffer_free(&link->nonce);
    MU_TRY(status);
    MU_TRY(token_decrypt(token, link->session->key, &link->jwt, err));
    link->jwt_until_us = until_us(seconds);
    trace_step("verifier", start);
    log_line("attestation accepted by %s", link->record.verifier);
    return MU_OK;
}

static bool printed(int len, size_t size)
{
    return len >= 0 && (size_t)len < size;
}

static enum mu_status read_kv(struct link *link, struct vault_request request, json_object **ret,
                              struct mu_error *err)
{
    const struct vault_record *r = &link->record;
    char path[VAULT_PATH_MAX];

    if (!printed(snprintf(path, sizeof(path), "%s/data/%s", r->mount, r->path), sizeof(path)))
        return mu_fail(err, MU_CONFIG, "the path of the key is too long");
    request.method = "GET";
    request.path = path;
    request.version = r->version;
    return vault_call_wrapped(link->vault, &request, ret, err);
}

static enum mu_status decrypt_transit(struct link *link, struct vault_request request,
                                      json_object **ret, struct mu_error *err)
{
    const struct vault_record *r = &link->record;
    MU_CLEANUP(string_free) char *body = NULL;
    char path[VAULT_PATH_MAX];
    bool context = r->context != NULL;

    if (!printed(snprintf(path, sizeof(path), "%s/decrypt/%s", r->mount, r->key), sizeof(path)))
        return mu_fail(err, MU_CONFIG, "the name of the key is too long");
    if (asprintf(&body, "{\"ciphertext\":\"%s\"%s%s%s}", r->ciphertext,
                 context ? ",\"context\":\"" : "", context ? r->context : "",
                 context ? "\"" : "") < 0) {
        body = NULL;
        return mu_oom(err);
    }
    request.method = "POST";
    request.path = path;
    request.body = (struct bytes){(const uint8_t *)body, strlen(body)};
    return vault_call_wrapped(link->vault, &request, ret, err);
}

/* Best effort: a token that is not revoked ends by itself. */
static void revoke(struct link *link, const struct secret *token)
{
    MU_CLEANUP(json_wipe) json_object *answer = NULL;
    struct vault_request request = {.method = "POST",
                                    .path = "auth/token/revoke-self",
                                    .scope = link->record.scope,
                                    .token = secret_view(token),
                                    .total_ms = REVOKE_MS};
    struct mu_error error;

    if (vault_call(link->vault, &request, &answer, &error) != MU_OK)
        log_line("the token is not revoked, it will expire: %s", error.text);
}

static enum mu_status read_key(struct link *link, const struct secret *token,
                               struct secret *ret_key, struct mu_error *err)
{
    const struct vault_record *r = &link->record;
    MU_CLEANUP(json_wipe) json_object *answer = NULL;
    struct vault_request request = {
        .scope = r->scope, .token = secret_view(token), .wrap_ttl = r->wrap_ttl};
    uint64_t start = now_us();

    MU_TRY(r->kv ? read_kv(link, request, &answer, err)
                 : decrypt_transit(link, request, &answer, err));
    trace_step("vault-read", start);
    return vault_key(answer, r->kv, r->kv ? r->field : "plaintext", RELEASE_KEY_SIZE, ret_key, err);
}

static enum mu_status from_vault(struct link *link, struct secret *ret_key, struct mu_error *err)
{
    const struct vault_record *r = &link->record;
    MU_CLEANUP(secret_free) struct secret token = {0};
    enum mu_status status;
    uint64_t start = now_us();

    MU_TRY(vault_login(link->vault, r->scope, r->auth_mount, r->role, &link->jwt, &token, err));
    trace_step("vault-login", start);
    status = read_key(link, &token, ret_key, err);
    start = now_us();
    revoke(link, &token);
    trace_step("vault-revoke", start);
    return status;
}

static enum mu_status release_once(struct link *link, struct secret *ret_key, struct mu_error *err)
{
    enum mu_status status;

    MU_TRY(have_jwt(link, err));
    status = from_vault(link, ret_key, err);
    link->waits_for_answer = !service_answered(link->vault);
    return status;
}

static enum mu_status session_release(struct provider_session *session, const struct record *record,
                                      struct secret *ret_key, struct mu_error *err)
{
    struct link *link;
    enum mu_status status;
    unsigned attempt = 0;

    if (session->tpm == NULL)
        return mu_fail(err, MU_INTERNAL, "nothing was attested");
    MU_TRY(prepare_link(session, record, &link, err));
    MU_TRY(task_wait(&link->begin, err));
    do
        status = release_once(link, ret_key, err);
    while (again(link, status, attempt++));
    return status;
}

const struct provider provider_vault = {
    .name = "vault",
    .start = session_start,
    .prepare = session_prepare,
    .attest = session_attest,
    .release = session_release,
    .finish = session_finish,
};
