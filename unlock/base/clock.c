/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "base/clock.h"

#include <errno.h>
#include <stddef.h>
#include <sys/random.h>
#include <time.h>

#define STOP_POLL_US 20000u

uint64_t now_us(void)
{
    struct timespec now = {0};

    (void)clock_gettime(CLOCK_BOOTTIME, &now);
    return (uint64_t)now.tv_sec * 1000000u + (uint64_t)now.tv_nsec / 1000u;
}

struct deadline deadline_in(uint64_t seconds)
{
    return (struct deadline){now_us() + seconds * 1000000u, NULL};
}

bool deadline_passed(struct deadline deadline)
{
    return now_us() >= deadline.at_us || (deadline.stop != NULL && atomic_load(deadline.stop));
}

unsigned deadline_left_ms(struct deadline deadline, unsigned cap)
{
    uint64_t now = now_us();
    uint64_t left;

    if (deadline_passed(deadline) || now >= deadline.at_us)
        return 0;
    /* Rounded up: the last part of a millisecond is still time left. */
    left = (deadline.at_us - now + 999u) / 1000u;
    return left < cap ? (unsigned)left : cap;
}

static void sleep_until(uint64_t until_us)
{
    struct timespec at = {(time_t)(until_us / 1000000u), (long)(until_us % 1000000u) * 1000};

    while (clock_nanosleep(CLOCK_BOOTTIME, TIMER_ABSTIME, &at, NULL) == EINTR)
        ;
}

bool pause_ms(unsigned ms, struct deadline deadline)
{
    uint64_t until = now_us() + (uint64_t)ms * 1000u;

    if (until > deadline.at_us)
        until = deadline.at_us;
    for (uint64_t now = now_us(); now < until && !deadline_passed(deadline); now = now_us())
        sleep_until(until - now < STOP_POLL_US ? until : now + STOP_POLL_US);
    return !deadline_passed(deadline);
}

static unsigned below(unsigned limit)
{
    uint32_t value = 0;

    /* Without random numbers there is no jitter, which is no reason to fail. */
    if (getrandom(&value, sizeof(value), GRND_NONBLOCK) != (ssize_t)sizeof(value))
        return 0;
    return value % limit;
}

bool backoff_sleep(unsigned attempt, unsigned first_ms, unsigned cap_ms, struct deadline deadline)
{
    uint64_t longest = (uint64_t)first_ms << (attempt < 16 ? attempt : 16);
    unsigned ms = longest < cap_ms ? (unsigned)longest : cap_ms;

    /* Between half of it and all of it. */
    return pause_ms(ms - below(ms / 2 + 1), deadline);
}
