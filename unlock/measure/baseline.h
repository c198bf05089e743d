/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef MU_MEASURE_BASELINE_H
#define MU_MEASURE_BASELINE_H

#include "base/json.h"
#include "tpm/tpm.h"

#define BASELINE_MAX_BYTES 65536

/* The PCRs that are recorded, predicted and sealed to by default; docs/guide/key-policy.md says for
 * each of them why. These are the same on every machine that started nothing but its image: PCR 2
 * and 3 (no driver or option ROM ran before), 12 (no command line), 13 (no extension image), 14 (no
 * MOK). */
#define BASELINE_CLEAN_PCRS (PCR_BIT(2) | PCR_BIT(3) | PCR_BIT(13) | PCR_BIT(14))
#define BASELINE_BAKED_PCRS (BASELINE_CLEAN_PCRS | PCR_BIT(7) | PCR_BIT(12))
#define BASELINE_PCRS (BASELINE_BAKED_PCRS | PCR_BIT(4))

/* {"Measurements":{"HashAlgorithm":"SHA384","PCR4":"<hex>",...},"Without":[2]}: what
 * nitro-tpm-pcr-compute writes, and the PCRs that were left out knowingly. Other members are
 * allowed and dropped; inside Measurements an unknown member is an error. */
enum mu_status baseline_parse(struct bytes text, const char *what, struct pcr_values *ret,
                              struct mu_error *err) MU_MUST_CHECK;
enum mu_status baseline_parse_object(json_object *object, const char *what, struct pcr_values *ret,
                                     struct mu_error *err) MU_MUST_CHECK;
enum mu_status baseline_load(const char *path, struct pcr_values *ret,
                             struct mu_error *err) MU_MUST_CHECK;
/* A new object of that shape, lower-case hex. */
enum mu_status baseline_to_json(const struct pcr_values *values, json_object **ret,
                                struct mu_error *err) MU_MUST_CHECK;

/* Adds each value as a string, named by the prefix and its PCR. False if out of memory. */
bool baseline_add_values(json_object *object, const char *prefix,
                         const struct pcr_values *values) MU_MUST_CHECK;

/* MU_REFUSE unless every PCR of `expected` has that value in `found` (all are compared, in constant
 * time). *ret_differ gets the mask of those that differ. For each, the text says the PCR, the value
 * expected and the value found, shortened to 16 digits. */
enum mu_status baseline_compare(const struct pcr_values *expected, const struct pcr_values *found,
                                uint32_t *ret_differ, struct mu_error *err) MU_MUST_CHECK;

/* What PCR 2, 3, 12, 13 or 14 holds on a clean machine: a separator alone (PFP 3.3.4), or zeros. */
enum mu_status baseline_clean_value(enum hash_alg bank, unsigned pcr, struct digest *ret,
                                    struct mu_error *err) MU_MUST_CHECK;
/* True if PCR 7 is in the values and is not the PCR 7 of every machine whose Secure Boot is off. */
bool baseline_has_secure_boot(const struct pcr_values *values);
/* The PCRs of BASELINE_CLEAN_PCRS that are neither in the values nor left out knowingly. */
uint32_t baseline_lacks(const struct pcr_values *values);
/* "2, 3 and 13", for messages. */
#define BASELINE_NAMES_MAX 96
void baseline_pcr_names(uint32_t mask, char ret[static BASELINE_NAMES_MAX]);

/* A complete baseline tells images apart: it names PCR 4, or a PCR 7 with Secure Boot on. It names
 * PCR 12. Without that PCR 7 it names all of BASELINE_CLEAN_PCRS too, except those left out
 * knowingly. PCR 1 (not constant on EC2) and the fence PCR are not in it. MU_CONFIG says what is
 * missing, why it is needed, and how to get it. */
enum mu_status baseline_check_complete(const struct pcr_values *values, unsigned fence_pcr,
                                       struct mu_error *err) MU_MUST_CHECK;
/* The same for the part that is baked into an image, which cannot hold its own PCR 4. */
enum mu_status baseline_check_baked(const struct pcr_values *values, unsigned fence_pcr,
                                    struct mu_error *err) MU_MUST_CHECK;

#endif
