/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef MU_POLICY_IMAGES_H
#define MU_POLICY_IMAGES_H

#include "appraise/manifest.h"

#define POLICY_IMAGES_MAX 16
#define POLICY_BASELINES_MAX 64

/* The options --images and --builder-key, as they were given. */
struct policy_manifests {
    const char *path[POLICY_IMAGES_MAX];
    size_t count;
    const char *builder_key;
};

/* What these let boot: the PCRs of each image, and of each behind each boot loader; ids are those
 * of the images. */
struct policy_images {
    struct pcr_values baseline[POLICY_BASELINES_MAX];
    size_t baselines;
    char id[POLICY_IMAGES_MAX][MANIFEST_ID_SIZE];
    size_t ids;
};
/* Baselines are those that policy_check_baseline() makes of them. MU_USAGE without a builder's key;
 * MU_CONFIG if nothing boots. */
enum mu_status policy_images_load(const struct policy_manifests *manifests, unsigned fence_pcr,
                                  struct policy_images *ret, struct mu_error *err) MU_MUST_CHECK;

/* One text as it is, more as an array. False if out of memory. */
bool policy_add_texts(json_object *object, const char *name, const char *const *texts,
                      size_t count);
/* The values that a PCR has in these baselines, each once. */
bool policy_add_pcr(json_object *object, const char *name, const struct pcr_values *baseline,
                    size_t count, unsigned pcr);

#endif
