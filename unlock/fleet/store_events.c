/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "fleet/store_internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"

static const char *const kind_names[EVENT_KINDS] = {"first-seen", "mismatch", "boot-overdue",
                                                    "missing", "recovered"};

const char *store_event_kind_name(enum event_kind kind)
{
    return kind_names[kind];
}

/* ---- announcing ---- */

#define ROWS ((size_t)500) /* in one statement; what is not filled is NULL, and matches nothing */
#define ANNOUNCE_COLUMNS 6
#define EVENT_COLUMNS 3

struct batch {
    struct transition *transition;
    size_t count, made[EVENT_KINDS];
    bool *told;         /* of each transition: it was announced */
    size_t looked_at;   /* the last one that an answer was about */
    const char **value; /* of the statement that is next */
    struct store_number *number;
};

static void batch_free(struct batch *batch)
{
    free(batch->told);
    free(batch->value);
    free(batch->number);
}

/* "WITH told(`names`) AS (VALUES ($1, $2), ($3, $4), ...) `rest`"; `types` are those of the
 * columns, which the first row states; in `rest`, ? is the parameter after the rows. */
static enum mu_status make_text(const char *names, const char *const *types, size_t columns,
                                const char *rest, char **ret, struct mu_error *err)
{
    MU_CLEANUP(string_free) char *text = NULL;
    size_t len = 0, parameter = 0, before = strcspn(rest, "?");
    FILE *to = open_memstream(&text, &len);

    if (to == NULL)
        return mu_oom(err);
    (void)fprintf(to, "WITH told(%s) AS (VALUES ", names);
    for (size_t row = 0; row < ROWS; row++)
        for (size_t i = 0; i < columns; i++) {
            (void)fputs(i > 0 ? ", " : row > 0 ? "), (" : "(", to);
            (void)fprintf(to, row > 0 ? "$%zu" : "CAST($%zu AS %s)", ++parameter, types[i]);
        }
    (void)fprintf(to, ")) %.*s$%zu%s", (int)before, rest, ++parameter, rest + before + 1);
    if (fclose(to) != 0)
        return mu_oom(err);
    *ret = MU_TAKE(text);
    return MU_OK;
}

static const char *flag(bool value)
{
    return value ? "1" : "0";
}

static void put_transition(const struct transition *transition, struct store_number *number,
                           const char **value)
{
    *number = store_number(transition->mismatch_at);
    value[0] = transition->instance_id;
    value[1] = store_standing_name(transition->from.standing);
    value[2] = flag(transition->from.missing);
    value[3] = store_standing_name(transition->to.standing);
    value[4] = flag(transition->to.missing);
    value[5] = number->text;
}

/* The answers come nearly in the order of the questions. */
static enum mu_status see_told(const char *const *column, void *context, struct mu_error *err)
{
    struct batch *batch = context;

    (void)err;
    for (size_t i = 0; i < batch->count; i++) {
        size_t at = (batch->looked_at + i) % batch->count;

        if (strcmp(batch->transition[at].instance_id, column[0]) != 0)
            continue;
        batch->told[at] = true;
        batch->looked_at = at;
        break;
    }
    return MU_OK;
}

static void clear_values(struct batch *batch, size_t columns, const char *last)
{
    for (size_t i = 0; i < ROWS * columns; i++)
        batch->value[i] = NULL;
    batch->value[ROWS * columns] = last;
}

/* The casts say nothing but that each row of `told` looks for its instance by the index: without
 * them SQLite 3.46 reads all instances, and looks each up in `told`. */
static enum mu_status announce_rows(struct store *store, struct batch *batch, size_t from,
                                    const char *at, struct mu_error *err)
{
    static const char *const types[ANNOUNCE_COLUMNS] = {"TEXT", "TEXT",   "BIGINT",
                                                        "TEXT", "BIGINT", "BIGINT"};
    MU_CLEANUP(string_free) char *text = NULL;
    struct store_query query = {STATEMENT_ANNOUNCE,          NULL,     batch->value,
                                ROWS * ANNOUNCE_COLUMNS + 1, see_told, batch};

    MU_TRY(make_text(
        "id, standing, missing, to_standing, to_missing, mismatch_at", types, ANNOUNCE_COLUMNS,
        "UPDATE instance SET announced = told.to_standing, announced_missing = told.to_missing, "
        "announced_mismatch = told.mismatch_at, announced_at = ? FROM told "
        "WHERE instance.id = CAST(told.id AS TEXT) AND announced = CAST(told.standing AS TEXT) AND "
        "announced_missing = CAST(told.missing AS BIGINT) RETURNING instance.id",
        &text, err));
    query.sql = text;
    clear_values(batch, ANNOUNCE_COLUMNS, at);
    for (size_t i = 0; i < ROWS && from + i < batch->count; i++)
        put_transition(&batch->transition[from + i], &batch->number[i],
                       batch->value + i * ANNOUNCE_COLUMNS);
    return store_run_text(store, &query, NULL, err);
}

static enum mu_status add_rows(struct store *store, struct batch *batch, const char *at,
                               struct mu_error *err)
{
    static const char *const types[EVENT_COLUMNS] = {"BIGINT", "TEXT", "TEXT"};
    MU_CLEANUP(string_free) char *text = NULL;
    struct store_query query = {STATEMENT_EVENT,          NULL, batch->value,
                                ROWS * EVENT_COLUMNS + 1, NULL, NULL};

    MU_TRY(make_text(
        "id, kind, instance_id", types, EVENT_COLUMNS,
        "INSERT INTO event (" STORE_EVENT_COLUMNS ") SELECT told.id, told.kind, "
        "CAST(? AS BIGINT), instance.id, last_seen, last_good, baseline, "
        "baseline_version, state, CASE told.kind WHEN 'mismatch' THEN mismatch ELSE "
        "'' END, address FROM told CROSS JOIN instance WHERE instance.id = told.instance_id",
        &text, err));
    query.sql = text;
    batch->value[ROWS * EVENT_COLUMNS] = at;
    return store_run_text(store, &query, NULL, err);
}

/* In the order of their numbers, which is that of the transitions. */
static enum mu_status add_events(struct store *store, struct batch *batch, int64_t first,
                                 const char *at, struct mu_error *err)
{
    size_t rows = 0;

    clear_values(batch, EVENT_COLUMNS, at);
    for (size_t i = 0; i < batch->count; i++) {
        const struct transition *transition = &batch->transition[i];

        for (size_t e = 0; e < transition->events; e++) {
            const char **value = batch->value + rows * EVENT_COLUMNS;

            batch->number[rows] = store_number(first++);
            value[0] = batch->number[rows].text;
            value[1] = kind_names[transition->event[e]];
            value[2] = transition->instance_id;
            batch->made[transition->event[e]]++;
            if (++rows < ROWS)
                continue;
            MU_TRY(add_rows(store, batch, at, err));
            clear_values(batch, EVENT_COLUMNS, at);
            rows = 0;
        }
    }
    return rows == 0 ? MU_OK : add_rows(store, batch, at, err);
}

/* Whoever was first has announced the others. */
static int64_t leave_out(struct batch *batch)
{
    int64_t events = 0;

    for (size_t i = 0; i < batch->count; i++) {
        if (!batch->told[i])
            batch->transition[i].events = 0;
        events += (int64_t)batch->transition[i].events;
    }
    return events;
}

static enum mu_status announce_all(struct store *store, void *context, struct mu_error *err)
{
    struct batch *batch = context;
    struct store_number at = store_number(batch->transition[0].at_ms), wanted;
    int64_t last = 0, events;

    for (size_t from = 0; from < batch->count; from += ROWS)
        MU_TRY(announce_rows(store, batch, from, at.text, err));
    events = leave_out(batch);
    if (events == 0)
        return MU_OK;
    wanted = store_number(events);
    MU_TRY(store_run(store, STATEMENT_EVENT_IDS, (const char *[]){wanted.text}, 1,
                     store_read_number, &last, NULL, err));
    return add_events(store, batch, last - events + 1, at.text, err);
}

enum mu_status store_announce(struct store *store, struct transition *transition, size_t count,
                              size_t ret_events[static EVENT_KINDS], struct mu_error *err)
{
    MU_CLEANUP(batch_free) struct batch batch = {.transition = transition, .count = count};

    memset(ret_events, 0, sizeof(batch.made));
    if (count == 0)
        return MU_OK;
    batch.told = calloc(count, sizeof(*batch.told));
    batch.value = calloc(ROWS * ANNOUNCE_COLUMNS + 1, sizeof(*batch.value));
    batch.number = calloc(ROWS, sizeof(*batch.number));
    if (batch.told == NULL || batch.value == NULL || batch.number == NULL)
        return mu_oom(err);
    MU_TRY(store_transaction(store, announce_all, &batch, err));
    memcpy(ret_events, batch.made, sizeof(batch.made));
    return MU_OK;
}

/* ---- delivering ---- */

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

static enum mu_status add_sink(struct store *store, void *context, struct mu_error *err)
{
    const char *sink = *(const char *const *)context;

    return store_run(store, STATEMENT_SINK_ADD, &sink, 1, NULL, NULL, NULL, err);
}

enum mu_status store_sink_add(struct store *store, const char *sink, struct mu_error *err)
{
    return store_transaction(store, add_sink, &sink, err);
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
