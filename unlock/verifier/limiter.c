/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "verifier/limiter.h"

#include <netinet/in.h>
#include <string.h>
#include <sys/random.h>

void limiter_init(struct limiter *limiter)
{
    memset(limiter->bucket, 0, sizeof(limiter->bucket));
    (void)pthread_mutex_init(&limiter->lock, NULL);
    if (getrandom(&limiter->seed, sizeof(limiter->seed), 0) != sizeof(limiter->seed))
        limiter->seed = (uint64_t)(uintptr_t)limiter;
}

static void key_of(const struct sockaddr *address, uint8_t key[static 16])
{
    memset(key, 0, 16);
    if (address->sa_family == AF_INET) {
        const struct sockaddr_in *in = (const void *)address;

        memset(key + 10, 0xff, 2);
        memcpy(key + 12, &in->sin_addr, 4);
    } else if (address->sa_family == AF_INET6) {
        const struct sockaddr_in6 *in = (const void *)address;

        memcpy(key, &in->sin6_addr, IN6_IS_ADDR_V4MAPPED(&in->sin6_addr) ? 16 : 8);
    }
}

/* FNV-1a from a seed that nobody outside knows. */
static size_t set_of(const struct limiter *limiter, const uint8_t *key)
{
    uint64_t hash = 0xcbf29ce484222325u ^ limiter->seed;

    for (size_t i = 0; i < 16; i++)
        hash = (hash ^ key[i]) * 0x100000001b3u;
    return (hash ^ hash >> 32) % LIMITER_SETS;
}

/* The address's own bucket, else the one that was not used for longest, filled. */
static struct limiter_bucket *bucket_of(struct limiter *limiter, const uint8_t *key, double burst,
                                        uint64_t now_us)
{
    struct limiter_bucket *set = limiter->bucket[set_of(limiter, key)], *oldest = set;

    for (size_t i = 0; i < LIMITER_WAYS; i++) {
        if (set[i].at_us != 0 && memcmp(set[i].address, key, 16) == 0)
            return &set[i];
        if (set[i].at_us < oldest->at_us)
            oldest = &set[i];
    }
    memcpy(oldest->address, key, 16);
    oldest->at_us = now_us;
    oldest->tokens = burst;
    return oldest;
}

bool limiter_take(struct limiter *limiter, const struct sockaddr *address, double rate,
                  double burst, uint64_t now_us)
{
    struct limiter_bucket *bucket;
    uint8_t key[16];
    bool granted;

    key_of(address, key);
    (void)pthread_mutex_lock(&limiter->lock);
    bucket = bucket_of(limiter, key, burst, now_us);
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
