/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "verifier/golden.h"

#include <stdio.h>
#include <string.h>

#include "measure/baseline.h"

static enum mu_status load_one(const struct baseline_settings *settings, struct golden *ret,
                               struct mu_error *err)
{
    *ret = (struct golden){
        .name = settings->name, .version = settings->version, .state = settings->state};
    MU_TRY(baseline_load(settings->file, &ret->values, err));
    if (ret->values.bank != HASH_SHA384)
        return mu_fail(err, MU_CONFIG, "%s: a document has sha384 PCRs, this baseline has %s",
                       settings->file, hash_name(ret->values.bank));
    if (baseline_check_complete(&ret->values, PCR_COUNT, err) != MU_OK)
        return mu_context(err, "%s", settings->file);
    return MU_OK;
}

enum mu_status golden_load(const struct settings *settings, struct golden_set *ret,
                           struct mu_error *err)
{
    ret->fence_pcr = settings->fence_pcr;
    ret->count = 0;
    for (size_t i = 0; i < settings->baselines; i++) {
        MU_TRY(load_one(&settings->baseline[i], &ret->item[i], err));
        ret->count++;
    }
    return MU_OK;
}

/* NULL if the fence is as the state has it. */
static const char *fence_fault(const struct golden *golden, const struct pcr_values *found,
                               unsigned pcr)
{
    struct bytes value = {found->value[pcr].bytes, hash_size(found->bank)};

    if ((found->mask & PCR_BIT(pcr)) == 0)
        return "is not in the document";
    if (golden->state == STATE_BOOT && !bytes_all_zero(value))
        return "is closed already, and this is the state before it is";
    if (golden->state == STATE_RUNNING && (golden->values.mask & PCR_BIT(pcr)) == 0 &&
        bytes_all_zero(value))
        return "was never closed, and in this state it is";
    return NULL;
}

/* How many PCRs differ, and in words which. */
static enum mu_status compare(const struct golden_set *set, const struct golden *golden,
                              const struct pcr_values *found, int *ret_count, struct mu_error *err)
{
    const char *fault = fence_fault(golden, found, set->fence_pcr);
    char text[sizeof(err->text)] = "";
    uint32_t differ = 0;
    enum mu_status status = baseline_compare(&golden->values, found, &differ, err);
    size_t len;

    if (status != MU_OK && status != MU_REFUSE)
        return status;
    *ret_count = __builtin_popcount(differ) + (fault != NULL);
    if (*ret_count == 0)
        return MU_OK;
    if (status == MU_REFUSE)
        (void)snprintf(text, sizeof(text), "%s", err->text);
    len = strlen(text);
    if (fault != NULL)
        (void)snprintf(text + len, sizeof(text) - len, "%sPCR %u, the fence, %s",
                       len > 0 ? "; " : "", set->fence_pcr, fault);
    return mu_fail(err, MU_REFUSE, "%s", text);
}

enum mu_status golden_match(const struct golden_set *set, const struct pcr_values *found,
                            const struct golden **ret, struct mu_error *err)
{
    const struct golden *closest = NULL;
    struct mu_error why = {0};
    int least = 0;

    for (size_t i = 0; i < set->count; i++) {
        struct mu_error differs = {0};
        int count = 0;
        enum mu_status status = compare(set, &set->item[i], found, &count, &differs);

        if (status == MU_OK) {
            *ret = &set->item[i];
            return MU_OK;
        }
        if (status != MU_REFUSE) {
            *err = differs;
            return status;
        }
        if (closest != NULL && count >= least)
            continue;
        closest = &set->item[i];
        least = count;
        why = differs;
    }
    if (closest == NULL)
        return mu_fail(err, MU_CONFIG, "there is no baseline");
    *ret = closest;
    return mu_fail(err, MU_REFUSE, "no baseline matches; closest is %s (%s): %.500s", closest->name,
                   golden_state_name(closest->state), why.text);
}
