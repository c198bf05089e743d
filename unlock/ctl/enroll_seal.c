/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "ctl/enroll.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "release/kms.h"
#include "release/tpm2.h"

#define NETWORK_SECONDS 60
#define TPM_SECONDS 2
#define AWS_KMS "aws-kms"
#define TPM2 "tpm2"

/* ---- aws-kms ---- */

static enum mu_status credentials(const struct config *config, struct deadline deadline,
                                  struct aws_credentials *ret, struct mu_error *err)
{
    if (getenv("AWS_ACCESS_KEY_ID") != NULL)
        return aws_credentials_from_environment(ret, err);
    if (aws_credentials_from_imds(config->imds, deadline, ret, err) != MU_OK)
        return mu_context(err, "no AWS_ACCESS_KEY_ID in the environment, and");
    return MU_OK;
}

/* Encryption context: the ciphertext is of use for this volume only. */
static enum mu_status context_json(const struct record *record, json_object **ret,
                                   struct mu_error *err)
{
    MU_CLEANUP(json_free) json_object *context = json_object_new_object();
    char identity[2 * VOLUME_IDENTITY_SIZE + 1];

    hex_encode((struct bytes){record->volume_identity, VOLUME_IDENTITY_SIZE}, identity);
    if (context == NULL || !json_add_text(context, "volume-uuid", record->volume_uuid) ||
        !json_add_text(context, "volume-identity", identity))
        return mu_oom(err);
    *ret = context;
    context = NULL;
    return MU_OK;
}

enum mu_status enroll_with_aws_kms(struct bytes key, struct record *record, void *context,
                                   struct mu_error *err)
{
    const struct enroll_context *aws = context;
    struct deadline deadline = deadline_in(NETWORK_SECONDS);
    MU_CLEANUP(aws_credentials_free) struct aws_credentials who = {0};
    MU_CLEANUP(json_free) json_object *encryption_context = NULL;
    MU_CLEANUP(json_free) json_object *data = json_object_new_object();
    MU_CLEANUP(buffer_free) struct buffer ciphertext = {0};
    MU_CLEANUP(string_free) char *base64 = NULL;

    MU_TRY(context_json(record, &encryption_context, err));
    MU_TRY(credentials(aws->config, deadline, &who, err));
    MU_TRY(kms_encrypt(aws->config, &who, aws->key_arn, encryption_context, key, deadline,
                       &ciphertext, err));
    MU_TRY(base64_encode(buffer_view(&ciphertext), &base64, err));
    if (data == NULL || !json_add_text(data, "key_arn", aws->key_arn) ||
        !json_add_text(data, "ciphertext", base64) ||
        json_object_object_add(data, "encryption_context", json_object_get(encryption_context)) !=
            0)
        return mu_oom(err);
    (void)snprintf(record->provider, sizeof(record->provider), AWS_KMS);
    record->provider_data = data;
    data = NULL;
    return MU_OK;
}

/* ---- tpm2 ---- */

/* A bank or PCR that this TPM does not have would be found out by the next boot. */
static enum mu_status check_allocated(struct tpm *tpm, const struct seal_policy *policy,
                                      struct mu_error *err)
{
    struct pcr_values unused;

    for (size_t i = 0; i < policy->states; i++)
        MU_TRY(tpm_pcr_read(tpm, policy->state[i].bank, policy->state[i].mask, &unused, err));
    return MU_OK;
}

enum mu_status enroll_with_tpm2(struct bytes key, struct record *record, void *context,
                                struct mu_error *err)
{
    const struct enroll_context *c = context;
    int fence_pcr = (int)c->config->fence_pcr;
    const char *tcti = c->tcti != NULL ? c->tcti : c->config->tcti;
    MU_CLEANUP(tpm_close) struct tpm *tpm = NULL;
    MU_CLEANUP(sealed_free) struct sealed sealed = {0};
    MU_CLEANUP(seal_policy_free) struct seal_policy policy = {0};

    MU_TRY(tpm2_policy(record->baseline, record->baselines, fence_pcr, &policy, err));
    if (c->authority != NULL)
        MU_TRY(seal_authorize(&policy, c->authority, err));
    MU_TRY(tpm_open(tcti, deadline_in(TPM_SECONDS), &tpm, err));
    MU_TRY(check_allocated(tpm, &policy, err));
    MU_TRY(tpm_seal(tpm, key, &policy, &sealed, err));
    (void)snprintf(record->provider, sizeof(record->provider), TPM2);
    return tpm2_to_json(&sealed, &policy, fence_pcr, &record->provider_data, err);
}

static enum mu_status resign_tpm2(struct record *record, EVP_PKEY *authority, struct mu_error *err)
{
    MU_CLEANUP(seal_policy_free) struct seal_policy policy = {0};
    MU_CLEANUP(string_free) char *now = NULL;
    json_object *data = record->provider_data;
    const char *before = NULL;
    int64_t fence_pcr;

    if (!json_object_object_get_ex(data, "authority", NULL))
        return mu_fail(err, MU_CONFIG,
                       "the key is sealed for the baselines themselves: enroll again, and with "
                       "--authorize if they are to be replaced later");
    if (authority == NULL)
        return mu_fail(err, MU_USAGE, "--authorize is needed: the TPM goes by that key");
    MU_TRY(json_string(data, "authority", (size_t)2 * SEAL_PART_MAX, MU_REFUSE, &before, err));
    MU_TRY(json_integer(data, "fence_pcr", 8, 15, MU_REFUSE, &fence_pcr, err));
    MU_TRY(tpm2_policy(record->baseline, record->baselines, (int)fence_pcr, &policy, err));
    MU_TRY(seal_authorize(&policy, authority, err));
    MU_TRY(base64_encode(buffer_view(&policy.authority), &now, err));
    if (strcmp(before, now) != 0)
        return mu_fail(err, MU_REFUSE,
                       "--authorize: not the key that this volume was enrolled with");
    return tpm2_set_signatures(data, &policy, err);
}

enum mu_status enroll_resigned(struct bytes key, struct record *record, void *context,
                               struct mu_error *err)
{
    const struct enroll_context *c = context;

    (void)key;
    return strcmp(record->provider, TPM2) == 0 ? resign_tpm2(record, c->authority, err) : MU_OK;
}
