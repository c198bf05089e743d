/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef MU_BASE_TRACE_H
#define MU_BASE_TRACE_H

#include <stddef.h>
#include <stdint.h>

/* When each step of a boot began and ended, from any thread; for report.json. Names are string constants. */

#define TRACE_STEPS_MAX 64

struct trace_step {
    const char *name;
    uint64_t start_us, end_us; /* of clock.h's now_us() */
};

void trace_step(const char *name, uint64_t start_us);
/* What has been recorded so far, in order of ending; ret has room for TRACE_STEPS_MAX. */
size_t trace_steps(struct trace_step *ret);

#endif
