/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef MU_VERIFIER_CONNECTIONS_H
#define MU_VERIFIER_CONNECTIONS_H

#include <pthread.h>
#include <stdint.h>

#include "verifier/source.h"

#define CONNECTIONS_SLOTS 4096

/* The open connections, for two limits that libmicrohttpd does not have: how many one sender may
 * hold (its own limit counts each address of an IPv6 /64 by itself), and how long one may take for
 * a request, from its start (TLS included) or the last answer on (its own timeout begins again with
 * each byte). */
struct connections {
    pthread_mutex_t lock;
    uint64_t seed;
    struct connection_entry *slot[CONNECTIONS_SLOTS]; /* by source */
};

struct connection_entry {
    struct source source;
    int fd;
    uint64_t deadline_us; /* of clock.h */
    struct connection_entry *next, **link;
};

void connections_init(struct connections *connections);
/* Shuts the connection down at once if its source has `most` already. NULL: out of memory; the
 * connection is shut down then, too. */
struct connection_entry *connections_begin(struct connections *connections, int fd,
                                           const struct sockaddr *from, unsigned most,
                                           uint64_t deadline_us);
void connections_extend(struct connections *connections, struct connection_entry *entry,
                        uint64_t deadline_us);
/* Before the descriptor is closed. */
void connections_end(struct connections *connections, struct connection_entry *entry);
/* Shuts down connections whose time is over; returns how many. */
unsigned connections_enforce(struct connections *connections, uint64_t now_us);

#endif
