/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "relying/approvals.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void approvals_free(struct approvals *approvals)
{
    for (size_t i = 0; i < approvals->manifests; i++)
        manifest_free(&approvals->manifest[i]);
    free(approvals->manifest);
    free(approvals->act);
    free(approvals->start);
    *approvals = (struct approvals){0};
}

struct loading {
    const struct public_keys *keys;
    struct approvals *to;
};

static enum mu_status grow(void **list, size_t count, size_t size, struct mu_error *err)
{
    void *more = realloc(*list, (count + 1) * size);

    if (more == NULL)
        return mu_oom(err);
    *list = more;
    return MU_OK;
}

static bool knows(const struct approvals *approvals, const char *id)
{
    for (size_t i = 0; i < approvals->manifests; i++)
        if (strcmp(approvals->manifest[i].id, id) == 0)
            return true;
    return false;
}

static enum mu_status take_act(const struct image_act *act, void *context, struct mu_error *err)
{
    const struct loading *loading = context;
    struct approvals *to = loading->to;
    struct manifest manifest = {0};
    struct mu_error why = {0};

    if (manifest_open(text_view(act->envelope), "the store's", loading->keys, &manifest, &why) !=
            MU_OK ||
        strcmp(manifest.id, act->id) != 0) {
        manifest_free(&manifest);
        return MU_OK;
    }
    if (knows(to, act->id)) {
        manifest_free(&manifest);
    } else {
        MU_TRY(grow((void **)&to->manifest, to->manifests, sizeof(*to->manifest), err));
        to->manifest[to->manifests++] = manifest;
    }
    MU_TRY(grow((void **)&to->act, to->acts, sizeof(*to->act), err));
    to->act[to->acts] = (struct approval_act){
        .act = {.act = act->act, .at_ms = act->at_ms, .until_ms = act->until_ms}};
    (void)snprintf(to->act[to->acts].id, sizeof(to->act[to->acts].id), "%s", act->id);
    to->acts++;
    return MU_OK;
}

static enum mu_status add_start(const struct manifest *image, const struct manifest *loader,
                                const struct pcr_values *values, void *context,
                                struct mu_error *err)
{
    struct approvals *to = context;

    MU_TRY(grow((void **)&to->start, to->starts, sizeof(*to->start), err));
    to->start[to->starts++] = (struct approval_start){image, loader, *values};
    return MU_OK;
}

static enum mu_status combine(struct approvals *to, struct mu_error *err)
{
    const struct manifest **list = calloc(to->manifests + 1, sizeof(const struct manifest *));
    enum mu_status status;

    if (list == NULL)
        return mu_oom(err);
    for (size_t i = 0; i < to->manifests; i++)
        list[i] = &to->manifest[i];
    status = manifest_combine(list, to->manifests, MANIFEST_SHA384, add_start, to, err);
    free(list);
    return status;
}

enum mu_status approvals_load(const char *where, const char *builder_key, struct approvals *ret,
                              struct mu_error *err)
{
    MU_CLEANUP(public_keys_free) struct public_keys keys = {0};
    MU_CLEANUP(store_close) struct store *store = NULL;
    MU_CLEANUP(approvals_free) struct approvals approvals = {0};
    struct loading loading = {&keys, &approvals};

    MU_TRY(signature_load_keys(builder_key, &keys, err));
    MU_TRY(store_open(where, STORE_READ, &store, err));
    MU_TRY(store_image_acts(store, take_act, &loading, err));
    MU_TRY(combine(&approvals, err));
    *ret = MU_TAKE(approvals);
    return MU_OK;
}

static bool allowed(const struct approvals *approvals, const char *id, int64_t at_ms)
{
    const struct image_act *last = NULL;

    for (size_t i = 0; i < approvals->acts; i++)
        if (strcmp(approvals->act[i].id, id) == 0 && approvals->act[i].act.at_ms <= at_ms)
            last = &approvals->act[i].act;
    return last != NULL && store_act_allows(last, at_ms);
}

bool approvals_allow(const struct approvals *approvals, const struct approval_start *start,
                     int64_t at_ms)
{
    return allowed(approvals, start->image->id, at_ms) &&
           (start->loader == NULL || allowed(approvals, start->loader->id, at_ms));
}
