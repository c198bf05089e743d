/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "verifier/watch.h"

#include <stdio.h>

static void tell(struct transition *transition, enum event_kind kind, enum announced to)
{
    transition->event[transition->events++] = kind;
    transition->to = to;
}

void watch_step(const struct instance *instance, int64_t now_ms, int64_t silence_ms,
                struct transition *ret)
{
    bool silent = now_ms - instance->last_seen > silence_ms;

    *ret = (struct transition){.from = instance->announced,
                               .to = instance->announced,
                               .mismatch_at = instance->mismatch_at,
                               .at_ms = now_ms};
    (void)snprintf(ret->instance_id, sizeof(ret->instance_id), "%s", instance->id);
    if (ret->to == ANNOUNCED_NOTHING)
        tell(ret, EVENT_FIRST_SEEN, ANNOUNCED_OK);
    if (instance->mismatch_at > instance->announced_mismatch && ret->to != ANNOUNCED_MISMATCH)
        tell(ret, EVENT_MISMATCH, ANNOUNCED_MISMATCH);
    if (silent && ret->to != ANNOUNCED_MISSING)
        tell(ret, EVENT_MISSING, ANNOUNCED_MISSING);
    if (!silent && instance->ok && ret->to != ANNOUNCED_OK)
        tell(ret, EVENT_RECOVERED, ANNOUNCED_OK);
}
