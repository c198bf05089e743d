/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef MU_VERIFIER_REFERENCE_H
#define MU_VERIFIER_REFERENCE_H

#include "base/json.h"
#include "tpm/tpm.h"
#include "verifier/settings.h"

/* PCR values that an instance may have; names and versions are those of the settings, or those of
 * approved images. */
struct reference_value {
    const char *name, *version;
    enum reference_state state;
    struct pcr_values values;
    /* of approved images; else NULL and 0 */
    const char *image, *boot_loader; /* ids of manifests; no boot loader: NULL */
    int64_t until_ms;                /* may run until then; 0: for good */
    const char *withdrawn;           /* NULL, or why it may not run any more: "was revoked ..." */
    const char *ends, *ends_version; /* which of the two images these are said of */
};

struct reference_list {
    const struct reference_value *item;
    size_t count;
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

/* The members "image" and "boot_loader", of what follows from approved images. */
bool reference_add_images(json_object *object, const struct reference_value *reference);

/* *ret is the first that matches in all its PCRs and in the fence PCR; `images` (NULL: none) come
 * after the set, and only those that may run at now_ms match. The fence PCR must be zeros in state
 * boot, and not zeros in state running, unless the baseline gives its value. MU_REFUSE: none
 * matches; *ret is the one with the fewest differences, and the text names them; or the one that
 * would match if it were still approved. */
enum mu_status reference_values_match(const struct reference_values *set,
                                      const struct reference_list *images,
                                      const struct pcr_values *found, uint64_t now_ms,
                                      const struct reference_value **ret,
                                      struct mu_error *err) MU_MUST_CHECK;

#endif
