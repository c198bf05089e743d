/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Baseline files. */
#include "measure/baseline.h"

#include <string.h>

#include "fuzz.h"

#define FENCE 15

/* What was read can be written, and read again. */
static void round_trip(const struct pcr_values *values)
{
    MU_CLEANUP(json_free) json_object *object = NULL;
    struct pcr_values again = {0};
    struct mu_error err = {0};
    uint32_t differ = 1;

    fuzz_require(baseline_to_json(values, &object, &err) == MU_OK, "a baseline can be written");
    fuzz_require(baseline_parse_object(object, "again", &again, &err) == MU_OK, "and read again");
    fuzz_require(again.mask == values->mask && again.bank == values->bank &&
                     again.without == values->without &&
                     baseline_compare(values, &again, &differ, &err) == MU_OK && differ == 0,
                 "and is the same then");
}

static void compare(const struct pcr_values *values)
{
    struct pcr_values other = {.bank = HASH_SHA384, .mask = PCR_BIT(4) | PCR_BIT(12)};
    struct mu_error err = {0};
    uint32_t differ = 0;
    enum mu_status status = baseline_compare(values, &other, &differ, &err);

    fuzz_outcome(status, &err, 1u << MU_REFUSE | 1u << MU_CONFIG);
    fuzz_require(status == MU_OK || values->bank != other.bank || (differ & values->mask) == differ,
                 "only PCRs of the baseline differ");
    fuzz_require(status != MU_OK || (values->mask & ~other.mask) == 0,
                 "what was not read is not equal");
    status = baseline_check_complete(values, FENCE, &err);
    fuzz_outcome(status, &err, 1u << MU_CONFIG);
    fuzz_require(status != MU_OK || ((values->mask & PCR_BIT(12)) != 0 &&
                                     (values->mask & (PCR_BIT(FENCE) | PCR_BIT(1))) == 0),
                 "a complete baseline has PCR 12, and neither the fence nor PCR 1");
}

/* What it lacks is named, and only what it lacks is asked for. */
static void completeness(const struct pcr_values *values)
{
    struct mu_error err = {0};
    char names[BASELINE_NAMES_MAX], all[BASELINE_NAMES_MAX];
    uint32_t lacks = baseline_lacks(values);
    enum mu_status status = baseline_check_baked(values, FENCE, &err);

    fuzz_outcome(status, &err, 1u << MU_CONFIG);
    fuzz_require(status != MU_OK || baseline_has_secure_boot(values) || lacks == 0,
                 "without Secure Boot nothing is left out by mistake");
    fuzz_require(baseline_check_complete(values, FENCE, &err) != MU_OK || status == MU_OK,
                 "what is complete may be baked in");
    fuzz_require((lacks & (values->mask | values->without | ~BASELINE_CLEAN_PCRS)) == 0,
                 "what it lacks is neither there nor left out");
    baseline_pcr_names(lacks, names);
    fuzz_require((names[0] == '\0') == (lacks == 0), "what it lacks has names");
    baseline_pcr_names(values->mask, all);
    fuzz_require(all[0] != '\0' && strlen(all) < sizeof(all) - 1, "all names have room");
}

/* A PCR that says "clean" is compared as any other. */
static void clean(const struct pcr_values *values)
{
    struct pcr_values expected = {.bank = values->bank, .mask = BASELINE_CLEAN_PCRS};
    struct mu_error err = {0};
    uint32_t differ = 0;

    for (unsigned pcr = 0; pcr < PCR_COUNT; pcr++)
        fuzz_require(baseline_clean_value(values->bank, pcr, &expected.value[pcr], &err) == MU_OK,
                     "there is a clean value");
    fuzz_outcome(baseline_compare(&expected, values, &differ, &err), &err, 1u << MU_REFUSE);
    fuzz_require((BASELINE_CLEAN_PCRS & ~values->mask & ~differ) == 0,
                 "what is not there is not clean");
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct pcr_values values = {0};
    struct mu_error err = {0};
    char path[FUZZ_PATH_SIZE];
    enum mu_status status;

    fuzz_file((struct bytes){data, size}, size, path);
    status = baseline_load(path, &values, &err);
    fuzz_outcome(status, &err, 1u << MU_CONFIG);
    if (status != MU_OK)
        return 0;
    fuzz_require(values.mask != 0 && values.mask < PCR_BIT(PCR_COUNT), "PCRs that exist");
    round_trip(&values);
    compare(&values);
    completeness(&values);
    clean(&values);
    return 0;
}
