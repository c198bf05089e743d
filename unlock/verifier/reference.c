/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "verifier/reference.h"

#include <stdio.h>
#include <string.h>

#include "measure/baseline.h"

enum mu_status reference_baseline_load(const char *path, unsigned fence_pcr, struct pcr_values *ret,
                                       struct mu_error *err)
{
    MU_TRY(baseline_load(path, ret, err));
    if (ret->bank != HASH_SHA384)
        return mu_fail(err, MU_CONFIG, "%s: a document has sha384 PCRs, this baseline has %s", path,
                       hash_name(ret->bank));
    if (baseline_check_complete(ret, fence_pcr, err) != MU_OK)
        return mu_context(err, "%s", path);
    return MU_OK;
}

enum mu_status reference_values_load(const struct settings *settings, struct reference_values *ret,
                                     struct mu_error *err)
{
    ret->fence_pcr = settings->fence_pcr;
    ret->count = 0;
    for (size_t i = 0; i < settings->baselines; i++) {
        const struct baseline_settings *baseline = &settings->baseline[i];
        struct reference_value *item = &ret->item[i];

        *item = (struct reference_value){
            .name = baseline->name, .version = baseline->version, .state = baseline->state};
        MU_TRY(reference_baseline_load(baseline->file, PCR_COUNT, &item->values, err));
        ret->count++;
    }
    return MU_OK;
}

/* NULL if the fence PCR fits the state. */
static const char *fence_fault(const struct reference_value *reference,
                               const struct pcr_values *found, unsigned pcr)
{
    struct bytes value = {found->value[pcr].bytes, hash_size(found->bank)};

    if ((found->mask & PCR_BIT(pcr)) == 0)
        return "is not in the document";
    if (reference->state == STATE_BOOT && !bytes_all_zero(value))
        return "is closed already, but must be open in state boot";
    if (reference->state == STATE_RUNNING && (reference->values.mask & PCR_BIT(pcr)) == 0 &&
        bytes_all_zero(value))
        return "was never closed, but must be closed in state running";
    return NULL;
}

/* How many PCRs differ, and in words which. */
static enum mu_status compare(const struct reference_values *set,
                              const struct reference_value *reference,
                              const struct pcr_values *found, int *ret_count, struct mu_error *err)
{
    const char *fault = fence_fault(reference, found, set->fence_pcr);
    char text[sizeof(err->text)] = "";
    uint32_t differ = 0;
    enum mu_status status = baseline_compare(&reference->values, found, &differ, err);
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

enum mu_status reference_values_match(const struct reference_values *set,
                                      const struct pcr_values *found,
                                      const struct reference_value **ret, struct mu_error *err)
{
    const struct reference_value *closest = NULL;
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
                   reference_state_name(closest->state), why.text);
}
