/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef MU_RELYING_APPROVALS_H
#define MU_RELYING_APPROVALS_H

#include "appraise/manifest.h"
#include "fleet/store.h"

/* What may have run at any time, according to the acts of a store. */
struct approvals {
    struct approval_act {
        char id[MANIFEST_ID_SIZE];
        struct image_act act; /* without its texts */
    } * act;                  /* the oldest first */
    size_t acts;
    struct manifest *manifest; /* of each image, once */
    size_t manifests;
    struct approval_start {
        const struct manifest *image, *loader; /* loader NULL: none */
        struct pcr_values values;
    } * start;
    size_t starts;
};

/* Manifests that no key of the file signed are left out. */
enum mu_status approvals_load(const char *store, const char *builder_key, struct approvals *ret,
                              struct mu_error *err) MU_MUST_CHECK;
void approvals_free(struct approvals *approvals);
/* True if image and boot loader were both approved at that time. */
bool approvals_allow(const struct approvals *approvals, const struct approval_start *start,
                     int64_t at_ms);

#endif
