/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "release/tpm2.h"

#include <stdlib.h>

#include "base/trace.h"
#include "release/provider.h"

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

static enum mu_status decode(const char *text, const char *name, struct buffer *ret,
                             struct mu_error *err)
{
    enum mu_status status = text != NULL ? base64_decode(text, SEAL_PART_MAX, ret, err) : MU_CONFIG;

    if (status == MU_CONFIG)
        return mu_fail(err, MU_REFUSE, "\"%s\" is not base64 of at most %d bytes", name,
                       SEAL_PART_MAX);
    return status;
}

static enum mu_status take_base64(json_object *data, const char *name, struct buffer *ret,
                                  struct mu_error *err)
{
    const char *text;

    MU_TRY(json_string(data, name, (size_t)2 * SEAL_PART_MAX, MU_REFUSE, &text, err));
    return decode(text, name, ret, err);
}

static enum mu_status take_signatures(json_object *data, struct seal_policy *policy,
                                      struct mu_error *err)
{
    json_object *list;

    MU_TRY(take_base64(data, "authority", &policy->authority, err));
    MU_TRY(json_member(data, "signatures", json_type_array, MU_REFUSE, &list, err));
    if (json_object_array_length(list) != policy->states)
        return mu_fail(err, MU_REFUSE, "%zu signatures for %zu baselines",
                       json_object_array_length(list), policy->states);
    for (size_t i = 0; i < policy->states; i++) {
        const char *text = json_object_get_string(json_object_array_get_idx(list, i));

        MU_TRY(decode(text, "signatures", &policy->signature[i], err));
    }
    return MU_OK;
}

static enum mu_status parse(json_object *data, const struct pcr_values *baselines, size_t count,
                            struct sealed *sealed, struct seal_policy *policy, int *fence_pcr,
                            struct mu_error *err)
{
    static const char *const names[] = {"public",    "private",    "parent", "fence_pcr",
                                        "authority", "signatures", NULL};
    int64_t fence = TPM2_NO_FENCE;

    MU_TRY(json_only(data, "tpm2", names, MU_REFUSE, err));
    if (json_object_object_get_ex(data, "fence_pcr", NULL))
        MU_TRY(json_integer(data, "fence_pcr", 8, 15, MU_REFUSE, &fence, err));
    MU_TRY(tpm2_policy(baselines, count, (int)fence, policy, err));
    MU_TRY(take_base64(data, "public", &sealed->public_area, err));
    MU_TRY(take_base64(data, "private", &sealed->private_area, err));
    MU_TRY(take_base64(data, "parent", &sealed->parent, err));
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

    MU_TRY(parse(data, baselines, count, &sealed, &policy, ret_fence_pcr, err));
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
    json_object *value;

    MU_TRY(base64_encode(bytes, &text, err));
    value = json_object_new_string(text);
    if (value != NULL && (name != NULL ? json_object_object_add(to, name, value)
                                       : json_object_array_add(to, value)) == 0)
        return MU_OK;
    json_free(&value);
    return mu_oom(err);
}

enum mu_status tpm2_set_signatures(json_object *data, const struct seal_policy *policy,
                                   struct mu_error *err)
{
    json_object *list = json_object_new_array();

    if (list == NULL || json_object_object_add(data, "signatures", list) != 0) {
        json_free(&list);
        return mu_oom(err);
    }
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
    if (fence_pcr != TPM2_NO_FENCE &&
        json_object_object_add(data, "fence_pcr", json_object_new_int(fence_pcr)) != 0)
        return mu_oom(err);
    if (policy->authority.data != NULL)
        MU_TRY(tpm2_set_signatures(data, policy, err));
    *ret = data;
    data = NULL;
    return MU_OK;
}

/* ---- the provider ---- */

struct provider_session {
    const struct config *config;
    struct deadline deadline;
    struct tpm *tpm;
};

static enum mu_status session_start(const struct config *config, struct deadline deadline,
                                    struct provider_session **ret, struct mu_error *err)
{
    struct provider_session *session = calloc(1, sizeof(*session));

    if (session == NULL)
        return mu_oom(err);
    session->config = config;
    session->deadline = deadline;
    *ret = session;
    return MU_OK;
}

static enum mu_status read_record(const struct provider_session *session,
                                  const struct record *record, struct sealed *ret,
                                  struct seal_policy *ret_policy, struct mu_error *err)
{
    int fence_pcr;

    if (tpm2_from_json(record->provider_data, record->baseline, record->baselines, ret, ret_policy,
                       &fence_pcr, err) != MU_OK)
        return mu_context(err, "record: tpm2");
    if (fence_pcr != (int)session->config->fence_pcr)
        return mu_fail(err, MU_REFUSE,
                       "record: sealed with the fence PCR %d, and this image has %u: enroll again",
                       fence_pcr, session->config->fence_pcr);
    return MU_OK;
}

static enum mu_status session_prepare(struct provider_session *session, const struct record *record,
                                      struct mu_error *err)
{
    MU_CLEANUP(sealed_free) struct sealed sealed = {0};
    MU_CLEANUP(seal_policy_free) struct seal_policy policy = {0};

    return read_record(session, record, &sealed, &policy, err);
}

/* The TPM itself is who has to be convinced, in release. */
static enum mu_status session_attest(struct provider_session *session, struct tpm *tpm,
                                     struct mu_error *err)
{
    (void)err;
    session->tpm = tpm;
    return MU_OK;
}

/* A busy or locked-out TPM, or one that was lost on the way, may answer the next time. */
static enum mu_status unseal(const struct provider_session *session, const struct sealed *sealed,
                             const struct seal_policy *policy, struct secret *ret,
                             struct mu_error *err)
{
    for (unsigned attempt = 0;; attempt++) {
        enum mu_status status = tpm_unseal(session->tpm, sealed, policy, ret, err);

        if (status != MU_RETRY || !backoff_sleep(attempt, 50, 2000, session->deadline))
            return status;
    }
}

static enum mu_status session_release(struct provider_session *session, const struct record *record,
                                      struct secret *ret_key, struct mu_error *err)
{
    MU_CLEANUP(sealed_free) struct sealed sealed = {0};
    MU_CLEANUP(seal_policy_free) struct seal_policy policy = {0};
    MU_CLEANUP(secret_free) struct secret key = {0};
    uint64_t start = now_us();

    MU_TRY(read_record(session, record, &sealed, &policy, err));
    MU_TRY(unseal(session, &sealed, &policy, &key, err));
    trace_step("tpm-unseal", start);
    if (key.len != RELEASE_KEY_SIZE)
        return mu_fail(err, MU_REFUSE, "unsealed %zu bytes instead of %d", key.len,
                       RELEASE_KEY_SIZE);
    *ret_key = key;
    key = (struct secret){0};
    return MU_OK;
}

static void session_finish(struct provider_session **session)
{
    free(*session);
    *session = NULL;
}

const struct provider provider_tpm2 = {
    .name = "tpm2",
    .start = session_start,
    .prepare = session_prepare,
    .attest = session_attest,
    .release = session_release,
    .finish = session_finish,
};
