/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "verifier/connections.h"

#include <stdlib.h>
#include <string.h>

#define SHUT_DOWN UINT64_MAX

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
