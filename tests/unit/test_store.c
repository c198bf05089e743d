/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <pthread.h>
#include <sqlite3.h>

#include "fleet/store.h"
#include "fleet/watch.h"
#include "test.h"

/* With MU_TEST_STORE ("postgresql:...", an empty database) the same tests are made there:
 * tests/integration/test_watch.py. */

#define ONE "i-00000000000000001"
#define TWO "i-00000000000000002"

static char place[256];

void before_all(void)
{
    const char *other = getenv("MU_TEST_STORE");

    (void)snprintf(place, sizeof(place), "%s%s",
                   other ? other : "sqlite:", other ? "" : temp_path("store"));
}

static struct store *opened(void)
{
    struct store *store = NULL;

    if (store_open(place, STORE_MAKE, &store, &err) != MU_OK)
        fail_msg("%s", err.text);
    return store;
}

static void record_in(struct store *store, const char *id, uint64_t at, bool ok, const char *detail,
                      const char *state)
{
    const struct attestation a = {.instance_id = id,
                                  .at_ms = at,
                                  .ok = ok,
                                  .baseline = "web",
                                  .baseline_version = ok ? "7" : NULL,
                                  .state = state,
                                  .detail = detail,
                                  .address = "192.0.2.1"};

    if (store_record(store, &a, &err) != MU_OK)
        fail_msg("%s", err.text);
}

static void record(struct store *store, const char *id, uint64_t at, bool ok, const char *detail)
{
    record_in(store, id, at, ok, detail, "running");
}

/* Copies of what one visit saw. */
struct seen {
    size_t count;
    char id[64], detail[64], good_version[16], mismatch[64];
    int64_t first_seen, last_seen, last_good, mismatch_at, boot_since;
    bool ok;
    struct announced announced;
};

static enum mu_status see(const struct instance *instance, void *context, struct mu_error *error)
{
    struct seen *seen = context;

    (void)error;
    seen->count++;
    (void)snprintf(seen->id, sizeof(seen->id), "%s", instance->id);
    (void)snprintf(seen->detail, sizeof(seen->detail), "%s", instance->detail);
    (void)snprintf(seen->good_version, sizeof(seen->good_version), "%s", instance->good_version);
    (void)snprintf(seen->mismatch, sizeof(seen->mismatch), "%s", instance->mismatch);
    seen->first_seen = instance->first_seen;
    seen->last_seen = instance->last_seen;
    seen->last_good = instance->last_good;
    seen->mismatch_at = instance->mismatch_at;
    seen->boot_since = instance->boot_since;
    seen->ok = instance->ok;
    seen->announced = instance->announced;
    return MU_OK;
}

static struct seen look(struct store *store, const char *id)
{
    struct seen seen = {0};

    assert_int_equal(store_instances(store, id, see, &seen, &err), MU_OK);
    return seen;
}

void before_each(void)
{
    struct store *store = opened();
    bool known;

    assert_int_equal(store_forget(store, ONE, &known, &err), MU_OK);
    assert_int_equal(store_forget(store, TWO, &known, &err), MU_OK);
    store_close(&store);
}

TEST(test_good_then_mismatch)
{
    struct store *store = opened();
    struct seen seen;

    record(store, ONE, 1000, true, NULL);
    record(store, ONE, 2000, true, NULL);
    record(store, ONE, 3000, false, "PCR 4: expected 11, found 22");
    seen = look(store, ONE);
    assert_int_equal(seen.count, 1);
    assert_false(seen.ok);
    assert_string_equal(seen.detail, "PCR 4: expected 11, found 22");
    assert_int_equal(seen.first_seen, 1000);
    assert_int_equal(seen.last_seen, 3000);
    assert_int_equal(seen.last_good, 2000);
    assert_string_equal(seen.good_version, "7");
    assert_int_equal(seen.mismatch_at, 3000);
    store_close(&store);
}

/* Verifiers do not write in the order in which documents came. */
TEST(test_older_one_does_not_change_the_present)
{
    struct store *store = opened();
    struct seen seen;

    record(store, ONE, 5000, true, NULL);
    record(store, ONE, 4000, false, "PCR 7");
    seen = look(store, ONE);
    assert_true(seen.ok);
    assert_int_equal(seen.last_seen, 5000);
    assert_int_equal(seen.mismatch_at, 4000); /* but it is not lost */
    assert_string_equal(seen.mismatch, "PCR 7");
    store_close(&store);
}

TEST(test_survives_closing)
{
    struct store *store = opened();

    record(store, ONE, 1000, true, NULL);
    record(store, TWO, 1500, false, "PCR 12");
    store_close(&store);
    store = opened();
    assert_int_equal(look(store, NULL).count, 2);
    assert_int_equal(look(store, TWO).last_seen, 1500);
    store_close(&store);
}

static const struct announced nothing = {STANDING_NEW, false}, good = {STANDING_OK, false},
                              altered = {STANDING_MISMATCH, false}, gone_good = {STANDING_OK, true},
                              gone_altered = {STANDING_MISMATCH, true};

static struct transition transition(const char *id, struct announced from, struct announced to,
                                    enum event_kind kind)
{
    struct transition t = {.from = from, .to = to, .at_ms = 9000, .event = {kind}, .events = 1};

    (void)snprintf(t.instance_id, sizeof(t.instance_id), "%s", id);
    return t;
}

TEST(test_events_reach_each_sink_once)
{
    struct store *store = opened();
    struct transition t;
    struct event event;
    int64_t waiting = 0, first;
    size_t made[EVENT_KINDS] = {0};

    record(store, ONE, 1000, false, "PCR 4");
    assert_int_equal(store_sink_add(store, "a", &err), MU_OK);
    t = transition(ONE, nothing, altered, EVENT_MISMATCH);
    assert_int_equal(store_announce(store, &t, 1, made, &err), MU_OK);
    assert_int_equal(made[EVENT_MISMATCH], 1);
    assert_int_equal(store_sink_add(store, "b", &err), MU_OK); /* too late for that one */
    assert_int_equal(store_event_next(store, "b", &event, &err), MU_OK);
    assert_int_equal(event.id, 0);
    assert_int_equal(store_event_next(store, "a", &event, &err), MU_OK);
    assert_int_equal(event.kind, EVENT_MISMATCH);
    assert_string_equal(event.instance_id, ONE);
    assert_string_equal(event.detail, "PCR 4");
    assert_string_equal(event.baseline, "web");
    first = event.id;
    store_event_free(&event);
    assert_int_equal(store_event_next(store, "a", &event, &err), MU_OK);
    assert_int_equal(event.id, first); /* until it is done */
    store_event_free(&event);
    assert_int_equal(store_events_waiting(store, "a", &waiting, &err), MU_OK);
    assert_int_equal(waiting, 1);
    assert_int_equal(store_event_done(store, "a", first, &err), MU_OK);
    assert_int_equal(store_event_next(store, "a", &event, &err), MU_OK);
    assert_int_equal(event.id, 0);
    store_close(&store);
}

TEST(test_what_another_announced_is_left_out)
{
    struct store *store = opened();
    struct transition t = transition(ONE, nothing, good, EVENT_FIRST_SEEN);
    size_t made[EVENT_KINDS] = {0};

    record(store, ONE, 1000, true, NULL);
    assert_int_equal(store_announce(store, &t, 1, made, &err), MU_OK);
    assert_int_equal(made[EVENT_FIRST_SEEN], 1);
    assert_int_equal(look(store, ONE).announced.standing, STANDING_OK);
    assert_int_equal(store_announce(store, &t, 1, made, &err), MU_OK);
    assert_int_equal(made[EVENT_FIRST_SEEN], 0);
    record(store, ONE, 2000, true, NULL);
    assert_int_equal(look(store, ONE).announced.standing, STANDING_OK);
    store_close(&store);
}

TEST(test_forget_and_expire)
{
    struct store *store = opened();
    struct transition t = transition(ONE, nothing, gone_good, EVENT_MISSING);
    size_t made[EVENT_KINDS], gone = 0;
    bool known = true;

    assert_int_equal(store_forget(store, ONE, &known, &err), MU_OK);
    assert_false(known);
    record(store, ONE, 1000, true, NULL);
    record(store, TWO, 1000, true, NULL);
    assert_int_equal(store_announce(store, &t, 1, made, &err), MU_OK);
    assert_int_equal(store_expire(store, 1000, 0, &gone, &err), MU_OK);
    assert_int_equal(gone, 0); /* not older than that */
    assert_int_equal(store_expire(store, 1001, 0, &gone, &err), MU_OK);
    assert_int_equal(gone, 1); /* the other one is not missing */
    assert_int_equal(look(store, ONE).count, 0);
    assert_int_equal(store_forget(store, TWO, &known, &err), MU_OK);
    assert_true(known);
    store_close(&store);
}

/* Falling silent fixes nothing, and neither does time. */
TEST(test_altered_ones_are_not_forgotten)
{
    struct store *store = opened();
    struct transition t = transition(ONE, nothing, gone_altered, EVENT_MISSING);
    size_t made[EVENT_KINDS], gone = 0;

    record(store, ONE, 1000, false, "PCR 4");
    assert_int_equal(store_announce(store, &t, 1, made, &err), MU_OK);
    assert_int_equal(look(store, ONE).announced.standing, STANDING_MISMATCH);
    assert_true(look(store, ONE).announced.missing);
    assert_int_equal(store_expire(store, 1001, 0, &gone, &err), MU_OK);
    assert_int_equal(gone, 0);
    t = transition(ONE, altered, good, EVENT_RECOVERED); /* not what was announced */
    assert_int_equal(store_announce(store, &t, 1, made, &err), MU_OK);
    assert_int_equal(made[EVENT_RECOVERED], 0);
    store_close(&store);
}

/* The first of the documents of state boot in a row, in order of their time. */
TEST(test_boot_since)
{
    static const struct {
        uint64_t at;
        bool ok;
        const char *state;
        int64_t since;
    } rows[] = {
        {1000, true, "boot", 1000},  {2000, true, "boot", 1000}, {1500, true, "running", 1000},
        {3000, true, "running", 0},  {2500, true, "boot", 0},    {4000, true, "boot", 4000},
        {5000, false, "running", 0}, {6000, true, "boot", 6000}, {6000, true, "boot", 6000},
    };
    struct store *store = opened();

    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        record_in(store, ONE, rows[i].at, rows[i].ok, "PCR 4", rows[i].state);
        assert_int_equal(look(store, ONE).boot_since, rows[i].since);
    }
    store_close(&store);
}

/* ---- many ---- */

#define MANY 1203 /* more than two pages, and not whole ones */

static void record_number(struct store *store, size_t number, uint64_t at, bool ok,
                          const char *state)
{
    char id[32];

    (void)snprintf(id, sizeof(id), "i-%017zx", number);
    record_in(store, id, at, ok, "PCR 4", state);
}

struct many {
    const struct watch_limits *limits;
    int64_t now_ms;
    size_t visited, count;
    char last[64];
    struct transition transition[2 * MANY];
};

static enum mu_status collect(const struct instance *instance, void *context,
                              struct mu_error *error)
{
    struct many *many = context;

    (void)error;
    many->visited++;
    if (many->limits == NULL) {
        assert_true(strcmp(instance->id, many->last) > 0); /* each once, in order */
        (void)snprintf(many->last, sizeof(many->last), "%s", instance->id);
        return MU_OK;
    }
    watch_step(instance, many->now_ms, many->limits, &many->transition[many->count]);
    many->count += many->transition[many->count].events > 0;
    return MU_OK;
}

static int by_id(const void *a, const void *b)
{
    return strcmp(((const struct transition *)a)->instance_id,
                  ((const struct transition *)b)->instance_id);
}

static void collect_due(struct store *store, struct many *many)
{
    struct store_due due = {0};

    while (!due.done)
        assert_int_equal(
            store_due(store, many->now_ms - many->limits->silence_ms, &due, collect, many, &err),
            MU_OK);
    qsort(many->transition, many->count, sizeof(many->transition[0]), by_id);
    /* A new one that is silent is in two parts, unless it is announced in between. */
    for (size_t i = 1; i < many->count; i++)
        if (by_id(&many->transition[i - 1], &many->transition[i]) == 0) {
            many->count--;
            memmove(&many->transition[i], &many->transition[i + 1],
                    (many->count - i) * sizeof(many->transition[0]));
            i--;
        }
}

static void forget_all(struct store *store)
{
    for (size_t i = 1; i <= MANY; i++) {
        char id[32];
        bool known;

        (void)snprintf(id, sizeof(id), "i-%017zx", i);
        assert_int_equal(store_forget(store, id, &known, &err), MU_OK);
    }
}

TEST(test_many_are_read_and_announced_in_parts)
{
    static const struct watch_limits limits = {180000, 600000};
    static struct many all, due;
    struct store *store = opened();
    size_t made[EVENT_KINDS];
    int64_t last = 0;
    struct event event;
    char sink[32];

    (void)snprintf(sink, sizeof(sink), "many-%d", (int)getpid());
    all = (struct many){0};
    due = (struct many){.limits = &limits, .now_ms = 1000000};
    forget_all(store);
    for (size_t i = MANY; i > 0; i--)
        record_number(store, i, 1000, i % 2 == 0, "running");
    assert_int_equal(store_instances(store, NULL, collect, &all, &err), MU_OK);
    assert_int_equal(all.visited, MANY);
    assert_int_equal(store_sink_add(store, sink, &err), MU_OK);
    collect_due(store, &due);
    assert_int_equal(due.count, MANY);
    assert_int_equal(store_announce(store, due.transition, due.count, made, &err), MU_OK);
    assert_int_equal(made[EVENT_FIRST_SEEN], MANY);
    assert_int_equal(made[EVENT_MISMATCH], (MANY + 1) / 2);
    assert_int_equal(made[EVENT_MISSING], MANY);
    for (size_t i = 0; i < MANY; i++)
        for (size_t e = 0; e < due.transition[i].events; e++) {
            assert_int_equal(store_event_next(store, sink, &event, &err), MU_OK);
            assert_true(last == 0 || event.id == last + 1);
            last = event.id;
            assert_string_equal(event.instance_id, due.transition[i].instance_id);
            assert_int_equal(event.kind, due.transition[i].event[e]);
            assert_string_equal(event.detail, event.kind == EVENT_MISMATCH ? "PCR 4" : "");
            store_event_free(&event);
            assert_int_equal(store_event_done(store, sink, last, &err), MU_OK);
        }
    assert_int_equal(store_event_next(store, sink, &event, &err), MU_OK);
    assert_int_equal(event.id, 0);
    due = (struct many){.limits = &limits, .now_ms = 1000000};
    collect_due(store, &due);
    assert_int_equal(due.visited, 0); /* nobody is looked at without need */
    forget_all(store);
    store_close(&store);
}

static uint32_t dice(uint32_t sides)
{
    static uint32_t state = 20261130;

    state = state * 1664525 + 1013904223;
    return (state >> 8) % sides;
}

/* Whatever was written, in whatever order, and announced or not: a look at what is due has the same
 * news as a look at all. */
TEST(test_what_is_due_is_all_that_there_is_news_of)
{
    static const struct watch_limits limits = {1000, 2000};
    static struct many all, due;
    struct store *store = opened();
    size_t made[EVENT_KINDS], told = 0;
    int64_t now_ms = 100000;

    forget_all(store);
    for (int round = 0; round < 120; round++) {
        for (uint32_t writes = dice(8); writes > 0; writes--)
            record_number(store, 1 + dice(12), (uint64_t)(now_ms - dice(3000)), dice(3) > 0,
                          dice(2) > 0 ? "boot" : "running");
        all = (struct many){.limits = &limits, .now_ms = now_ms};
        due = (struct many){.limits = &limits, .now_ms = now_ms};
        assert_int_equal(store_instances(store, NULL, collect, &all, &err), MU_OK);
        collect_due(store, &due);
        assert_int_equal(due.count, all.count);
        for (size_t i = 0; i < all.count; i++)
            assert_memory_equal(&due.transition[i], &all.transition[i], sizeof(all.transition[i]));
        told += all.count;
        if (dice(3) > 0) /* or the watch is killed before it announces */
            assert_int_equal(store_announce(store, due.transition, due.count, made, &err), MU_OK);
        now_ms += dice(10) > 0 ? dice(1500) : -(int64_t)dice(3000); /* clocks jump */
    }
    assert_true(told > 100);
    forget_all(store);
    store_close(&store);
}

/* ---- by an index ---- */

static char statements[8][32768];
static size_t statement_count;

static int keep_statement(unsigned what, void *context, void *statement, void *text)
{
    const char *sql = sqlite3_sql(statement);

    (void)what;
    (void)context;
    if (strncmp(text, "--", 2) == 0) /* a trigger, within the statement that fired it */
        return 0;
    if ((strstr(sql, "LIMIT 500") != NULL || strncmp(sql, "WITH told", 9) == 0) &&
        statement_count < 8)
        (void)snprintf(statements[statement_count++], sizeof(statements[0]), "%s", sql);
    return 0;
}

static int trace_new(sqlite3 *db, char **message, const void *api)
{
    (void)message;
    (void)api;
    return sqlite3_trace_v2(db, SQLITE_TRACE_STMT, keep_statement, NULL);
}

static void assert_by_index(sqlite3 *db, size_t number, const char *index)
{
    static char explain[sizeof(statements)];
    char said[512] = "";
    sqlite3_stmt *statement;

    (void)snprintf(explain, sizeof(explain), "EXPLAIN QUERY PLAN %.32700s", statements[number]);
    assert_int_equal(sqlite3_prepare_v2(db, explain, -1, &statement, NULL), SQLITE_OK);
    while (sqlite3_step(statement) == SQLITE_ROW) /* 500 rows by themselves are not of interest */
        (void)snprintf(said + strlen(said), sizeof(said) - strlen(said), "%s; ",
                       (const char *)sqlite3_column_text(statement, 3));
    (void)sqlite3_finalize(statement);
    if (strstr(said, index) == NULL || strstr(said, "TEMP B-TREE") != NULL)
        fail_msg("%s: %s", statements[number], said);
}

/* tests/integration/test_room.py has the same for PostgreSQL, by its counters. */
TEST(test_what_is_due_is_found_by_an_index)
{
    static const struct watch_limits limits = {1000, 2000};
    static const char *const index[] = {"USING INDEX instance_due", "USING INDEX instance_seen",
                                        "USING INDEX instance_seen",
                                        "SEARCH instance USING INDEX sqlite_autoindex_instance_1",
                                        "SEARCH instance USING INDEX sqlite_autoindex_instance_1"};
    size_t made[EVENT_KINDS];
    static struct many due;
    struct store *store;
    sqlite3 *db;

    if (strncmp(place, "sqlite:", 7) != 0)
        skip();
    due = (struct many){.limits = &limits, .now_ms = 1000};
    statement_count = 0;
    assert_int_equal(sqlite3_auto_extension((void (*)(void))trace_new), SQLITE_OK);
    store = opened();
    collect_due(store, &due);
    record(store, ONE, 1000, true, NULL);
    due.transition[0] = transition(ONE, nothing, good, EVENT_FIRST_SEEN);
    assert_int_equal(store_announce(store, due.transition, 1, made, &err), MU_OK);
    assert_int_equal(made[EVENT_FIRST_SEEN], 1);
    store_close(&store);
    assert_int_equal(sqlite3_cancel_auto_extension((void (*)(void))trace_new), 1);
    assert_int_equal(statement_count, 5);
    assert_int_equal(sqlite3_open(temp_path("store"), &db), SQLITE_OK);
    for (size_t i = 0; i < 5; i++)
        assert_by_index(db, i, index[i]);
    (void)sqlite3_close(db);
}

static void *write_many(void *argument)
{
    struct store *store = opened(); /* as another process would */

    for (uint64_t i = 0; i < 200; i++)
        record(store, argument, 1000 + i, i % 2 == 0, "PCR 4");
    store_close(&store);
    return NULL;
}

TEST(test_several_writers)
{
    struct store *store = opened();
    pthread_t writer[2];

    assert_int_equal(pthread_create(&writer[0], NULL, write_many, (void *)(uintptr_t)ONE), 0);
    assert_int_equal(pthread_create(&writer[1], NULL, write_many, (void *)(uintptr_t)TWO), 0);
    for (int i = 0; i < 50; i++)
        (void)look(store, NULL);
    assert_int_equal(pthread_join(writer[0], NULL), 0);
    assert_int_equal(pthread_join(writer[1], NULL), 0);
    assert_int_equal(look(store, ONE).last_seen, 1199);
    assert_int_equal(look(store, TWO).last_good, 1198);
    store_close(&store);
}

/* ---- images ---- */

struct acts {
    size_t count;
    char id[16][16], why[16][64], author[16][64], envelope[64];
    enum image_act_kind act[16];
    int64_t at_ms, until_ms;
};

static enum mu_status see_act(const struct image_act *act, void *context, struct mu_error *error)
{
    struct acts *acts = context;
    size_t at = acts->count++;

    (void)error;
    assert_true(at < 16);
    (void)snprintf(acts->id[at], sizeof(acts->id[at]), "%s", act->id);
    (void)snprintf(acts->why[at], sizeof(acts->why[at]), "%s", act->why);
    (void)snprintf(acts->author[at], sizeof(acts->author[at]), "%s", act->author);
    (void)snprintf(acts->envelope, sizeof(acts->envelope), "%s", act->envelope);
    acts->act[at] = act->act;
    acts->at_ms = act->at_ms;
    acts->until_ms = act->until_ms;
    return MU_OK;
}

static void act(struct store *store, const char *id, enum image_act_kind kind, int64_t at_ms,
                int64_t until_ms, const char *why)
{
    const struct image_act add = {.id = id,
                                  .kind = "image",
                                  .name = "web",
                                  .version = "7",
                                  .envelope = "{\"signed\": true}",
                                  .act = kind,
                                  .at_ms = at_ms,
                                  .until_ms = until_ms,
                                  .author = "ada",
                                  .why = why};

    if (store_image_act(store, &add, &err) != MU_OK)
        fail_msg("%s", err.text);
}

TEST(test_last_act_about_an_image_counts)
{
    struct store *store = opened();
    struct acts now = {0}, all = {0};
    int64_t before = 0, after = 0;

    assert_int_equal(store_image_serial(store, &before, &err), MU_OK);
    act(store, "aa", ACT_APPROVE, 1000, 9000, "tested");
    act(store, "bb", ACT_APPROVE, 2000, 0, "tested, too");
    act(store, "aa", ACT_REVOKE, 3000, 0, "CVE");
    assert_int_equal(store_image_serial(store, &after, &err), MU_OK);
    assert_int_equal(after, before + 3);
    store_close(&store);
    store = opened();
    assert_int_equal(store_images(store, see_act, &now, &err), MU_OK);
    assert_int_equal(now.count, 2);
    assert_string_equal(now.id[0], "bb");
    assert_int_equal(now.act[0], ACT_APPROVE);
    assert_string_equal(now.id[1], "aa");
    assert_int_equal(now.act[1], ACT_REVOKE);
    assert_string_equal(now.why[1], "CVE");
    assert_string_equal(now.author[1], "ada");
    assert_string_equal(now.envelope, "{\"signed\": true}");
    assert_int_equal(now.at_ms, 3000);
    assert_int_equal(store_image_acts(store, see_act, &all, &err), MU_OK);
    assert_int_equal(all.count, 3);
    assert_string_equal(all.id[0], "aa");
    assert_string_equal(all.why[0], "tested");
    store_close(&store);
}

TEST(test_approval_ends)
{
    const struct image_act until = {.act = ACT_APPROVE, .until_ms = 5000};
    const struct image_act for_good = {.act = ACT_APPROVE};
    const struct image_act revoked = {.act = ACT_REVOKE, .until_ms = 5000};

    assert_true(store_act_allows(&until, 4999));
    assert_false(store_act_allows(&until, 5000));
    assert_true(store_act_allows(&for_good, INT64_MAX));
    assert_false(store_act_allows(&revoked, 1));
}

TEST(test_acts_cannot_be_changed)
{
    static const char *const commands[] = {"UPDATE image_act SET until_ms = 0",
                                           "DELETE FROM image_act WHERE id = 1"};
    struct store *store = opened();
    struct acts all = {0};
    sqlite3 *db;

    if (strncmp(place, "sqlite:", 7) != 0)
        skip(); /* PostgreSQL: tests/integration/test_images.py */
    assert_int_equal(sqlite3_open(temp_path("store"), &db), SQLITE_OK);
    for (size_t i = 0; i < MU_COUNT(commands); i++) {
        assert_int_equal(sqlite3_exec(db, commands[i], NULL, NULL, NULL), SQLITE_CONSTRAINT);
        assert_non_null(strstr(sqlite3_errmsg(db), "is append-only"));
    }
    (void)sqlite3_close(db);
    assert_int_equal(store_image_acts(store, see_act, &all, &err), MU_OK);
    assert_int_equal(all.count, 3);
    store_close(&store);
}

struct roll_out {
    size_t rows;
    int64_t behind, alone;
};

static enum mu_status see_roll_out(const char *image, const char *boot_loader, int64_t instances,
                                   void *context, struct mu_error *error)
{
    struct roll_out *seen = context;

    (void)error;
    seen->rows++;
    assert_string_equal(image, "bb");
    if (boot_loader[0] != '\0')
        seen->behind = instances;
    else
        seen->alone = instances;
    return MU_OK;
}

TEST(test_roll_out_counts_what_matched_last)
{
    struct store *store = opened();
    struct attestation a = {
        .instance_id = ONE, .at_ms = 1000, .ok = true, .image = "bb", .boot_loader = "cc"};
    struct roll_out seen = {0};

    assert_int_equal(store_record(store, &a, &err), MU_OK);
    a.instance_id = TWO;
    a.boot_loader = NULL;
    assert_int_equal(store_record(store, &a, &err), MU_OK);
    assert_int_equal(store_roll_out(store, see_roll_out, &seen, &err), MU_OK);
    assert_int_equal(seen.rows, 2);
    assert_int_equal(seen.behind, 1);
    assert_int_equal(seen.alone, 1);
    a.at_ms = 2000;
    a.ok = false;
    assert_int_equal(store_record(store, &a, &err), MU_OK);
    seen = (struct roll_out){0};
    assert_int_equal(store_roll_out(store, see_roll_out, &seen, &err), MU_OK);
    assert_int_equal(seen.rows, 1);
    assert_int_equal(seen.behind, 1);
    store_close(&store);
}

TEST(test_other_schema_is_refused)
{
    struct store *store = NULL;
    sqlite3 *db;

    if (strncmp(place, "sqlite:", 7) != 0)
        skip(); /* SQLite: the check is the same code */
    store = opened();
    store_close(&store);
    assert_int_equal(sqlite3_open(temp_path("store"), &db), SQLITE_OK);
    assert_int_equal(
        sqlite3_exec(db, "UPDATE meta SET value = 1 WHERE name = 'schema'", NULL, NULL, NULL),
        SQLITE_OK);
    assert_int_equal(store_open(place, STORE_WRITE, &store, &err), MU_CONFIG);
    assert_non_null(strstr(err.text, "has schema 1"));
    assert_int_equal(
        sqlite3_exec(db, "UPDATE meta SET value = 4 WHERE name = 'schema'", NULL, NULL, NULL),
        SQLITE_OK);
    (void)sqlite3_close(db);
    store = opened();
    store_close(&store);
}

TEST(test_places_that_are_none)
{
    static const struct {
        const char *where;
        enum mu_status status;
    } rows[] = {
        {"", MU_CONFIG},
        {"sqlite:", MU_CONFIG},
        {"mysql:x", MU_CONFIG},
        {"sqlite:/nonexistent/store", MU_CONFIG},
        {"sqlite:/tmp", MU_CONFIG},
        {"postgresql:host=127.0.0.1 port=1 user=u", MU_RETRY},
        {"postgresql://u@127.0.0.1:1/db", MU_RETRY},
        {"postgresql:nonsense", MU_CONFIG},
    };

    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct store *store = NULL;

        assert_int_equal(store_open(rows[i].where, STORE_MAKE, &store, &err), rows[i].status);
        assert_null(store);
    }
}

/* Whoever does not record makes nothing, and changes nothing. */
TEST(test_only_the_verifier_makes_a_store)
{
    static const enum store_use uses[] = {STORE_READ, STORE_WRITE};
    const char *path = temp_path("mistyped");
    char where[176];
    struct store *store = NULL;
    sqlite3 *db;

    (void)snprintf(where, sizeof(where), "sqlite:%s", path);
    for (size_t i = 0; i < 2; i++) {
        assert_int_equal(store_open(where, uses[i], &store, &err), MU_CONFIG);
        assert_non_null(strstr(err.text, "makes it when it starts"));
        assert_int_not_equal(access(path, F_OK), 0);
    }
    assert_int_equal(sqlite3_open(path, &db), SQLITE_OK); /* somebody else's */
    assert_int_equal(sqlite3_exec(db, "CREATE TABLE other (id)", NULL, NULL, NULL), SQLITE_OK);
    (void)sqlite3_close(db);
    for (size_t i = 0; i < 2; i++) {
        assert_int_equal(store_open(where, uses[i], &store, &err), MU_CONFIG);
        assert_non_null(strstr(err.text, "no store here"));
    }
    assert_int_equal(store_open(where, STORE_MAKE, &store, &err), MU_OK);
    record(store, ONE, 1000, true, NULL);
    store_close(&store);
    assert_int_equal(store_open(where, STORE_READ, &store, &err), MU_OK);
    assert_int_equal(look(store, NULL).count, 1);
    assert_int_not_equal(store_sink_add(store, "a", &err), MU_OK);
    store_close(&store);
}

TEST(test_no_database)
{
    const char *path = temp_path("text");
    char where[176];
    struct store *store = NULL;
    FILE *f;

    (void)snprintf(where, sizeof(where), "sqlite:%s", path);
    f = fopen(path, "w");
    assert_non_null(f);
    for (int i = 0; i < 100; i++)
        (void)fputs("this is no database\n", f);
    (void)fclose(f);
    assert_int_equal(store_open(where, STORE_MAKE, &store, &err), MU_CONFIG);
    assert_non_null(strstr(err.text, "not a database"));
}
