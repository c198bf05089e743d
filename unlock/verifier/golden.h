/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef MU_VERIFIER_GOLDEN_H
#define MU_VERIFIER_GOLDEN_H

#include "tpm/tpm.h"
#include "verifier/settings.h"

/* What an instance may look like; names and versions are those of the settings. */
struct golden {
    const char *name, *version;
    enum golden_state state;
    struct pcr_values values;
};

struct golden_set {
    unsigned fence_pcr;
    size_t count;
    struct golden item[SETTINGS_BASELINES_MAX];
};

/* Baselines are complete and SHA-384. MU_CONFIG names the file. */
enum mu_status golden_load(const struct settings *settings, struct golden_set *ret,
                           struct mu_error *err) MU_MUST_CHECK;

/* *ret is the first that matches: all its PCRs, and the fence PCR, which in state boot is zeros,
 * and in state running is not, or what the baseline says. MU_REFUSE: none does; *ret is the one
 * from which least differs, and the text says what. */
enum mu_status golden_match(const struct golden_set *set, const struct pcr_values *found,
                            const struct golden **ret, struct mu_error *err) MU_MUST_CHECK;

#endif
