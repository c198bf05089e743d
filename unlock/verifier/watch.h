/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef MU_VERIFIER_WATCH_H
#define MU_VERIFIER_WATCH_H

#include "base/clock.h"
#include "base/json.h"
#include "verifier/store.h"

/* What an instance is at now_ms, and how to tell of it: `events` 0 if that was announced before.
 * Missing is who was silent for more than silence_ms. A mismatch is told of, too, where a good
 * document followed before anybody looked. */
void watch_step(const struct instance *instance, int64_t now_ms, int64_t silence_ms,
                struct transition *ret);

#define WATCH_DEFAULT_PATH "/etc/measured-unlock/watch.conf"
#define WATCH_DEFAULT_SILENCE 180

/* watch.conf; times in seconds unless they say otherwise. */
struct watch_settings {
    char *store;           /* of store_open */
    unsigned silence;      /* longer is missing */
    unsigned interval;     /* between two looks at the store */
    unsigned forget_days;  /* after which who is missing is forgotten; 0: never */
    unsigned history_days; /* how long events are kept */
    char *metrics;         /* 127.x.y.z:PORT; NULL: none */
    struct watch_command {
        char *path; /* NULL: none */
        unsigned timeout, give_up;
    } command;
    struct watch_webhook {
        char *url; /* NULL: none */
        char *ca_file, *key_file;
        unsigned timeout, give_up;
    } webhook;
};
/* path NULL: only defaults, with the store given. watch_settings_free in any case. */
enum mu_status watch_settings_load(const char *path, const char *store, struct watch_settings *ret,
                                   struct mu_error *err) MU_MUST_CHECK;
void watch_settings_free(struct watch_settings *settings);

/* Looks, announces and delivers until *stop is set, which it does itself before it returns.
 * MU_CONFIG: it cannot begin; later failures are logged, counted and waited out. */
enum mu_status watch_run(const struct watch_settings *settings, atomic_bool *stop,
                         struct mu_error *err) MU_MUST_CHECK;
/* The same once, with one attempt at what is to be delivered: MU_RETRY if something was not. */
enum mu_status watch_once(const struct watch_settings *settings, const atomic_bool *stop,
                          struct mu_error *err) MU_MUST_CHECK;

int64_t watch_now_ms(void);
/* RFC 3339 in UTC with milliseconds; "" for 0. */
void watch_time(int64_t ms, char ret[static 32]);
/* The same as a member; null for 0. */
bool watch_add_time(json_object *object, const char *name, int64_t ms);

#endif
