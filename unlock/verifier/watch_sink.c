/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "verifier/watch_internal.h"

#include <string.h>

#include "base/json.h"
#include "base/log.h"

#define FIRST_PAUSE_MS 1000
#define LONGEST_PAUSE_MS 60000
#define IDLE_MS 500
#define NO_END UINT64_MAX

static enum mu_status event_json(const struct event *event, json_object **ret, struct mu_error *err)
{
    MU_CLEANUP(json_free) json_object *object = json_object_new_object();

    if (object == NULL || !json_add(object, "id", json_object_new_int64(event->id)) ||
        !json_add_text(object, "event", event_kind_name(event->kind)) ||
        !json_add_text(object, "instance_id", event->instance_id) ||
        !watch_add_time(object, "at", event->at_ms) ||
        !watch_add_time(object, "last_seen", event->last_seen) ||
        !watch_add_time(object, "last_good", event->last_good) ||
        !json_add_text(object, "baseline", event->baseline) ||
        !json_add_text(object, "baseline_version", event->baseline_version) ||
        !json_add_text(object, "state", event->state) ||
        !json_add_text(object, "detail", event->detail) ||
        !json_add_text(object, "address", event->address))
        return mu_oom(err);
    *ret = object;
    object = NULL;
    return MU_OK;
}

static enum mu_status attempt(struct sink *sink, const struct event *event,
                              struct deadline deadline, struct mu_error *err)
{
    MU_CLEANUP(json_free) json_object *object = NULL;
    enum mu_status status;
    const char *text;

    MU_TRY(event_json(event, &object, err));
    text = json_object_to_json_string_ext(object,
                                          JSON_C_TO_STRING_PLAIN | JSON_C_TO_STRING_NOSLASHESCAPE);
    if (text == NULL)
        return mu_oom(err);
    status = sink->deliver(sink->watch->settings,
                           (struct bytes){(const uint8_t *)text, strlen(text)}, deadline, err);
    if (status == MU_OK)
        atomic_fetch_add(&sink->delivered, 1);
    else if (deadline.stop == NULL || !atomic_load(deadline.stop))
        atomic_fetch_add(&sink->failures, 1);
    return status;
}

static enum mu_status next(struct sink *sink, struct event *ret, struct mu_error *err)
{
    int64_t waiting = 0;

    MU_TRY(store_events_waiting(sink->watch->store, sink->name, &waiting, err));
    atomic_store(&sink->waiting, (unsigned long long)waiting);
    return waiting == 0 ? MU_OK : store_event_next(sink->watch->store, sink->name, ret, err);
}

/* True when it was delivered or has been tried long enough; false: stopped. */
static bool deliver_or_drop(struct sink *sink, const struct event *event)
{
    struct deadline give_up = deadline_in(sink->give_up);
    struct mu_error err = {0};

    give_up.stop = sink->watch->stop;
    for (unsigned tries = 0;; tries++) {
        if (attempt(sink, event, give_up, &err) == MU_OK)
            return true;
        if (atomic_load(sink->watch->stop))
            return false;
        if (tries == 0)
            log_line("%s: event %lld (%s, %s) is not delivered yet: %s", sink->name,
                     (long long)event->id, event_kind_name(event->kind), event->instance_id,
                     err.text);
        if (!backoff_sleep(tries, FIRST_PAUSE_MS, LONGEST_PAUSE_MS, give_up))
            break;
    }
    if (atomic_load(sink->watch->stop))
        return false;
    atomic_fetch_add(&sink->dropped, 1);
    log_line("%s: event %lld (%s, %s) is given up: %s", sink->name, (long long)event->id,
             event_kind_name(event->kind), event->instance_id, err.text);
    return true;
}

static void *work(void *argument)
{
    struct sink *sink = argument;
    struct deadline never = {NO_END, sink->watch->stop};

    while (!atomic_load(sink->watch->stop)) {
        MU_CLEANUP(event_free) struct event event = {0};
        struct mu_error err = {0};
        enum mu_status status = next(sink, &event, &err);

        if (status == MU_OK && event.id != 0 && deliver_or_drop(sink, &event))
            status = store_event_done(sink->watch->store, sink->name, event.id, &err);
        if (status != MU_OK || event.id == 0)
            (void)pause_ms(IDLE_MS, never);
    }
    return NULL;
}

enum mu_status sink_start(struct sink *sink, struct mu_error *err)
{
    if (pthread_create(&sink->thread, NULL, work, sink) != 0)
        return mu_fail(err, MU_INTERNAL, "no thread for the %s", sink->name);
    sink->started = true;
    return MU_OK;
}

void sink_stop(struct sink *sink)
{
    if (sink->started)
        (void)pthread_join(sink->thread, NULL);
    sink->started = false;
}

enum mu_status sink_flush(struct sink *sink, struct mu_error *err)
{
    struct deadline limit = {NO_END, sink->watch->stop};

    for (;;) {
        MU_CLEANUP(event_free) struct event event = {0};

        MU_TRY(next(sink, &event, err));
        if (event.id == 0)
            return MU_OK;
        if (attempt(sink, &event, limit, err) != MU_OK)
            return mu_context(err, "%s: event %lld waits for the next run", sink->name,
                              (long long)event.id);
        MU_TRY(store_event_done(sink->watch->store, sink->name, event.id, err));
    }
}
