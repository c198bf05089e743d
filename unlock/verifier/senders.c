/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "verifier/senders.h"

#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#define SHUT_DOWN UINT64_MAX

struct source source_of(const struct sockaddr *address)
{
    struct source source = {0};

    if (address->sa_family == AF_INET) {
        const struct sockaddr_in *in = (const void *)address;

        memset(source.bytes + 10, 0xff, 2); /* as IPv6 maps it */
        memcpy(source.bytes + 12, &in->sin_addr, 4);
    } else if (address->sa_family == AF_INET6) {
        const struct sockaddr_in6 *in = (const void *)address;

        memcpy(source.bytes, &in->sin6_addr, IN6_IS_ADDR_V4MAPPED(&in->sin6_addr) ? 16 : 8);
    }
    return source;
}

struct source source_of_account(const char *account, uint32_t audience)
{
    struct source source = {0};
    size_t len = strlen(account);

    memcpy(source.bytes, account, len < 12 ? len : 12);
    memcpy(source.bytes + 12, &audience, sizeof(audience));
    return source;
}

/* A seed that nobody outside knows keeps senders from choosing their slot. */
static uint64_t source_seed(void)
{
    static const char anywhere = 0; /* its address is random, too, if less so */
    uint64_t seed;

    return getrandom(&seed, sizeof(seed), 0) == sizeof(seed) ? seed
                                                             : (uint64_t)(uintptr_t)&anywhere;
}

/* FNV-1a. */
static size_t source_slot(uint64_t seed, const struct source *source, size_t slots)
{
    uint64_t hash = 0xcbf29ce484222325u ^ seed;

    for (size_t i = 0; i < SOURCE_SIZE; i++)
        hash = (hash ^ source->bytes[i]) * 0x100000001b3u;
    return (hash ^ hash >> 32) % slots;
}

/* ---- how many requests ---- */

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

bool limiter_take(struct limiter *limiter, const struct source *source, double rate, double burst,
                  uint64_t now_us)
{
    struct limiter_bucket *bucket;
    bool granted;

    (void)pthread_mutex_lock(&limiter->lock);
    bucket = bucket_of(limiter, source, burst, now_us);
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

/* ---- how many connections, and for how long ---- */

void connections_init(struct connections *connections)
{
    memset(connections->slot, 0, sizeof(connections->slot));
    connections->seed = source_seed();
    (void)pthread_mutex_init(&connections->lock, NULL);
}

static unsigned count(const struct connection_entry *first, const struct source *source)
{
    unsigned found = 0;

    for (const struct connection_entry *e = first; e != NULL; e = e->next)
        found += memcmp(&e->source, source, sizeof(*source)) == 0;
    return found;
}

static void shut_down(struct connection_entry *entry)
{
    (void)shutdown(entry->fd, SHUT_RDWR);
    entry->deadline_us = SHUT_DOWN;
}

struct connection_entry *connections_begin(struct connections *connections, int fd,
                                           const struct sockaddr *from, unsigned most,
                                           uint64_t deadline_us)
{
    struct connection_entry *entry = malloc(sizeof(*entry));
    struct source source = source_of(from);
    struct connection_entry **slot =
        &connections->slot[source_slot(connections->seed, &source, CONNECTIONS_SLOTS)];

    if (entry == NULL) {
        (void)shutdown(fd, SHUT_RDWR);
        return NULL;
    }
    (void)pthread_mutex_lock(&connections->lock);
    *entry = (struct connection_entry){source, fd, deadline_us, *slot, slot};
    if (count(*slot, &source) >= most)
        shut_down(entry);
    if (entry->next != NULL)
        entry->next->link = &entry->next;
    *slot = entry;
    (void)pthread_mutex_unlock(&connections->lock);
    return entry;
}

void connections_extend(struct connections *connections, struct connection_entry *entry,
                        uint64_t deadline_us)
{
    (void)pthread_mutex_lock(&connections->lock);
    if (entry->deadline_us != SHUT_DOWN)
        entry->deadline_us = deadline_us;
    (void)pthread_mutex_unlock(&connections->lock);
}

void connections_end(struct connections *connections, struct connection_entry *entry)
{
    (void)pthread_mutex_lock(&connections->lock);
    *entry->link = entry->next;
    if (entry->next != NULL)
        entry->next->link = entry->link;
    (void)pthread_mutex_unlock(&connections->lock);
    free(entry);
}

unsigned connections_enforce(struct connections *connections, uint64_t now_us)
{
    unsigned ended = 0;

    (void)pthread_mutex_lock(&connections->lock);
    for (size_t i = 0; i < CONNECTIONS_SLOTS; i++) {
        for (struct connection_entry *e = connections->slot[i]; e != NULL; e = e->next) {
            if (now_us <= e->deadline_us)
                continue;
            shut_down(e);
            ended++;
        }
    }
    (void)pthread_mutex_unlock(&connections->lock);
    return ended;
}
