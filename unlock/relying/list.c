/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fleet/expected.h"
#include "relying/relying.h"

/* ---- list ---- */

/* What is listed beside the states of the watch, if it is said who is expected. */
#define NEVER_SEEN WATCH_STATES
#define UNEXPECTED (WATCH_STATES + 1)
#define LIST_STATES (WATCH_STATES + 2)

struct listing {
    int64_t now_ms, since_ms;
    struct watch_limits limits;
    unsigned wanted;   /* a bit for each state that is asked for; 0: all */
    const char *image; /* NAME or NAME:VERSION of a baseline or an image, or the first digits of an
                          image's id; NULL: any */
    struct expected *expected; /* NULL: it is not said who is expected */
    bool json;
    size_t known, shown, not_trusted;
};

static const char *state_name(unsigned state)
{
    return state == NEVER_SEEN   ? "never-seen"
           : state == UNEXPECTED ? "unexpected"
                                 : watch_state_name(state);
}

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

static void print_row(const struct instance *instance, const char *state, unsigned states,
                      const struct listing *listing)
{
    char seen[24], good[24], baseline[128], all[64];
    const char *version = instance->baseline_version;

    if (listing->shown == 0)
        (void)printf("%-20s %-16s %8s %8s  %-20s %s\n", "INSTANCE", "STATE", "SEEN", "GOOD",
                     "BASELINE", "DETAIL");
    age_of(instance->last_seen, listing, seen);
    age_of(instance->last_good, listing, good);
    (void)snprintf(baseline, sizeof(baseline), "%s%s%s", or_dash(instance->baseline),
                   version[0] != '\0' ? " " : "", version);
    (void)snprintf(all, sizeof(all), "%s%s%s", state,
                   (states & WATCH_STATE(WATCH_MISSING)) != 0 && strcmp(state, "missing") != 0
                       ? ",missing"
                       : "",
                   (states & WATCH_STATE(UNEXPECTED)) != 0 ? ",unexpected" : "");
    (void)printf("%-20s %-16s %8s %8s  %-20s %s\n", instance->id, all, seen, good, baseline,
                 instance->detail);
}

/* A row of the array, which is written as it is read: a fleet may be large. */
static enum mu_status print_object(const struct instance *instance, const char *state,
                                   unsigned states, const struct listing *listing,
                                   struct mu_error *err)
{
    MU_CLEANUP(json_free) json_object *object = json_object_new_object();
    const struct expected *expected = listing->expected;

    if (!json_add_text(object, "instance_id", instance->id) ||
        !json_add_text(object, "state", state) ||
        !json_add(object, "missing",
                  json_object_new_boolean((states & WATCH_STATE(WATCH_MISSING)) != 0)) ||
        (expected != NULL &&
         !json_add(object, "expected",
                   json_object_new_boolean((states & WATCH_STATE(UNEXPECTED)) == 0))) ||
        !json_add_text(object, "announced", watch_state(instance->announced)) ||
        !watch_add_time(object, "first_seen", instance->first_seen) ||
        !watch_add_time(object, "last_seen", instance->last_seen) ||
        !watch_add_time(object, "last_good", instance->last_good) ||
        !json_add_text(object, "good_baseline", instance->good_baseline) ||
        !json_add_text(object, "good_baseline_version", instance->good_version) ||
        !json_add_text(object, "baseline", instance->baseline) ||
        !json_add_text(object, "baseline_version", instance->baseline_version) ||
        !json_add_text(object, "baseline_state", instance->state) ||
        !json_add_text(object, "image", instance->image) ||
        !json_add_text(object, "boot_loader", instance->boot_loader) ||
        !watch_add_time(object, "boot_since", instance->boot_since) ||
        !watch_add_time(object, "last_mismatch", instance->mismatch_at) ||
        !json_add_text(object, "last_mismatch_detail", instance->mismatch) ||
        !json_add_text(object, "detail", instance->detail) ||
        !json_add_text(object, "address", instance->address))
        return mu_oom(err);
    (void)printf("%s\n%s", listing->shown == 0 ? "[" : ",", json_text(object) ?: "");
    return MU_OK;
}

static enum mu_status show(const struct instance *instance, const char *state, unsigned states,
                           struct listing *listing, struct mu_error *err)
{
    if (listing->json)
        MU_TRY(print_object(instance, state, states, listing, err));
    else
        print_row(instance, state, states, listing);
    listing->shown++;
    listing->not_trusted += states != WATCH_STATE(STANDING_OK);
    return MU_OK;
}

/* Of one that may be silent, because it was stopped, "missing" is not said. */
static unsigned states_of(const struct instance *instance, struct announced *is,
                          const struct listing *listing)
{
    struct expected_instance *expected;
    struct transition transition;
    unsigned states;

    watch_step(instance, listing->now_ms, &listing->limits, &transition);
    *is = transition.to;
    if (listing->expected == NULL)
        return watch_states(*is);
    expected = expected_find(listing->expected, instance->id);
    if (expected != NULL) {
        expected->seen = true;
        is->missing = is->missing && expected->runs;
    }
    states = watch_states(*is);
    return expected != NULL ? states : states | WATCH_STATE(UNEXPECTED);
}

static bool is_of(const struct instance *instance, const char *image)
{
    size_t len = strlen(instance->baseline);
    size_t digits = image != NULL ? strlen(image) : 0;

    if (image == NULL)
        return true;
    if (digits >= ID_DIGITS_MIN && (strncmp(instance->image, image, digits) == 0 ||
                                    strncmp(instance->boot_loader, image, digits) == 0))
        return true;
    return len > 0 && strncmp(instance->baseline, image, len) == 0 &&
           (image[len] == '\0' ||
            (image[len] == ':' && strcmp(instance->baseline_version, image + len + 1) == 0));
}

static enum mu_status list_one(const struct instance *instance, void *context, struct mu_error *err)
{
    struct listing *listing = context;
    struct announced is;
    unsigned states = states_of(instance, &is, listing);

    listing->known++;
    if ((listing->wanted != 0 && (listing->wanted & states) == 0) ||
        instance->last_seen < listing->since_ms || !is_of(instance, listing->image))
        return MU_OK;
    return show(instance, watch_state(is), states, listing, err);
}

/* A machine that has just started may not have got so far. */
static enum mu_status list_never_seen(struct listing *listing, struct mu_error *err)
{
    const struct expected *expected = listing->expected;

    if (expected == NULL ||
        (listing->wanted != 0 && (listing->wanted & WATCH_STATE(NEVER_SEEN)) == 0))
        return MU_OK;
    for (size_t i = 0; i < expected->count; i++) {
        const struct expected_instance *next = &expected->instance[i];
        const struct instance unknown = {.id = next->id,
                                         .baseline = "",
                                         .baseline_version = "",
                                         .state = "",
                                         .detail = "it runs, and never sent a document",
                                         .address = "",
                                         .image = "",
                                         .boot_loader = "",
                                         .good_baseline = "",
                                         .good_version = "",
                                         .mismatch = ""};

        if (next->runs && !next->seen &&
            listing->now_ms - (int64_t)next->started_ms > listing->limits.boot_ms)
            MU_TRY(show(&unknown, state_name(NEVER_SEEN), WATCH_STATE(NEVER_SEEN), listing, err));
    }
    return MU_OK;
}

static enum mu_status parse_states(const char *text, const struct expected *expected, unsigned *ret,
                                   struct mu_error *err)
{
    while (text != NULL) {
        size_t len = strcspn(text, ",");
        unsigned state = 0;

        while (state < LIST_STATES &&
               (strlen(state_name(state)) != len || strncmp(state_name(state), text, len) != 0))
            state++;
        if (state == LIST_STATES)
            return mu_fail(err, MU_USAGE,
                           "--state '%.*s': the states are ok, mismatch, boot-overdue, missing, "
                           "never-seen, unexpected",
                           (int)(len < 40 ? len : 40), text);
        if (state >= WATCH_STATES && expected == NULL)
            return mu_fail(err, MU_USAGE, "--state %s: --expected must say who is expected",
                           state_name(state));
        *ret |= WATCH_STATE(state);
        text = text[len] == ',' ? text + len + 1 : NULL;
    }
    return MU_OK;
}

/* "2026-11-29T10:00:00Z", or how long ago: "90s", "15m", "36h", "7d". */
static enum mu_status parse_since(const char *text, int64_t now_ms, int64_t *ret,
                                  struct mu_error *err)
{
    static const struct {
        char unit;
        int64_t seconds;
    } units[] = {{'s', 1}, {'m', 60}, {'h', 3600}, {'d', 86400}};
    uint64_t at_ms;
    char *end;
    unsigned long ago;

    if (text == NULL)
        return MU_OK;
    if (time_parse(text, &at_ms)) {
        *ret = (int64_t)at_ms;
        return MU_OK;
    }
    ago = strtoul(text, &end, 10);
    for (size_t i = 0; i < MU_COUNT(units); i++) {
        if (text[0] >= '0' && text[0] <= '9' && end[0] == units[i].unit && end[1] == '\0' &&
            ago <= 100000) {
            *ret = now_ms - (int64_t)ago * units[i].seconds * 1000;
            return MU_OK;
        }
    }
    return mu_fail(err, MU_USAGE,
                   "--since '%s': a time such as 2026-11-29T10:00:00Z, or an age such as 90s, 15m, "
                   "36h, 7d",
                   text);
}

static enum mu_status verdict(const struct listing *listing, const char *instance,
                              struct mu_error *err)
{
    if (instance != NULL && listing->known == 0)
        return mu_fail(
            err, MU_CONFIG,
            "%s is not known: it never sent a document; 'mu-verifier list' shows who did",
            instance);
    if ((listing->wanted != 0 || listing->expected != NULL) && listing->not_trusted > 0)
        return mu_fail(err, MU_REFUSE, "%zu of these %s not trusted", listing->not_trusted,
                       listing->not_trusted == 1 ? "is" : "are");
    return MU_OK;
}

static enum mu_status note_known(const struct instance *instance, void *context,
                                 struct mu_error *err)
{
    (void)instance;
    (void)err;
    ((struct listing *)context)->known++;
    return MU_OK;
}

static enum mu_status show_history(struct store *store, const char *instance,
                                   struct listing *listing, struct mu_error *err)
{
    MU_TRY(store_instances(store, instance, note_known, listing, err));
    MU_TRY(verdict(listing, instance, err));
    return history_print(store, instance, listing->json, err);
}

static enum mu_status run_list(int argc, char **argv, struct mu_error *err)
{
    MU_CLEANUP(watch_settings_free) struct watch_settings settings = {0};
    MU_CLEANUP(store_close) struct store *store = NULL;
    MU_CLEANUP(expected_free) struct expected expected = {0};
    const char *config = NULL, *where = NULL, *states = NULL, *since = NULL, *file = NULL;
    struct listing listing = {.now_ms = watch_now_ms()};
    struct watch_source source;
    bool history = false;
    const struct cli_option options[] = {
        {"config", 'c', .text = &config},
        {"store", 's', .text = &where},
        {"state", 0, .text = &states},
        {"since", 0, .text = &since},
        {"image", 'i', .text = &listing.image},
        {"expected", 'e', .text = &file},
        {"json", 'j', .flag = &listing.json},
        {"history", 0, .flag = &history},
        {0},
    };

    MU_TRY(cli_options(argc, argv, options, 0, 1, err));
    if (file != NULL && argv[optind] != NULL)
        return mu_fail(err, MU_USAGE, "--expected is about all instances: name none");
    if (history &&
        (argv[optind] == NULL || states != NULL || since != NULL || listing.image != NULL))
        return mu_fail(err, MU_USAGE, "--history is about one instance: name it, and nothing else");
    MU_TRY(parse_since(since, listing.now_ms, &listing.since_ms, err));
    if (file != NULL)
        listing.expected = &expected;
    MU_TRY(parse_states(states, listing.expected, &listing.wanted, err));
    source = fleet_source(config, where);
    MU_TRY(watch_settings_load(&source, &settings, err));
    if (file != NULL)
        MU_TRY(expected_read(file, &expected, err));
    listing.limits = watch_limits_of(&settings);
    MU_TRY(store_open(settings.store, STORE_READ, &store, err));
    if (history)
        return show_history(store, argv[optind], &listing, err);
    MU_TRY(store_instances(store, argv[optind], list_one, &listing, err));
    MU_TRY(list_never_seen(&listing, err));
    if (listing.json)
        (void)printf("%s]\n", listing.shown == 0 ? "[" : "\n");
    return verdict(&listing, argv[optind], err);
}

const struct verb verb_list = {
    .name = "list",
    .synopsis = "[--state S,...] [--image I] [--expected FILE] [OPTION...] [INSTANCE]",
    .summary = "the instances of a fleet, and the state of each",
    .help = FLEET_OPTIONS
    "      --state S,...   those in one of these states: ok, mismatch, boot-overdue, missing,\n"
    "                      never-seen, unexpected\n"
    "      --since TIME    those that sent a document since: RFC 3339, or an age such as 24h\n"
    "  -i, --image I       those whose last document was compared with this one: NAME[:VERSION] "
    "of\n"
    "                      a baseline or an approved image, or the first digits of an image's id\n"
    "      --expected FILE what 'aws ec2 describe-instances' prints: one that runs for longer\n"
    "                      than a boot takes and never sent a document is never-seen, one that is\n"
    "                      not in it unexpected, and one that was stopped is not missing\n"
    "      --history       what changed, and what was announced, of the one INSTANCE: newest "
    "first\n"
    "      --json          every member of each\n"
    "\n"
    "Reads alone: it needs no right to write in the store.\n"
    "\n"
    "Exit code 4: there is no such store, or no such instance in it; 2, with --state or\n"
    "--expected: one of those listed is not ok.\n"
    "\n"
    "Examples: mu-verifier list --json\n"
    "          mu-verifier list --history i-0123456789abcdef0\n"
    "          mu-verifier list --state mismatch,boot-overdue,missing || echo look at these\n"
    "          aws ec2 describe-instances | mu-verifier list --expected -\n",
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
    source = fleet_source(config, where);
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
    .help = FLEET_OPTIONS "\n"
                          "One that sends a document later is new again.\n"
                          "\n"
                          "Example: mu-verifier forget i-0123456789abcdef0\n",
    .run = run_forget,
};
