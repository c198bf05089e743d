/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "base/retry.h"
#include "fleet/watch_internal.h"

#include <string.h>

#include "base/json.h"
#include "fleet/journal.h"

#define IDLE_MS 500
#define NO_END UINT64_MAX

static enum mu_status event_json(const struct event *event, json_object **ret, struct mu_error *err)
{
    MU_CLEANUP(json_free) json_object *object = json_object_new_object();

    if (object == NULL || !json_add(object, "id", json_object_new_int64(event->id)) ||
        !json_add_text(object, "event", store_event_kind_name(event->kind)) ||
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
    *ret = MU_TAKE(object);
    return MU_OK;
}

const struct sink_kind sink_kinds[SINKS] = {
    [SINK_COMMAND] = {"command", watch_command_deliver},
    [SINK_WEBHOOK] = {"webhook", watch_webhook_deliver},
};

static const char *name_of(const struct sink *sink)
{
    return sink_kinds[sink->kind].name;
}

/* One line of the log about an event on its way. */
static void note(const struct sink *sink, const char *what, const struct event *event,
                 const char *why)
{
    json_object *line = journal_begin(what);

    journal_text(line, "sink", name_of(sink));
    (void)json_add(line, "id", json_object_new_int64(event->id));
    journal_text(line, "kind", store_event_kind_name(event->kind));
    journal_text(line, "instance_id", event->instance_id);
    journal_text(line, "detail", why);
    journal_end(line);
}

static enum mu_status deliver(struct sink *sink, const struct watch_settings *settings,
                              const struct event *event, struct deadline deadline,
                              struct mu_error *err)
{
    MU_CLEANUP(json_free) json_object *object = NULL;
    const struct watch_to *to = &settings->sink[sink->kind];
    const char *text;

    if (to->to == NULL)
        return mu_fail(err, MU_RETRY, "it is not configured any more");
    MU_TRY(event_json(event, &object, err));
    text = json_text(object);
    if (text == NULL)
        return mu_oom(err);
    return sink_kinds[sink->kind].deliver(to, text_view(text), deadline, err);
}

static enum mu_status attempt(struct sink *sink, const struct event *event,
                              struct deadline deadline, struct mu_error *err)
{
    struct watch_held *held = watch_hold(sink->watch);
    enum mu_status status = deliver(sink, &held->settings, event, deadline, err);

    watch_release(sink->watch, &held);
    if (status == MU_OK)
        atomic_fetch_add(&sink->delivered, 1);
    else if (deadline.stop == NULL || !atomic_load(deadline.stop))
        atomic_fetch_add(&sink->failures, 1);
    return status;
}

/* False: nothing goes there. */
static bool wanted(struct sink *sink, unsigned *ret_give_up)
{
    struct watch_held *held = watch_hold(sink->watch);
    bool is_wanted = held->settings.sink[sink->kind].to != NULL;

    *ret_give_up = held->settings.sink[sink->kind].give_up;
    watch_release(sink->watch, &held);
    return is_wanted;
}

static enum mu_status next(struct sink *sink, struct event *ret, struct mu_error *err)
{
    int64_t waiting = 0;

    MU_TRY(store_events_waiting(sink->watch->store, name_of(sink), &waiting, err));
    atomic_store(&sink->waiting, (unsigned long long)waiting);
    return waiting == 0 ? MU_OK : store_event_next(sink->watch->store, name_of(sink), ret, err);
}

/* True when it was delivered or has been tried long enough; false: stopped. */
static bool deliver_or_drop(struct sink *sink, const struct event *event, unsigned give_up_s)
{
    static const struct retry_policy policy = {.first_ms = 1000, .longest_ms = 60000};
    struct retry retry = {.policy = &policy, .deadline = deadline_in(give_up_s)};
    struct mu_error err = {0};

    retry.deadline.stop = sink->watch->stop;
    do {
        if (attempt(sink, event, retry.deadline, &err) == MU_OK)
            return true;
        if (atomic_load(sink->watch->stop))
            return false;
        if (retry.attempt == 0)
            note(sink, "not-delivered", event, err.text);
    } while (retry_pause(&retry));
    if (atomic_load(sink->watch->stop))
        return false;
    atomic_fetch_add(&sink->dropped, 1);
    note(sink, "given-up", event, err.text);
    return true;
}

static void *work(void *argument)
{
    struct sink *sink = argument;
    struct deadline never = {.at_us = NO_END, .stop = sink->watch->stop};

    while (!atomic_load(sink->watch->stop)) {
        MU_CLEANUP(store_event_free) struct event event = {0};
        struct mu_error err = {0};
        enum mu_status status = MU_OK;
        unsigned give_up;

        if (wanted(sink, &give_up))
            status = next(sink, &event, &err);
        if (status == MU_OK && event.id != 0 && deliver_or_drop(sink, &event, give_up))
            status = store_event_done(sink->watch->store, name_of(sink), event.id, &err);
        if (status != MU_OK || event.id == 0)
            (void)clock_pause_ms(IDLE_MS, never);
    }
    return NULL;
}

enum mu_status sink_start(struct sink *sink, struct mu_error *err)
{
    if (pthread_create(&sink->thread, NULL, work, sink) != 0)
        return mu_fail(err, MU_INTERNAL, "no thread for the %s", name_of(sink));
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
    struct deadline limit = {.at_us = NO_END, .stop = sink->watch->stop};
    unsigned unused;

    while (wanted(sink, &unused)) {
        MU_CLEANUP(store_event_free) struct event event = {0};
        struct mu_error why = {0};

        MU_TRY(next(sink, &event, err));
        if (event.id == 0)
            break;
        if (attempt(sink, &event, limit, &why) != MU_OK) {
            note(sink, "not-delivered", &event, why.text);
            return mu_fail(err, MU_RETRY,
                           "not all events were delivered; they wait in the store for "
                           "the next run");
        }
        MU_TRY(store_event_done(sink->watch->store, name_of(sink), event.id, err));
    }
    return MU_OK;
}
