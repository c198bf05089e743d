/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "fleet/watch.h"

#include <stdio.h>

static void tell(struct transition *transition, enum event_kind kind, enum standing standing)
{
    transition->event[transition->events++] = kind;
    transition->to = (struct announced){standing, false};
}

static enum standing present(const struct instance *instance, const struct watch_limits *limits)
{
    if (!instance->ok)
        return STANDING_MISMATCH;
    return instance->boot_since > 0 && instance->last_seen - instance->boot_since > limits->boot_ms
               ? STANDING_BOOT
               : STANDING_OK;
}

void watch_step(const struct instance *instance, int64_t now_ms, const struct watch_limits *limits,
                struct transition *ret)
{
    enum standing now = present(instance, limits);
    bool silent = now_ms - instance->last_seen > limits->silence_ms;
    bool back = instance->announced.missing && !silent;

    *ret = (struct transition){.from = instance->announced,
                               .to = instance->announced,
                               .mismatch_at = instance->mismatch_at,
                               .at_ms = now_ms};
    (void)snprintf(ret->instance_id, sizeof(ret->instance_id), "%s", instance->id);
    if (ret->to.standing == STANDING_NEW)
        tell(ret, EVENT_FIRST_SEEN, STANDING_OK);
    if (instance->mismatch_at > instance->announced_mismatch &&
        (ret->to.standing != STANDING_MISMATCH || back))
        tell(ret, EVENT_MISMATCH, STANDING_MISMATCH);
    if (now == STANDING_BOOT && (ret->to.standing != STANDING_BOOT || back))
        tell(ret, EVENT_BOOT, STANDING_BOOT);
    if (now == STANDING_OK && (ret->to.standing != STANDING_OK || back))
        tell(ret, EVENT_RECOVERED, STANDING_OK);
    if (silent && !ret->to.missing) {
        tell(ret, EVENT_MISSING, ret->to.standing);
        ret->to.missing = true;
    }
}

unsigned watch_states(struct announced announced)
{
    unsigned standing = WATCH_STATE(announced.standing);

    if (!announced.missing)
        return standing;
    return WATCH_STATE(WATCH_MISSING) | (announced.standing == STANDING_OK ? 0 : standing);
}

const char *watch_state_name(unsigned state)
{
    return state == WATCH_MISSING ? store_event_kind_name(EVENT_MISSING)
                                  : store_standing_name((enum standing)state);
}

const char *watch_state(struct announced announced)
{
    return watch_state_name(announced.standing == STANDING_OK && announced.missing
                                ? WATCH_MISSING
                                : announced.standing);
}
