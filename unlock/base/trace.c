/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "base/trace.h"

#include <pthread.h>
#include <string.h>

#include "base/clock.h"

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct trace_step steps[TRACE_STEPS_MAX];
static size_t count;

void trace_step(const char *name, uint64_t start_us)
{
    uint64_t end_us = now_us();

    pthread_mutex_lock(&lock);
    if (count < TRACE_STEPS_MAX)
        steps[count++] = (struct trace_step){name, start_us, end_us};
    pthread_mutex_unlock(&lock);
}

size_t trace_steps(struct trace_step *ret)
{
    size_t n;

    pthread_mutex_lock(&lock);
    n = count;
    memcpy(ret, steps, n * sizeof(steps[0]));
    pthread_mutex_unlock(&lock);
    return n;
}
