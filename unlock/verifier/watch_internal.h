/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef MU_VERIFIER_WATCH_INTERNAL_H
#define MU_VERIFIER_WATCH_INTERNAL_H

#include <pthread.h>
#include <stdatomic.h>

#include "base/bytes.h"
#include "verifier/watch.h"

#define SINKS_MAX 2

struct watch;

/* Where events go. deliver() makes one attempt; `event` is JSON. */
struct sink {
    const char *name;
    unsigned give_up;
    enum mu_status (*deliver)(const struct watch_settings *settings, struct bytes event,
                              struct deadline deadline, struct mu_error *err);
    struct watch *watch;
    pthread_t thread;
    bool started;
    atomic_ullong delivered, failures, dropped, waiting;
};

enum mu_status command_deliver(const struct watch_settings *settings, struct bytes event,
                               struct deadline deadline, struct mu_error *err);
enum mu_status webhook_deliver(const struct watch_settings *settings, struct bytes event,
                               struct deadline deadline, struct mu_error *err);

/* For /metrics: what the last look saw, and counts since the start. */
struct watch_counts {
    uint64_t instances[ANNOUNCED_MISSING + 1], events[EVENT_KINDS];
    uint64_t scans, failed_scans;
    double scan_seconds;
    int64_t scanned_ms, oldest_ms, newest_ms; /* last_seen of those that are not missing; 0: none */
};

struct watch {
    const struct watch_settings *settings;
    const atomic_bool *stop;
    struct store *store;
    struct sink sink[SINKS_MAX];
    size_t sinks;
    pthread_mutex_t mutex; /* over counts */
    struct watch_counts counts;
};

/* Until stopped. */
enum mu_status sink_start(struct sink *sink, struct mu_error *err) MU_MUST_CHECK;
void sink_stop(struct sink *sink);
/* One attempt for each event that waits, until one fails. */
enum mu_status sink_flush(struct sink *sink, struct mu_error *err) MU_MUST_CHECK;

struct watch_metrics;
enum mu_status watch_metrics_serve(struct watch *watch, struct watch_metrics **ret,
                                   struct mu_error *err) MU_MUST_CHECK;
void watch_metrics_stop(struct watch_metrics **server);

#endif
