/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "fleet/history.h"
#include "test.h"

/* As test_store.c: with MU_TEST_STORE in that store. */

#define ONE "i-00000000000000001"
#define TWO "i-00000000000000002"
#define MINUTE ((int64_t)SAMPLE_MS)

static char place[256];
static struct store *store;

void before_all(void)
{
    const char *other = getenv("MU_TEST_STORE");

    (void)snprintf(place, sizeof(place), "%s%s",
                   other ? other : "sqlite:", other ? "" : temp_path("history"));
    if (store_open(place, STORE_MAKE, &store, &err) != MU_OK)
        fail_msg("%s", err.text);
}

void before_each(void)
{
    bool known;
    size_t gone;

    assert_int_equal(store_forget(store, ONE, &known, &err), MU_OK);
    assert_int_equal(store_forget(store, TWO, &known, &err), MU_OK);
    assert_int_equal(store_expire(store, 0, INT64_MAX, &gone, &err), MU_OK);
}

static struct attestation good_at(uint64_t at)
{
    return (struct attestation){.instance_id = ONE,
                                .at_ms = at,
                                .ok = true,
                                .baseline = "web",
                                .baseline_version = "7",
                                .state = "running",
                                .address = "192.0.2.1"};
}

static void record(struct attestation a)
{
    if (store_record(store, &a, &err) != MU_OK)
        fail_msg("%s", err.text);
}

/* ---- history ---- */

#define KEPT 8
struct seen {
    size_t count;
    struct {
        int64_t at_ms;
        bool ok;
        char event[16], state[16], detail[32], address[32];
    } entry[KEPT]; /* the newest */
    int64_t oldest;
};

static enum mu_status see(const struct history_entry *entry, void *context, struct mu_error *error)
{
    struct seen *seen = context;
    size_t n = seen->count++;

    (void)error;
    seen->oldest = entry->at_ms;
    if (n >= KEPT)
        return MU_OK;
    seen->entry[n].at_ms = entry->at_ms;
    seen->entry[n].ok = entry->ok;
    (void)snprintf(seen->entry[n].event, 16, "%s", entry->event);
    (void)snprintf(seen->entry[n].state, 16, "%s", entry->state);
    (void)snprintf(seen->entry[n].detail, 32, "%s", entry->detail);
    (void)snprintf(seen->entry[n].address, 32, "%s", entry->address);
    return MU_OK;
}

static struct seen history_of(const char *id, unsigned most)
{
    struct seen seen = {0};

    assert_int_equal(store_history(store, id, most, see, &seen, &err), MU_OK);
    return seen;
}

TEST(test_only_changes_are_kept)
{
    struct attestation a = good_at(1000);
    struct seen seen;

    record(a);
    for (a.at_ms = 2000; a.at_ms < 9000; a.at_ms += 1000)
        record(a);
    assert_int_equal(history_of(ONE, 100).count, 1);
    a.ok = false;
    a.detail = "PCR 4";
    record(a); /* 9000 */
    a.at_ms = 10000;
    record(a);
    a = good_at(11000);
    a.address = "192.0.2.2";
    record(a);
    seen = history_of(ONE, 100);
    assert_int_equal(seen.count, 3);
    assert_int_equal(seen.entry[0].at_ms, 11000);
    assert_string_equal(seen.entry[0].address, "192.0.2.2");
    assert_int_equal(seen.entry[1].at_ms, 9000);
    assert_false(seen.entry[1].ok);
    assert_string_equal(seen.entry[1].detail, "PCR 4");
    assert_int_equal(seen.entry[2].at_ms, 1000);
    assert_int_equal(history_of(ONE, 2).count, 2);
    assert_int_equal(history_of(TWO, 100).count, 0);
}

/* Each of the columns by itself, and a document that is older than the present state. */
TEST(test_what_is_a_change)
{
    struct attestation a = good_at(1000);

    record(a);
    a.at_ms++, a.baseline = "db", record(a);
    a.at_ms++, a.baseline_version = "8", record(a);
    a.at_ms++, a.state = "boot", record(a);
    a.at_ms++, a.image = "aa", record(a);
    a.at_ms++, a.boot_loader = "bb", record(a);
    a.at_ms++, a.address = "192.0.2.9", record(a);
    assert_int_equal(history_of(ONE, 100).count, 7);
    a.at_ms = 10, a.address = "192.0.2.10", record(a);
    assert_int_equal(history_of(ONE, 100).count, 7);
}

TEST(test_one_that_flaps_does_not_fill_the_disk)
{
    struct seen seen;

    for (uint64_t n = 1; n <= HISTORY_MAX + 50; n++) {
        struct attestation a = good_at(n);

        a.address = n % 2 == 0 ? "192.0.2.1" : "192.0.2.2";
        record(a);
    }
    seen = history_of(ONE, 10 * HISTORY_MAX);
    assert_int_equal(seen.count, HISTORY_MAX);
    assert_int_equal(seen.entry[0].at_ms, HISTORY_MAX + 50);
    assert_int_equal(seen.oldest, 51);
}

TEST(test_announcements_are_in_it)
{
    struct transition silent = {.instance_id = ONE,
                                .from = {STANDING_NEW, false},
                                .to = {STANDING_OK, true},
                                .at_ms = 5000,
                                .event = {EVENT_FIRST_SEEN, EVENT_MISSING},
                                .events = 2};
    size_t made[EVENT_KINDS];
    struct seen seen;

    record(good_at(1000));
    assert_int_equal(store_announce(store, &silent, 1, made, &err), MU_OK);
    record(good_at(6000));
    seen = history_of(ONE, 100);
    assert_int_equal(seen.count, 3);
    assert_string_equal(seen.entry[0].event, "missing");
    assert_int_equal(seen.entry[0].at_ms, 5000);
    assert_string_equal(seen.entry[1].event, "first-seen");
    assert_string_equal(seen.entry[2].event, "");
    assert_string_equal(seen.entry[2].state, "running");
}

/* And one that comes back is a new one: what was announced of the other is not its history. */
TEST(test_what_is_forgotten_is_gone)
{
    struct transition seen_first = {.instance_id = ONE,
                                    .to = {STANDING_OK, false},
                                    .at_ms = 1500,
                                    .event = {EVENT_FIRST_SEEN},
                                    .events = 1};
    size_t made[EVENT_KINDS];
    bool known;

    record(good_at(1000));
    assert_int_equal(store_announce(store, &seen_first, 1, made, &err), MU_OK);
    assert_int_equal(history_of(ONE, 100).count, 2);
    assert_int_equal(store_forget(store, ONE, &known, &err), MU_OK);
    assert_true(known);
    assert_int_equal(history_of(ONE, 100).count, 0);
    record(good_at(2000));
    assert_int_equal(history_of(ONE, 100).count, 1);
}

TEST(test_old_history_expires)
{
    struct attestation a = good_at(1000);
    size_t gone;

    record(a);
    a.at_ms = 5000, a.state = "boot", record(a);
    assert_int_equal(store_expire(store, 0, 2000, &gone, &err), MU_OK);
    assert_int_equal(history_of(ONE, 100).count, 1);
    a.at_ms = 6000, a.state = "running", record(a);
    assert_int_equal(history_of(ONE, 100).count, 2);
}

/* ---- samples ---- */

struct samples {
    struct sample sample[KEPT];
    size_t count;
};

static enum mu_status see_sample(const struct sample *sample, void *context, struct mu_error *error)
{
    struct samples *samples = context;

    (void)error;
    samples->sample[samples->count++ % KEPT] = *sample;
    return MU_OK;
}

static struct samples samples_since(int64_t from, int64_t step)
{
    struct samples samples = {0};

    assert_int_equal(store_samples(store, from, step, see_sample, &samples, &err), MU_OK);
    return samples;
}

static void put_sample(int64_t at, int64_t ok, int64_t mismatch, int64_t new)
{
    const struct sample sample = {
        .looked_ms = at, .ok = ok, .mismatch = mismatch, .missing = 1, .first_seen = new};

    if (store_sample(store, &sample, &err) != MU_OK)
        fail_msg("%s", err.text);
}

TEST(test_one_sample_a_minute)
{
    struct samples samples;

    put_sample(10 * MINUTE + 5000, 7, 3, 2);
    put_sample(10 * MINUTE + 15000, 9, 1, 1);
    samples = samples_since(0, MINUTE);
    assert_int_equal(samples.count, 1);
    assert_int_equal(samples.sample[0].at_ms, 10 * MINUTE);
    assert_int_equal(samples.sample[0].looked_ms, 10 * MINUTE + 15000);
    assert_int_equal(samples.sample[0].ok, 9);
    assert_int_equal(samples.sample[0].mismatch, 1);
    assert_int_equal(samples.sample[0].first_seen, 3);
}

TEST(test_a_step_is_as_its_worst_minute)
{
    struct samples samples;

    put_sample(9 * MINUTE, 1, 9, 0); /* before */
    put_sample(10 * MINUTE, 7, 0, 1);
    put_sample(12 * MINUTE, 4, 3, 0);
    put_sample(14 * MINUTE, 7, 0, 1);
    put_sample(15 * MINUTE, 6, 1, 0);
    samples = samples_since(10 * MINUTE, 5 * MINUTE);
    assert_int_equal(samples.count, 2);
    assert_int_equal(samples.sample[0].at_ms, 10 * MINUTE);
    assert_int_equal(samples.sample[0].ok, 4);
    assert_int_equal(samples.sample[0].mismatch, 3);
    assert_int_equal(samples.sample[0].first_seen, 2);
    assert_int_equal(samples.sample[1].at_ms, 15 * MINUTE);
    assert_int_equal(samples.sample[1].mismatch, 1);
    assert_int_equal(store_history_expire(store, 15 * MINUTE, &err), MU_OK);
    assert_int_equal(samples_since(0, MINUTE).count, 1);
}

/* ---- parts of the list ---- */

static enum mu_status see_id(const struct instance *instance, void *context, struct mu_error *error)
{
    char *ids = context;

    (void)error;
    (void)snprintf(ids + strlen(ids), 64 - strlen(ids), "%s ", instance->id);
    return MU_OK;
}

static void assert_listed(const char *after, const char *state, const char *image, unsigned most,
                          const char *ids)
{
    const struct list_part part = {after, state, image, most};
    char listed[64] = "";

    assert_int_equal(store_list(store, &part, see_id, listed, &err), MU_OK);
    assert_string_equal(listed, ids);
}

TEST(test_parts_of_the_list)
{
    struct transition good = {
        .instance_id = ONE, .to = {STANDING_OK, false}, .event = {EVENT_FIRST_SEEN}, .events = 1};
    struct transition missing = {.instance_id = ONE,
                                 .from = {STANDING_OK, false},
                                 .to = {STANDING_OK, true},
                                 .event = {EVENT_MISSING},
                                 .events = 1};
    struct attestation a = good_at(1000);
    size_t made[EVENT_KINDS];

    a.image = "aa";
    record(a);
    a.instance_id = TWO, a.image = NULL, a.boot_loader = "bb", record(a);
    assert_listed("", "", "", 9, ONE " " TWO " ");
    assert_listed("", "", "", 1, ONE " ");
    assert_listed(ONE, "", "", 9, TWO " ");
    assert_listed(TWO, "", "", 9, "");
    assert_listed("", "", "bb", 9, TWO " ");
    assert_listed("", "new", "", 9, ONE " " TWO " ");
    assert_int_equal(store_announce(store, &good, 1, made, &err), MU_OK);
    assert_listed("", "new", "", 9, TWO " ");
    assert_listed("", "not-trusted", "", 9, TWO " ");
    assert_int_equal(store_announce(store, &missing, 1, made, &err), MU_OK);
    assert_listed("", "not-trusted", "", 9, ONE " " TWO " ");
    assert_listed("", "missing", "", 9, ONE " ");
    assert_listed("", "mismatch", "", 9, "");
    a.at_ms = 2000, a.ok = false, record(a);
    assert_listed("", "mismatch", "", 9, TWO " "); /* before it is announced */
}
