/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef MU_BASE_CLOCK_H
#define MU_BASE_CLOCK_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

/* Microseconds since boot (CLOCK_BOOTTIME). */
uint64_t clock_now_us(void);
/* Microseconds of a processor that the calling thread has had (CLOCK_THREAD_CPUTIME_ID). */
uint64_t clock_thread_us(void);

/* A point on that clock after which nothing new is started. The deadline also counts as passed once
 * *stop or *part is set: *stop by another thread or a signal, *part to end only a part of the work.
 * NULL: never set. */
struct deadline {
    uint64_t at_us;
    const atomic_bool *stop, *part;
};

struct deadline deadline_in(uint64_t seconds);
bool deadline_passed(struct deadline deadline);
/* Milliseconds left, at most `cap`; 0 if the deadline has passed. */
unsigned deadline_left_ms(struct deadline deadline, unsigned cap);

/* Sleeps `ms`, at most until the deadline; false if the deadline has passed. */
bool clock_pause_ms(unsigned ms, struct deadline deadline);

#endif
