/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "fleet/history.h"
#include "fleet/watch_internal.h"

enum mu_status watch_sample(struct watch *watch, int64_t now_ms, struct mu_error *err)
{
    struct watch_counts counts;
    uint64_t known;
    struct sample sample;

    (void)pthread_mutex_lock(&watch->mutex);
    counts = watch->counts;
    known = watch->sampled_first_seen;
    (void)pthread_mutex_unlock(&watch->mutex);
    sample = (struct sample){
        .looked_ms = now_ms,
        .ok = (int64_t)counts.instances[STANDING_OK],
        .mismatch = (int64_t)counts.instances[STANDING_MISMATCH],
        .boot_overdue = (int64_t)counts.instances[STANDING_BOOT],
        .missing = (int64_t)counts.instances[WATCH_MISSING],
        .first_seen = (int64_t)(counts.events[EVENT_FIRST_SEEN] - known),
    };
    MU_TRY(store_sample(watch->store, &sample, err));
    (void)pthread_mutex_lock(&watch->mutex);
    watch->sampled_first_seen = counts.events[EVENT_FIRST_SEEN];
    (void)pthread_mutex_unlock(&watch->mutex);
    return MU_OK;
}
