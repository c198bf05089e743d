/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "base/retry.h"

#include <sys/random.h>

#include "base/log.h"

const struct retry_policy retry_machine = {.first_ms = 20, .longest_ms = 1000};
const struct retry_policy retry_service = {
    .first_ms = 20, .longest_ms = 5000, .unanswered_ms = RETRY_UNANSWERED_MS};

static unsigned below(unsigned limit)
{
    uint32_t value = 0;

    /* Without random numbers there is no jitter; that is not a reason to fail. */
    if (getrandom(&value, sizeof(value), GRND_NONBLOCK) != (ssize_t)sizeof(value))
        return 0;
    return value % limit;
}

bool retry_pause(struct retry *retry)
{
    const struct retry_policy *policy = retry->policy;
    unsigned attempt = retry->attempt++;
    uint64_t ms = (uint64_t)policy->first_ms << (attempt < 16 ? attempt : 16);
    unsigned longest = retry->unanswered ? policy->unanswered_ms : policy->longest_ms;

    if (policy->attempts != 0 && attempt >= policy->attempts)
        return false;
    if (attempt == 0 && retry->tell && !deadline_passed(retry->deadline))
        log_line("%s; trying again", retry->error->text);
    ms = ms < longest ? ms : longest;
    /* Between half of it and all of it. */
    return clock_pause_ms((unsigned)ms - below((unsigned)ms / 2 + 1), retry->deadline);
}

bool retry_after(struct retry *retry, enum mu_status status)
{
    if (status != MU_RETRY)
        return false;
    if (retry->error != NULL && retry->attempt > 0 && deadline_passed(retry->deadline)) {
        *retry->error = retry->before;
        return false;
    }
    if (retry->error != NULL)
        retry->before = *retry->error;
    return retry_pause(retry);
}
