/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "fleet/store_internal.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/bytes.h"
#include "base/clock.h"

#define RECONNECT_US 1000000u
#define PATIENCE 10u /* how many times longer to pause than the failed attempt took */
#define WAIT_S 10

struct store_pool {
    const struct store_driver *driver;
    char *where;
    enum store_use use;
    pthread_mutex_t mutex; /* over what follows */
    pthread_cond_t returned;
    void *idle[STORE_CONNECTIONS_MAX];
    size_t idle_count, count; /* count: with those that are lent or being made */
    bool failing, trying;     /* the last attempt to connect failed; one is under way */
    struct mu_error why;      /* it failed */
    uint64_t again_us;        /* before that it does not try to connect again */
};

static void close_idle(struct store_pool *pool)
{
    while (pool->idle_count > 0) {
        pool->driver->close(pool->idle[--pool->idle_count]);
        pool->count--;
    }
}

void store_pool_free(struct store_pool **pool)
{
    if (*pool == NULL)
        return;
    close_idle(*pool);
    (void)pthread_cond_destroy(&(*pool)->returned);
    (void)pthread_mutex_destroy(&(*pool)->mutex);
    string_wipe(&(*pool)->where); /* there may be a password in it */
    free(*pool);
    *pool = NULL;
}

static bool make_condition(pthread_cond_t *ret)
{
    pthread_condattr_t attributes;
    bool made = pthread_condattr_init(&attributes) == 0 &&
                pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC) == 0 &&
                pthread_cond_init(ret, &attributes) == 0;

    (void)pthread_condattr_destroy(&attributes);
    return made;
}

enum mu_status store_pool_new(const struct store_driver *driver, const char *where,
                              enum store_use use, struct store_pool **ret, struct mu_error *err)
{
    struct store_pool *pool = calloc(1, sizeof(*pool));

    if (pool == NULL)
        return mu_oom(err);
    pool->where = strdup(where);
    if (pool->where == NULL || !make_condition(&pool->returned)) {
        string_free(&pool->where);
        free(pool);
        return mu_oom(err);
    }
    (void)pthread_mutex_init(&pool->mutex, NULL);
    pool->driver = driver;
    pool->use = use;
    *ret = pool;
    return MU_OK;
}

/* With the mutex, which it gives up while it connects. */
static enum mu_status make_one(struct store_pool *pool, void **ret, struct mu_error *err)
{
    uint64_t began = clock_now_us(), took;
    enum mu_status status;

    if (pool->failing && (pool->trying || began < pool->again_us))
        return mu_fail(err, MU_RETRY, "%s", pool->why.text);
    pool->trying = true;
    pool->count++;
    (void)pthread_mutex_unlock(&pool->mutex);
    status = pool->driver->open(pool->where, pool->use, ret, err);
    took = clock_now_us() - began;
    (void)pthread_mutex_lock(&pool->mutex);
    pool->trying = false;
    pool->failing = status != MU_OK;
    if (status == MU_OK)
        return MU_OK;
    pool->why = *err;
    pool->count--;
    pool->again_us =
        clock_now_us() + (PATIENCE * took > RECONNECT_US ? PATIENCE * took : RECONNECT_US);
    (void)pthread_cond_broadcast(&pool->returned);
    return status;
}

/* With the mutex. */
static enum mu_status take_one(struct store_pool *pool, void **ret, struct mu_error *err)
{
    struct timespec until;

    (void)clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_sec += WAIT_S;
    while (pool->idle_count == 0 && pool->count >= pool->driver->connections)
        if (pthread_cond_timedwait(&pool->returned, &pool->mutex, &until) == ETIMEDOUT)
            return mu_fail(err, MU_RETRY, "store: all %zu connections are in use",
                           pool->driver->connections);
    if (pool->idle_count == 0)
        return make_one(pool, ret, err);
    *ret = pool->idle[--pool->idle_count];
    return MU_OK;
}

enum mu_status store_pool_take(struct store_pool *pool, void **ret, struct mu_error *err)
{
    enum mu_status status;

    (void)pthread_mutex_lock(&pool->mutex);
    status = take_one(pool, ret, err);
    (void)pthread_mutex_unlock(&pool->mutex);
    return status;
}

void store_pool_give(struct store_pool *pool, void *connection, bool *ret_lost)
{
    bool lost = pool->driver->lost != NULL && pool->driver->lost(connection);

    (void)pthread_mutex_lock(&pool->mutex);
    if (lost) {
        close_idle(pool);
        pool->driver->close(connection);
        pool->count--;
    } else {
        pool->idle[pool->idle_count++] = connection;
    }
    (void)pthread_cond_signal(&pool->returned);
    (void)pthread_mutex_unlock(&pool->mutex);
    if (ret_lost != NULL)
        *ret_lost = lost;
}
