/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "verifier/limiter.h"

#include <string.h>

void limiter_init(struct limiter *limiter)
{
    memset(limiter->bucket, 0, sizeof(limiter->bucket));
    (void)pthread_mutex_init(&limiter->lock, NULL);
    limiter->seed = source_seed();
}

/* The source's own bucket, else the one that was not used for longest, filled. */
static struct limiter_bucket *bucket_of(struct limiter *limiter, const struct source *source,
                                        double burst, uint64_t now_us)
{
    struct limiter_bucket *set = limiter->bucket[source_slot(limiter->seed, source, LIMITER_SETS)];
    struct limiter_bucket *oldest = set;

    for (size_t i = 0; i < LIMITER_WAYS; i++) {
        if (set[i].at_us != 0 && memcmp(&set[i].source, source, sizeof(*source)) == 0)
            return &set[i];
        if (set[i].at_us < oldest->at_us)
            oldest = &set[i];
    }
    oldest->source = *source;
    oldest->at_us = now_us;
    oldest->tokens = burst;
    return oldest;
}

bool limiter_take(struct limiter *limiter, const struct sockaddr *address, double rate,
                  double burst, uint64_t now_us)
{
    struct source source = source_of(address);
    struct limiter_bucket *bucket;
    bool granted;

    (void)pthread_mutex_lock(&limiter->lock);
    bucket = bucket_of(limiter, &source, burst, now_us);
    if (now_us > bucket->at_us)
        bucket->tokens += rate * (double)(now_us - bucket->at_us) / 1e6;
    bucket->at_us = now_us;
    if (bucket->tokens > burst)
        bucket->tokens = burst;
    granted = bucket->tokens >= 1;
    if (granted)
        bucket->tokens -= 1;
    (void)pthread_mutex_unlock(&limiter->lock);
    return granted;
}
