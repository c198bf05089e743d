/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/signals.h"
#include "fleet/watch.h"
#include "relying/relying.h"

#define OPTIONS                                                                                    \
    "      --config FILE   default " WATCH_DEFAULT_PATH "\n"                                       \
    "      --store STORE   instead of the configuration's: sqlite:PATH or postgresql:CONNINFO\n"

/* Without a file, a store that is named will do. */
static struct watch_source source_of(const char *config, const char *store)
{
    if (config == NULL && (store == NULL || access(WATCH_DEFAULT_PATH, F_OK) == 0))
        config = WATCH_DEFAULT_PATH;
    return (struct watch_source){config, store};
}

static enum mu_status run_watch(int argc, char **argv, struct mu_error *err)
{
    const char *config = NULL, *store = NULL;
    struct watch_source source;
    bool once = false;
    const struct cli_option options[] = {
        {"config", 'c', .text = &config},
        {"store", 's', .text = &store},
        {"once", '1', .flag = &once},
        {0},
    };

    MU_TRY(cli_options(argc, argv, options, 0, 0, err));
    source = source_of(config, store);
    MU_TRY(signals_install(err));
    return once ? watch_once(&source, signals_stop(), err)
                : watch_run(&source, signals_stop(), err);
}

const struct verb verb_watch = {
    .name = "watch",
    .synopsis = "[--config FILE] [--store STORE] [--once]",
    .summary = "raise the alarm for instances that are altered or silent",
    .help = OPTIONS
    "      --once          look and deliver once, and end: for cron\n"
    "\n"
    "Reads what 'mu-verifier serve' keeps of each instance, and sends an event to a command and\n"
    "a webhook when one is altered, silent for longer than allowed, in the state boot for longer\n"
    "than a boot takes, or good again. HUP reads the configuration again.\n"
    "\n"
    "Exit code of --once: 3 if an event could not be delivered; it is tried again next time.\n"
    "\n"
    "Example: mu-verifier watch --config /etc/measured-unlock/watch.conf\n",
    .run = run_watch,
};

/* ---- list ---- */

struct listing {
    int64_t now_ms;
    struct watch_limits limits;
    unsigned wanted;  /* watch_states that are asked for; 0: all */
    json_object *all; /* NULL: a table for a person */
    size_t seen, count, not_trusted;
};

static const char *or_dash(const char *text)
{
    return text[0] == '\0' ? "-" : text;
}

static void age_of(int64_t at_ms, const struct listing *listing, char ret[static 24])
{
    if (at_ms == 0)
        (void)snprintf(ret, 24, "never");
    else
        (void)snprintf(ret, 24, "%lds", (long)((listing->now_ms - at_ms) / 1000));
}

static void print_row(const struct instance *instance, struct announced is,
                      const struct listing *listing)
{
    char seen[24], good[24], baseline[128], state[40];
    const char *version = instance->baseline_version;
    bool both = is.missing && is.standing != STANDING_OK;

    if (listing->count == 0)
        (void)printf("%-20s %-16s %8s %8s  %-20s %s\n", "INSTANCE", "STATE", "SEEN", "GOOD",
                     "BASELINE", "DETAIL");
    age_of(instance->last_seen, listing, seen);
    age_of(instance->last_good, listing, good);
    (void)snprintf(baseline, sizeof(baseline), "%s%s%s", or_dash(instance->baseline),
                   version[0] != '\0' ? " " : "", version);
    (void)snprintf(state, sizeof(state), "%s%s", watch_state(is), both ? ",missing" : "");
    (void)printf("%-20s %-16s %8s %8s  %-20s %s\n", instance->id, state, seen, good, baseline,
                 instance->detail);
}

static bool add_members(json_object *object, const struct instance *instance, struct announced is)
{
    return json_add_text(object, "instance_id", instance->id) &&
           json_add_text(object, "state", watch_state(is)) &&
           json_add(object, "missing", json_object_new_boolean(is.missing)) &&
           json_add_text(object, "announced", watch_state(instance->announced)) &&
           watch_add_time(object, "first_seen", instance->first_seen) &&
           watch_add_time(object, "last_seen", instance->last_seen) &&
           watch_add_time(object, "last_good", instance->last_good) &&
           json_add_text(object, "good_baseline", instance->good_baseline) &&
           json_add_text(object, "good_baseline_version", instance->good_version) &&
           json_add_text(object, "baseline", instance->baseline) &&
           json_add_text(object, "baseline_version", instance->baseline_version) &&
           json_add_text(object, "baseline_state", instance->state) &&
           watch_add_time(object, "boot_since", instance->boot_since) &&
           watch_add_time(object, "last_mismatch", instance->mismatch_at) &&
           json_add_text(object, "last_mismatch_detail", instance->mismatch) &&
           json_add_text(object, "detail", instance->detail) &&
           json_add_text(object, "address", instance->address);
}

static enum mu_status list_one(const struct instance *instance, void *context, struct mu_error *err)
{
    struct listing *listing = context;
    struct transition transition;
    struct announced is;
    json_object *object;

    watch_step(instance, listing->now_ms, &listing->limits, &transition);
    is = transition.to;
    listing->seen++;
    if (listing->wanted != 0 && (listing->wanted & watch_states(is)) == 0)
        return MU_OK;
    listing->not_trusted += is.missing || is.standing != STANDING_OK;
    if (listing->all == NULL) {
        print_row(instance, is, listing);
        listing->count++;
        return MU_OK;
    }
    object = json_object_new_object();
    if (!json_append(listing->all, object))
        return mu_oom(err);
    return add_members(object, instance, is) ? MU_OK : mu_oom(err);
}

static enum mu_status parse_states(const char *text, unsigned *ret, struct mu_error *err)
{
    while (text != NULL) {
        size_t len = strcspn(text, ",");
        unsigned state = 0;

        while (state < WATCH_STATES && (strlen(watch_state_name(state)) != len ||
                                        strncmp(watch_state_name(state), text, len) != 0))
            state++;
        if (state == WATCH_STATES)
            return mu_fail(err, MU_USAGE,
                           "--state '%.*s': the states are ok, mismatch, boot-overdue, missing",
                           (int)(len < 40 ? len : 40), text);
        *ret |= WATCH_STATE(state);
        text = text[len] == ',' ? text + len + 1 : NULL;
    }
    return MU_OK;
}

static enum mu_status verdict(const struct listing *listing, const char *instance,
                              struct mu_error *err)
{
    if (instance != NULL && listing->seen == 0)
        return mu_fail(
            err, MU_CONFIG,
            "%s is not known: it never sent a document; 'mu-verifier list' shows who did",
            instance);
    if (listing->wanted != 0 && listing->not_trusted > 0)
        return mu_fail(err, MU_REFUSE, "%zu of these %s not trusted", listing->not_trusted,
                       listing->not_trusted == 1 ? "is" : "are");
    return MU_OK;
}

static enum mu_status run_list(int argc, char **argv, struct mu_error *err)
{
    MU_CLEANUP(watch_settings_free) struct watch_settings settings = {0};
    MU_CLEANUP(store_close) struct store *store = NULL;
    MU_CLEANUP(json_free) json_object *all = NULL;
    const char *config = NULL, *where = NULL, *states = NULL;
    bool json = false;
    struct listing listing = {.now_ms = watch_now_ms()};
    struct watch_source source;
    const struct cli_option options[] = {
        {"config", 'c', .text = &config},
        {"store", 's', .text = &where},
        {"state", 0, .text = &states},
        {"json", 'j', .flag = &json},
        {0},
    };

    MU_TRY(cli_options(argc, argv, options, 0, 1, err));
    MU_TRY(parse_states(states, &listing.wanted, err));
    source = source_of(config, where);
    MU_TRY(watch_settings_load(&source, &settings, err));
    if (json && (all = json_object_new_array()) == NULL)
        return mu_oom(err);
    listing.limits = watch_limits_of(&settings);
    listing.all = all;
    MU_TRY(store_open(settings.store, STORE_READ, &store, err));
    MU_TRY(store_instances(store, argv[optind], list_one, &listing, err));
    if (json)
        MU_TRY(cli_print_json("-", all, err));
    return verdict(&listing, argv[optind], err);
}

const struct verb verb_list = {
    .name = "list",
    .synopsis = "[--config FILE] [--store STORE] [--state S,...] [--json] [INSTANCE]",
    .summary = "the instances of a fleet, and the state of each",
    .help = OPTIONS
    "      --state S,...   those in one of these states: ok, mismatch, boot-overdue, missing\n"
    "      --json          every member of each\n"
    "\n"
    "Reads alone: it needs no right to write in the store.\n"
    "\n"
    "Exit code 4: there is no such store, or no such instance in it; 2, with --state: one of\n"
    "those listed is not ok.\n"
    "\n"
    "Examples: mu-verifier list --json\n"
    "          mu-verifier list --state mismatch,boot-overdue,missing || echo look at these\n",
    .run = run_list,
};

/* ---- forget ---- */

static enum mu_status run_forget(int argc, char **argv, struct mu_error *err)
{
    MU_CLEANUP(watch_settings_free) struct watch_settings settings = {0};
    MU_CLEANUP(store_close) struct store *store = NULL;
    const char *config = NULL, *where = NULL;
    struct watch_source source;
    const struct cli_option options[] = {
        {"config", 'c', .text = &config}, {"store", 's', .text = &where}, {0}};

    MU_TRY(cli_options(argc, argv, options, 1, 1024, err));
    source = source_of(config, where);
    MU_TRY(watch_settings_load(&source, &settings, err));
    MU_TRY(store_open(settings.store, STORE_WRITE, &store, err));
    for (int i = optind; i < argc; i++) {
        bool known = false;

        MU_TRY(store_forget(store, argv[i], &known, err));
        if (!known)
            return mu_fail(err, MU_CONFIG, "%s is not known; 'mu-verifier list' shows who is",
                           argv[i]);
    }
    return MU_OK;
}

const struct verb verb_forget = {
    .name = "forget",
    .synopsis = "[--config FILE] [--store STORE] INSTANCE...",
    .summary = "forget instances that were terminated",
    .help = OPTIONS "\n"
                    "One that sends a document later is new again.\n"
                    "\n"
                    "Example: mu-verifier forget i-0123456789abcdef0\n",
    .run = run_forget,
};
