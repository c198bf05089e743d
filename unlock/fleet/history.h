/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef MU_FLEET_HISTORY_H
#define MU_FLEET_HISTORY_H

#include "fleet/store.h"

/* What a store remembers of the past, and how people look through it. What visit gets is valid
 * within the call, in which it must not use the store. */

/* What the latest document of an instance says, kept when it differs from what the one before it
 * said; the database itself sees to that. The last HISTORY_MAX of each instance are kept. */
#define HISTORY_MAX 200
/* One entry of an instance's history: a change, or an event that was announced. */
struct history_entry {
    int64_t at_ms;
    const char *event; /* name of the event's kind; "": a change, and what follows is what it is */
    bool ok;
    const char *baseline, *baseline_version, *state, *image, *boot_loader, *detail, *address;
};
typedef enum mu_status (*history_visit)(const struct history_entry *entry, void *context,
                                        struct mu_error *err);
/* The newest first, at most `most`. */
enum mu_status store_history(struct store *store, const char *id, unsigned most,
                             history_visit visit, void *context,
                             struct mu_error *err) MU_MUST_CHECK;

/* How many instances were in which state in one minute, as the watch saw it last in that minute. */
struct sample {
    int64_t at_ms;     /* of the minute */
    int64_t looked_ms; /* when the watch looked */
    int64_t ok, mismatch, boot_overdue, missing;
    int64_t first_seen; /* instances that were new in this minute */
};
#define SAMPLE_MS 60000
/* In the minute of sample->looked_ms; a sample of the same minute is replaced, its first_seen
 * added. */
enum mu_status store_sample(struct store *store, const struct sample *sample,
                            struct mu_error *err) MU_MUST_CHECK;
/* Those since `from_ms` in order of time, as the worst of each `step_ms`: the least ok, the most of
 * the others. */
typedef enum mu_status (*sample_visit)(const struct sample *sample, void *context,
                                       struct mu_error *err);
enum mu_status store_samples(struct store *store, int64_t from_ms, int64_t step_ms,
                             sample_visit visit, void *context, struct mu_error *err) MU_MUST_CHECK;

/* A part of the list of instances, in order of their ids. */
struct list_part {
    const char *after; /* an id; "": from the beginning */
    const char *state; /* what was announced: "mismatch", "boot-overdue", "missing", "new";
                          "not-trusted": any of these; "": all instances. A last document that does
                          not match counts as a mismatch before that is announced. */
    const char *image; /* id of an image or a boot loader that the last document matched; "": any */
    unsigned most;
};
enum mu_status store_list(struct store *store, const struct list_part *part, instance_visit visit,
                          void *context, struct mu_error *err) MU_MUST_CHECK;

/* Forgets what is older. Of an instance that is forgotten, the database deletes all. */
enum mu_status store_history_expire(struct store *store, int64_t before_ms,
                                    struct mu_error *err) MU_MUST_CHECK;

#endif
