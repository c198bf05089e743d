/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "fleet/history.h"
#include "fleet/store_internal.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SCHEMA 4
#define DETAIL_MAX 1024
#define BOOT "boot" /* the state of the documents that keys are released for */

#define NEWER(column)                                                                              \
#column " = CASE WHEN excluded.last_seen >= instance.last_seen THEN excluded." #column         \
            " ELSE instance." #column " END, "
#define LATER(time, column)                                                                        \
#column " = CASE WHEN excluded." #time " > instance." #time " THEN excluded." #column          \
            " ELSE instance." #column " END"
#define BOOT_SINCE                                                                                 \
    "boot_since = CASE WHEN excluded.last_seen < instance.last_seen OR (excluded.boot_since > 0 "  \
    "AND instance.boot_since > 0) THEN instance.boot_since ELSE excluded.boot_since END, "
#define INSTANCE_SELECT                                                                            \
    "SELECT " STORE_INSTANCE_COLUMNS                                                               \
    ", announced, announced_missing, announced_mismatch, announced_at FROM instance "
/* Whoever has news that do not depend on the time now, and a few that are on their way: in the
 * state boot, or in it for too long. Index and statement say it in the same words. */
#define DUE                                                                                        \
    "announced = 'new' OR (ok = 1 AND announced <> 'ok') OR (boot_since > 0 AND announced <> "     \
    "'boot-overdue') OR (mismatch_at > announced_mismatch AND announced <> 'mismatch')"
#define PAGE "1000"
#define DUE_PAGE "500"
#define SEEN_PAGE " AND (last_seen, id) > ($2, $3) ORDER BY last_seen, id LIMIT " DUE_PAGE
#define UNDELIVERED "FROM event WHERE id > (SELECT delivered FROM sink WHERE name = $1)"

#define NOT_TRUSTED "(announced <> 'ok' OR announced_missing <> 0 OR ok = 0)"
#define HISTORY_COLUMNS "ok, baseline, baseline_version, state, image, boot_loader, detail, address"
#define LIST_IMAGE "(CAST($2 AS TEXT) = '' OR image = $2 OR boot_loader = $2) "

#define ACT_COLUMNS "id, image, kind, name, version, envelope, act, at_ms, until_ms, author, why"

/* In the words that both databases share. */
static const char *const sql[STATEMENTS] = {
    [STATEMENT_COMMIT] = "COMMIT",
    [STATEMENT_ROLLBACK] = "ROLLBACK",
    [STATEMENT_MAKE_META] =
        "CREATE TABLE IF NOT EXISTS meta (name TEXT PRIMARY KEY, value BIGINT NOT NULL)",
    [STATEMENT_MAKE_INSTANCE] =
        "CREATE TABLE instance (id TEXT PRIMARY KEY, first_seen BIGINT NOT NULL, "
        "last_seen BIGINT NOT NULL, ok BIGINT NOT NULL, baseline TEXT NOT NULL, "
        "baseline_version TEXT NOT NULL, state TEXT NOT NULL, detail TEXT NOT NULL, "
        "address TEXT NOT NULL, last_good BIGINT NOT NULL, good_baseline TEXT NOT NULL, "
        "good_version TEXT NOT NULL, mismatch_at BIGINT NOT NULL, mismatch TEXT NOT NULL, "
        "boot_since BIGINT NOT NULL, image TEXT NOT NULL, boot_loader TEXT NOT NULL, "
        "announced TEXT NOT NULL DEFAULT 'new', "
        "announced_missing BIGINT NOT NULL DEFAULT 0, "
        "announced_mismatch BIGINT NOT NULL DEFAULT 0, "
        "announced_at BIGINT NOT NULL DEFAULT 0)",
    [STATEMENT_MAKE_DUE] = "CREATE INDEX instance_due ON instance (id) WHERE " DUE,
    [STATEMENT_MAKE_SEEN] =
        "CREATE INDEX instance_seen ON instance (announced_missing, last_seen, id)",
    [STATEMENT_MAKE_EVENT] =
        "CREATE TABLE event (id BIGINT PRIMARY KEY, kind TEXT NOT NULL, at_ms BIGINT NOT NULL, "
        "instance_id TEXT NOT NULL, last_seen BIGINT NOT NULL, last_good BIGINT NOT NULL, "
        "baseline TEXT NOT NULL, baseline_version TEXT NOT NULL, state TEXT NOT NULL, "
        "detail TEXT NOT NULL, address TEXT NOT NULL)",
    [STATEMENT_MAKE_EVENT_AT] = "CREATE INDEX event_at ON event (at_ms)",
    [STATEMENT_MAKE_SINK] = "CREATE TABLE sink (name TEXT PRIMARY KEY, delivered BIGINT NOT NULL)",
    [STATEMENT_FIRST_META] =
        "INSERT INTO meta (name, value) VALUES ('schema', 4), ('event', 0), ('act', 0)",
    [STATEMENT_META] = "SELECT value FROM meta WHERE name = 'schema'",
    [STATEMENT_RECORD] =
        "INSERT INTO instance (" STORE_INSTANCE_COLUMNS ") "
        "VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17) "
        "ON CONFLICT (id) DO UPDATE SET " BOOT_SINCE NEWER(ok) NEWER(baseline) NEWER(image) NEWER(
            boot_loader) NEWER(baseline_version) NEWER(state) NEWER(detail) NEWER(address)
            NEWER(last_seen)
                LATER(last_good, good_baseline) ", " LATER(last_good, good_version) ", " LATER(
                    last_good, last_good) ", " LATER(mismatch_at, mismatch) ", " LATER(mismatch_at,
                                                                                       mismatch_at),
    [STATEMENT_INSTANCES] = INSTANCE_SELECT "WHERE id > $1 ORDER BY id LIMIT " PAGE,
    [STATEMENT_INSTANCE] = INSTANCE_SELECT "WHERE id = $1",
    [STATEMENT_DUE] = INSTANCE_SELECT "WHERE id > $1 AND (" DUE ") ORDER BY id LIMIT " DUE_PAGE,
    [STATEMENT_BACK] = INSTANCE_SELECT "WHERE announced_missing = 1 AND last_seen >= $1" SEEN_PAGE,
    [STATEMENT_SILENT] = INSTANCE_SELECT "WHERE announced_missing = 0 AND last_seen < $1" SEEN_PAGE,
    [STATEMENT_COUNTS] = "SELECT announced, announced_missing, count(*), min(last_seen), "
                         "max(last_seen) FROM instance GROUP BY announced, announced_missing",
    [STATEMENT_EVENT_IDS] =
        "UPDATE meta SET value = value + $1 WHERE name = 'event' RETURNING value",
    [STATEMENT_SINK_ADD] =
        "INSERT INTO sink (name, delivered) SELECT CAST($1 AS TEXT), value FROM meta "
        "WHERE name = 'event' ON CONFLICT (name) DO NOTHING",
    [STATEMENT_EVENT_NEXT] = "SELECT " STORE_EVENT_COLUMNS " " UNDELIVERED " ORDER BY id LIMIT 1",
    [STATEMENT_EVENT_DONE] = "UPDATE sink SET delivered = $1 WHERE name = $2 AND delivered < $3",
    [STATEMENT_WAITING] = "SELECT count(*) " UNDELIVERED,
    [STATEMENT_FORGET] = "DELETE FROM instance WHERE id = $1",
    [STATEMENT_EXPIRE_INSTANCES] =
        "DELETE FROM instance WHERE announced = 'ok' AND announced_missing = 1 AND last_seen < $1",
    [STATEMENT_EXPIRE_EVENTS] = "DELETE FROM event WHERE at_ms < $1",
    [STATEMENT_MAKE_ACT] =
        "CREATE TABLE image_act (id BIGINT PRIMARY KEY, image TEXT NOT NULL, kind TEXT NOT NULL, "
        "name TEXT NOT NULL, version TEXT NOT NULL, envelope TEXT NOT NULL, act TEXT NOT NULL, "
        "at_ms BIGINT NOT NULL, until_ms BIGINT NOT NULL, author TEXT NOT NULL, why TEXT NOT NULL)",
    [STATEMENT_ACT_ID] = "UPDATE meta SET value = value + 1 WHERE name = 'act' RETURNING value",
    [STATEMENT_ACT_ADD] = "INSERT INTO image_act (" ACT_COLUMNS ") "
                          "VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)",
    [STATEMENT_ACT_SERIAL] = "SELECT value FROM meta WHERE name = 'act'",
    [STATEMENT_IMAGES] = "SELECT " ACT_COLUMNS " FROM image_act a WHERE id = "
                         "(SELECT max(id) FROM image_act WHERE image = a.image) ORDER BY id",
    [STATEMENT_ACTS] = "SELECT " ACT_COLUMNS " FROM image_act ORDER BY id",
    [STATEMENT_ROLL_OUT] = "SELECT image, boot_loader, count(*) FROM instance "
                           "WHERE ok = 1 AND image <> '' GROUP BY image, boot_loader",
    [STATEMENT_MAKE_HISTORY] =
        "CREATE TABLE history (instance_id TEXT NOT NULL, n BIGINT NOT NULL, "
        "at_ms BIGINT NOT NULL, ok BIGINT NOT NULL, baseline TEXT NOT NULL, "
        "baseline_version TEXT NOT NULL, state TEXT NOT NULL, image TEXT NOT NULL, "
        "boot_loader TEXT NOT NULL, detail TEXT NOT NULL, address TEXT NOT NULL, "
        "PRIMARY KEY (instance_id, n))",
    [STATEMENT_MAKE_HISTORY_AT] = "CREATE INDEX history_at ON history (at_ms)",
    [STATEMENT_MAKE_EVENT_OF] = "CREATE INDEX event_of ON event (instance_id)",
    [STATEMENT_MAKE_NOT_TRUSTED] =
        "CREATE INDEX instance_not_trusted ON instance (id) WHERE " NOT_TRUSTED,
    [STATEMENT_MAKE_SAMPLE] =
        "CREATE TABLE sample (at_ms BIGINT PRIMARY KEY, looked_ms BIGINT NOT NULL, "
        "ok BIGINT NOT NULL, mismatch BIGINT NOT NULL, boot_overdue BIGINT NOT NULL, "
        "missing BIGINT NOT NULL, first_seen BIGINT NOT NULL)",
    /* Of one that was forgotten and is known again, events from before are not its own. */
    [STATEMENT_HISTORY] =
        "SELECT at_ms, event, " HISTORY_COLUMNS " FROM "
        "(SELECT at_ms, 0 AS kind, n, '' AS event, " HISTORY_COLUMNS
        " FROM history WHERE instance_id = $1 UNION ALL "
        "SELECT at_ms, 1, id, kind, 0, baseline, baseline_version, state, '', '', detail, address "
        "FROM event WHERE instance_id = $1 AND at_ms >= "
        "(SELECT first_seen FROM instance WHERE id = $1)) AS entry "
        "ORDER BY at_ms DESC, kind DESC, n DESC LIMIT CAST($2 AS BIGINT)",
    [STATEMENT_SAMPLE] =
        "INSERT INTO sample (at_ms, looked_ms, ok, mismatch, boot_overdue, missing, first_seen) "
        "VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT (at_ms) DO UPDATE SET "
        "looked_ms = excluded.looked_ms, ok = excluded.ok, mismatch = excluded.mismatch, "
        "boot_overdue = excluded.boot_overdue, missing = excluded.missing, "
        "first_seen = sample.first_seen + excluded.first_seen",
    [STATEMENT_SAMPLES] =
        "SELECT at_ms - at_ms % CAST($1 AS BIGINT) AS step, max(looked_ms), min(ok), "
        "max(mismatch), max(boot_overdue), max(missing), sum(first_seen) FROM sample "
        "WHERE at_ms >= CAST($2 AS BIGINT) GROUP BY step ORDER BY step",
    [STATEMENT_LIST] =
        INSTANCE_SELECT "WHERE id > $1 AND " LIST_IMAGE "ORDER BY id LIMIT CAST($3 AS BIGINT)",
    [STATEMENT_LIST_NOT_TRUSTED] = INSTANCE_SELECT
    "WHERE " NOT_TRUSTED " AND id > $1 AND " LIST_IMAGE
    "AND ($3 = 'not-trusted' OR announced = $3 OR ($3 = 'missing' AND announced_missing <> 0) "
    "OR ($3 = 'mismatch' AND ok = 0)) ORDER BY id LIMIT CAST($4 AS BIGINT)",
    [STATEMENT_EXPIRE_HISTORY] = "DELETE FROM history WHERE at_ms < $1",
    [STATEMENT_EXPIRE_SAMPLES] = "DELETE FROM sample WHERE at_ms < $1",
};

static const struct store_driver *const drivers[] = {&store_sqlite, &store_postgresql};

struct store_number store_number(int64_t value)
{
    struct store_number number;

    (void)snprintf(number.text, sizeof(number.text), "%" PRId64, value);
    return number;
}

int64_t store_parse(const char *text)
{
    return text == NULL ? 0 : strtoll(text, NULL, 10);
}

enum mu_status store_read_number(const char *const *column, void *context, struct mu_error *err)
{
    (void)err;
    *(int64_t *)context = store_parse(column[0]);
    return MU_OK;
}

/* A lost connection is noticed at its next use only, and nothing of this statement was done, or
 * all: doing it again does no harm. */
static enum mu_status run_with_any(const struct store *store, const struct store_query *query,
                                   size_t *ret_changed, struct mu_error *err)
{
    enum mu_status status = MU_OK;
    bool lost = true;

    for (int attempt = 0; lost && attempt < 2; attempt++) {
        void *connection = NULL;

        MU_TRY(store_pool_take(store->pool, &connection, err));
        status = store->driver->run(connection, query, ret_changed, err);
        store_pool_give(store->pool, connection, &lost);
        lost = lost && status == MU_RETRY;
    }
    return status;
}

enum mu_status store_run_text(struct store *store, const struct store_query *query,
                              size_t *ret_changed, struct mu_error *err)
{
    return store->bound != NULL ? store->driver->run(store->bound, query, ret_changed, err)
                                : run_with_any(store, query, ret_changed, err);
}

enum mu_status store_run(struct store *store, enum store_statement statement,
                         const char *const *values, size_t count, store_row row, void *context,
                         size_t *ret_changed, struct mu_error *err)
{
    const char *text = sql[statement] != NULL ? sql[statement] : store->driver->sql[statement];
    const struct store_query query = {statement, text, values, count, row, context};

    return store_run_text(store, &query, ret_changed, err);
}

static enum mu_status transact(struct store *store,
                               enum mu_status (*work)(struct store *, void *, struct mu_error *),
                               void *context, struct mu_error *err)
{
    struct mu_error ignored;
    enum mu_status status;

    MU_TRY(store_run(store, STATEMENT_DURABLE, NULL, 0, NULL, NULL, NULL, err));
    MU_TRY(store_run(store, STATEMENT_BEGIN, NULL, 0, NULL, NULL, NULL, err));
    status = work(store, context, err);
    if (status == MU_OK)
        status = store_run(store, STATEMENT_COMMIT, NULL, 0, NULL, NULL, NULL, err);
    if (status != MU_OK &&
        store_run(store, STATEMENT_ROLLBACK, NULL, 0, NULL, NULL, NULL, &ignored) != MU_OK)
        return status; /* the connection is lost, with all that it had not committed */
    return status;
}

enum mu_status store_transaction(struct store *store,
                                 enum mu_status (*work)(struct store *, void *, struct mu_error *),
                                 void *context, struct mu_error *err)
{
    struct store bound = *store;
    enum mu_status status;

    MU_TRY(store_pool_take(store->pool, &bound.bound, err));
    status = transact(&bound, work, context, err);
    store_pool_give(store->pool, bound.bound, NULL);
    return status;
}

/* *ret_there is false if this is not a store, or not yet. */
static enum mu_status check_schema(struct store *store, bool *ret_there, struct mu_error *err)
{
    int64_t version = 0;

    MU_TRY(store_run(store, STATEMENT_META, NULL, 0, store_read_number, &version, NULL, err));
    *ret_there = version != 0;
    if (version == 0 || version == SCHEMA)
        return MU_OK;
    return mu_fail(err, MU_CONFIG,
                   "the store has schema %" PRId64
                   ", this mu-verifier knows %d: use the mu-verifier that made "
                   "it, or begin a new store",
                   version, SCHEMA);
}

static enum mu_status make_schema(struct store *store, void *context, struct mu_error *err)
{
    static const enum store_statement make[] = {
        STATEMENT_FIRST_META,      STATEMENT_MAKE_INSTANCE,  STATEMENT_MAKE_DUE,
        STATEMENT_MAKE_SEEN,       STATEMENT_MAKE_EVENT,     STATEMENT_MAKE_EVENT_AT,
        STATEMENT_MAKE_SINK,       STATEMENT_MAKE_ACT,       STATEMENT_GUARD,
        STATEMENT_GUARD_UPDATE,    STATEMENT_GUARD_DELETE,   STATEMENT_MAKE_HISTORY,
        STATEMENT_MAKE_HISTORY_AT, STATEMENT_MAKE_EVENT_OF,  STATEMENT_MAKE_NOT_TRUSTED,
        STATEMENT_MAKE_SAMPLE,     STATEMENT_HISTORY_CHANGE, STATEMENT_HISTORY_INSERT,
        STATEMENT_HISTORY_UPDATE,  STATEMENT_HISTORY_DROP,   STATEMENT_HISTORY_DELETE};
    bool there = false;

    (void)context;
    MU_TRY(store_run(store, STATEMENT_LOCK_SCHEMA, NULL, 0, NULL, NULL, NULL, err));
    MU_TRY(store_run(store, STATEMENT_MAKE_META, NULL, 0, NULL, NULL, NULL, err));
    MU_TRY(check_schema(store, &there, err)); /* another may have been first */
    for (size_t i = 0; !there && i < MU_COUNT(make); i++)
        MU_TRY(store_run(store, make[i], NULL, 0, NULL, NULL, NULL, err));
    return MU_OK;
}

static enum mu_status find_schema(struct store *store, bool *ret_there, struct mu_error *err)
{
    int64_t has_meta = 0;

    *ret_there = false;
    MU_TRY(store_run(store, STATEMENT_HAS_META, NULL, 0, store_read_number, &has_meta, NULL, err));
    return has_meta != 0 ? check_schema(store, ret_there, err) : MU_OK;
}

/* Nothing is made that exists already, so that the right to make it is not needed. */
static enum mu_status have_schema(struct store *store, const char *place, enum store_use use,
                                  struct mu_error *err)
{
    bool there;

    MU_TRY(find_schema(store, &there, err));
    if (there)
        return MU_OK;
    if (use == STORE_MAKE)
        return store_transaction(store, make_schema, NULL, err);
    return mu_fail(err, MU_CONFIG,
                   "%s: there is no store here: is this the one of the verifier's configuration? "
                   "'mu-verifier serve' makes it when it starts",
                   store->driver->place_is_secret ? "this database" : place);
}

static enum mu_status open_by_prefix(struct store *store, const char *where, enum store_use use,
                                     struct mu_error *err)
{
    for (size_t i = 0; i < MU_COUNT(drivers); i++) {
        size_t len = strlen(drivers[i]->prefix);

        if (strncmp(where, drivers[i]->prefix, len) != 0 || where[len] == '\0')
            continue;
        store->driver = drivers[i];
        MU_TRY(store_pool_new(drivers[i], where + len, use, &store->pool, err));
        return have_schema(store, where + len, use, err);
    }
    /* Not quoted: there may be a password in it. */
    return mu_fail(err, MU_CONFIG, "a store is sqlite:PATH or postgresql:CONNINFO");
}

enum mu_status store_open(const char *where, enum store_use use, struct store **ret,
                          struct mu_error *err)
{
    MU_CLEANUP(store_close) struct store *store = calloc(1, sizeof(*store));

    if (store == NULL)
        return mu_oom(err);
    MU_TRY(open_by_prefix(store, where, use, err));
    *ret = MU_TAKE(store);
    return MU_OK;
}

void store_close(struct store **store)
{
    if (*store == NULL)
        return;
    store_pool_free(&(*store)->pool);
    free(*store);
    *store = NULL;
}

static const char *text_or_nothing(const char *text)
{
    return text == NULL ? "" : text;
}

enum mu_status store_record(struct store *store, const struct attestation *attestation,
                            struct mu_error *err)
{
    const char *baseline = text_or_nothing(attestation->baseline);
    const char *version = text_or_nothing(attestation->baseline_version);
    struct store_number at = store_number((int64_t)attestation->at_ms);
    const char *state = text_or_nothing(attestation->state);
    bool ok = attestation->ok;
    char detail[DETAIL_MAX];
    const char *values[] = {attestation->instance_id,
                            at.text,
                            at.text,
                            ok ? "1" : "0",
                            baseline,
                            version,
                            state,
                            ok ? "" : detail,
                            text_or_nothing(attestation->address),
                            ok ? at.text : "0",
                            ok ? baseline : "",
                            ok ? version : "",
                            ok ? "0" : at.text,
                            ok ? "" : detail,
                            ok && strcmp(state, BOOT) == 0 ? at.text : "0",
                            text_or_nothing(attestation->image),
                            text_or_nothing(attestation->boot_loader)};

    (void)snprintf(detail, sizeof(detail), "%s", text_or_nothing(attestation->detail));
    return store_run(store, STATEMENT_RECORD, values, MU_COUNT(values), NULL, NULL, NULL, err);
}

static const char *const standing_names[STANDINGS] = {"new", "ok", "mismatch", "boot-overdue"};

const char *store_standing_name(enum standing standing)
{
    return standing_names[standing];
}

enum standing store_standing_of(const char *name)
{
    for (size_t i = 0; i < STANDINGS; i++)
        if (strcmp(name, standing_names[i]) == 0)
            return (enum standing)i;
    return STANDING_NEW;
}

enum mu_status store_visit_row(const char *const *column, void *context, struct mu_error *err)
{
    struct store_visitor *visitor = context;
    const struct instance instance = {
        .id = column[0],
        .first_seen = store_parse(column[1]),
        .last_seen = store_parse(column[2]),
        .ok = store_parse(column[3]) != 0,
        .baseline = column[4],
        .baseline_version = column[5],
        .state = column[6],
        .detail = column[7],
        .address = column[8],
        .last_good = store_parse(column[9]),
        .good_baseline = column[10],
        .good_version = column[11],
        .mismatch_at = store_parse(column[12]),
        .mismatch = column[13],
        .boot_since = store_parse(column[14]),
        .image = column[15],
        .boot_loader = column[16],
        .announced = {store_standing_of(column[17]), store_parse(column[18]) != 0},
        .announced_mismatch = store_parse(column[19]),
        .announced_at = store_parse(column[20]),
    };

    visitor->rows++;
    visitor->last_seen = instance.last_seen;
    if (strlen(instance.id) >= sizeof(visitor->last_id))
        return mu_fail(err, MU_CONFIG, "store: the id of an instance is too long");
    (void)snprintf(visitor->last_id, sizeof(visitor->last_id), "%s", instance.id);
    return visitor->visit(&instance, visitor->context, err);
}

/* By pages, each from where the last one ended: a statement that took as long as a fleet is large
 * would hold up the database, and be ended by its time limit. */
enum mu_status store_instances(struct store *store, const char *id, instance_visit visit,
                               void *context, struct mu_error *err)
{
    struct store_visitor visitor = {.visit = visit, .context = context};
    char from[sizeof(visitor.last_id)];

    if (id != NULL)
        return store_run(store, STATEMENT_INSTANCE, &id, 1, store_visit_row, &visitor, NULL, err);
    do {
        visitor.rows = 0;
        memcpy(from, visitor.last_id, sizeof(from));
        MU_TRY(store_run(store, STATEMENT_INSTANCES, (const char *[]){from}, 1, store_visit_row,
                         &visitor, NULL, err));
    } while (visitor.rows > 0);
    return MU_OK;
}

/* What watch_step has news of is in one of the three: new ones, and changes of those that are not
 * missing, in the first; changes of those that are missing in the second, if they are back, and in
 * the first; and who falls silent in the third. */
enum mu_status store_due(struct store *store, int64_t silent_ms, struct store_due *due,
                         instance_visit visit, void *context, struct mu_error *err)
{
    static const enum store_statement parts[] = {STATEMENT_DUE, STATEMENT_BACK, STATEMENT_SILENT};
    struct store_visitor visitor = {.visit = visit, .context = context};
    struct store_number limit = store_number(silent_ms), seen = store_number(due->last_seen);
    const char *values[] = {limit.text, seen.text, due->id};
    bool by_id = due->part == 0;

    MU_TRY(store_run(store, parts[due->part], by_id ? values + 2 : values, by_id ? 1 : 3,
                     store_visit_row, &visitor, NULL, err));
    due->last_seen = visitor.last_seen;
    memcpy(due->id, visitor.last_id, sizeof(due->id));
    if (visitor.rows == STORE_DUE_MAX)
        return MU_OK;
    *due = (struct store_due){.part = due->part + 1, .done = due->part + 1 == MU_COUNT(parts)};
    return MU_OK;
}

struct counter {
    count_visit visit;
    void *context;
};

static enum mu_status visit_count(const char *const *column, void *context, struct mu_error *err)
{
    const struct counter *counter = context;
    const struct instance_count count = {
        .announced = {store_standing_of(column[0]), store_parse(column[1]) != 0},
        .instances = (uint64_t)store_parse(column[2]),
        .oldest_ms = store_parse(column[3]),
        .newest_ms = store_parse(column[4]),
    };

    return counter->visit(&count, counter->context, err);
}

enum mu_status store_counts(struct store *store, count_visit visit, void *context,
                            struct mu_error *err)
{
    struct counter counter = {visit, context};

    return store_run(store, STATEMENT_COUNTS, NULL, 0, visit_count, &counter, NULL, err);
}

enum mu_status store_list(struct store *store, const struct list_part *part, instance_visit visit,
                          void *context, struct mu_error *err)
{
    struct store_visitor visitor = {.visit = visit, .context = context};
    struct store_number most = store_number(part->most);
    bool all = part->state[0] == '\0';
    const char *values[] = {part->after, part->image, all ? most.text : part->state, most.text};

    return store_run(store, all ? STATEMENT_LIST : STATEMENT_LIST_NOT_TRUSTED, values, all ? 3 : 4,
                     store_visit_row, &visitor, NULL, err);
}

enum mu_status store_forget(struct store *store, const char *id, bool *ret_known,
                            struct mu_error *err)
{
    size_t gone = 0;

    MU_TRY(store_run(store, STATEMENT_FORGET, &id, 1, NULL, NULL, &gone, err));
    *ret_known = gone > 0;
    return MU_OK;
}

enum mu_status store_expire(struct store *store, int64_t seen_ms, int64_t event_ms,
                            size_t *ret_instances, struct mu_error *err)
{
    struct store_number seen = store_number(seen_ms), event = store_number(event_ms);

    MU_TRY(store_run(store, STATEMENT_EXPIRE_EVENTS, (const char *[]){event.text}, 1, NULL, NULL,
                     NULL, err));
    MU_TRY(store_history_expire(store, event_ms, err));
    return store_run(store, STATEMENT_EXPIRE_INSTANCES, (const char *[]){seen.text}, 1, NULL, NULL,
                     ret_instances, err);
}
