/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef MU_VERIFIER_SENDERS_H
#define MU_VERIFIER_SENDERS_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>

/* What counts as one sender for the limits: an IPv4 address, or the /64 of an IPv6 address, all of
 * which one host can use (RFC 7421). */
#define SOURCE_SIZE 16
struct source {
    uint8_t bytes[SOURCE_SIZE];
};

struct source source_of(const struct sockaddr *address);
/* An account's instances, as far as they want tokens for the audience of that number. */
struct source source_of_account(const char *account, uint32_t audience);

#define LIMITER_SETS 1024
#define LIMITER_WAYS 4

/* How many requests of one source are answered: a bucket for each of the last few thousand sources.
 * A source that was dropped begins again with a full bucket. */
struct limiter {
    pthread_mutex_t lock;
    uint64_t seed;
    struct limiter_bucket {
        struct source source;
        uint64_t at_us; /* 0: free */
        double tokens;
    } bucket[LIMITER_SETS][LIMITER_WAYS];
};

void limiter_init(struct limiter *limiter);
/* False: more than `burst` at once, or than `rate` a second. now_us is of clock.h. */
bool limiter_take(struct limiter *limiter, const struct source *source, double rate, double burst,
                  uint64_t now_us);

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
