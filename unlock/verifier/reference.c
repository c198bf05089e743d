/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "verifier/reference.h"

#include <stdio.h>
#include <string.h>

#include "base/time.h"
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

bool reference_add_images(json_object *object, const struct reference_value *reference)
{
    return (reference->image == NULL || json_add_text(object, "image", reference->image)) &&
           (reference->boot_loader == NULL ||
            json_add_text(object, "boot_loader", reference->boot_loader));
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

static bool may_run(const struct reference_value *reference, uint64_t now_ms)
{
    return reference->withdrawn == NULL &&
           (reference->until_ms == 0 || now_ms < (uint64_t)reference->until_ms);
}

/* compare() without a text. */
static bool is_equal(const struct reference_value *reference, const struct pcr_values *found,
                     unsigned fence_pcr)
{
    return reference->values.bank == found->bank && reference->values.mask != 0 &&
           (pcr_differing(&reference->values, found) & reference->values.mask) == 0 &&
           fence_fault(reference, found, fence_pcr) == NULL;
}

static const struct reference_value *find(const struct reference_list *list, bool allowed,
                                          const struct pcr_values *found, unsigned fence_pcr,
                                          uint64_t now_ms)
{
    for (size_t i = 0; i < list->count; i++)
        if (may_run(&list->item[i], now_ms) == allowed &&
            is_equal(&list->item[i], found, fence_pcr))
            return &list->item[i];
    return NULL;
}

static enum mu_status refuse_withdrawn(const struct reference_value *reference,
                                       struct mu_error *err)
{
    char until[TIME_TEXT];

    if (reference->withdrawn != NULL && reference->ends != reference->name)
        return mu_fail(err, MU_REFUSE, "%s %s, which started %s %s, %s", reference->ends,
                       reference->ends_version, reference->name, reference->version,
                       reference->withdrawn);
    if (reference->withdrawn != NULL)
        return mu_fail(err, MU_REFUSE, "%s %s %s", reference->ends, reference->ends_version,
                       reference->withdrawn);
    (void)time_text_ms((uint64_t)reference->until_ms, until);
    return mu_fail(err, MU_REFUSE, "the approval of %s %s ended at %s", reference->ends,
                   reference->ends_version, until);
}

struct nearest {
    const struct reference_value *reference; /* NULL: none */
    struct mu_error why;
    int differences;
};

static enum mu_status find_nearest(const struct reference_values *set,
                                   const struct reference_list *list,
                                   const struct pcr_values *found, uint64_t now_ms,
                                   struct nearest *ret, struct mu_error *err)
{
    for (size_t i = 0; i < list->count; i++) {
        struct mu_error differs = {0};
        int count = 0;
        enum mu_status status;

        if (!may_run(&list->item[i], now_ms))
            continue;
        status = compare(set, &list->item[i], found, &count, &differs);
        if (status != MU_REFUSE) {
            *err = differs;
            return status != MU_OK ? status : mu_fail(err, MU_INTERNAL, "an equal baseline");
        }
        if (ret->reference == NULL || count < ret->differences)
            *ret = (struct nearest){&list->item[i], differs, count};
    }
    return MU_OK;
}

enum mu_status reference_values_match(const struct reference_values *set,
                                      const struct reference_list *images,
                                      const struct pcr_values *found, uint64_t now_ms,
                                      const struct reference_value **ret, struct mu_error *err)
{
    static const struct reference_value nothing = {.name = "", .version = ""};
    static const struct reference_list none = {NULL, 0};
    const struct reference_list files = {set->item, set->count};
    const struct reference_list *const lists[] = {&files, images != NULL ? images : &none};
    struct nearest nearest = {0};

    for (size_t allowed = 2; allowed-- > 0;) {
        for (size_t i = 0; i < MU_COUNT(lists); i++) {
            *ret = find(lists[i], allowed == 1, found, set->fence_pcr, now_ms);
            if (*ret != NULL)
                return allowed == 1 ? MU_OK : refuse_withdrawn(*ret, err);
        }
    }
    for (size_t i = 0; i < MU_COUNT(lists); i++)
        MU_TRY(find_nearest(set, lists[i], found, now_ms, &nearest, err));
    *ret = nearest.reference != NULL ? nearest.reference : &nothing;
    if (nearest.reference != NULL)
        return mu_fail(err, MU_REFUSE, "no baseline matches; closest is %s (%s): %.500s",
                       nearest.reference->name, reference_state_name(nearest.reference->state),
                       nearest.why.text);
    return images != NULL ? mu_fail(err, MU_REFUSE, "no image is approved")
                          : mu_fail(err, MU_CONFIG, "there is no baseline");
}
