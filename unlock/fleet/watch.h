/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef MU_FLEET_WATCH_H
#define MU_FLEET_WATCH_H

#include "base/clock.h"
#include "base/json.h"
#include "base/time.h"
#include "fleet/store.h"

struct watch_limits {
    int64_t silence_ms; /* silent for longer is missing */
    int64_t boot_ms;    /* documents of the state boot over a longer time: the fence stays open */
};
/* The state of an instance at now_ms, and how to announce it; `events` is 0 if the state was
 * announced before. A mismatch is announced even if a good document followed before the watch
 * looked. */
void watch_step(const struct instance *instance, int64_t now_ms, const struct watch_limits *limits,
                struct transition *ret);
/* The state in one word: the standing, or "missing" for an instance that was good when it fell
 * silent. */
const char *watch_state(struct announced announced);

/* What an instance is listed and counted as: a standing, or missing; an instance that is altered or
 * stays in boot counts as missing as well if it is silent. watch_states: a bit for each. */
#define WATCH_MISSING STANDINGS
#define WATCH_STATES (STANDINGS + 1)
#define WATCH_STATE(state) (1u << (state))
unsigned watch_states(struct announced announced);
/* "new", "ok", "mismatch", "boot-overdue", "missing" */
const char *watch_state_name(unsigned state);

/* Where events go. */
enum { SINK_COMMAND, SINK_WEBHOOK, SINKS };

#define WATCH_DEFAULT_PATH "/etc/measured-unlock/watch.conf"
#define WATCH_DEFAULT_SILENCE 180
#define WATCH_DEFAULT_BOOT_LIMIT 600

/* watch.conf; times in seconds unless they say otherwise. */
struct watch_settings {
    char *store;           /* of store_open */
    unsigned silence;      /* longer is missing */
    unsigned boot_limit;   /* longer in the state boot is an alarm */
    unsigned interval;     /* between two looks at the store */
    unsigned forget_days;  /* after which a missing instance that was good is forgotten; 0: never */
    unsigned history_days; /* how long events are kept */
    char *metrics;         /* 127.x.y.z:PORT; NULL: none */
    struct watch_to {
        char *to; /* the command's path, the webhook's URL; NULL: none */
        unsigned timeout, give_up;
        char *ca_file, *key_file; /* of the webhook */
    } sink[SINKS];
};
/* Where the settings are from. path NULL: only defaults, with the store given; store NULL: the
 * file's. */
struct watch_source {
    const char *path, *store;
};
/* watch_settings_free in any case. */
enum mu_status watch_settings_load(const struct watch_source *source, struct watch_settings *ret,
                                   struct mu_error *err) MU_MUST_CHECK;
void watch_settings_free(struct watch_settings *settings);
struct watch_limits watch_limits_of(const struct watch_settings *settings);

/* Looks, announces and delivers until *stop is set; sets *stop itself before it returns. HUP reads
 * the settings again. MU_CONFIG: the watch cannot begin; later failures are logged, counted and
 * waited out. The log is JSON, like the verifier's. */
enum mu_status watch_run(const struct watch_source *source, atomic_bool *stop,
                         struct mu_error *err) MU_MUST_CHECK;
/* The same once, with one attempt to deliver each event: MU_RETRY if one was not delivered. */
enum mu_status watch_once(const struct watch_source *source, const atomic_bool *stop,
                          struct mu_error *err) MU_MUST_CHECK;

int64_t watch_now_ms(void);
/* RFC 3339 in UTC with milliseconds; "" for 0. */
void watch_time(int64_t ms, char ret[static TIME_TEXT]);
/* The same as a member; null for 0. */
bool watch_add_time(json_object *object, const char *name, int64_t ms);

#endif
