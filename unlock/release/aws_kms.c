/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <openssl/rsa.h>
#include <openssl/x509.h>

#include "attest/nsm.h"
#include "base/defaults.h"
#include "base/log.h"
#include "base/retry.h"
#include "base/task.h"
#include "base/trace.h"
#include "net/http.h"
#include "net/imds.h"
#include "release/cms.h"
#include "release/kms_client.h"
#include "release/provider.h"
#include "tpm/fence.h"

#define RSA_BITS 2048
/* In the encryption context of a key that an instance had made, and of no other: the right to
 * Encrypt for enrolment does not allow such a ciphertext (docs/guide/key-policy.md). */
#define MADE_BY "made-by"
#define INSTANCE "instance"
#define CONTEXT_VALUE_MAX 256
#define LINKS_MAX 8
#define SPKI_SIZE 294 /* an RSA-2048 SubjectPublicKeyInfo, what KMS wants as recipient */

/* The connection to one region's KMS. */
struct link {
    char region[64];
    struct kms *kms;
    struct task connect;
};

/* The members of "aws-kms" in a record. */
struct record_data {
    const char *key_arn;
    const char *ciphertext;
    json_object *encryption_context;
};

struct provider_volume {
    struct provider_session *session;
    json_object *json; /* what `data` borrows from */
    struct record_data data;
    struct link *link;
};

struct provider_session {
    struct provider_options options;
    struct deadline deadline;
    atomic_bool stop;
    struct task make_key;
    EVP_PKEY *key;
    struct task get_credentials;
    struct aws_credentials credentials;
    struct link link[LINKS_MAX];
    size_t links;
    struct provider_volume volume[CONFIG_VOLUMES_MAX];
    size_t volumes;
    struct buffer document;
};

static enum mu_status generate_key(EVP_PKEY **ret, struct mu_error *err)
{
    *ret = EVP_RSA_gen(RSA_BITS);
    return *ret != NULL ? MU_OK : mu_fail(err, MU_INTERNAL, "cannot make an RSA key");
}

static void *make_key(void *argument)
{
    struct provider_session *session = argument;
    struct task *task = &session->make_key;

    task->status = MU_STEP("rsa-key", generate_key(&session->key, &task->error));
    return NULL;
}

static void *get_credentials(void *argument)
{
    struct provider_session *session = argument;
    struct task *task = &session->get_credentials;

    task->status = MU_STEP("instance-credentials",
                           aws_credentials_from_imds(session->options.aws.imds, session->deadline,
                                                     &session->credentials, &task->error));
    return NULL;
}

/* Only to save time later: what fails here fails again in Decrypt, and is reported then. */
static void *connect_kms(void *argument)
{
    struct link *link = argument;
    struct mu_error ignored;

    (void)MU_STEP("kms-connect", kms_connect(link->kms, &ignored));
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
    for (size_t i = 0; i < s->volumes; i++)
        json_free(&s->volume[i].json);
    EVP_PKEY_free(s->key);
    aws_credentials_free(&s->credentials);
    buffer_free(&s->document);
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
    MU_TRY(task_start(&session->make_key, make_key, session, err));
    MU_TRY(task_start(&session->get_credentials, get_credentials, session, err));
    *ret = MU_TAKE(session);
    return MU_OK;
}

static bool add_instance_context(json_object *context, const struct record *record)
{
    const struct volume_geometry *geometry = &record->geometry;
    char text[80];

    (void)snprintf(text, sizeof(text), "offset=%llu,sector=%llu,size=%llu",
                   (unsigned long long)geometry->data_offset,
                   (unsigned long long)geometry->sector_size,
                   (unsigned long long)geometry->device_size);
    return json_add_text(context, "volume-name", record->volume_name) &&
           json_add_text(context, "volume-geometry", text) &&
           json_add_text(context, MADE_BY, INSTANCE);
}

enum mu_status aws_kms_context(const struct record *record, json_object **ret, struct mu_error *err)
{
    MU_CLEANUP(json_free) json_object *context = json_object_new_object();
    char identity[2 * VOLUME_IDENTITY_SIZE + 1];

    hex_encode((struct bytes){record->volume_identity, VOLUME_IDENTITY_SIZE}, identity);
    if (!json_add_text(context, "volume-uuid", record->volume_uuid) ||
        !json_add_text(context, "volume-identity", identity) ||
        (record->by_instance && !add_instance_context(context, record)))
        return mu_oom(err);
    *ret = MU_TAKE(context);
    return MU_OK;
}

/* Compared whole: missing members, different members and additional ones are refused. */
static enum mu_status check_context(const struct record *record, json_object *found,
                                    struct mu_error *err)
{
    MU_CLEANUP(json_free) json_object *expected = NULL;

    MU_TRY(aws_kms_context(record, &expected, err));
    json_object_object_foreach(expected, name, value)
    {
        const char *text;

        MU_TRY(json_string(found, name, CONTEXT_VALUE_MAX, MU_REFUSE, &text, err));
        if (strcmp(text, json_object_get_string(value)) != 0)
            return mu_fail(err, MU_REFUSE, "encryption context: %s is not this volume's", name);
    }
    if (json_object_object_length(found) != json_object_object_length(expected))
        return mu_fail(err, MU_REFUSE, "record: encryption_context has %d members, not %d",
                       json_object_object_length(found), json_object_object_length(expected));
    return MU_OK;
}

static enum mu_status parse_data(const struct record *record, struct record_data *ret,
                                 struct mu_error *err)
{
    static const char *const members[] = {"key_arn", "ciphertext", "encryption_context", NULL};
    json_object *data = record->provider_data;

    MU_TRY(json_only(data, "record: aws-kms", members, MU_REFUSE, err));
    MU_TRY(json_string(data, "key_arn", 2048, MU_REFUSE, &ret->key_arn, err));
    MU_TRY(json_string(data, "ciphertext", (size_t)4 * (KMS_CIPHERTEXT_MAX / 3), MU_REFUSE,
                       &ret->ciphertext, err));
    MU_TRY(json_member(data, "encryption_context", json_type_object, MU_REFUSE,
                       &ret->encryption_context, err));
    return check_context(record, ret->encryption_context, err);
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
    if (session->links == LINKS_MAX)
        return mu_fail(err, MU_CONFIG, "more than %d regions", LINKS_MAX);
    link = &session->link[session->links];
    (void)snprintf(link->region, sizeof(link->region), "%s", region);
    MU_TRY(kms_open(&session->options.aws, key_arn, session->deadline, &link->kms, err));
    session->links++;
    *ret = link;
    return task_start(&link->connect, connect_kms, link, err);
}

static enum mu_status session_volume(struct provider_session *session, const struct record *record,
                                     struct provider_volume **ret, struct mu_error *err)
{
    struct provider_volume *volume;

    if (session->volumes == CONFIG_VOLUMES_MAX)
        return mu_fail(err, MU_INTERNAL, "more than %d volumes", CONFIG_VOLUMES_MAX);
    volume = &session->volume[session->volumes++];
    volume->session = session;
    volume->json = json_object_get(record->provider_data);
    MU_TRY(parse_data(record, &volume->data, err));
    MU_TRY(link_to(session, volume->data.key_arn, &volume->link, err));
    *ret = volume;
    return MU_OK;
}

static enum mu_status public_key(EVP_PKEY *key, uint8_t ret[static SPKI_SIZE], struct mu_error *err)
{
    uint8_t *end = ret;

    if (i2d_PUBKEY(key, NULL) != SPKI_SIZE || i2d_PUBKEY(key, &end) != SPKI_SIZE)
        return mu_fail(err, MU_INTERNAL, "an RSA public key does not have %d bytes", SPKI_SIZE);
    return MU_OK;
}

/* A document holds SHA-384 alone: a fence in other banks alone would have no effect. */
static enum mu_status get_document(struct provider_session *session, struct tpm *tpm,
                                   const struct nsm_fields *fields, struct mu_error *err)
{
    MU_TRY(fence_require_bank(tpm, session->options.fence_pcr, HASH_SHA384, err));
    return nsm_attest(tpm, fields, &session->document, err);
}

static enum mu_status session_attest(struct provider_session *session, struct tpm *tpm,
                                     struct mu_error *err)
{
    uint8_t spki[SPKI_SIZE];
    struct nsm_fields fields = {.public_key = {spki, sizeof(spki)}};

    MU_TRY(task_wait(&session->make_key, err));
    MU_TRY(public_key(session->key, spki, err));
    MU_TRY(MU_STEP("document", MU_AGAIN(&retry_machine, session->deadline,
                                        get_document(session, tpm, &fields, err))));
    log_line("attestation document obtained");
    return MU_OK;
}

/* Expired credentials are fetched again: IMDS may go on handing them out for a while. */
static enum mu_status ask_kms(struct provider_session *session, struct kms *kms,
                              const struct kms_decrypt_request *request,
                              struct buffer *ret_ciphertext, struct buffer *ret_wrapped,
                              struct mu_error *err)
{
    struct retry retry = {.policy = &retry_service, .deadline = session->deadline};

    for (;;) {
        enum mu_status status =
            kms_decrypt(kms, &session->credentials, request, ret_ciphertext, ret_wrapped, err);

        if (!kms_credentials_expired(kms) || !retry_pause(&retry))
            return status;
        aws_credentials_free(&session->credentials);
        MU_TRY(aws_credentials_from_imds(session->options.aws.imds, session->deadline,
                                         &session->credentials, err));
    }
}

/* A key for the request's key and context: decrypted, or generated if the request has no
 * ciphertext. */
static enum mu_status get_key(struct provider_session *session, struct link *link,
                              struct kms_decrypt_request *request, struct buffer *ret_ciphertext,
                              struct secret *ret_key, struct mu_error *err)
{
    MU_CLEANUP(buffer_free) struct buffer wrapped = {0};

    if (session->document.len == 0)
        return mu_fail(err, MU_INTERNAL, "no attestation document was made");
    request->document = buffer_view(&session->document);
    MU_TRY(task_wait(&session->get_credentials, err));
    MU_TRY(task_wait(&link->connect, err));
    MU_TRY(MU_STEP(request->ciphertext != NULL ? "kms-decrypt" : "kms-generate",
                   ask_kms(session, link->kms, request, ret_ciphertext, &wrapped, err)));
    return cms_decrypt(buffer_view(&wrapped), session->key, RELEASE_KEY_SIZE, ret_key, err);
}

static enum mu_status volume_release(struct provider_volume *volume, struct tpm *tpm,
                                     struct secret *ret_key, struct mu_error *err)
{
    struct kms_decrypt_request request = {.key_arn = volume->data.key_arn,
                                          .ciphertext = volume->data.ciphertext,
                                          .encryption_context = volume->data.encryption_context};

    (void)tpm;
    return get_key(volume->session, volume->link, &request, NULL, ret_key, err);
}

enum mu_status aws_kms_describe(const char *key_arn, struct bytes ciphertext, json_object *context,
                                struct record *record, struct mu_error *err)
{
    MU_CLEANUP(json_free) json_object *data = json_object_new_object();
    MU_CLEANUP(string_free) char *base64 = NULL;

    MU_TRY(base64_encode(ciphertext, &base64, err));
    if (!json_add_text(data, "key_arn", key_arn) || !json_add_text(data, "ciphertext", base64) ||
        !json_add(data, "encryption_context", json_object_get(context)))
        return mu_oom(err);
    (void)snprintf(record->provider, sizeof(record->provider), "%s", provider_aws_kms.name);
    record->provider_data = MU_TAKE(data);
    return MU_OK;
}

static enum mu_status session_provision(struct provider_session *session, const char *key_arn,
                                        struct record *record, struct secret *ret_key,
                                        struct mu_error *err)
{
    MU_CLEANUP(json_free) json_object *context = NULL;
    MU_CLEANUP(buffer_free) struct buffer ciphertext = {0};
    struct kms_decrypt_request request = {.key_arn = key_arn};
    struct link *link;

    MU_TRY(link_to(session, key_arn, &link, err));
    MU_TRY(aws_kms_context(record, &context, err));
    request.encryption_context = context;
    MU_TRY(get_key(session, link, &request, &ciphertext, ret_key, err));
    return aws_kms_describe(key_arn, buffer_view(&ciphertext), context, record, err);
}

const struct provider provider_aws_kms = {
    .name = PROVIDER_AWS_KMS,
    .start = session_start,
    .volume = session_volume,
    .attest = session_attest,
    .release = volume_release,
    .provision = session_provision,
    .finish = session_finish,
};
