/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef MU_FLEET_STORE_INTERNAL_H
#define MU_FLEET_STORE_INTERNAL_H

#include <pthread.h>

#include "fleet/store.h"
#include "fleet/store_driver.h"

struct store {
    const struct store_driver *driver;
    void *connection;
    pthread_mutex_t mutex; /* held during a query or transaction; recursive */
};

enum mu_status store_run(struct store *store, enum store_statement statement,
                         const char *const *values, size_t count, store_row row, void *context,
                         size_t *ret_changed, struct mu_error *err) MU_MUST_CHECK;
/* Runs `work` in one transaction: all of it or nothing. */
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

#endif
