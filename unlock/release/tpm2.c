/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "release/tpm2.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/defaults.h"
#include "base/retry.h"
#include "base/trace.h"
#include "release/provider.h"
#include "tpm/counter.h"

/* ---- the policy ---- */

enum mu_status tpm2_policy(const struct pcr_values *baselines, size_t count, int fence_pcr,
                           struct seal_policy *ret, struct mu_error *err)
{
    if (count < 1 || count > SEAL_STATES_MAX)
        return mu_fail(err, MU_CONFIG, "a policy has 1 to %d baselines, not %zu", SEAL_STATES_MAX,
                       count);
    *ret = (struct seal_policy){.states = count};
    for (size_t i = 0; i < count; i++) {
        ret->state[i] = baselines[i];
        if (fence_pcr == TPM2_NO_FENCE)
            continue;
        ret->state[i].value[fence_pcr] = (struct digest){0};
        ret->state[i].mask |= PCR_BIT(fence_pcr);
    }
    return MU_OK;
}

/* ---- JSON ---- */

static enum mu_status take_signatures(json_object *data, struct seal_policy *policy,
                                      struct mu_error *err)
{
    json_object *list;

    MU_TRY(json_base64(data, "authority", SEAL_PART_MAX, MU_REFUSE, &policy->authority, err));
    MU_TRY(json_member(data, "signatures", json_type_array, MU_REFUSE, &list, err));
    if (json_object_array_length(list) != policy->states)
        return mu_fail(err, MU_REFUSE, "%zu signatures for %zu baselines",
                       json_object_array_length(list), policy->states);
    for (size_t i = 0; i < policy->states; i++) {
        const char *text = json_object_get_string(json_object_array_get_idx(list, i));

        if (text == NULL)
            return mu_fail(err, MU_REFUSE, "\"signatures\" holds null");
        if (base64_decode(text, SEAL_PART_MAX, MU_REFUSE, &policy->signature[i], err) != MU_OK)
            return mu_context(err, "\"signatures\"");
    }
    return MU_OK;
}

static enum mu_status take_counter(json_object *data, struct seal_counter *ret,
                                   struct mu_error *err)
{
    static const char *const names[] = {"index", "limit", NULL};
    struct seal_counter counter;
    json_object *object;
    const char *index;
    int64_t limit;

    *ret = (struct seal_counter){0};
    if (!json_object_object_get_ex(data, "counter", NULL))
        return MU_OK;
    MU_TRY(json_member(data, "counter", json_type_object, MU_REFUSE, &object, err));
    MU_TRY(json_only(object, "counter", names, MU_REFUSE, err));
    MU_TRY(json_string(object, "index", 10, MU_REFUSE, &index, err));
    MU_TRY(json_integer(object, "limit", 1, INT64_MAX - 1, MU_REFUSE, &limit, err));
    if (!tpm_counter_index(index, &counter.index))
        return mu_fail(err, MU_REFUSE, "\"index\" is not the NV index of a counter");
    counter.limit = (uint64_t)limit;
    *ret = counter;
    return MU_OK;
}

enum mu_status tpm2_counter(const struct record *record, struct seal_counter *ret,
                            struct mu_error *err)
{
    *ret = (struct seal_counter){0};
    return strcmp(record->provider, provider_tpm2.name) == 0
               ? take_counter(record->provider_data, ret, err)
               : MU_OK;
}

static enum mu_status tpm2_parse(json_object *data, const struct pcr_values *baselines,
                                 size_t count, struct sealed *sealed, struct seal_policy *policy,
                                 int *fence_pcr, struct mu_error *err)
{
    static const char *const names[] = {"public",  "private",   "parent",     "fence_pcr",
                                        "counter", "authority", "signatures", NULL};
    int64_t fence = TPM2_NO_FENCE;

    MU_TRY(json_only(data, "tpm2", names, MU_REFUSE, err));
    if (json_object_object_get_ex(data, "fence_pcr", NULL))
        MU_TRY(json_integer(data, "fence_pcr", FENCE_FIRST, FENCE_LAST, MU_REFUSE, &fence, err));
    MU_TRY(tpm2_policy(baselines, count, (int)fence, policy, err));
    MU_TRY(take_counter(data, &policy->counter, err));
    MU_TRY(json_base64(data, "public", SEAL_PART_MAX, MU_REFUSE, &sealed->public_area, err));
    MU_TRY(json_base64(data, "private", SEAL_PART_MAX, MU_REFUSE, &sealed->private_area, err));
    MU_TRY(json_base64(data, "parent", SEAL_PART_MAX, MU_REFUSE, &sealed->parent, err));
    if (json_object_object_get_ex(data, "authority", NULL))
        MU_TRY(take_signatures(data, policy, err));
    *fence_pcr = (int)fence;
    return MU_OK;
}

enum mu_status tpm2_from_json(json_object *data, const struct pcr_values *baselines, size_t count,
                              struct sealed *ret, struct seal_policy *ret_policy,
                              int *ret_fence_pcr, struct mu_error *err)
{
    MU_CLEANUP(sealed_free) struct sealed sealed = {0};
    MU_CLEANUP(seal_policy_free) struct seal_policy policy = {0};

    MU_TRY(tpm2_parse(data, baselines, count, &sealed, &policy, ret_fence_pcr, err));
    *ret = sealed;
    *ret_policy = policy;
    sealed = (struct sealed){0};
    policy = (struct seal_policy){0};
    return MU_OK;
}

static enum mu_status add_base64(json_object *to, const char *name, struct bytes bytes,
                                 struct mu_error *err)
{
    MU_CLEANUP(string_free) char *text = NULL;

    MU_TRY(base64_encode(bytes, &text, err));
    return (name != NULL ? json_add_text(to, name, text)
                         : json_append(to, json_object_new_string(text)))
               ? MU_OK
               : mu_oom(err);
}

static enum mu_status set_counter(json_object *data, const struct seal_counter *counter,
                                  struct mu_error *err)
{
    json_object *object;
    char index[11];

    if (counter->index == 0)
        return MU_OK;
    (void)snprintf(index, sizeof(index), "0x%08x", counter->index);
    object = json_object_new_object();
    if (!json_add_text(object, "index", index) ||
        !json_add(object, "limit", json_object_new_int64((int64_t)counter->limit))) {
        json_free(&object);
        return mu_oom(err);
    }
    return json_add(data, "counter", object) ? MU_OK : mu_oom(err);
}

enum mu_status tpm2_set_signatures(json_object *data, const struct seal_policy *policy,
                                   struct mu_error *err)
{
    json_object *list;

    MU_TRY(set_counter(data, &policy->counter, err));
    list = json_object_new_array();
    if (!json_add(data, "signatures", list))
        return mu_oom(err);
    for (size_t i = 0; i < policy->states; i++)
        MU_TRY(add_base64(list, NULL, buffer_view(&policy->signature[i]), err));
    return add_base64(data, "authority", buffer_view(&policy->authority), err);
}

enum mu_status tpm2_to_json(const struct sealed *sealed, const struct seal_policy *policy,
                            int fence_pcr, json_object **ret, struct mu_error *err)
{
    MU_CLEANUP(json_free) json_object *data = json_object_new_object();

    if (data == NULL)
        return mu_oom(err);
    MU_TRY(add_base64(data, "public", buffer_view(&sealed->public_area), err));
    MU_TRY(add_base64(data, "private", buffer_view(&sealed->private_area), err));
    MU_TRY(add_base64(data, "parent", buffer_view(&sealed->parent), err));
    if (fence_pcr != TPM2_NO_FENCE && !json_add(data, "fence_pcr", json_object_new_int(fence_pcr)))
        return mu_oom(err);
    MU_TRY(policy->authority.data != NULL ? tpm2_set_signatures(data, policy, err)
                                          : set_counter(data, &policy->counter, err));
    *ret = MU_TAKE(data);
    return MU_OK;
}

/* ---- the provider ---- */

struct provider_volume {
    struct deadline deadline;
    struct sealed sealed;
    struct seal_policy policy;
};

struct provider_session {
    unsigned fence_pcr;
    struct deadline deadline;
    struct provider_volume volume[CONFIG_VOLUMES_MAX];
    size_t volumes;
};

static enum mu_status session_start(const struct provider_options *options,
                                    struct deadline deadline, struct provider_session **ret,
                                    struct mu_error *err)
{
    struct provider_session *session = calloc(1, sizeof(*session));

    if (session == NULL)
        return mu_oom(err);
    session->fence_pcr = options->fence_pcr;
    session->deadline = deadline;
    *ret = session;
    return MU_OK;
}

static enum mu_status session_volume(struct provider_session *session, const struct record *record,
                                     struct provider_volume **ret, struct mu_error *err)
{
    struct provider_volume *volume;
    int fence_pcr;

    if (session->volumes == CONFIG_VOLUMES_MAX)
        return mu_fail(err, MU_INTERNAL, "more than %d volumes", CONFIG_VOLUMES_MAX);
    volume = &session->volume[session->volumes++];
    volume->deadline = session->deadline;
    if (tpm2_from_json(record->provider_data, record->baseline, record->baselines, &volume->sealed,
                       &volume->policy, &fence_pcr, err) != MU_OK)
        return mu_context(err, "record: tpm2");
    if (fence_pcr != (int)session->fence_pcr)
        return mu_fail(err, MU_REFUSE,
                       "record: sealed with the fence PCR %d, and this image has %u: enroll again",
                       fence_pcr, session->fence_pcr);
    *ret = volume;
    return MU_OK;
}

static enum mu_status volume_release(struct provider_volume *volume, struct tpm *tpm,
                                     struct secret *ret_key, struct mu_error *err)
{
    MU_CLEANUP(secret_free) struct secret key = {0};

    /* A busy or locked-out TPM, or one that was lost on the way, may answer the next time. */
    MU_TRY(MU_STEP("tpm-unseal",
                   MU_AGAIN(&retry_machine, volume->deadline,
                            tpm_unseal(tpm, &volume->sealed, &volume->policy, &key, err))));
    if (key.len != RELEASE_KEY_SIZE)
        return mu_fail(err, MU_REFUSE, "unsealed %zu bytes instead of %d", key.len,
                       RELEASE_KEY_SIZE);
    *ret_key = MU_TAKE(key);
    return MU_OK;
}

static void session_finish(struct provider_session **session)
{
    struct provider_session *s = *session;

    if (s == NULL)
        return;
    for (size_t i = 0; i < s->volumes; i++) {
        sealed_free(&s->volume[i].sealed);
        seal_policy_free(&s->volume[i].policy);
    }
    free(s);
    *session = NULL;
}

/* The TPM itself must be convinced, in release. */
const struct provider provider_tpm2 = {
    .name = "tpm2",
    .start = session_start,
    .volume = session_volume,
    .release = volume_release,
    .finish = session_finish,
};
