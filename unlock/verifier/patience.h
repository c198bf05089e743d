/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef MU_VERIFIER_PATIENCE_H
#define MU_VERIFIER_PATIENCE_H

#include <pthread.h>
#include <stdint.h>

/* How long a connection may take for one request, from its start (TLS included) or the last answer
 * on: libmicrohttpd's own timeout begins again with each byte. */

struct patience {
    pthread_mutex_t lock;
    struct patient *first;
};

/* One connection. */
struct patient {
    int fd;
    uint64_t deadline_us; /* of clock.h */
    struct patient *next, **link;
};

void patience_init(struct patience *patience);
/* NULL: memory is short. */
struct patient *patience_begin(struct patience *patience, int fd, uint64_t deadline_us);
void patience_extend(struct patience *patience, struct patient *patient, uint64_t deadline_us);
/* Before the descriptor is closed. */
void patience_end(struct patience *patience, struct patient *patient);
/* Shuts down connections whose time is over; returns how many. */
unsigned patience_enforce(struct patience *patience, uint64_t now_us);

#endif
