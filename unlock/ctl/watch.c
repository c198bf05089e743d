/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/signals.h"
#include "ctl/ctl.h"
#include "verifier/watch.h"

#define OPTIONS                                                                                    \
    "      --config FILE   default " WATCH_DEFAULT_PATH "\n"                                       \
    "      --store STORE   instead of the configuration's: sqlite:PATH or postgresql:CONNINFO\n"

/* Without a file, a store that is named will do. */
static enum mu_status load(const char *config, const char *store, struct watch_settings *ret,
                           struct mu_error *err)
{
    if (config == NULL && (store == NULL || access(WATCH_DEFAULT_PATH, F_OK) == 0))
        config = WATCH_DEFAULT_PATH;
    return watch_settings_load(config, store, ret, err);
}

static enum mu_status run_watch(int argc, char **argv, struct mu_error *err)
{
    MU_CLEANUP(watch_settings_free) struct watch_settings settings = {0};
    const char *config = NULL, *store = NULL;
    bool once = false;
    const struct ctl_option options[] = {
        {"config", 'c', .text = &config},
        {"store", 's', .text = &store},
        {"once", '1', .flag = &once},
        {0},
    };

    MU_TRY(ctl_options(argc, argv, options, 0, 0, err));
    MU_TRY(load(config, store, &settings, err));
    MU_TRY(signals_install(err));
    return once ? watch_once(&settings, signals_stop(), err)
                : watch_run(&settings, signals_stop(), err);
}

const struct verb verb_watch = {
    .name = "watch",
    .synopsis = "[--config FILE] [--store STORE] [--once]",
    .summary = "raise the alarm for instances that are altered or silent",
    .help = OPTIONS
    "      --once          look and deliver once, and end: for cron\n"
    "\n"
    "Reads what 'muctl verifier' keeps of each instance, and sends an event to a command and\n"
    "a webhook when one is altered, silent for longer than allowed, or good again.\n"
    "\n"
    "Exit code of --once: 3 if an event could not be delivered; it is tried again next time.\n"
    "\n"
    "Example: muctl watch --config /etc/measured-unlock/watch.conf\n",
    .run = run_watch,
};

/* ---- list ---- */

struct listing {
    int64_t now_ms, silence_ms;
    json_object *all; /* NULL: a table for a person */
    size_t count;
};

static const char *or_dash(const char *text)
{
    return text[0] == '\0' ? "-" : text;
}

static enum announced present(const struct instance *instance, const struct listing *listing)
{
    struct transition transition;

    watch_step(instance, listing->now_ms, listing->silence_ms, &transition);
    return transition.to;
}

static void age_of(int64_t at_ms, const struct listing *listing, char ret[static 24])
{
    if (at_ms == 0)
        (void)snprintf(ret, 24, "never");
    else
        (void)snprintf(ret, 24, "%lds", (long)((listing->now_ms - at_ms) / 1000));
}

static void print_row(const struct instance *instance, const struct listing *listing)
{
    char seen[24], good[24], baseline[128];
    const char *version = instance->baseline_version;

    if (listing->count == 0)
        (void)printf("%-20s %-9s %8s %8s  %-20s %s\n", "INSTANCE", "STATE", "SEEN", "GOOD",
                     "BASELINE", "DETAIL");
    age_of(instance->last_seen, listing, seen);
    age_of(instance->last_good, listing, good);
    (void)snprintf(baseline, sizeof(baseline), "%s%s%s", or_dash(instance->baseline),
                   version[0] != '\0' ? " " : "", version);
    (void)printf("%-20s %-9s %8s %8s  %-20s %s\n", instance->id,
                 announced_name(present(instance, listing)), seen, good, baseline,
                 instance->detail);
}

static bool add_members(json_object *object, const struct instance *instance, enum announced state)
{
    return json_add_text(object, "instance_id", instance->id) &&
           json_add_text(object, "state", announced_name(state)) &&
           json_add_text(object, "announced", announced_name(instance->announced)) &&
           watch_add_time(object, "first_seen", instance->first_seen) &&
           watch_add_time(object, "last_seen", instance->last_seen) &&
           watch_add_time(object, "last_good", instance->last_good) &&
           json_add_text(object, "good_baseline", instance->good_baseline) &&
           json_add_text(object, "good_baseline_version", instance->good_version) &&
           json_add_text(object, "baseline", instance->baseline) &&
           json_add_text(object, "baseline_version", instance->baseline_version) &&
           json_add_text(object, "baseline_state", instance->state) &&
           watch_add_time(object, "last_mismatch", instance->mismatch_at) &&
           json_add_text(object, "last_mismatch_detail", instance->mismatch) &&
           json_add_text(object, "detail", instance->detail) &&
           json_add_text(object, "address", instance->address);
}

static enum mu_status list_one(const struct instance *instance, void *context, struct mu_error *err)
{
    struct listing *listing = context;
    json_object *object;

    if (listing->all == NULL) {
        print_row(instance, listing);
        listing->count++;
        return MU_OK;
    }
    object = json_object_new_object();
    if (object == NULL || json_object_array_add(listing->all, object) != 0) {
        (void)json_object_put(object);
        return mu_oom(err);
    }
    return add_members(object, instance, present(instance, listing)) ? MU_OK : mu_oom(err);
}

static enum mu_status run_list(int argc, char **argv, struct mu_error *err)
{
    MU_CLEANUP(watch_settings_free) struct watch_settings settings = {0};
    MU_CLEANUP(store_close) struct store *store = NULL;
    MU_CLEANUP(json_free) json_object *all = NULL;
    const char *config = NULL, *where = NULL;
    bool json = false;
    struct listing listing = {.now_ms = watch_now_ms()};
    const struct ctl_option options[] = {
        {"config", 'c', .text = &config},
        {"store", 's', .text = &where},
        {"json", 'j', .flag = &json},
        {0},
    };

    MU_TRY(ctl_options(argc, argv, options, 0, 1, err));
    MU_TRY(load(config, where, &settings, err));
    if (json && (all = json_object_new_array()) == NULL)
        return mu_oom(err);
    listing.silence_ms = (int64_t)settings.silence * 1000;
    listing.all = all;
    MU_TRY(store_open(settings.store, &store, err));
    MU_TRY(store_instances(store, argv[optind], list_one, &listing, err));
    return json ? ctl_print_json("-", all, err) : MU_OK;
}

const struct verb verb_watch_list = {
    .name = "watch list",
    .synopsis = "[--config FILE] [--store STORE] [--json] [INSTANCE]",
    .summary = "the instances of a fleet, and how each stands",
    .help = OPTIONS "      --json          every member of each\n"
                    "\n"
                    "Example: muctl watch list --json\n",
    .run = run_list,
};

/* ---- forget ---- */

static enum mu_status run_forget(int argc, char **argv, struct mu_error *err)
{
    MU_CLEANUP(watch_settings_free) struct watch_settings settings = {0};
    MU_CLEANUP(store_close) struct store *store = NULL;
    const char *config = NULL, *where = NULL;
    const struct ctl_option options[] = {
        {"config", 'c', .text = &config}, {"store", 's', .text = &where}, {0}};

    MU_TRY(ctl_options(argc, argv, options, 1, 1024, err));
    MU_TRY(load(config, where, &settings, err));
    MU_TRY(store_open(settings.store, &store, err));
    for (int i = optind; i < argc; i++) {
        bool known = false;

        MU_TRY(store_forget(store, argv[i], &known, err));
        if (!known)
            return mu_fail(err, MU_CONFIG, "%s is not known; 'muctl watch list' shows who is",
                           argv[i]);
    }
    return MU_OK;
}

const struct verb verb_watch_forget = {
    .name = "watch forget",
    .synopsis = "[--config FILE] [--store STORE] INSTANCE...",
    .summary = "forget instances that were terminated",
    .help = OPTIONS "\n"
                    "One that sends a document later is new again.\n"
                    "\n"
                    "Example: muctl watch forget i-0123456789abcdef0\n",
    .run = run_forget,
};
