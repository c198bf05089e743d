/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef MU_VERIFIER_SERVER_H
#define MU_VERIFIER_SERVER_H

#include "fleet/store.h"
#include "verifier/metrics.h"
#include "verifier/senders.h"
#include "verifier/verifier.h"

/* State that outlives a reload. */
struct shared {
    struct metrics metrics;
    struct limiter requests, looks, tokens; /* looks: at the page, which hold up no instance */
    struct connections connections;
    struct store *store;      /* NULL: none */
    struct store *page_store; /* the same, for those who look; NULL: nobody may */
    pthread_mutex_t lock;
    char reload_error[768]; /* empty: the last reload succeeded; under the lock */
};

struct MHD_Daemon;
struct MHD_Connection;

#define SERVER_TLS_PRIORITIES "NORMAL:-VERS-ALL:+VERS-TLS1.3:+VERS-TLS1.2"
/* Who sent a request; its address as text. */
const struct sockaddr *server_sender(struct MHD_Connection *connection);
#define SERVER_SENDER_TEXT 64
void server_sender_text(struct MHD_Connection *connection, char to[static SERVER_SENDER_TEXT]);

/* One set of verifier and the threads that answer with it; several may answer from one listening
 * socket for a while. */
struct server {
    struct shared *shared;
    struct verifier *verifier;
    _Atomic(struct MHD_Daemon *) daemon; /* its threads may run before it is set */
};

/* Takes over the verifier. `listening` stays the caller's, and open. MU_CONFIG. */
enum mu_status server_start(struct shared *shared, struct verifier **verifier, int listening,
                            struct server **ret, struct mu_error *err) MU_MUST_CHECK;
/* Accepts no more connections; the open ones are still answered. */
void server_quiesce(struct server *server);
unsigned server_connections(const struct server *server);
/* Ends all connections, and frees the server. */
void server_stop(struct server **server);

/* MU_CONFIG says why the server should not get requests. */
enum mu_status server_health(const struct server *server, struct mu_error *err) MU_MUST_CHECK;

#endif
