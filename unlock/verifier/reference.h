/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef MU_VERIFIER_REFERENCE_H
#define MU_VERIFIER_REFERENCE_H

#include "tpm/tpm.h"
#include "verifier/settings.h"

/* PCR values that an instance may have; names and versions are those of the settings. */
struct reference_value {
    const char *name, *version;
    enum reference_state state;
    struct pcr_values values;
};

struct reference_values {
    unsigned fence_pcr;
    size_t count;
    struct reference_value item[SETTINGS_BASELINES_MAX];
};

/* A baseline of SHA-384 that tells images apart; fence_pcr must not be in it (PCR_COUNT: any may
 * be). MU_CONFIG names the file. */
enum mu_status reference_baseline_load(const char *path, unsigned fence_pcr, struct pcr_values *ret,
                                       struct mu_error *err) MU_MUST_CHECK;

/* Baselines are complete and SHA-384. MU_CONFIG names the file. */
enum mu_status reference_values_load(const struct settings *settings, struct reference_values *ret,
                                     struct mu_error *err) MU_MUST_CHECK;

/* *ret is the first that matches in all its PCRs and in the fence PCR. The fence PCR must be zeros
 * in state boot, and not zeros in state running, unless the baseline gives its value. MU_REFUSE:
 * none matches; *ret is the one with the fewest differences, and the text names them. */
enum mu_status reference_values_match(const struct reference_values *set,
                                      const struct pcr_values *found,
                                      const struct reference_value **ret,
                                      struct mu_error *err) MU_MUST_CHECK;

#endif
