/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "base/defaults.h"
#include "ctl/enroll.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "ctl/credentials.h"
#include "release/kms.h"
#include "release/tpm2.h"
#include "tpm/counter.h"

#define NETWORK_SECONDS 60
#define TPM_SECONDS 2
#define TPM2 "tpm2"
/* Records that may have been written since the counter was last raised. If the present record is
 * not this builder's, it is not known what was signed for them; it must end below the new limit. */
#define COUNTER_MARGIN 32

/* ---- aws-kms ---- */

/* The keys of one volume, each with its ciphertext. */
struct encryption {
    struct kms_keys keys;
    char *ciphertext[KMS_KEYS_MAX]; /* what the keys borrow */
};

static void encryption_free(struct encryption *e)
{
    for (size_t i = 0; i < KMS_KEYS_MAX; i++)
        string_free(&e->ciphertext[i]);
    json_free(&e->keys.encryption_context);
}

static enum mu_status name_keys(const struct enroll_context *aws, struct kms_keys *ret,
                                struct mu_error *err)
{
    for (size_t i = 0; i < aws->key_arns; i++)
        MU_TRY(kms_keys_add(ret, aws->key_arn[i], err));
    return MU_OK;
}

enum mu_status enroll_check_keys(const struct enroll_context *aws, struct mu_error *err)
{
    struct kms_keys keys = {0};

    return name_keys(aws, &keys, err);
}

static enum mu_status encrypt_for(const struct enroll_context *aws,
                                  const struct aws_credentials *credentials, struct bytes key,
                                  size_t i, struct encryption *e, struct mu_error *err)
{
    struct kms_key *to = &e->keys.key[i];
    size_t first = kms_keys_first(&e->keys, i);
    MU_CLEANUP(buffer_free) struct buffer ciphertext = {0};

    if (first < i) {
        to->ciphertext = e->keys.key[first].ciphertext;
        return MU_OK;
    }
    MU_TRY(kms_encrypt(&aws->options->aws, credentials, to->arn, e->keys.encryption_context, key,
                       deadline_in(NETWORK_SECONDS), &ciphertext, err));
    MU_TRY(base64_encode(buffer_view(&ciphertext), &e->ciphertext[i], err));
    to->ciphertext = e->ciphertext[i];
    return MU_OK;
}

enum mu_status enroll_with_aws_kms(struct bytes key, const struct record *old,
                                   struct record *record, void *context, struct mu_error *err)
{
    const struct enroll_context *aws = context;
    MU_CLEANUP(aws_credentials_free) struct aws_credentials found = {0};
    MU_CLEANUP(encryption_free) struct encryption e = {0};

    (void)old;
    MU_TRY(name_keys(aws, &e.keys, err));
    MU_TRY(aws_kms_context(record, &e.keys.encryption_context, err));
    if (aws->credentials == NULL)
        MU_TRY(ctl_find_credentials(aws->options->aws.imds, deadline_in(NETWORK_SECONDS), &found,
                                    err));
    for (size_t i = 0; i < e.keys.count; i++)
        if (encrypt_for(aws, aws->credentials != NULL ? aws->credentials : &found, key, i, &e,
                        err) != MU_OK)
            return aws->key_arns > 1 ? mu_context(err, "%s", e.keys.key[i].arn) : err->status;
    return kms_keys_describe(&e.keys, record, err);
}

/* Which of the old keys has the same material. */
static const struct kms_key *same_material(const struct kms_keys *keys, const char *arn)
{
    for (size_t i = 0; i < keys->count; i++)
        if (strcmp(keys->key[i].arn, arn) == 0 || kms_is_replica(keys->key[i].arn, arn))
            return &keys->key[i];
    return NULL;
}

/* Another order, other replicas, fewer keys: what needs no key of the volume. */
static enum mu_status resign_aws_kms(struct record *record, const struct enroll_context *aws,
                                     struct mu_error *err)
{
    struct kms_keys old = {0}, new = {0};

    MU_TRY(name_keys(aws, &new, err));
    if (new.count == 0)
        return MU_OK;
    MU_TRY(kms_keys_parse(record, &old, err));
    for (size_t i = 0; i < new.count; i++) {
        const struct kms_key *same = same_material(&old, new.key[i].arn);

        if (same == NULL)
            return mu_fail(err, MU_REFUSE,
                           "--key-arn %.200s is neither a key of the present record nor a replica "
                           "of one, and --resign has no key of the volume that could be encrypted "
                           "under it: enroll with a passphrase, without --resign",
                           new.key[i].arn);
        new.key[i].ciphertext = same->ciphertext;
    }
    new.encryption_context = old.encryption_context;
    return kms_keys_describe(&new, record, err);
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

/* Each record has a higher limit than the one before, so that the counter can be raised to lock out
 * all earlier ones and not this. */
static enum mu_status choose_limit(struct tpm *tpm, uint32_t index, const struct seal_counter *old,
                                   struct seal_counter *ret, struct mu_error *err)
{
    uint64_t value = 0;

    MU_TRY(tpm_counter_make(tpm, index, &value, err));
    ret->index = index;
    if (old->index != index)
        ret->limit = value + COUNTER_MARGIN;
    else
        ret->limit = (old->limit > value ? old->limit : value) + 1;
    return MU_OK;
}

static enum mu_status choose_counter(const struct enroll_context *c, struct tpm *tpm,
                                     const struct record *old, struct seal_counter *ret,
                                     struct mu_error *err)
{
    struct seal_counter before = {0};
    uint32_t index;

    if (old != NULL)
        MU_TRY(tpm2_counter(old, &before, err));
    index = before.index;
    if (c->counter != NULL && strcmp(c->counter, "none") == 0)
        index = 0;
    else if (c->counter != NULL && !tpm_counter_index(c->counter, &index))
        return mu_fail(err, MU_USAGE, "--counter '%.40s': give an NV index from 0x%08x to 0x%08x",
                       c->counter, TPM_COUNTER_FIRST, TPM_COUNTER_LAST);
    if (index != 0)
        return choose_limit(tpm, index, &before, ret, err);
    log_line("without --counter this TPM opens the volume for the images of this record for good, "
             "whatever is enrolled later");
    return MU_OK;
}

enum mu_status enroll_with_tpm2(struct bytes key, const struct record *old, struct record *record,
                                void *context, struct mu_error *err)
{
    const struct enroll_context *c = context;
    int fence_pcr = (int)c->options->fence_pcr;
    MU_CLEANUP(tpm_close) struct tpm *tpm = NULL;
    MU_CLEANUP(sealed_free) struct sealed sealed = {0};
    MU_CLEANUP(seal_policy_free) struct seal_policy policy = {0};

    MU_TRY(tpm2_policy(record->baseline, record->baselines, fence_pcr, &policy, err));
    MU_TRY(tpm_open(c->tcti, deadline_in(TPM_SECONDS), &tpm, err));
    MU_TRY(check_allocated(tpm, &policy, err));
    MU_TRY(choose_counter(c, tpm, old, &policy.counter, err));
    if (c->authority != NULL)
        MU_TRY(seal_authorize(&policy, c->authority, err));
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
    MU_TRY(json_integer(data, "fence_pcr", FENCE_FIRST, FENCE_LAST, MU_REFUSE, &fence_pcr, err));
    MU_TRY(tpm2_policy(record->baseline, record->baselines, (int)fence_pcr, &policy, err));
    MU_TRY(tpm2_counter(record, &policy.counter, err));
    policy.counter.limit++; /* as for a record that is written from the start */
    MU_TRY(seal_authorize(&policy, authority, err));
    MU_TRY(base64_encode(buffer_view(&policy.authority), &now, err));
    if (strcmp(before, now) != 0)
        return mu_fail(err, MU_REFUSE,
                       "--authorize: not the key that this volume was enrolled with");
    return tpm2_set_signatures(data, &policy, err);
}

enum mu_status enroll_resigned(struct bytes key, const struct record *old, struct record *record,
                               void *context, struct mu_error *err)
{
    const struct enroll_context *c = context;

    (void)key;
    (void)old;
    if (c->key_arns > 0 && strcmp(record->provider, PROVIDER_AWS_KMS) != 0)
        return mu_fail(err, MU_USAGE, "--key-arn has no meaning: the record's provider is %s",
                       record->provider);
    if (strcmp(record->provider, PROVIDER_AWS_KMS) == 0)
        return resign_aws_kms(record, c, err);
    return strcmp(record->provider, TPM2) == 0 ? resign_tpm2(record, c->authority, err) : MU_OK;
}
