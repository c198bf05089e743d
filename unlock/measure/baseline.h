/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef MU_MEASURE_BASELINE_H
#define MU_MEASURE_BASELINE_H

#include "base/json.h"
#include "tpm/tpm.h"

#define BASELINE_MAX_BYTES 65536

/* {"Measurements":{"HashAlgorithm":"SHA384","PCR4":"<hex>",...}}: what nitro-tpm-pcr-compute
 * writes. Other members beside Measurements are allowed and kept by nobody; inside it nothing
 * unknown is. */
enum mu_status baseline_parse(struct bytes text, const char *what, struct pcr_values *ret,
                              struct mu_error *err) MU_MUST_CHECK;
enum mu_status baseline_parse_object(json_object *object, const char *what, struct pcr_values *ret,
                                     struct mu_error *err) MU_MUST_CHECK;
enum mu_status baseline_load(const char *path, struct pcr_values *ret,
                             struct mu_error *err) MU_MUST_CHECK;
/* A new object of that shape, lower-case hex. */
enum mu_status baseline_to_json(const struct pcr_values *values, json_object **ret,
                                struct mu_error *err) MU_MUST_CHECK;

/* MU_REFUSE unless every PCR of `expected` has that value in `found` (whole, in constant time, no
 * early end). *ret_differ gets the mask of those that differ. The text says for each which PCR,
 * expected and found, shortened to 16 digits. */
enum mu_status baseline_compare(const struct pcr_values *expected, const struct pcr_values *found,
                                uint32_t *ret_differ, struct mu_error *err) MU_MUST_CHECK;

/* A complete baseline names PCR 12 and one of PCR 4 and 7; MU_CONFIG says what is missing. PCR 1
 * (not constant on EC2) is refused; PCR 0, 2, 3 and 6 alone prove nothing. The fence PCR must not
 * be in it. */
enum mu_status baseline_check_complete(const struct pcr_values *values, unsigned fence_pcr,
                                       struct mu_error *err) MU_MUST_CHECK;

#endif
