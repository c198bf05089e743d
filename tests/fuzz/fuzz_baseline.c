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
    return 0;
}
