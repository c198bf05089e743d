/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "fleet/store_internal.h"

#include <stdlib.h>
#include <string.h>

static const char *const kind_names[EVENT_KINDS] = {"first-seen", "mismatch", "boot-overdue",
                                                    "missing", "recovered"};

const char *store_event_kind_name(enum event_kind kind)
{
    return kind_names[kind];
}

struct batch {
    const struct transition *transition;
    size_t count, made[EVENT_KINDS];
};

static enum mu_status add_event(struct store *store, const struct transition *transition,
                                enum event_kind kind, struct mu_error *err)
{
    struct store_number id, at = store_number(transition->at_ms);
    int64_t number = 0;

    MU_TRY(store_run(store, STATEMENT_EVENT_ID, NULL, 0, store_read_number, &number, NULL, err));
    id = store_number(number);
    return store_run(store, STATEMENT_EVENT,
                     (const char *[]){id.text, kind_names[kind], at.text, transition->instance_id},
                     4, NULL, NULL, NULL, err);
}

static const char *flag(bool value)
{
    return value ? "1" : "0";
}

static enum mu_status announce_one(struct store *store, const struct transition *transition,
                                   size_t made[static EVENT_KINDS], struct mu_error *err)
{
    struct store_number at = store_number(transition->at_ms);
    struct store_number mismatch = store_number(transition->mismatch_at);
    size_t changed = 0;

    MU_TRY(store_run(store, STATEMENT_ANNOUNCE,
                     (const char *[]){store_standing_name(transition->to.standing),
                                      flag(transition->to.missing), mismatch.text, at.text,
                                      transition->instance_id,
                                      store_standing_name(transition->from.standing),
                                      flag(transition->from.missing)},
                     7, NULL, NULL, &changed, err));
    if (changed == 0)
        return MU_OK;
    for (size_t i = 0; i < transition->events; i++)
        MU_TRY(add_event(store, transition, transition->event[i], err));
    for (size_t i = 0; i < transition->events; i++)
        made[transition->event[i]]++;
    return MU_OK;
}

static enum mu_status announce_all(struct store *store, void *context, struct mu_error *err)
{
    struct batch *batch = context;

    for (size_t i = 0; i < batch->count; i++)
        MU_TRY(announce_one(store, &batch->transition[i], batch->made, err));
    return MU_OK;
}

enum mu_status store_announce(struct store *store, const struct transition *transition,
                              size_t count, size_t ret_events[static EVENT_KINDS],
                              struct mu_error *err)
{
    struct batch batch = {transition, count, {0}};

    /* The number of an event that was sent must not come again. */
    MU_TRY(store_run(store, STATEMENT_DURABLE, NULL, 0, NULL, NULL, NULL, err));
    MU_TRY(store_transaction(store, announce_all, &batch, err));
    memcpy(ret_events, batch.made, sizeof(batch.made));
    return MU_OK;
}

void store_event_free(struct event *event)
{
    char *const text[] = {event->instance_id, event->baseline, event->baseline_version,
                          event->state,       event->detail,   event->address};

    for (size_t i = 0; i < MU_COUNT(text); i++)
        free(text[i]);
    *event = (struct event){0};
}

static bool copy(char **ret, const char *text)
{
    *ret = strdup(text);
    return *ret != NULL;
}

static enum mu_status read_event(const char *const *column, void *context, struct mu_error *err)
{
    struct event *event = context;

    event->at_ms = store_parse(column[2]);
    event->last_seen = store_parse(column[4]);
    event->last_good = store_parse(column[5]);
    if (!copy(&event->instance_id, column[3]) || !copy(&event->baseline, column[6]) ||
        !copy(&event->baseline_version, column[7]) || !copy(&event->state, column[8]) ||
        !copy(&event->detail, column[9]) || !copy(&event->address, column[10]))
        return mu_oom(err);
    for (size_t i = 0; i < EVENT_KINDS; i++) {
        if (strcmp(kind_names[i], column[1]) != 0)
            continue;
        event->kind = (enum event_kind)i;
        event->id = store_parse(column[0]);
        return MU_OK;
    }
    return mu_fail(err, MU_CONFIG, "store: event %s is of the unknown kind '%.32s'", column[0],
                   column[1]);
}

enum mu_status store_event_next(struct store *store, const char *sink, struct event *ret,
                                struct mu_error *err)
{
    MU_CLEANUP(store_event_free) struct event event = {0};

    MU_TRY(store_run(store, STATEMENT_EVENT_NEXT, &sink, 1, read_event, &event, NULL, err));
    *ret = MU_TAKE(event);
    return MU_OK;
}

enum mu_status store_sink_add(struct store *store, const char *sink, struct mu_error *err)
{
    MU_TRY(store_run(store, STATEMENT_DURABLE, NULL, 0, NULL, NULL, NULL, err));
    return store_run(store, STATEMENT_SINK_ADD, &sink, 1, NULL, NULL, NULL, err);
}

enum mu_status store_event_done(struct store *store, const char *sink, int64_t id,
                                struct mu_error *err)
{
    struct store_number number = store_number(id);

    return store_run(store, STATEMENT_EVENT_DONE, (const char *[]){number.text, sink, number.text},
                     3, NULL, NULL, NULL, err);
}

enum mu_status store_events_waiting(struct store *store, const char *sink, int64_t *ret,
                                    struct mu_error *err)
{
    return store_run(store, STATEMENT_WAITING, &sink, 1, store_read_number, ret, NULL, err);
}
