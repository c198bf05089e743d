/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "fleet/store_driver.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <libpq-fe.h>

#include "base/bytes.h"

struct connection {
    PGconn *db;
    bool prepared[STATEMENTS];
    bool broken;
};

static void close_connection(void *opened)
{
    struct connection *connection = opened;

    PQfinish(connection->db);
    free(connection);
}

static void connection_free(struct connection **connection)
{
    if (*connection != NULL)
        close_connection(*connection);
}

static void result_free(PGresult **result)
{
    PQclear(*result);
}

static void drop_notice(void *context, const char *message)
{
    (void)context;
    (void)message;
}

/* libpq's messages are lines; they name host and user, no password. */
static enum mu_status postgresql_fail(const struct connection *connection, enum mu_status status,
                                      struct mu_error *err)
{
    char line[512];
    size_t len;

    (void)snprintf(line, sizeof(line), "%s", PQerrorMessage(connection->db));
    for (len = strlen(line); len > 0 && line[len - 1] == '\n'; len--)
        ;
    line[len] = '\0';
    for (char *c = line; *c != '\0'; c++)
        if (*c == '\n')
            *c = ' ';
    return mu_fail(err, status, "store in PostgreSQL: %s", line);
}

/* Commits need not wait for the disk: what is lost with the server's last moment comes again. */
static PGconn *connect_to(const char *conninfo)
{
    static const char *const name[] = {"connect_timeout", "tcp_user_timeout", "application_name",
                                       "options",         "dbname",           NULL};
    static const char settings[] = "-c synchronous_commit=off -c statement_timeout=10s "
                                   "-c client_min_messages=warning";
    const char *const value[] = {"2", "10000", "mu-verifier", settings, conninfo, NULL};

    return PQconnectdbParams(name, value, 1);
}

static void options_free(PQconninfoOption **options)
{
    PQconninfoFree(*options);
}

static void libpq_free(char **text)
{
    PQfreemem(*text);
}

static enum mu_status check_conninfo(const char *conninfo, struct mu_error *err)
{
    MU_CLEANUP(libpq_free) char *message = NULL;
    MU_CLEANUP(options_free) PQconninfoOption *options = PQconninfoParse(conninfo, &message);

    return options != NULL ? MU_OK
                           : mu_fail(err, MU_CONFIG, "store in PostgreSQL: %.300s",
                                     message != NULL ? message : "out of memory");
}

static enum mu_status open_connection(const char *where, enum store_use use, void **ret,
                                      struct mu_error *err)
{
    MU_CLEANUP(connection_free) struct connection *connection = calloc(1, sizeof(*connection));
    MU_CLEANUP(string_free) char *conninfo = NULL;

    (void)use; /* the user's rights in the database say what it may */
    if (connection == NULL)
        return mu_oom(err);
    /* Of a URI the prefix is a part. */
    MU_TRY(string_print(&conninfo, err, "%s%s", strncmp(where, "//", 2) == 0 ? "postgresql:" : "",
                        where));
    MU_TRY(check_conninfo(conninfo, err));
    connection->db = connect_to(conninfo);
    if (connection->db == NULL)
        return mu_oom(err);
    if (PQstatus(connection->db) != CONNECTION_OK)
        return postgresql_fail(connection, MU_RETRY, err);
    (void)PQsetNoticeProcessor(connection->db, drop_notice, NULL);
    *ret = MU_TAKE(connection);
    return MU_OK;
}

static bool is_lost(void *opened)
{
    const struct connection *connection = opened;

    return connection->broken || PQstatus(connection->db) != CONNECTION_OK ||
           PQtransactionStatus(connection->db) != PQTRANS_IDLE;
}

/* Classes of SQLSTATE (PostgreSQL, appendix A); there is none if libpq itself says that the server
 * is gone, and its status may not say so yet. */
static enum mu_status class_of(struct connection *connection, const PGresult *result)
{
    static const char *const passing[] = {"08", "40", "53", "55", "57"};
    static const char *const unusable[] = {"25", "28", "3D", "3F", "42"};
    const char *state = PQresultErrorField(result, PG_DIAG_SQLSTATE);

    connection->broken = state == NULL || PQstatus(connection->db) != CONNECTION_OK;
    if (connection->broken)
        return MU_RETRY;
    for (size_t i = 0; i < MU_COUNT(passing); i++) {
        if (strncmp(state, passing[i], 2) == 0)
            return MU_RETRY;
        if (strncmp(state, unusable[i], 2) == 0)
            return MU_CONFIG;
    }
    return MU_INTERNAL;
}

static enum mu_status check(struct connection *connection, const PGresult *result,
                            struct mu_error *err)
{
    ExecStatusType status = PQresultStatus(result);

    if (status == PGRES_COMMAND_OK || status == PGRES_TUPLES_OK)
        return MU_OK;
    return postgresql_fail(connection, class_of(connection, result), err);
}

static enum mu_status prepare(struct connection *connection, const struct store_query *query,
                              const char *name, struct mu_error *err)
{
    MU_CLEANUP(result_free) PGresult *result = NULL;

    if (connection->prepared[query->statement])
        return MU_OK;
    result = PQprepare(connection->db, name, query->sql, 0, NULL);
    MU_TRY(check(connection, result, err));
    connection->prepared[query->statement] = true;
    return MU_OK;
}

static enum mu_status give_rows(const PGresult *result, const struct store_query *query,
                                struct mu_error *err)
{
    int columns = PQnfields(result);

    for (int row = 0; query->row != NULL && row < PQntuples(result); row++) {
        const char *column[STORE_COLUMNS_MAX] = {0};

        for (int i = 0; i < columns && i < STORE_COLUMNS_MAX; i++)
            column[i] = PQgetisnull(result, row, i) ? NULL : PQgetvalue(result, row, i);
        MU_TRY(query->row(column, query->context, err));
    }
    return MU_OK;
}

static enum mu_status postgresql_run(void *opened, const struct store_query *query,
                                     size_t *ret_changed, struct mu_error *err)
{
    MU_CLEANUP(result_free) PGresult *result = NULL;
    struct connection *connection = opened;
    char name[16];

    (void)snprintf(name, sizeof(name), "mu%d", (int)query->statement);
    MU_TRY(prepare(connection, query, name, err));
    result = PQexecPrepared(connection->db, name, (int)query->count, query->values, NULL, NULL, 0);
    MU_TRY(check(connection, result, err));
    if (ret_changed != NULL)
        *ret_changed = strtoul(PQcmdTuples(result), NULL, 10);
    return give_rows(result, query, err);
}

static const char append_only[] =
    "CREATE OR REPLACE FUNCTION measured_unlock_append_only() RETURNS trigger "
    "LANGUAGE plpgsql AS 'BEGIN RAISE EXCEPTION ''% is append-only'', TG_TABLE_NAME; "
    "END'";

#define GUARD(name, events)                                                                        \
    "CREATE TRIGGER " name " BEFORE " events                                                       \
    " ON image_act FOR EACH STATEMENT EXECUTE PROCEDURE measured_unlock_append_only()"

static const char keep_change[] =
    "CREATE OR REPLACE FUNCTION measured_unlock_change() RETURNS trigger LANGUAGE plpgsql AS "
    "'DECLARE number BIGINT; BEGIN "
    "SELECT coalesce(max(n), 0) + 1 INTO number FROM history WHERE instance_id = NEW.id; "
    "INSERT INTO history VALUES (NEW.id, number, NEW.last_seen, " HISTORY_OF(
        "NEW") "); "
               "DELETE FROM history WHERE instance_id = NEW.id AND n <= number - " HISTORY_KEPT "; "
               "RETURN NULL; END'";

static const char drop_changes[] =
    "CREATE OR REPLACE FUNCTION measured_unlock_forget() RETURNS trigger LANGUAGE plpgsql AS "
    "'BEGIN DELETE FROM history WHERE instance_id = OLD.id; RETURN NULL; END'";

static const char after_insert[] =
    "CREATE TRIGGER history_insert AFTER INSERT ON instance FOR EACH ROW "
    "EXECUTE PROCEDURE measured_unlock_change()";

static const char after_update[] =
    "CREATE TRIGGER history_update AFTER UPDATE ON instance FOR EACH ROW WHEN "
    "((" HISTORY_OF("OLD") ") IS DISTINCT FROM (" HISTORY_OF(
        "NEW") ")) "
               "EXECUTE PROCEDURE measured_unlock_change()";

static const char after_delete[] =
    "CREATE TRIGGER history_delete AFTER DELETE ON instance FOR EACH ROW "
    "EXECUTE PROCEDURE measured_unlock_forget()";

const struct store_driver store_postgresql = {
    .prefix = "postgresql:",
    .connections = STORE_CONNECTIONS_MAX,
    .place_is_secret = true,
    .sql =
        {
            [STATEMENT_BEGIN] = "BEGIN",
            [STATEMENT_LOCK_SCHEMA] = "SELECT pg_advisory_xact_lock(4711066)",
            [STATEMENT_HAS_META] = "SELECT CASE WHEN to_regclass('meta') IS NULL THEN 0 ELSE 1 END",
            [STATEMENT_DURABLE] = "SET synchronous_commit = on",
            [STATEMENT_GUARD] = append_only,
            [STATEMENT_GUARD_UPDATE] = GUARD("image_act_kept", "UPDATE"),
            [STATEMENT_GUARD_DELETE] = GUARD("image_act_there", "DELETE OR TRUNCATE"),
            [STATEMENT_HISTORY_CHANGE] = keep_change,
            [STATEMENT_HISTORY_INSERT] = after_insert,
            [STATEMENT_HISTORY_UPDATE] = after_update,
            [STATEMENT_HISTORY_DROP] = drop_changes,
            [STATEMENT_HISTORY_DELETE] = after_delete,
        },
    .open = open_connection,
    .close = close_connection,
    .run = postgresql_run,
    .lost = is_lost,
};
