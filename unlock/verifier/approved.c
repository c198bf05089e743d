/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "verifier/approved.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "appraise/manifest.h"
#include "base/clock.h"
#include "base/time.h"
#include "fleet/journal.h"
#include "measure/baseline.h"
#include "verifier/reference.h"

#define STALE_US 300000000u
#define NOTE_US 60000000u
#define IMAGES_MAX 1024
#define VALUES_MAX 8192

struct image {
    struct manifest manifest; /* first: it leads to the rest */
    int64_t until_ms;         /* 0: for good */
    char *withdrawn;          /* if it was revoked: by whom, when and why */
};

struct approved_set {
    atomic_uint holders;
    int64_t serial;
    struct image *image;
    size_t images;
    struct reference_list list;
    struct reference_value *value;
};

struct approved {
    struct public_keys keys;
    unsigned fence_pcr;
    pthread_mutex_t mutex; /* over what follows */
    struct approved_set *set;
    uint64_t read_us, noted_us;
};

const struct reference_list *approved_list(const struct approved_set *set)
{
    return set != NULL ? &set->list : NULL;
}

void approved_release(struct approved_set **held)
{
    struct approved_set *set = *held;

    *held = NULL;
    if (set == NULL || atomic_fetch_sub(&set->holders, 1) > 1)
        return;
    for (size_t i = 0; i < set->images; i++) {
        manifest_free(&set->image[i].manifest);
        free(set->image[i].withdrawn);
    }
    free(set->image);
    free(set->value);
    free(set);
}

enum mu_status approved_new(struct public_keys *keys, unsigned fence_pcr, struct approved **ret,
                            struct mu_error *err)
{
    struct approved *approved = calloc(1, sizeof(*approved));

    if (approved == NULL)
        return mu_oom(err);
    approved->keys = MU_TAKE(*keys);
    approved->fence_pcr = fence_pcr;
    (void)pthread_mutex_init(&approved->mutex, NULL);
    *ret = approved;
    return MU_OK;
}

void approved_free(struct approved **approved)
{
    if (*approved == NULL)
        return;
    approved_release(&(*approved)->set);
    public_keys_free(&(*approved)->keys);
    (void)pthread_mutex_destroy(&(*approved)->mutex);
    free(*approved);
    *approved = NULL;
}

/* ---- reading the store ---- */

struct reading {
    const struct approved *approved;
    struct approved_set *set;
};

static void leave_out(const struct image_act *act, const char *why)
{
    json_object *line = journal_begin("image-left-out");

    journal_text(line, "image", act->id);
    journal_text(line, "baseline", act->name);
    journal_text(line, "baseline_version", act->version);
    journal_text(line, "detail", why);
    journal_end(line);
}

static enum mu_status read_manifest(const struct reading *reading, const struct image_act *act,
                                    struct manifest *ret, struct mu_error *err)
{
    MU_TRY(manifest_open(text_view(act->envelope), "the manifest in the store",
                         &reading->approved->keys, ret, err));
    if (strcmp(ret->id, act->id) != 0)
        return mu_fail(err, MU_REFUSE, "the manifest in the store is not the one of that id");
    if (ret->kind == MANIFEST_BOOT_LOADER)
        return MU_OK;
    return baseline_check_complete(&ret->values[MANIFEST_SHA384], reading->approved->fence_pcr,
                                   err);
}

static enum mu_status describe(const struct image_act *act, char **ret, struct mu_error *err)
{
    char at[TIME_TEXT];

    if (act->act == ACT_APPROVE)
        return MU_OK;
    (void)time_text_ms((uint64_t)act->at_ms, at);
    return string_print(ret, err, "was revoked at %s by %.64s: %.256s", at, act->author, act->why);
}

static enum mu_status take_image(const struct image_act *act, void *context, struct mu_error *err)
{
    struct reading *reading = context;
    struct approved_set *set = reading->set;
    struct image *image = &set->image[set->images];
    struct mu_error why = {0};

    if (set->images == IMAGES_MAX)
        return mu_fail(err, MU_CONFIG, "the store has more than %d images", IMAGES_MAX);
    if (read_manifest(reading, act, &image->manifest, &why) != MU_OK) {
        manifest_free(&image->manifest);
        leave_out(act, why.text);
        return MU_OK;
    }
    set->images++;
    image->until_ms = act->until_ms;
    return describe(act, &image->withdrawn, err);
}

/* ---- what follows from the images ---- */

/* In both states. The earlier end counts, and any revocation. */
static enum mu_status add_values(const struct manifest *image_manifest,
                                 const struct manifest *loader_manifest,
                                 const struct pcr_values *values, void *context,
                                 struct mu_error *err)
{
    const struct image *image = (const struct image *)image_manifest;
    const struct image *loader = (const struct image *)loader_manifest;
    struct approved_set *set = context;
    const struct image *ends = image;

    if (loader != NULL && image->withdrawn == NULL &&
        (loader->withdrawn != NULL ||
         (loader->until_ms != 0 && (image->until_ms == 0 || loader->until_ms < image->until_ms))))
        ends = loader;
    if (set->list.count + 2 > VALUES_MAX)
        return mu_fail(err, MU_CONFIG, "the approved images have more than %d combinations",
                       VALUES_MAX / 2);
    for (unsigned state = STATE_BOOT; state <= STATE_RUNNING; state++)
        set->value[set->list.count++] = (struct reference_value){
            .name = image->manifest.name,
            .version = image->manifest.version,
            .state = (enum reference_state)state,
            .values = *values,
            .image = image->manifest.id,
            .boot_loader = loader != NULL ? loader->manifest.id : NULL,
            .until_ms = ends->until_ms,
            .withdrawn = ends->withdrawn,
            .ends = ends->manifest.name,
            .ends_version = ends->manifest.version,
        };
    return MU_OK;
}

static enum mu_status combine(struct approved_set *set, struct mu_error *err)
{
    const struct manifest **list = calloc(set->images + 1, sizeof(const struct manifest *));
    enum mu_status status;

    if (list == NULL)
        return mu_oom(err);
    for (size_t i = 0; i < set->images; i++)
        list[i] = &set->image[i].manifest;
    status = manifest_combine(list, set->images, MANIFEST_SHA384, add_values, set, err);
    free(list);
    return status;
}

static enum mu_status read_set(struct approved *approved, struct store *store, int64_t serial,
                               struct approved_set **ret, struct mu_error *err)
{
    MU_CLEANUP(approved_release) struct approved_set *set = calloc(1, sizeof(*set));
    struct reading reading = {approved, set};
    void *fewer;

    if (set == NULL)
        return mu_oom(err);
    atomic_init(&set->holders, 1);
    set->serial = serial;
    set->image = calloc(IMAGES_MAX, sizeof(*set->image));
    set->value = calloc(VALUES_MAX, sizeof(*set->value));
    if (set->image == NULL || set->value == NULL)
        return mu_oom(err);
    MU_TRY(store_images(store, take_image, &reading, err));
    MU_TRY(combine(set, err));
    fewer = realloc(set->value, (set->list.count + 1) * sizeof(*set->value));
    if (fewer != NULL)
        set->value = fewer;
    set->list.item = set->value;
    *ret = MU_TAKE(set);
    return MU_OK;
}

/* With the mutex. An act between the two looks is seen at the next one. */
static enum mu_status refresh(struct approved *approved, struct store *store, struct mu_error *err)
{
    struct approved_set *fresh = NULL;
    int64_t serial = 0;

    MU_TRY(store_image_serial(store, &serial, err));
    if (approved->set == NULL || approved->set->serial != serial) {
        MU_TRY(read_set(approved, store, serial, &fresh, err));
        approved_release(&approved->set);
        approved->set = fresh;
    }
    return MU_OK;
}

static enum mu_status use_old(struct approved *approved, struct mu_error *err)
{
    uint64_t now_us = clock_now_us();

    if (approved->noted_us == 0 || now_us - approved->noted_us > NOTE_US) {
        approved->noted_us = now_us;
        journal_note("images", err->text);
    }
    if (approved->set != NULL && now_us - approved->read_us <= STALE_US)
        return MU_OK;
    return mu_fail(err, MU_RETRY,
                   "which images are approved is not known: the store cannot be read");
}

/* With the mutex. What the store had when this thread asked is what is held; or else the store may
 * have gone forwards, or back, and one thread reads it for all. */
static enum mu_status bring_up_to(struct approved *approved, struct store *store, int64_t serial,
                                  struct mu_error *err)
{
    if (approved->set == NULL || approved->set->serial != serial)
        MU_TRY(refresh(approved, store, err));
    approved->read_us = clock_now_us();
    return MU_OK;
}

/* All threads ask at once, each by a connection of its own. */
enum mu_status approved_get(struct approved *approved, struct store *store,
                            struct approved_set **ret, struct mu_error *err)
{
    int64_t serial = 0;
    enum mu_status status = store_image_serial(store, &serial, err);

    (void)pthread_mutex_lock(&approved->mutex);
    if (status == MU_OK)
        status = bring_up_to(approved, store, serial, err);
    if (status != MU_OK)
        status = use_old(approved, err);
    if (status == MU_OK) {
        *ret = approved->set;
        (void)atomic_fetch_add(&approved->set->holders, 1);
    }
    (void)pthread_mutex_unlock(&approved->mutex);
    return status;
}
