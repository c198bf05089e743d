/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "base/clock.h"

#include <errno.h>
#include <stddef.h>
#include <time.h>

#define STOP_POLL_US 20000u

static uint64_t read_us(clockid_t clock)
{
    struct timespec now = {0};

    (void)clock_gettime(clock, &now);
    return (uint64_t)now.tv_sec * 1000000u + (uint64_t)now.tv_nsec / 1000u;
}

uint64_t clock_now_us(void)
{
    return read_us(CLOCK_BOOTTIME);
}

uint64_t clock_thread_us(void)
{
    return read_us(CLOCK_THREAD_CPUTIME_ID);
}

struct deadline deadline_in(uint64_t seconds)
{
    return (struct deadline){.at_us = clock_now_us() + seconds * 1000000u};
}

static bool is_set(const atomic_bool *flag)
{
    return flag != NULL && atomic_load(flag);
}

bool deadline_passed(struct deadline deadline)
{
    return clock_now_us() >= deadline.at_us || is_set(deadline.stop) || is_set(deadline.part);
}

unsigned deadline_left_ms(struct deadline deadline, unsigned cap)
{
    uint64_t now = clock_now_us();
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

bool clock_pause_ms(unsigned ms, struct deadline deadline)
{
    uint64_t until = clock_now_us() + (uint64_t)ms * 1000u;

    if (until > deadline.at_us)
        until = deadline.at_us;
    for (uint64_t now = clock_now_us(); now < until && !deadline_passed(deadline);
         now = clock_now_us())
        sleep_until(until - now < STOP_POLL_US ? until : now + STOP_POLL_US);
    return !deadline_passed(deadline);
}
