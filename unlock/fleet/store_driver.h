/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef MU_FLEET_STORE_DRIVER_H
#define MU_FLEET_STORE_DRIVER_H

#include <stdbool.h>
#include <stddef.h>

#include "fleet/store.h"

/* The little that a database has to do for store.c: run prepared statements. Numbers go both ways
 * as decimal text, NULL is SQL's. */

enum store_statement {
    STATEMENT_BEGIN,
    STATEMENT_COMMIT,
    STATEMENT_ROLLBACK,
    STATEMENT_HAS_META, /* 1 or 0: the table meta is there */
    STATEMENT_LOCK_SCHEMA,
    STATEMENT_DURABLE, /* from here on, what this connection commits outlives a power cut */
    STATEMENT_MAKE_META,
    STATEMENT_MAKE_INSTANCE,
    STATEMENT_MAKE_DUE,
    STATEMENT_MAKE_SEEN,
    STATEMENT_MAKE_EVENT,
    STATEMENT_MAKE_EVENT_AT,
    STATEMENT_MAKE_SINK,
    STATEMENT_FIRST_META,
    STATEMENT_META,
    STATEMENT_RECORD,
    STATEMENT_INSTANCES,
    STATEMENT_INSTANCE,
    STATEMENT_DUE,
    STATEMENT_BACK,
    STATEMENT_SILENT,
    STATEMENT_COUNTS,
    STATEMENT_ANNOUNCE,
    STATEMENT_EVENT_IDS,
    STATEMENT_EVENT,
    STATEMENT_SINK_ADD,
    STATEMENT_EVENT_NEXT,
    STATEMENT_EVENT_DONE,
    STATEMENT_WAITING,
    STATEMENT_FORGET,
    STATEMENT_EXPIRE_INSTANCES,
    STATEMENT_EXPIRE_EVENTS,
    STATEMENT_MAKE_ACT,
    STATEMENT_GUARD, /* what follows refuses to change or delete an act */
    STATEMENT_GUARD_UPDATE,
    STATEMENT_GUARD_DELETE,
    STATEMENT_ACT_ID,
    STATEMENT_ACT_ADD,
    STATEMENT_ACT_SERIAL,
    STATEMENT_IMAGES,
    STATEMENT_ACTS,
    STATEMENT_ROLL_OUT,
    STATEMENT_MAKE_HISTORY,
    STATEMENT_MAKE_HISTORY_AT,
    STATEMENT_MAKE_EVENT_OF,
    STATEMENT_MAKE_NOT_TRUSTED,
    STATEMENT_MAKE_SAMPLE,
    STATEMENT_HISTORY_CHANGE, /* what follows keeps the table history */
    STATEMENT_HISTORY_INSERT,
    STATEMENT_HISTORY_UPDATE,
    STATEMENT_HISTORY_DROP,
    STATEMENT_HISTORY_DELETE,
    STATEMENT_HISTORY,
    STATEMENT_SAMPLE,
    STATEMENT_SAMPLES,
    STATEMENT_LIST,
    STATEMENT_LIST_NOT_TRUSTED,
    STATEMENT_EXPIRE_HISTORY,
    STATEMENT_EXPIRE_SAMPLES,
    STATEMENTS,
};

/* What an entry of the table history has beside its key and time, of a row of instance. */
#define HISTORY_OF(row)                                                                            \
    row ".ok, " row ".baseline, " row ".baseline_version, " row ".state, " row ".image, " row      \
        ".boot_loader, " row ".detail, " row ".address"
#define HISTORY_KEPT "200" /* HISTORY_MAX */

#define STORE_COLUMNS_MAX 24

typedef enum mu_status (*store_row)(const char *const *column, void *context, struct mu_error *err);

#define STORE_CONNECTIONS_MAX 16

/* A statement to run: `values` has as many as the SQL has parameters $1, $2, ..., which appear in
 * this order in it. What row gets is of a statement that has succeeded so far; if the connection is
 * lost, it got none. */
struct store_query {
    enum store_statement statement;
    const char *sql;
    const char *const *values;
    size_t count;
    store_row row; /* NULL: rows are of no interest */
    void *context;
};

struct store_driver {
    const char *prefix;          /* of the place: "sqlite:" */
    size_t connections;          /* how many at once are of use, up to STORE_CONNECTIONS_MAX */
    bool place_is_secret;        /* there may be a password in it */
    const char *sql[STATEMENTS]; /* those that the two databases have their own words for */
    enum mu_status (*open)(const char *where, enum store_use use, void **ret, struct mu_error *err);
    void (*close)(void *connection);
    enum mu_status (*run)(void *connection, const struct store_query *query, size_t *ret_changed,
                          struct mu_error *err);
    bool (*lost)(void *connection); /* it is of no more use; NULL: never */
};

extern const struct store_driver store_sqlite, store_postgresql;

#endif
