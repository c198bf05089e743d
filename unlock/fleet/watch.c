/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "fleet/watch_internal.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "fleet/journal.h"

#define NO_END UINT64_MAX
#define COUNT_PATIENCE 20u /* how many times longer than a count takes the next one is put off */
#define DAY_MS 86400000
#define EXPIRE_EVERY_MS 60000
#define HANGUP_POLL_MS 200u

int64_t watch_now_ms(void)
{
    return (int64_t)time_now_ms();
}

void watch_time(int64_t ms, char ret[static TIME_TEXT])
{
    ret[0] = '\0';
    if (ms > 0)
        (void)time_text_ms((uint64_t)ms, ret);
}

bool watch_add_time(json_object *object, const char *name, int64_t ms)
{
    char text[TIME_TEXT];

    watch_time(ms, text);
    return ms == 0 ? json_add_null(object, name) : json_add_text(object, name, text);
}

/* ---- settings ---- */

struct watch_held *watch_hold(struct watch *watch)
{
    struct watch_held *held;

    (void)pthread_mutex_lock(&watch->mutex);
    held = watch->held;
    held->holders++;
    (void)pthread_mutex_unlock(&watch->mutex);
    return held;
}

static void held_free(struct watch_held **held)
{
    if (*held == NULL)
        return;
    watch_settings_free(&(*held)->settings);
    free(*held);
    *held = NULL;
}

void watch_release(struct watch *watch, struct watch_held **held)
{
    bool last;

    (void)pthread_mutex_lock(&watch->mutex);
    last = --(*held)->holders == 0;
    (void)pthread_mutex_unlock(&watch->mutex);
    if (last)
        held_free(held);
    *held = NULL;
}

static enum mu_status watch_load(const struct watch_source *source, struct watch_held **ret,
                                 struct mu_error *err)
{
    MU_CLEANUP(held_free) struct watch_held *held = calloc(1, sizeof(*held));

    if (held == NULL)
        return mu_oom(err);
    held->holders = 1;
    MU_TRY(watch_settings_load(source, &held->settings, err));
    *ret = MU_TAKE(held);
    return MU_OK;
}

static enum mu_status add_sinks(struct watch *watch, const struct watch_settings *settings,
                                struct mu_error *err)
{
    for (size_t i = 0; i < SINKS; i++)
        if (settings->sink[i].to != NULL)
            MU_TRY(store_sink_add(watch->store, sink_kinds[i].name, err));
    return MU_OK;
}

static enum mu_status try_reload(struct watch *watch, struct mu_error *err)
{
    MU_CLEANUP(held_free) struct watch_held *fresh = NULL;
    struct watch_held *old;

    MU_TRY(watch_load(watch->source, &fresh, err));
    MU_TRY(add_sinks(watch, &fresh->settings, err));
    (void)pthread_mutex_lock(&watch->mutex);
    old = watch->held;
    watch->held = fresh;
    (void)pthread_mutex_unlock(&watch->mutex);
    fresh = NULL;
    watch_release(watch, &old);
    return MU_OK;
}

static void reload(struct watch *watch)
{
    struct mu_error err = {0};
    bool failed = try_reload(watch, &err) != MU_OK;

    (void)pthread_mutex_lock(&watch->mutex);
    watch->reload_failed = failed;
    (void)pthread_mutex_unlock(&watch->mutex);
    journal_note(failed ? "reload-failed" : "reloaded", failed ? err.text : watch->source->path);
}

/* ---- looking ---- */

/* What a look finds in a part of the store. */
struct look {
    int64_t now_ms;
    struct watch_limits limits;
    struct transition transition[STORE_DUE_MAX];
    size_t count;
};

static enum mu_status visit(const struct instance *instance, void *context, struct mu_error *err)
{
    struct look *look = context;
    struct transition *next = &look->transition[look->count];

    (void)err;
    watch_step(instance, look->now_ms, &look->limits, next);
    look->count += next->events > 0;
    return MU_OK;
}

static void log_transition(const struct transition *transition)
{
    for (size_t i = 0; i < transition->events; i++) {
        json_object *line = journal_begin(store_event_kind_name(transition->event[i]));

        journal_text(line, "instance_id", transition->instance_id);
        journal_end(line);
    }
}

static enum mu_status announce(struct watch *watch, struct look *look, struct mu_error *err)
{
    size_t made[EVENT_KINDS];

    MU_TRY(store_announce(watch->store, look->transition, look->count, made, err));
    for (size_t i = 0; i < look->count; i++)
        log_transition(&look->transition[i]);
    look->count = 0;
    (void)pthread_mutex_lock(&watch->mutex);
    for (size_t kind = 0; kind < EVENT_KINDS; kind++)
        watch->counts.events[kind] += made[kind];
    (void)pthread_mutex_unlock(&watch->mutex);
    return MU_OK;
}

/* What they are announced as; none stays new for longer than until the next look. */
static enum mu_status count_some(const struct instance_count *count, void *context,
                                 struct mu_error *err)
{
    struct watch_counts *counts = context;

    (void)err;
    for (unsigned state = 0; state < WATCH_STATES; state++)
        if ((watch_states(count->announced) & WATCH_STATE(state)) != 0)
            counts->instances[state] += count->instances;
    if (count->newest_ms > counts->newest_ms)
        counts->newest_ms = count->newest_ms;
    if (!count->announced.missing &&
        (counts->oldest_ms == 0 || count->oldest_ms < counts->oldest_ms))
        counts->oldest_ms = count->oldest_ms;
    return MU_OK;
}

/* The database reads all rows for these: in a large fleet it does not do so at each look. */
static enum mu_status count_all(struct watch *watch, struct mu_error *err)
{
    struct watch_counts fresh = {0};
    uint64_t began = clock_now_us();

    if (began < watch->count_again_us)
        return MU_OK;
    MU_TRY(store_counts(watch->store, count_some, &fresh, err));
    watch->count_again_us = began + COUNT_PATIENCE * (clock_now_us() - began);
    (void)pthread_mutex_lock(&watch->mutex);
    memcpy(watch->counts.instances, fresh.instances, sizeof(fresh.instances));
    watch->counts.oldest_ms = fresh.oldest_ms;
    watch->counts.newest_ms = fresh.newest_ms;
    (void)pthread_mutex_unlock(&watch->mutex);
    return MU_OK;
}

static enum mu_status look_through(struct watch *watch, struct look *look, struct mu_error *err)
{
    struct store_due due = {0};

    while (!due.done && !atomic_load(watch->stop)) {
        MU_TRY(store_due(watch->store, look->now_ms - look->limits.silence_ms, &due, visit, look,
                         err));
        MU_TRY(announce(watch, look, err));
    }
    return MU_OK;
}

static enum mu_status look_once(struct watch *watch, const struct watch_settings *settings,
                                struct mu_error *err)
{
    MU_CLEANUP(memory_free) struct look *look = calloc(1, sizeof(*look));
    uint64_t began = clock_now_us();

    if (look == NULL)
        return mu_oom(err);
    look->now_ms = watch_now_ms();
    look->limits = watch_limits_of(settings);
    MU_TRY(look_through(watch, look, err));
    MU_TRY(count_all(watch, err));
    (void)pthread_mutex_lock(&watch->mutex);
    watch->counts.scanned_ms = look->now_ms;
    watch->counts.scan_seconds = (double)(clock_now_us() - began) / 1e6;
    watch->counts.scans++;
    (void)pthread_mutex_unlock(&watch->mutex);
    return watch_sample(watch, look->now_ms, err);
}

static enum mu_status expire(struct watch *watch, const struct watch_settings *settings,
                             struct mu_error *err)
{
    int64_t now = watch_now_ms();
    int64_t seen = settings->forget_days == 0 ? 0 : now - (int64_t)settings->forget_days * DAY_MS;
    size_t gone = 0;
    json_object *line;

    MU_TRY(store_expire(watch->store, seen, now - (int64_t)settings->history_days * DAY_MS, &gone,
                        err));
    if (gone == 0)
        return MU_OK;
    line = journal_begin("forgotten");
    journal_number(line, "instances", (double)gone);
    journal_number(line, "days", settings->forget_days);
    journal_end(line);
    return MU_OK;
}

/* ---- running ---- */

static void watch_close(struct watch *watch)
{
    store_close(&watch->store);
    if (watch->held != NULL)
        watch_release(watch, &watch->held);
    (void)pthread_mutex_destroy(&watch->mutex);
}

/* *watch stays where it is: its sinks point to it. */
static enum mu_status watch_open(struct watch *watch, const struct watch_source *source,
                                 const atomic_bool *stop, struct mu_error *err)
{
    watch->source = source;
    watch->stop = stop;
    if (pthread_mutex_init(&watch->mutex, NULL) != 0)
        return mu_oom(err);
    for (unsigned i = 0; i < SINKS; i++) {
        watch->sink[i].kind = i;
        watch->sink[i].watch = watch;
    }
    MU_TRY(watch_load(source, &watch->held, err));
    MU_TRY(store_open(watch->held->settings.store, STORE_WRITE, &watch->store, err));
    return add_sinks(watch, &watch->held->settings, err);
}

enum mu_status watch_once(const struct watch_source *source, const atomic_bool *stop,
                          struct mu_error *err)
{
    MU_CLEANUP(watch_close) struct watch watch = {0};
    enum mu_status worst = MU_OK;

    MU_TRY(watch_open(&watch, source, stop, err));
    MU_TRY(look_once(&watch, &watch.held->settings, err));
    MU_TRY(expire(&watch, &watch.held->settings, err));
    for (size_t i = 0; i < SINKS; i++) {
        enum mu_status status = sink_flush(&watch.sink[i], err);

        worst = status != MU_OK ? status : worst;
    }
    return worst;
}

static atomic_bool hung_up;

static void on_hangup(int number)
{
    (void)number;
    atomic_store(&hung_up, true);
}

/* The next look is due, or a reload was asked for. */
static void wait_a_while(const struct watch *watch, unsigned seconds)
{
    struct deadline due = deadline_in(seconds);

    due.stop = watch->stop;
    while (!atomic_load(&hung_up) && clock_pause_ms(HANGUP_POLL_MS, due))
        ;
}

static void look_repeatedly(struct watch *watch)
{
    int64_t expired = 0;

    while (!atomic_load(watch->stop)) {
        struct watch_held *held = watch_hold(watch);
        struct mu_error err = {0};
        enum mu_status status = look_once(watch, &held->settings, &err);

        if (status == MU_OK && watch_now_ms() - expired >= EXPIRE_EVERY_MS) {
            status = expire(watch, &held->settings, &err);
            expired = watch_now_ms();
        }
        if (status != MU_OK) {
            journal_note("store", err.text);
            (void)pthread_mutex_lock(&watch->mutex);
            watch->counts.failed_scans++;
            (void)pthread_mutex_unlock(&watch->mutex);
        }
        wait_a_while(watch, held->settings.interval);
        watch_release(watch, &held);
        if (atomic_exchange(&hung_up, false))
            reload(watch);
    }
}

static enum mu_status watch_serve(struct watch *watch, struct mu_error *err)
{
    const struct sigaction reloads = {.sa_handler = on_hangup, .sa_flags = SA_RESTART};
    MU_CLEANUP(watch_metrics_stop) struct MHD_Daemon *server = NULL;

    if (sigaction(SIGHUP, &reloads, NULL) != 0)
        return mu_fail(err, MU_INTERNAL, "no handler for HUP");
    if (watch->held->settings.metrics != NULL)
        MU_TRY(watch_metrics_serve(watch, watch->held->settings.metrics, &server, err));
    for (size_t i = 0; i < SINKS; i++)
        MU_TRY(sink_start(&watch->sink[i], err));
    journal_note("watching", watch->source->path);
    look_repeatedly(watch);
    return MU_OK;
}

enum mu_status watch_run(const struct watch_source *source, atomic_bool *stop, struct mu_error *err)
{
    MU_CLEANUP(watch_close) struct watch watch = {0};
    enum mu_status status;

    MU_TRY(watch_open(&watch, source, stop, err));
    status = watch_serve(&watch, err);
    atomic_store(stop, true);
    for (size_t i = 0; i < SINKS; i++)
        sink_stop(&watch.sink[i]);
    if (status == MU_OK)
        journal_note("stopping", source->path);
    return status;
}
