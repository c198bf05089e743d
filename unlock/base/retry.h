/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef MU_BASE_RETRY_H
#define MU_BASE_RETRY_H

#include "base/clock.h"
#include "base/error.h"

/* How long to pause before another attempt: first_ms, doubled each time up to longest_ms, with
 * jitter. */
struct retry_policy {
    unsigned first_ms, longest_ms;
    unsigned
        unanswered_ms; /* longest_ms while no server answers: the link may come up at any moment */
    unsigned attempts; /* at most this many more; 0: until the deadline */
};

#define RETRY_UNANSWERED_MS 50

extern const struct retry_policy retry_machine; /* devices and the TPM */
extern const struct retry_policy retry_service; /* servers */

/* Tries again after transient failures, until the deadline:
 *     struct retry retry = {.policy = &retry_machine, .deadline = deadline};
 *     do
 *         status = attempt(err);
 *     while (retry_after(&retry, status)); */
struct retry {
    const struct retry_policy *policy;
    struct deadline deadline;
    const struct mu_error *tell; /* the first failure is logged, so that a person at the terminal
                                    learns what is waited for; NULL: silent */
    bool unanswered;             /* the last attempt got no answer */
    unsigned attempt;            /* 0, 1, ... */
};

/* True, after the pause, if another attempt is to be made. */
bool retry_pause(struct retry *retry) MU_MUST_CHECK MU_NONNULL;
/* The same, but false at once if `status` is not MU_RETRY. */
bool retry_after(struct retry *retry, enum mu_status status) MU_MUST_CHECK MU_NONNULL;

#endif
