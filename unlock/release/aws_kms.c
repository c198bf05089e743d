/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "release/aws_kms.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <openssl/x509.h>

#include "attest/attest.h"
#include "base/defaults.h"
#include "base/log.h"
#include "base/retry.h"
#include "base/trace.h"
#include "net/http.h"
#include "release/cms.h"
#include "tpm/fence.h"

#define SPKI_SIZE 294 /* an RSA-2048 SubjectPublicKeyInfo, what KMS wants as recipient */
#define REGION_SECONDS 3

static struct link *find_link(struct provider_session *session, const char *region)
{
    for (size_t i = 0; i < session->links; i++) {
        if (strcmp(session->link[i].region, region) == 0)
            return &session->link[i];
    }
    return NULL;
}

static enum mu_status link_to(struct provider_session *session, const struct kms_key *key,
                              struct link **ret, struct mu_error *err)
{
    struct link *link = find_link(session, key->region);

    if (link == NULL) {
        if (session->links == LINKS_MAX)
            return mu_fail(err, MU_CONFIG, "more than %d regions", LINKS_MAX);
        link = &session->link[session->links];
        (void)snprintf(link->region, sizeof(link->region), "%s", key->region);
        MU_TRY(kms_open(&session->options.aws, key->arn, session->deadline, &link->kms, err));
        session->links++;
    }
    *ret = link;
    return MU_OK;
}

static const struct kms_patience *patience_with(const struct kms_keys *keys)
{
    return keys->count > 1 ? &kms_brief : &kms_patient;
}

/* The first key is that of the region where the image was made, which is where most of its
 * instances are. */
static enum mu_status connect_early(struct provider_session *session, const struct kms_keys *keys,
                                    struct mu_error *err)
{
    struct link *link;

    if (find_link(session, keys->key[0].region) != NULL)
        return MU_OK;
    MU_TRY(link_to(session, &keys->key[0], &link, err));
    return aws_kms_connect(link, patience_with(keys), err);
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
    MU_TRY(kms_keys_parse(record, &volume->keys, err));
    MU_TRY(connect_early(session, &volume->keys, err));
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

/* ---- which key is asked when ---- */

/* Nothing but the order of the keys depends on it. */
static const char *own_region(struct provider_session *session)
{
    struct deadline soon = session->deadline, seconds = deadline_in(REGION_SECONDS);
    struct mu_error why = {0};

    if (session->asked_region)
        return session->region;
    session->asked_region = true;
    soon.at_us = seconds.at_us < soon.at_us ? seconds.at_us : soon.at_us;
    if (MU_STEP("instance-region",
                imds_region(session->options.aws.imds, soon, session->region, &why)) != MU_OK)
        log_line("the keys are asked in the record's order: %s", why.text);
    return session->region;
}

static bool in_one_region(const struct kms_keys *keys)
{
    for (size_t i = 1; i < keys->count; i++)
        if (strcmp(keys->key[i].region, keys->key[0].region) != 0)
            return false;
    return true;
}

/* Those of the machine's own region come first. */
static void order_keys(struct provider_session *session, const struct kms_keys *keys,
                       size_t ret[static KMS_KEYS_MAX])
{
    const char *own = in_one_region(keys) ? "" : own_region(session);
    size_t count = 0;

    for (size_t i = 0; i < keys->count; i++)
        if (strcmp(keys->key[i].region, own) == 0)
            ret[count++] = i;
    for (size_t i = 0; i < keys->count; i++)
        if (strcmp(keys->key[i].region, own) != 0)
            ret[count++] = i;
}

/* ---- asking ---- */

struct asking {
    struct provider_session *session;
    const struct kms_keys *keys;
    size_t order[KMS_KEYS_MAX];
    enum mu_status said[KMS_KEYS_MAX]; /* by each key in its last answer; MU_OK: not yet asked */
    struct kms_decrypt_request request;
    struct buffer ciphertext; /* of a key that was generated */
    size_t released_by;
};

/* IMDS may go on handing out expired ones for a while. */
static enum mu_status renew_credentials(struct provider_session *session, struct mu_error *err)
{
    if (!session->expired)
        return MU_OK;
    aws_credentials_free(&session->credentials);
    MU_TRY(aws_credentials_from_imds(session->options.aws.imds, session->deadline,
                                     &session->credentials, err));
    session->expired = false;
    return MU_OK;
}

static enum mu_status ask_key(struct asking *a, const struct kms_key *key, struct secret *ret_key,
                              struct mu_error *err)
{
    struct provider_session *session = a->session;
    MU_CLEANUP(buffer_free) struct buffer wrapped = {0};
    struct link *link;
    enum mu_status status;

    MU_TRY(renew_credentials(session, err));
    MU_TRY(link_to(session, key, &link, err));
    MU_TRY(task_wait(&link->connect, err));
    buffer_free(&a->ciphertext);
    a->request.key_arn = key->arn;
    a->request.ciphertext = key->ciphertext;
    status =
        kms_decrypt(link->kms, &session->credentials, &a->request, &a->ciphertext, &wrapped, err);
    session->expired = kms_credentials_expired(link->kms);
    MU_TRY(status);
    return cms_decrypt(buffer_view(&wrapped), session->key, RELEASE_KEY_SIZE, ret_key, err);
}

/* Which key it is that failed; each says so once. */
static void name_key(struct asking *a, size_t i, enum mu_status status, struct mu_error *err)
{
    if (a->keys->count == 1)
        return;
    (void)mu_context(err, "%s", a->keys->key[i].arn);
    if (a->said[i] != status)
        log_line("%s", err->text);
}

/* Asks those that have not refused. A refusal is not the end as long as another key may answer. */
static enum mu_status ask_round(struct asking *a, struct secret *ret_key, struct mu_error *err)
{
    size_t waiting = 0;

    for (size_t n = 0; n < a->keys->count; n++) {
        size_t i = a->order[n];
        struct mu_error failure = {0};
        enum mu_status status;

        if (a->said[i] == MU_REFUSE)
            continue;
        a->released_by = i;
        status = ask_key(a, &a->keys->key[i], ret_key, &failure);
        if (status == MU_OK)
            return MU_OK;
        name_key(a, i, status, &failure);
        a->said[i] = status;
        if (status != MU_REFUSE || waiting == 0)
            *err = failure;
        if (status != MU_REFUSE && status != MU_RETRY)
            return status;
        waiting += status == MU_RETRY;
    }
    return err->status;
}

static enum mu_status ask_keys(struct asking *a, struct secret *ret_key, struct mu_error *err)
{
    struct retry retry = {.policy = &retry_service, .deadline = a->session->deadline, .error = err};
    enum mu_status status;

    do
        status = ask_round(a, ret_key, err);
    while (retry_after(&retry, status));
    if (status == MU_OK || a->keys->count == 1)
        return status;
    return mu_context(err, "none of %zu keys was released", a->keys->count);
}

static void asking_free(struct asking *a)
{
    buffer_free(&a->ciphertext);
}

/* The first key that answers decrypts its ciphertext, or generates a key if the keys have none. */
static enum mu_status get_key(struct asking *a, json_object *encryption_context,
                              struct secret *ret_key, struct mu_error *err)
{
    struct provider_session *session = a->session;
    const struct kms_keys *keys = a->keys;

    if (session->document.len == 0)
        return mu_fail(err, MU_INTERNAL, "no attestation document was made");
    MU_TRY(task_wait(&session->get_credentials, err));
    a->request = (struct kms_decrypt_request){.encryption_context = encryption_context,
                                              .document = buffer_view(&session->document),
                                              .patience = patience_with(keys)};
    order_keys(session, keys, a->order);
    return MU_STEP(keys->key[0].ciphertext != NULL ? "kms-decrypt" : "kms-generate",
                   ask_keys(a, ret_key, err));
}

static enum mu_status volume_release(struct provider_volume *volume, struct tpm *tpm,
                                     struct secret *ret_key, struct mu_error *err)
{
    const struct kms_keys *keys = &volume->keys;
    MU_CLEANUP(asking_free)
    struct asking asking = {.session = volume->session, .keys = keys};

    (void)tpm;
    MU_TRY(get_key(&asking, keys->encryption_context, ret_key, err));
    volume->released_by = keys->key[asking.released_by].arn;
    return MU_OK;
}

static const char *volume_released_by(const struct provider_volume *volume)
{
    return volume->released_by;
}

/* The key that made the ciphertext, and those of the list that have the same material. No other
 * can have one: to encrypt under it, this machine would need the plain right to Encrypt. */
static enum mu_status describe(const struct asking *asking, json_object *encryption_context,
                               struct record *record, struct mu_error *err)
{
    const struct kms_keys *list = asking->keys;
    const struct kms_key *maker = &list->key[asking->released_by];
    struct kms_keys keys = {.encryption_context = encryption_context};
    MU_CLEANUP(string_free) char *base64 = NULL;

    MU_TRY(base64_encode(buffer_view(&asking->ciphertext), &base64, err));
    MU_TRY(kms_keys_add(&keys, maker->arn, err));
    for (size_t i = 0; i < list->count; i++)
        if (kms_is_replica(list->key[i].arn, maker->arn))
            MU_TRY(kms_keys_add(&keys, list->key[i].arn, err));
    keys.key[0].ciphertext = base64;
    return kms_keys_describe(&keys, record, err);
}

static enum mu_status session_provision(struct provider_session *session, const char *key_arns,
                                        struct record *record, struct secret *ret_key,
                                        struct mu_error *err)
{
    MU_CLEANUP(json_free) json_object *context = NULL;
    MU_CLEANUP(string_free) char *text = NULL;
    struct kms_keys keys = {0};
    MU_CLEANUP(asking_free) struct asking asking = {.session = session, .keys = &keys};

    MU_TRY(kms_keys_of_list(key_arns, &text, &keys, err));
    MU_TRY(aws_kms_context(record, &context, err));
    MU_TRY(get_key(&asking, context, ret_key, err));
    return describe(&asking, context, record, err);
}

const struct provider provider_aws_kms = {
    .name = PROVIDER_AWS_KMS,
    .start = aws_kms_start,
    .volume = session_volume,
    .attest = session_attest,
    .release = volume_release,
    .released_by = volume_released_by,
    .provision = session_provision,
    .finish = aws_kms_finish,
};
