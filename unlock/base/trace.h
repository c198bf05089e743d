/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef MU_BASE_TRACE_H
#define MU_BASE_TRACE_H

#include <stddef.h>

#include "base/clock.h"
#include "base/error.h"

/* When each step of a boot began and ended, from any thread; for report.json. Names are string
 * constants. If a step failed and was tried again, only the last attempt is kept. */

#define TRACE_STEPS_MAX 64

struct trace_step {
    const char *name;
    uint64_t start_us, end_us; /* of clock_now_us() */
    bool failed;
};

/* The outcome of `call`, which is recorded as a step. */
#define MU_STEP(name, call)                                                                        \
    ({                                                                                             \
        uint64_t step_start_ = clock_now_us();                                                     \
                                                                                                   \
        trace_step((name), step_start_, (call));                                                   \
    })

/* A step that ends now; returns its outcome. */
enum mu_status trace_step(const char *name, uint64_t start_us, enum mu_status outcome) MU_NONNULL;
/* What has been recorded so far, in order of ending; ret has room for TRACE_STEPS_MAX. */
size_t trace_steps(struct trace_step *ret) MU_NONNULL;

#endif
