/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "verifier/watch_internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/log.h"

#define NO_END UINT64_MAX
#define CHUNK 500u /* transitions in one transaction */
#define DAY_MS 86400000
#define EXPIRE_EVERY_MS 60000

int64_t watch_now_ms(void)
{
    struct timespec now = {0};

    (void)clock_gettime(CLOCK_REALTIME, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

void watch_time(int64_t ms, char ret[static 32])
{
    time_t seconds = (time_t)(ms / 1000);
    struct tm tm;
    size_t len;

    ret[0] = '\0';
    if (ms == 0 || gmtime_r(&seconds, &tm) == NULL)
        return;
    len = strftime(ret, 32, "%FT%T", &tm);
    (void)snprintf(ret + len, 32 - len, ".%03dZ", (int)(ms % 1000));
}

bool watch_add_time(json_object *object, const char *name, int64_t ms)
{
    char text[32];

    watch_time(ms, text);
    return ms == 0 ? json_object_object_add(object, name, NULL) == 0
                   : json_add_text(object, name, text);
}

/* What one look at the store finds. */
struct look {
    int64_t now_ms, silence_ms;
    struct transition *transition;
    size_t count, room;
    struct watch_counts counts;
};

static void look_free(struct look *look)
{
    free(look->transition);
}

static enum mu_status keep(struct look *look, const struct transition *transition,
                           struct mu_error *err)
{
    if (look->count == look->room) {
        size_t room = look->room == 0 ? CHUNK : 2 * look->room;
        struct transition *grown = reallocarray(look->transition, room, sizeof(*grown));

        if (grown == NULL)
            return mu_oom(err);
        look->transition = grown;
        look->room = room;
    }
    look->transition[look->count++] = *transition;
    return MU_OK;
}

static enum mu_status visit(const struct instance *instance, void *context, struct mu_error *err)
{
    struct look *look = context;
    struct watch_counts *counts = &look->counts;
    struct transition transition;

    watch_step(instance, look->now_ms, look->silence_ms, &transition);
    counts->instances[transition.to]++;
    if (instance->last_seen > counts->newest_ms)
        counts->newest_ms = instance->last_seen;
    if (transition.to != ANNOUNCED_MISSING &&
        (counts->oldest_ms == 0 || instance->last_seen < counts->oldest_ms))
        counts->oldest_ms = instance->last_seen;
    return transition.events > 0 ? keep(look, &transition, err) : MU_OK;
}

static void log_transition(const struct transition *transition)
{
    for (size_t i = 0; i < transition->events; i++)
        if (transition->event[i] != EVENT_FIRST_SEEN)
            log_line("%s: %s", transition->instance_id, event_kind_name(transition->event[i]));
}

static enum mu_status announce(struct watch *watch, const struct look *look, struct mu_error *err)
{
    for (size_t at = 0; at < look->count; at += CHUNK) {
        size_t count = look->count - at < CHUNK ? look->count - at : CHUNK;
        size_t made[EVENT_KINDS] = {0};

        MU_TRY(store_announce(watch->store, look->transition + at, count, made, err));
        for (size_t i = 0; i < count; i++)
            log_transition(&look->transition[at + i]);
        (void)pthread_mutex_lock(&watch->mutex);
        for (size_t kind = 0; kind < EVENT_KINDS; kind++)
            watch->counts.events[kind] += made[kind];
        (void)pthread_mutex_unlock(&watch->mutex);
    }
    return MU_OK;
}

static enum mu_status look_once(struct watch *watch, struct mu_error *err)
{
    MU_CLEANUP(look_free)
    struct look look = {.now_ms = watch_now_ms(),
                        .silence_ms = (int64_t)watch->settings->silence * 1000};
    uint64_t began = now_us();

    MU_TRY(store_instances(watch->store, NULL, visit, &look, err));
    MU_TRY(announce(watch, &look, err));
    (void)pthread_mutex_lock(&watch->mutex);
    memcpy(watch->counts.instances, look.counts.instances, sizeof(look.counts.instances));
    watch->counts.oldest_ms = look.counts.oldest_ms;
    watch->counts.newest_ms = look.counts.newest_ms;
    watch->counts.scanned_ms = look.now_ms;
    watch->counts.scan_seconds = (double)(now_us() - began) / 1e6;
    watch->counts.scans++;
    (void)pthread_mutex_unlock(&watch->mutex);
    return MU_OK;
}

static enum mu_status expire(struct watch *watch, struct mu_error *err)
{
    int64_t now = watch_now_ms();
    int64_t seen = watch->settings->forget_days == 0
                       ? 0
                       : now - (int64_t)watch->settings->forget_days * DAY_MS;
    size_t gone = 0;

    MU_TRY(store_expire(watch->store, seen, now - (int64_t)watch->settings->history_days * DAY_MS,
                        &gone, err));
    if (gone > 0)
        log_line("%zu instance%s forgotten, missing for %u days", gone, gone == 1 ? "" : "s",
                 watch->settings->forget_days);
    return MU_OK;
}

static void watch_close(struct watch *watch)
{
    store_close(&watch->store);
    (void)pthread_mutex_destroy(&watch->mutex);
}

static enum mu_status add_sink(struct watch *watch, const struct sink *sink, struct mu_error *err)
{
    struct sink *added = &watch->sink[watch->sinks++];

    added->name = sink->name;
    added->give_up = sink->give_up;
    added->deliver = sink->deliver;
    added->watch = watch;
    return store_sink_add(watch->store, sink->name, err);
}

/* *watch stays where it is: its sinks point to it. */
static enum mu_status watch_open(struct watch *watch, const struct watch_settings *settings,
                                 const atomic_bool *stop, struct mu_error *err)
{
    const struct sink command = {
        .name = "command", .give_up = settings->command.give_up, .deliver = command_deliver};
    const struct sink webhook = {
        .name = "webhook", .give_up = settings->webhook.give_up, .deliver = webhook_deliver};

    watch->settings = settings;
    watch->stop = stop;
    if (pthread_mutex_init(&watch->mutex, NULL) != 0)
        return mu_oom(err);
    MU_TRY(store_open(settings->store, &watch->store, err));
    if (settings->command.path != NULL)
        MU_TRY(add_sink(watch, &command, err));
    if (settings->webhook.url != NULL)
        MU_TRY(add_sink(watch, &webhook, err));
    return MU_OK;
}

enum mu_status watch_once(const struct watch_settings *settings, const atomic_bool *stop,
                          struct mu_error *err)
{
    MU_CLEANUP(watch_close) struct watch watch = {0};
    enum mu_status worst = MU_OK;

    MU_TRY(watch_open(&watch, settings, stop, err));
    MU_TRY(look_once(&watch, err));
    MU_TRY(expire(&watch, err));
    for (size_t i = 0; i < watch.sinks; i++) {
        struct mu_error why = {0};

        if (sink_flush(&watch.sink[i], &why) == MU_OK)
            continue;
        log_error(&why);
        worst = mu_fail(err, MU_RETRY, "not all events were delivered; they wait in the store");
    }
    return worst;
}

static void look_repeatedly(struct watch *watch)
{
    struct deadline never = {NO_END, watch->stop};
    int64_t expired = 0;

    while (!atomic_load(watch->stop)) {
        struct mu_error err = {0};
        enum mu_status status = look_once(watch, &err);

        if (status == MU_OK && watch_now_ms() - expired >= EXPIRE_EVERY_MS) {
            status = expire(watch, &err);
            expired = watch_now_ms();
        }
        if (status != MU_OK) {
            log_error(&err);
            (void)pthread_mutex_lock(&watch->mutex);
            watch->counts.failed_scans++;
            (void)pthread_mutex_unlock(&watch->mutex);
        }
        (void)pause_ms(watch->settings->interval * 1000, never);
    }
}

static enum mu_status run(struct watch *watch, struct mu_error *err)
{
    MU_CLEANUP(watch_metrics_stop) struct watch_metrics *server = NULL;

    if (watch->settings->metrics != NULL)
        MU_TRY(watch_metrics_serve(watch, &server, err));
    for (size_t i = 0; i < watch->sinks; i++)
        MU_TRY(sink_start(&watch->sink[i], err));
    log_line("watching: silent for %u s is missing", watch->settings->silence);
    look_repeatedly(watch);
    return MU_OK;
}

enum mu_status watch_run(const struct watch_settings *settings, atomic_bool *stop,
                         struct mu_error *err)
{
    MU_CLEANUP(watch_close) struct watch watch = {0};
    enum mu_status status;

    MU_TRY(watch_open(&watch, settings, stop, err));
    status = run(&watch, err);
    atomic_store(stop, true);
    for (size_t i = 0; i < watch.sinks; i++)
        sink_stop(&watch.sink[i]);
    return status;
}
