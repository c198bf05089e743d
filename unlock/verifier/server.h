/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef MU_VERIFIER_SERVER_H
#define MU_VERIFIER_SERVER_H

#include "verifier/limiter.h"
#include "verifier/material.h"
#include "verifier/metrics.h"
#include "verifier/patience.h"
#include "verifier/store.h"

/* What outlives a reload. */
struct shared {
    struct metrics metrics;
    struct limiter limiter;
    struct patience patience;
    struct store *store; /* NULL: none */
    pthread_mutex_t lock;
    char reload_error[768]; /* empty: what was read last is in use; under the lock */
};

struct MHD_Daemon;

/* One set of material and the threads that answer with it; several may answer from one listening
 * socket for a while. */
struct server {
    struct shared *shared;
    struct material *material;
    _Atomic(struct MHD_Daemon *) daemon; /* its threads may run before it is set */
};

/* Takes over the material. `listening` stays the caller's, and open. MU_CONFIG. */
enum mu_status server_start(struct shared *shared, struct material **material, int listening,
                            struct server **ret, struct mu_error *err) MU_MUST_CHECK;
/* Accepts no more connections; those that are there are answered. */
void server_quiesce(struct server *server);
unsigned server_connections(const struct server *server);
/* Ends all connections, and frees it. */
void server_stop(struct server **server);

/* MU_CONFIG: why it should not get requests. */
enum mu_status server_health(const struct server *server, struct mu_error *err) MU_MUST_CHECK;

#endif
