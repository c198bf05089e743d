/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef MU_VERIFIER_LIMITER_H
#define MU_VERIFIER_LIMITER_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "verifier/source.h"

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
bool limiter_take(struct limiter *limiter, const struct sockaddr *address, double rate,
                  double burst, uint64_t now_us);

#endif
