/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "policy/images.h"

#include <string.h>

#include "policy/policy.h"

struct manifests {
    struct manifest manifest[POLICY_IMAGES_MAX];
};

static void manifests_free(struct manifests *manifests)
{
    for (size_t i = 0; i < POLICY_IMAGES_MAX; i++)
        manifest_free(&manifests->manifest[i]);
}

struct adding {
    struct policy_images *images;
    unsigned fence_pcr;
};

static enum mu_status add_start(const struct manifest *image, const struct manifest *loader,
                                const struct pcr_values *values, void *context,
                                struct mu_error *err)
{
    const struct adding *adding = context;
    struct policy_images *images = adding->images;

    if (images->baselines == POLICY_BASELINES_MAX)
        return mu_fail(err, MU_CONFIG, "these images have more than %d combinations",
                       POLICY_BASELINES_MAX);
    if (loader == NULL)
        memcpy(images->id[images->ids++], image->id, MANIFEST_ID_SIZE);
    images->baseline[images->baselines] = *values;
    return policy_check_baseline(image->name, adding->fence_pcr,
                                 &images->baseline[images->baselines++], err);
}

enum mu_status policy_images_load(const struct policy_manifests *from, unsigned fence_pcr,
                                  struct policy_images *ret, struct mu_error *err)
{
    MU_CLEANUP(public_keys_free) struct public_keys keys = {0};
    MU_CLEANUP(manifests_free) struct manifests manifests = {0};
    const struct manifest *list[POLICY_IMAGES_MAX];
    struct adding adding = {ret, fence_pcr};

    *ret = (struct policy_images){0};
    if (from->count == 0)
        return MU_OK;
    if (from->builder_key == NULL)
        return mu_fail(err, MU_USAGE, "--images needs --builder-key FILE: whose signature is it?");
    MU_TRY(signature_load_keys(from->builder_key, &keys, err));
    for (size_t i = 0; i < from->count; i++) {
        MU_TRY(manifest_load(from->path[i], &keys, &manifests.manifest[i], err));
        list[i] = &manifests.manifest[i];
    }
    MU_TRY(manifest_combine(list, from->count, MANIFEST_SHA384, add_start, &adding, err));
    if (ret->baselines == 0)
        return mu_fail(err, MU_CONFIG,
                       "these are boot loaders alone: give the manifests of what they start, too");
    return MU_OK;
}

bool policy_add_texts(json_object *object, const char *name, const char *const *texts, size_t count)
{
    json_object *array;

    if (count == 1)
        return json_add_text(object, name, texts[0]);
    array = json_object_new_array();
    for (size_t i = 0; array != NULL && i < count; i++) {
        if (!json_append(array, json_object_new_string(texts[i]))) {
            json_free(&array);
            return false;
        }
    }
    return json_add(object, name, array);
}

bool policy_add_pcr(json_object *object, const char *name, const struct pcr_values *baseline,
                    size_t count, unsigned pcr)
{
    char text[POLICY_BASELINES_MAX][POLICY_PCR_DIGITS + 1];
    const char *texts[POLICY_BASELINES_MAX];
    size_t values = 0;

    for (size_t i = 0; i < count; i++) {
        size_t known = 0;

        while (known < i && (pcr_differing(&baseline[known], &baseline[i]) & PCR_BIT(pcr)) != 0)
            known++;
        if (known < i)
            continue;
        hex_encode((struct bytes){baseline[i].value[pcr].bytes, POLICY_PCR_DIGITS / 2},
                   text[values]);
        texts[values] = text[values];
        values++;
    }
    return policy_add_texts(object, name, texts, values);
}
