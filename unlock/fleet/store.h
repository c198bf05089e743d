/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef MU_FLEET_STORE_H
#define MU_FLEET_STORE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

/* What is known about each instance of a fleet, in SQLite or PostgreSQL. Verifiers write, one watch
 * reads and keeps in the same place what it has announced; all at once, each with its own
 * connections, which any number of threads may use. Times are milliseconds since 1970. MU_RETRY:
 * the database is busy or not reachable now; MU_CONFIG: it cannot be used as it is. */
struct store;

/* Only a program that records in a store makes a missing one: for the others a missing store is a
 * mistake in its name. STORE_READ needs only the right to read. */
enum store_use { STORE_READ, STORE_WRITE, STORE_MAKE };
/* "sqlite:PATH" or "postgresql:CONNINFO" (libpq 34.1.1). MU_CONFIG: there is no such store. */
enum mu_status store_open(const char *where, enum store_use use, struct store **ret,
                          struct mu_error *err) MU_MUST_CHECK;
void store_close(struct store **store);

/* A document whose chain, signature and nonce hold, and what its PCRs say. Every text but
 * instance_id may be NULL. */
struct attestation {
    const char *instance_id;
    uint64_t at_ms;
    bool ok;
    const char *baseline, *baseline_version; /* the one that matched, or was compared with */
    const char *state;                       /* "boot", "running" */
    const char *detail;                      /* unless ok: what differs from the baseline */
    const char *address;                     /* of the sender */
    const char *image, *boot_loader;         /* ids of approved images, if the baseline is theirs */
};
/* A document that is older than the latest one does not change the present state. */
enum mu_status store_record(struct store *store, const struct attestation *attestation,
                            struct mu_error *err) MU_MUST_CHECK;

/* How an instance was when it last sent a document; BOOT: the document says that the fence is open,
 * and so have those before it for longer than a boot takes. */
enum standing { STANDING_NEW, STANDING_OK, STANDING_MISMATCH, STANDING_BOOT, STANDINGS };
/* "new", "ok", "mismatch", "boot-overdue" */
const char *store_standing_name(enum standing standing);

/* What the watch has told the world about an instance. An instance that falls silent keeps its
 * standing. */
struct announced {
    enum standing standing;
    bool missing;
};

/* If nothing is known, texts are "" and times 0. */
struct instance {
    const char *id;
    int64_t first_seen, last_seen;
    bool ok; /* the last one */
    const char *baseline, *baseline_version, *state, *detail, *address, *image, *boot_loader;
    int64_t last_good;
    const char *good_baseline, *good_version;
    int64_t mismatch_at; /* the last document that did not match, even if a good one followed */
    const char *mismatch;
    int64_t boot_since; /* the first of the good documents, up to the last one, that all have the
                           state boot; 0: the last document is not one of these */
    struct announced announced;
    int64_t announced_mismatch; /* mismatch_at at that time */
    int64_t announced_at;
};
/* Each instance in order of its id, or the one with `id` (NULL: all). What visit gets is valid
 * within the call, in which it must not use the store. One after the other is read: each is as it
 * is then, and memory does not grow with their number. */
typedef enum mu_status (*instance_visit)(const struct instance *instance, void *context,
                                         struct mu_error *err);
enum mu_status store_instances(struct store *store, const char *id, instance_visit visit,
                               void *context, struct mu_error *err) MU_MUST_CHECK;

/* The next few, at most STORE_DUE_MAX, of those that the watch may have news of: all that changed
 * since it announced them, and all that fell silent (last seen before `silent_ms`) or were and are
 * not any more. Each is found by what is in it, and not by when it was written: what a slow
 * verifier commits late, and what was written while no watch ran, is found too. Begin with
 * {0}; the last call sets `done`. */
#define STORE_DUE_MAX 500
struct store_due {
    unsigned part;
    int64_t last_seen;
    char id[128];
    bool done;
};
enum mu_status store_due(struct store *store, int64_t silent_ms, struct store_due *due,
                         instance_visit visit, void *context, struct mu_error *err) MU_MUST_CHECK;

/* How many are announced as what, and when the first and the last of them was last seen. */
struct instance_count {
    struct announced announced;
    uint64_t instances;
    int64_t oldest_ms, newest_ms;
};
typedef enum mu_status (*count_visit)(const struct instance_count *count, void *context,
                                      struct mu_error *err);
enum mu_status store_counts(struct store *store, count_visit visit, void *context,
                            struct mu_error *err) MU_MUST_CHECK;

enum event_kind {
    EVENT_FIRST_SEEN,
    EVENT_MISMATCH,
    EVENT_BOOT,
    EVENT_MISSING,
    EVENT_RECOVERED,
    EVENT_KINDS
};
/* "first-seen", "mismatch", "boot-overdue", "missing", "recovered" */
const char *store_event_kind_name(enum event_kind kind);

/* From one announced state to the next, with the events that tell of it. */
#define TRANSITION_EVENTS 4
struct transition {
    char instance_id[64];
    struct announced from, to;
    int64_t mismatch_at, at_ms;
    enum event_kind event[TRANSITION_EVENTS];
    size_t events;
};
/* All or none, in one transaction, and in a few statements however many there are, each of another
 * instance. A transition whose `from` is no longer what was announced is left out (another watch
 * was first), and gets 0 events. ret_events: how many of each kind were made. */
enum mu_status store_announce(struct store *store, struct transition *transition, size_t count,
                              size_t ret_events[static EVENT_KINDS],
                              struct mu_error *err) MU_MUST_CHECK;

/* Events are kept until every place that they go to (a sink, by its name) has had them. */
struct event {
    int64_t id; /* unique in this store, growing; the same when it is sent again */
    enum event_kind kind;
    int64_t at_ms, last_seen, last_good;
    char *instance_id, *baseline, *baseline_version, *state, *detail, *address;
};
void store_event_free(struct event *event);
/* A new sink begins with the events to come. */
enum mu_status store_sink_add(struct store *store, const char *sink,
                              struct mu_error *err) MU_MUST_CHECK;
/* The oldest event that the sink has not had; id 0 if there is none. */
enum mu_status store_event_next(struct store *store, const char *sink, struct event *ret,
                                struct mu_error *err) MU_MUST_CHECK;
enum mu_status store_event_done(struct store *store, const char *sink, int64_t id,
                                struct mu_error *err) MU_MUST_CHECK;
enum mu_status store_events_waiting(struct store *store, const char *sink, int64_t *ret,
                                    struct mu_error *err) MU_MUST_CHECK;

/* What people did with an image: the manifest (appraise/manifest.h) was approved, until a time or
 * for good, or the approval was revoked. The store only ever adds: the last act about an image
 * counts, and the database refuses to change or delete one. */
enum image_act_kind { ACT_APPROVE, ACT_REVOKE };
/* "approve", "revoke" */
const char *store_act_name(enum image_act_kind kind);
struct image_act {
    const char *id, *kind, *name, *version; /* of the manifest */
    const char *envelope;                   /* as it was when it was approved last */
    enum image_act_kind act;
    int64_t at_ms, until_ms; /* 0: for good */
    const char *author, *why;
};
/* True if the image may run at that time. */
bool store_act_allows(const struct image_act *act, int64_t now_ms);
/* "approved", "expired", "revoked": the image at that time, if this is the last act about it. */
const char *store_act_state(const struct image_act *act, int64_t now_ms);
/* Adds the act, so that it outlives a power cut. */
enum mu_status store_image_act(struct store *store, const struct image_act *act,
                               struct mu_error *err) MU_MUST_CHECK;
/* The last act about each image, or all acts, the oldest first. What visit gets is valid within the
 * call, in which it must not use the store. */
typedef enum mu_status (*act_visit)(const struct image_act *act, void *context,
                                    struct mu_error *err);
enum mu_status store_images(struct store *store, act_visit visit, void *context,
                            struct mu_error *err) MU_MUST_CHECK;
enum mu_status store_image_acts(struct store *store, act_visit visit, void *context,
                                struct mu_error *err) MU_MUST_CHECK;
/* Grows with each act. */
enum mu_status store_image_serial(struct store *store, int64_t *ret,
                                  struct mu_error *err) MU_MUST_CHECK;
/* How many instances' last document matched this image behind this boot loader ("": none). */
typedef enum mu_status (*roll_out_visit)(const char *image, const char *boot_loader,
                                         int64_t instances, void *context, struct mu_error *err);
enum mu_status store_roll_out(struct store *store, roll_out_visit visit, void *context,
                              struct mu_error *err) MU_MUST_CHECK;

/* Everything about an instance, except events on their way; *ret_known is false if there is no such
 * instance. */
enum mu_status store_forget(struct store *store, const char *id, bool *ret_known,
                            struct mu_error *err) MU_MUST_CHECK;
/* Forgets the instances announced as missing, and good before, that were last seen before
 * `seen_ms`, and all events from before `event_ms`. */
enum mu_status store_expire(struct store *store, int64_t seen_ms, int64_t event_ms,
                            size_t *ret_instances, struct mu_error *err) MU_MUST_CHECK;

#endif
