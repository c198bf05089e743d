/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef MU_BASE_TRACE_H
#define MU_BASE_TRACE_H

#include <stddef.h>

#include "base/clock.h"
#include "base/error.h"

/* When each step of a boot began and ended, in the thread that took it, and how much of a processor
 * that thread had meanwhile; for report.json. Names are string constants. If a step failed and was
 * tried again, only the last attempt is kept. */

#define TRACE_STEPS_MAX 64

struct trace_step {
    const char *name;
    uint64_t start_us, end_us; /* of clock_now_us() */
    uint64_t cpu_us;           /* of clock_thread_us() */
    bool failed;
};

struct trace_start {
    uint64_t at_us, cpu_us;
};

struct trace_start trace_begin(void);

/* The outcome of `call`, which is recorded as a step. */
#define MU_STEP(name, call)                                                                        \
    ({                                                                                             \
        struct trace_start step_start_ = trace_begin();                                            \
                                                                                                   \
        trace_step((name), step_start_, (call));                                                   \
    })

/* A step that ends now; returns its outcome. */
enum mu_status trace_step(const char *name, struct trace_start start,
                          enum mu_status outcome) MU_NONNULL;
/* What has been recorded so far, in order of ending; ret has room for TRACE_STEPS_MAX. */
size_t trace_steps(struct trace_step *ret) MU_NONNULL;

#endif
