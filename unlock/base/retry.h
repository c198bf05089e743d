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

/* The attempts so far, for a loop that needs more than MU_AGAIN. */
struct retry {
    const struct retry_policy *policy;
    struct deadline deadline;
    struct mu_error *error; /* of the attempts. Where the last one only ran out of time, it becomes
                               that of the one before, which tells more. NULL: it is not read */
    bool tell;              /* log the first failure, so that a person at the terminal learns what
                               is waited for */
    bool unanswered;        /* the last attempt got no answer */
    unsigned attempt;       /* 0, 1, ... */
    struct mu_error before; /* of the last attempt but one */
};

/* True, after the pause, if another attempt is to be made. */
bool retry_pause(struct retry *retry) MU_MUST_CHECK MU_NONNULL;
/* The same, but false at once if `status` is not MU_RETRY. */
bool retry_after(struct retry *retry, enum mu_status status) MU_MUST_CHECK MU_NONNULL;

/* The outcome of `call`, which is made again while it is transient, as `how` has it, until the
 * deadline. */
#define MU_AGAIN(how, until, call)                                                                 \
    ({                                                                                             \
        struct retry retry_ = {.policy = (how), .deadline = (until)};                              \
        enum mu_status again_;                                                                     \
                                                                                                   \
        do                                                                                         \
            again_ = (call);                                                                       \
        while (retry_after(&retry_, again_));                                                      \
        again_;                                                                                    \
    })

#endif
