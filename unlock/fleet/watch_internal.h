/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef MU_FLEET_WATCH_INTERNAL_H
#define MU_FLEET_WATCH_INTERNAL_H

#include <pthread.h>
#include <stdatomic.h>

#include "base/bytes.h"
#include "fleet/watch.h"

struct watch;

/* deliver() makes one attempt; `event` is JSON. */
struct sink_kind {
    const char *name;
    enum mu_status (*deliver)(const struct watch_to *to, struct bytes event,
                              struct deadline deadline, struct mu_error *err);
};
extern const struct sink_kind sink_kinds[SINKS];

struct sink {
    unsigned kind; /* SINK_... */
    struct watch *watch;
    pthread_t thread;
    bool started;
    atomic_ullong delivered, failures, dropped, waiting;
};

enum mu_status watch_command_deliver(const struct watch_to *to, struct bytes event,
                                     struct deadline deadline, struct mu_error *err);
enum mu_status watch_webhook_deliver(const struct watch_to *to, struct bytes event,
                                     struct deadline deadline, struct mu_error *err);

/* For /metrics: what the last look saw, and counts since the start. */
struct watch_counts {
    uint64_t instances[WATCH_STATES], events[EVENT_KINDS];
    uint64_t scans, failed_scans;
    double scan_seconds;
    int64_t scanned_ms, oldest_ms, newest_ms; /* last_seen of those that are not missing; 0: none */
};

/* Settings in use: a reload replaces them, and code that holds the old ones goes on with those. */
struct watch_held {
    struct watch_settings settings;
    unsigned holders;
};

struct watch {
    const struct watch_source *source;
    const atomic_bool *stop;
    struct store *store;
    struct sink sink[SINKS];
    uint64_t count_again_us; /* of all instances: not before this */
    pthread_mutex_t mutex; /* over what follows */
    struct watch_held *held;
    bool reload_failed;
    struct watch_counts counts;
    uint64_t sampled_first_seen; /* of counts.events, as far as it is in a sample */
};

/* The present settings, until they are released. */
struct watch_held *watch_hold(struct watch *watch);
void watch_release(struct watch *watch, struct watch_held **held);

/* Delivers, on a thread, until it is stopped. */
enum mu_status sink_start(struct sink *sink, struct mu_error *err) MU_MUST_CHECK;
void sink_stop(struct sink *sink);
/* One attempt for each event that waits, until one fails. */
enum mu_status sink_flush(struct sink *sink, struct mu_error *err) MU_MUST_CHECK;

/* Writes what was counted last to the store (history.h). */
enum mu_status watch_sample(struct watch *watch, int64_t now_ms,
                            struct mu_error *err) MU_MUST_CHECK;

struct MHD_Daemon;
enum mu_status watch_metrics_serve(struct watch *watch, const char *where, struct MHD_Daemon **ret,
                                   struct mu_error *err) MU_MUST_CHECK;
void watch_metrics_stop(struct MHD_Daemon **server);

#endif
