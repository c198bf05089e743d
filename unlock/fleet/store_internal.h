/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef MU_FLEET_STORE_INTERNAL_H
#define MU_FLEET_STORE_INTERNAL_H

#include "fleet/store.h"
#include "fleet/store_driver.h"

/* A store, or in a transaction the same with one connection. */
struct store {
    const struct store_driver *driver;
    struct store_pool *pool;
    void *bound; /* the connection of the transaction; NULL: none */
};

/* Connections to one place, made when all others are in use and never more than the driver says,
 * lent to one thread at a time. A lost one is not lent again, nor are the others that wait: most
 * likely the server is gone. While the server does not let one in, one thread tries again now and
 * then, and the others are told so at once (MU_RETRY). */
struct store_pool;
enum mu_status store_pool_new(const struct store_driver *driver, const char *where,
                              enum store_use use, struct store_pool **ret,
                              struct mu_error *err) MU_MUST_CHECK;
void store_pool_free(struct store_pool **pool);
/* MU_RETRY: none came back within the time that a statement may take. */
enum mu_status store_pool_take(struct store_pool *pool, void **ret,
                               struct mu_error *err) MU_MUST_CHECK;
/* *ret_lost, if wanted: it was, and is gone. */
void store_pool_give(struct store_pool *pool, void *connection, bool *ret_lost);

enum mu_status store_run(struct store *store, enum store_statement statement,
                         const char *const *values, size_t count, store_row row, void *context,
                         size_t *ret_changed, struct mu_error *err) MU_MUST_CHECK;
/* The same with a text that was made for it, the same one each time. */
enum mu_status store_run_text(struct store *store, const struct store_query *query,
                              size_t *ret_changed, struct mu_error *err) MU_MUST_CHECK;
/* Runs `work` in one transaction: all of it or nothing. What it commits outlives a power cut. */
enum mu_status store_transaction(struct store *store,
                                 enum mu_status (*work)(struct store *store, void *context,
                                                        struct mu_error *err),
                                 void *context, struct mu_error *err) MU_MUST_CHECK;

struct store_number {
    char text[24];
};
struct store_number store_number(int64_t value);
/* A row of one number; context is an int64_t. */
enum mu_status store_read_number(const char *const *column, void *context, struct mu_error *err);
int64_t store_parse(const char *text);
enum standing store_standing_of(const char *name);

#define STORE_EVENT_COLUMNS                                                                        \
    "id, kind, at_ms, instance_id, last_seen, last_good, baseline, baseline_version, state, "      \
    "detail, address"

/* store_visit_row gives a row of these columns to a struct store_visitor. */
#define STORE_INSTANCE_COLUMNS                                                                     \
    "id, first_seen, last_seen, ok, baseline, baseline_version, state, detail, address, "          \
    "last_good, good_baseline, good_version, mismatch_at, mismatch, boot_since, image, "           \
    "boot_loader"
struct store_visitor {
    instance_visit visit;
    void *context;
    size_t rows;
    char last_id[128];
    int64_t last_seen;
};
enum mu_status store_visit_row(const char *const *column, void *context, struct mu_error *err);

#endif
