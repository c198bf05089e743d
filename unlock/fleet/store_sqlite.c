/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "fleet/store_driver.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <sqlite3.h>

#define BUSY_MS 5000

struct connection {
    sqlite3 *db;
    sqlite3_stmt *prepared[STATEMENTS];
};

static void close_connection(void *opened)
{
    struct connection *connection = opened;

    for (size_t i = 0; i < STATEMENTS; i++)
        (void)sqlite3_finalize(connection->prepared[i]);
    (void)sqlite3_close(connection->db);
    free(connection);
}

static void connection_free(struct connection **connection)
{
    if (*connection != NULL)
        close_connection(*connection);
}

/* It is still in a transaction, which could not be rolled back. */
static bool is_lost(void *opened)
{
    const struct connection *connection = opened;

    return sqlite3_get_autocommit(connection->db) == 0;
}

static enum mu_status class_of(int rc)
{
    switch (rc & 0xff) {
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
        return MU_RETRY;
    case SQLITE_NOMEM:
    case SQLITE_ERROR:
    case SQLITE_MISUSE:
    case SQLITE_RANGE:
        return MU_INTERNAL;
    default:
        return MU_CONFIG;
    }
}

static enum mu_status sqlite_fail(const struct connection *connection, int rc, struct mu_error *err)
{
    const char *path = sqlite3_db_filename(connection->db, "main");

    return mu_fail(err, class_of(rc), "store %s: %s", path != NULL ? path : "",
                   sqlite3_errmsg(connection->db));
}

/* WAL, which the file keeps: readers do not wait for the writer. NORMAL: what was committed in the
 * last moment before a power cut may be lost, the file is whole. */
static int prepare_file(sqlite3 *db, enum store_use use)
{
    static const char *const pragmas[] = {"PRAGMA trusted_schema=OFF", "PRAGMA synchronous=NORMAL",
                                          "PRAGMA journal_mode=WAL"};
    size_t count = use == STORE_MAKE ? 3 : 2;
    int rc = sqlite3_busy_timeout(db, BUSY_MS);

    for (size_t i = 0; rc == SQLITE_OK && i < count; i++)
        rc = sqlite3_exec(db, pragmas[i], NULL, NULL, NULL);
    return rc;
}

static enum mu_status open_connection(const char *where, enum store_use use, void **ret,
                                      struct mu_error *err)
{
    static const int flags[] = {
        [STORE_READ] = SQLITE_OPEN_READONLY,
        [STORE_WRITE] = SQLITE_OPEN_READWRITE,
        [STORE_MAKE] = SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE,
    };
    MU_CLEANUP(connection_free) struct connection *connection = calloc(1, sizeof(*connection));
    int rc;

    if (connection == NULL)
        return mu_oom(err);
    if (use != STORE_MAKE && access(where, F_OK) != 0)
        return mu_fail(
            err, MU_CONFIG,
            "store %s: %s: is this the one of the verifier's configuration? 'mu-verifier "
            "serve' makes it when it starts",
            where, strerror(errno));
    rc = sqlite3_open_v2(where, &connection->db, flags[use] | SQLITE_OPEN_FULLMUTEX, NULL);
    if (connection->db == NULL)
        return mu_oom(err);
    if (rc == SQLITE_OK)
        rc = prepare_file(connection->db, use);
    if (rc != SQLITE_OK)
        return mu_fail(err, class_of(rc), "store %s: %s", where, sqlite3_errmsg(connection->db));
    *ret = MU_TAKE(connection);
    return MU_OK;
}

static int bind_all(sqlite3_stmt *statement, const struct store_query *query)
{
    int rc = SQLITE_OK;

    for (size_t i = 0; rc == SQLITE_OK && i < query->count; i++)
        rc = sqlite3_bind_text(statement, (int)i + 1, query->values[i], -1, SQLITE_STATIC);
    return rc;
}

static enum mu_status give_row(sqlite3_stmt *statement, const struct store_query *query,
                               struct mu_error *err)
{
    const char *column[STORE_COLUMNS_MAX] = {0};
    int columns = sqlite3_column_count(statement);

    if (query->row == NULL)
        return MU_OK;
    for (int i = 0; i < columns && i < STORE_COLUMNS_MAX; i++)
        column[i] = (const char *)sqlite3_column_text(statement, i);
    return query->row(column, query->context, err);
}

static enum mu_status step_all(struct connection *connection, sqlite3_stmt *statement,
                               const struct store_query *query, struct mu_error *err)
{
    int rc;

    while ((rc = sqlite3_step(statement)) == SQLITE_ROW)
        MU_TRY(give_row(statement, query, err));
    return rc == SQLITE_DONE ? MU_OK : sqlite_fail(connection, rc, err);
}

static enum mu_status sqlite_run(void *opened, const struct store_query *query, size_t *ret_changed,
                                 struct mu_error *err)
{
    struct connection *connection = opened;
    sqlite3_stmt **statement = &connection->prepared[query->statement];
    enum mu_status status;
    int rc = SQLITE_OK;

    if (*statement == NULL)
        rc = sqlite3_prepare_v3(connection->db, query->sql, -1, SQLITE_PREPARE_PERSISTENT,
                                statement, NULL);
    if (rc == SQLITE_OK)
        rc = bind_all(*statement, query);
    if (rc != SQLITE_OK)
        return sqlite_fail(connection, rc, err);
    status = step_all(connection, *statement, query, err);
    if (status == MU_OK && ret_changed != NULL)
        *ret_changed = (size_t)sqlite3_changes(connection->db);
    (void)sqlite3_reset(*statement);
    (void)sqlite3_clear_bindings(*statement);
    return status;
}

#define GUARD(event)                                                                               \
    "CREATE TRIGGER image_act_" #event " BEFORE " #event                                           \
    " ON image_act BEGIN SELECT RAISE(ABORT, 'image_act is append-only'); END"

#define KEEP_CHANGE                                                                                \
    " BEGIN INSERT INTO history SELECT NEW.id, "                                                   \
    "1 + coalesce((SELECT max(n) FROM history WHERE instance_id = NEW.id), 0), "                   \
    "NEW.last_seen, " HISTORY_OF(                                                                  \
        "NEW") "; "                                                                                \
               "DELETE FROM history WHERE instance_id = NEW.id AND "                               \
               "n <= (SELECT max(n) FROM history WHERE instance_id = NEW.id) - " HISTORY_KEPT      \
               "; END"

static const char after_insert[] =
    "CREATE TRIGGER history_insert AFTER INSERT ON instance" KEEP_CHANGE;

static const char after_update[] =
    "CREATE TRIGGER history_update AFTER UPDATE ON instance WHEN "
    "(" HISTORY_OF("OLD") ") IS NOT (" HISTORY_OF("NEW") ")" KEEP_CHANGE;

static const char after_delete[] = "CREATE TRIGGER history_delete AFTER DELETE ON instance BEGIN "
                                   "DELETE FROM history WHERE instance_id = OLD.id; END";

const struct store_driver store_sqlite = {
    .prefix = "sqlite:",
    .connections = 1, /* a statement takes less than a thread does to wait for another */
    .sql =
        {
            [STATEMENT_BEGIN] = "BEGIN IMMEDIATE",
            [STATEMENT_LOCK_SCHEMA] = "SELECT 1",
            [STATEMENT_HAS_META] =
                "SELECT count(*) FROM sqlite_master WHERE type = 'table' AND name = 'meta'",
            [STATEMENT_DURABLE] = "PRAGMA synchronous=FULL",
            [STATEMENT_GUARD] = "SELECT 1",
            [STATEMENT_GUARD_UPDATE] = GUARD(UPDATE),
            [STATEMENT_GUARD_DELETE] = GUARD(DELETE),
            [STATEMENT_HISTORY_CHANGE] = "SELECT 1",
            [STATEMENT_HISTORY_INSERT] = after_insert,
            [STATEMENT_HISTORY_UPDATE] = after_update,
            [STATEMENT_HISTORY_DROP] = "SELECT 1",
            [STATEMENT_HISTORY_DELETE] = after_delete,
        },
    .open = open_connection,
    .close = close_connection,
    .run = sqlite_run,
    .lost = is_lost,
};
