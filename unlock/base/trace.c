/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "base/trace.h"

#include <pthread.h>
#include <string.h>

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct trace_step steps[TRACE_STEPS_MAX];
static size_t count;

static void forget_failed(const char *name)
{
    for (size_t i = 0; i < count; i++) {
        if (!steps[i].failed || strcmp(steps[i].name, name) != 0)
            continue;
        count--;
        memmove(&steps[i], &steps[i + 1], (count - i) * sizeof(steps[0]));
        return;
    }
}

struct trace_start trace_begin(void)
{
    return (struct trace_start){clock_now_us(), clock_thread_us()};
}

enum mu_status trace_step(const char *name, struct trace_start start, enum mu_status outcome)
{
    uint64_t cpu_us = clock_thread_us() - start.cpu_us;
    struct trace_step step = {name, start.at_us, clock_now_us(), cpu_us, outcome != MU_OK};

    pthread_mutex_lock(&lock);
    forget_failed(name);
    if (count < TRACE_STEPS_MAX)
        steps[count++] = step;
    pthread_mutex_unlock(&lock);
    return outcome;
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
