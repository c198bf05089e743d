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

enum mu_status enroll_with_aws_kms(struct bytes key, const struct record *old,
                                   struct record *record, void *context, struct mu_error *err)
{
    const struct enroll_context *aws = context;
    struct deadline deadline = deadline_in(NETWORK_SECONDS);
    MU_CLEANUP(aws_credentials_free) struct aws_credentials found = {0};
    MU_CLEANUP(json_free) json_object *encryption_context = NULL;
    MU_CLEANUP(buffer_free) struct buffer ciphertext = {0};

    (void)old;
    MU_TRY(aws_kms_context(record, &encryption_context, err));
    if (aws->credentials == NULL)
        MU_TRY(ctl_find_credentials(aws->options->aws.imds, deadline, &found, err));
    MU_TRY(kms_encrypt(&aws->options->aws, aws->credentials != NULL ? aws->credentials : &found,
                       aws->key_arn, encryption_context, key, deadline, &ciphertext, err));
    return aws_kms_describe(aws->key_arn, buffer_view(&ciphertext), encryption_context, record,
                            err);
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
    return strcmp(record->provider, TPM2) == 0 ? resign_tpm2(record, c->authority, err) : MU_OK;
}
