/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <stdlib.h>
#include <string.h>

#include <openssl/rsa.h>
#include <openssl/x509.h>

#include "attest/nsm.h"
#include "base/log.h"
#include "base/trace.h"
#include "release/cms.h"
#include "release/http.h"
#include "release/imds.h"
#include "release/kms_client.h"
#include "release/provider.h"
#include "release/task.h"
#include "tpm/fence.h"

#define RSA_BITS 2048
/* In the encryption context of a key that an instance had made, and of no other: nobody who may
 * Encrypt for enrolment can make such a ciphertext (docs/key-policy.md). */
#define MADE_BY "made-by"
#define INSTANCE "instance"
#define SPKI_SIZE 294 /* an RSA-2048 SubjectPublicKeyInfo, what KMS wants as recipient */

/* The connection to one region's KMS. */
struct link {
    char region[64];
    struct kms *kms;
    struct task connect;
};

struct provider_session {
    const struct config *config;
    struct deadline deadline;
    atomic_bool stop;
    struct task make_key;
    EVP_PKEY *key;
    struct task get_credentials;
    struct aws_credentials credentials;
    struct link link[CONFIG_VOLUMES_MAX];
    size_t links;
    struct buffer document;
};

static void *make_key(void *argument)
{
    struct provider_session *session = argument;
    struct task *task = &session->make_key;
    uint64_t start = now_us();

    session->key = EVP_RSA_gen(RSA_BITS);
    if (session->key == NULL)
        task->status = mu_fail(&task->error, MU_INTERNAL, "cannot make an RSA key");
    trace_step("rsa-key", start);
    return NULL;
}

static void *get_credentials(void *argument)
{
    struct provider_session *session = argument;
    struct task *task = &session->get_credentials;
    uint64_t start = now_us();

    task->status = aws_credentials_from_imds(session->config->imds, session->deadline,
                                             &session->credentials, &task->error);
    trace_step("instance-credentials", start);
    return NULL;
}

/* Only to save time later: what fails here fails again in Decrypt, and is reported then. */
static void *connect_kms(void *argument)
{
    struct link *link = argument;
    struct mu_error ignored;
    uint64_t start = now_us();

    if (kms_connect(link->kms, &ignored) == MU_OK)
        trace_step("kms-connect", start);
    return NULL;
}

static void session_finish(struct provider_session **session)
{
    struct provider_session *s = *session;
    struct mu_error ignored;

    if (s == NULL)
        return;
    atomic_store(&s->stop, true);
    (void)task_wait(&s->make_key, &ignored);
    (void)task_wait(&s->get_credentials, &ignored);
    for (size_t i = 0; i < s->links; i++) {
        (void)task_wait(&s->link[i].connect, &ignored);
        kms_close(&s->link[i].kms);
    }
    EVP_PKEY_free(s->key);
    aws_credentials_free(&s->credentials);
    buffer_free(&s->document);
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
    MU_TRY(task_start(&session->make_key, make_key, session, err));
    MU_TRY(task_start(&session->get_credentials, get_credentials, session, err));
    *ret = session;
    session = NULL;
    return MU_OK;
}

/* The members of "aws-kms" in a record. */
struct record_data {
    const char *key_arn;
    const char *ciphertext;
    json_object *encryption_context;
};

static enum mu_status context_is(json_object *context, const char *name, const char *value,
                                 struct mu_error *err)
{
    const char *found;

    MU_TRY(json_string(context, name, 256, MU_REFUSE, &found, err));
    if (strcmp(found, value) != 0)
        return mu_fail(err, MU_REFUSE, "encryption context: %s is not this volume's", name);
    return MU_OK;
}

static enum mu_status parse_data(const struct record *record, struct record_data *ret,
                                 struct mu_error *err)
{
    static const char *const members[] = {"key_arn", "ciphertext", "encryption_context", NULL};
    const char *const context[] = {"volume-uuid", "volume-identity",
                                   record->by_instance ? MADE_BY : NULL, NULL};
    char identity[2 * VOLUME_IDENTITY_SIZE + 1];
    json_object *data = record->provider_data;

    hex_encode((struct bytes){record->volume_identity, VOLUME_IDENTITY_SIZE}, identity);
    MU_TRY(json_only(data, "record: aws-kms", members, MU_REFUSE, err));
    MU_TRY(json_string(data, "key_arn", 2048, MU_REFUSE, &ret->key_arn, err));
    MU_TRY(json_string(data, "ciphertext", (size_t)4 * (KMS_CIPHERTEXT_MAX / 3), MU_REFUSE,
                       &ret->ciphertext, err));
    MU_TRY(json_member(data, "encryption_context", json_type_object, MU_REFUSE,
                       &ret->encryption_context, err));
    MU_TRY(
        json_only(ret->encryption_context, "record: encryption_context", context, MU_REFUSE, err));
    MU_TRY(context_is(ret->encryption_context, "volume-uuid", record->volume_uuid, err));
    if (record->by_instance)
        MU_TRY(context_is(ret->encryption_context, MADE_BY, INSTANCE, err));
    return context_is(ret->encryption_context, "volume-identity", identity, err);
}

static struct link *find_link(struct provider_session *session, const char *region)
{
    for (size_t i = 0; i < session->links; i++) {
        if (strcmp(session->link[i].region, region) == 0)
            return &session->link[i];
    }
    return NULL;
}

static enum mu_status link_to(struct provider_session *session, const char *key_arn,
                              struct link **ret, struct mu_error *err)
{
    char region[64], partition[32];
    struct link *link;

    MU_TRY(kms_parse_key_arn(key_arn, region, partition, err));
    *ret = find_link(session, region);
    if (*ret != NULL)
        return MU_OK;
    if (session->links == CONFIG_VOLUMES_MAX)
        return mu_fail(err, MU_CONFIG, "more than %d regions", CONFIG_VOLUMES_MAX);
    link = &session->link[session->links];
    (void)snprintf(link->region, sizeof(link->region), "%s", region);
    MU_TRY(kms_open(session->config, key_arn, session->deadline, &link->kms, err));
    session->links++;
    *ret = link;
    return task_start(&link->connect, connect_kms, link, err);
}

static enum mu_status session_prepare(struct provider_session *session, const struct record *record,
                                      struct mu_error *err)
{
    struct record_data data;
    struct link *unused;

    MU_TRY(parse_data(record, &data, err));
    return link_to(session, data.key_arn, &unused, err);
}

static enum mu_status public_key(EVP_PKEY *key, uint8_t ret[static SPKI_SIZE], struct mu_error *err)
{
    uint8_t *end = ret;

    if (i2d_PUBKEY(key, NULL) != SPKI_SIZE || i2d_PUBKEY(key, &end) != SPKI_SIZE)
        return mu_fail(err, MU_INTERNAL, "an RSA public key that has not %d bytes", SPKI_SIZE);
    return MU_OK;
}

/* A document holds SHA-384 alone: a fence in other banks would keep nobody out. */
static enum mu_status get_document(struct provider_session *session, struct tpm *tpm,
                                   const struct nsm_fields *fields, struct mu_error *err)
{
    MU_TRY(fence_require_bank(tpm, session->config->fence_pcr, HASH_SHA384, err));
    return nsm_attest(tpm, fields, &session->document, err);
}

static enum mu_status session_attest(struct provider_session *session, struct tpm *tpm,
                                     struct mu_error *err)
{
    uint8_t spki[SPKI_SIZE];
    struct nsm_fields fields = {.public_key = {spki, sizeof(spki)}};
    uint64_t start;

    MU_TRY(task_wait(&session->make_key, err));
    MU_TRY(public_key(session->key, spki, err));
    start = now_us();
    for (unsigned attempt = 0;; attempt++) {
        enum mu_status status = get_document(session, tpm, &fields, err);

        if (status == MU_OK)
            break;
        if (status != MU_RETRY || !backoff_sleep(attempt, 50, 2000, session->deadline))
            return status;
    }
    trace_step("document", start);
    log_line("attestation document obtained");
    return MU_OK;
}

/* Credentials that have expired are fetched anew: IMDS may go on handing them out for a while. */
static enum mu_status ask_kms(struct provider_session *session, struct kms *kms,
                              const struct kms_decrypt_request *request,
                              struct buffer *ret_ciphertext, struct buffer *ret_wrapped,
                              struct mu_error *err)
{
    for (unsigned attempt = 0;; attempt++) {
        enum mu_status status =
            request->ciphertext != NULL
                ? kms_decrypt(kms, &session->credentials, request, ret_wrapped, err)
                : kms_generate(kms, &session->credentials, request, ret_ciphertext, ret_wrapped,
                               err);

        if (!kms_credentials_expired(kms) || !backoff_sleep(attempt, 50, 5000, session->deadline))
            return status;
        aws_credentials_free(&session->credentials);
        MU_TRY(aws_credentials_from_imds(session->config->imds, session->deadline,
                                         &session->credentials, err));
    }
}

/* A key for the request's key and context: decrypted, or generated where it has no ciphertext. */
static enum mu_status get_key(struct provider_session *session, struct kms_decrypt_request *request,
                              struct buffer *ret_ciphertext, struct secret *ret_key,
                              struct mu_error *err)
{
    MU_CLEANUP(buffer_free) struct buffer wrapped = {0};
    struct link *link;
    uint64_t start;

    if (session->document.len == 0)
        return mu_fail(err, MU_INTERNAL, "no attestation document was made");
    request->document = buffer_view(&session->document);
    MU_TRY(link_to(session, request->key_arn, &link, err));
    MU_TRY(task_wait(&session->get_credentials, err));
    MU_TRY(task_wait(&link->connect, err));
    start = now_us();
    MU_TRY(ask_kms(session, link->kms, request, ret_ciphertext, &wrapped, err));
    trace_step(request->ciphertext != NULL ? "kms-decrypt" : "kms-generate", start);
    return cms_decrypt(buffer_view(&wrapped), session->key, RELEASE_KEY_SIZE, ret_key, err);
}

static enum mu_status session_release(struct provider_session *session, const struct record *record,
                                      struct secret *ret_key, struct mu_error *err)
{
    struct kms_decrypt_request request = {0};
    struct record_data data;

    MU_TRY(parse_data(record, &data, err));
    request.key_arn = data.key_arn;
    request.ciphertext = data.ciphertext;
    request.encryption_context = data.encryption_context;
    return get_key(session, &request, NULL, ret_key, err);
}

static enum mu_status instance_context(const struct record *record, json_object **ret,
                                       struct mu_error *err)
{
    MU_CLEANUP(json_free) json_object *context = json_object_new_object();
    char identity[2 * VOLUME_IDENTITY_SIZE + 1];

    hex_encode((struct bytes){record->volume_identity, VOLUME_IDENTITY_SIZE}, identity);
    if (!json_add_text(context, "volume-uuid", record->volume_uuid) ||
        !json_add_text(context, "volume-identity", identity) ||
        !json_add_text(context, MADE_BY, INSTANCE))
        return mu_oom(err);
    *ret = context;
    context = NULL;
    return MU_OK;
}

static enum mu_status session_generate(struct provider_session *session, const char *key_arn,
                                       struct record *record, struct secret *ret_key,
                                       struct mu_error *err)
{
    MU_CLEANUP(json_free) json_object *context = NULL;
    MU_CLEANUP(json_free) json_object *data = json_object_new_object();
    MU_CLEANUP(buffer_free) struct buffer ciphertext = {0};
    MU_CLEANUP(string_free) char *ciphertext64 = NULL;
    struct kms_decrypt_request request = {.key_arn = key_arn};

    MU_TRY(instance_context(record, &context, err));
    request.encryption_context = context;
    MU_TRY(get_key(session, &request, &ciphertext, ret_key, err));
    MU_TRY(base64_encode(buffer_view(&ciphertext), &ciphertext64, err));
    if (!json_add_text(data, "key_arn", key_arn) ||
        !json_add_text(data, "ciphertext", ciphertext64) ||
        !json_add(data, "encryption_context", json_object_get(context)))
        return mu_oom(err);
    (void)snprintf(record->provider, sizeof(record->provider), "%s", provider_aws_kms.name);
    record->provider_data = data;
    data = NULL;
    return MU_OK;
}

const struct provider provider_aws_kms = {
    .name = "aws-kms",
    .start = session_start,
    .prepare = session_prepare,
    .attest = session_attest,
    .release = session_release,
    .generate = session_generate,
    .finish = session_finish,
};
