/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef MU_BASE_CLOCK_H
#define MU_BASE_CLOCK_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

/* Microseconds since boot (CLOCK_BOOTTIME). */
uint64_t now_us(void);

/* A point on that clock after which nothing is started any more. It has passed at once when another
 * thread sets *stop (NULL: nobody does). */
struct deadline {
    uint64_t at_us;
    const atomic_bool *stop;
};

struct deadline deadline_in(uint64_t seconds);
bool deadline_passed(struct deadline deadline);
/* Milliseconds left, at most `cap`, 0 when passed. */
unsigned deadline_left_ms(struct deadline deadline, unsigned cap);

/* Sleeps as long as attempt number `attempt` (0, 1, ...) of a retry should wait: first_ms, doubled
 * each time up to cap_ms, with jitter, never past the deadline. False when the deadline has passed.
 */
bool backoff_sleep(unsigned attempt, unsigned first_ms, unsigned cap_ms, struct deadline deadline);

/* Sleeps `ms`, at most until the deadline; false when it has passed. */
bool pause_ms(unsigned ms, struct deadline deadline);

#endif
