/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include <pthread.h>
#include <sqlite3.h>

#include "verifier/store.h"

/* With MU_TEST_STORE ("postgresql:...", an empty database) the same tests are made there:
 * tests/integration/test_watch.py. */

#define ONE "i-00000000000000001"
#define TWO "i-00000000000000002"

static char folder[] = "/tmp/mu-test-store-XXXXXX";
static char place[256], file[128];
static struct mu_error err;

static struct store *opened(void)
{
    struct store *store = NULL;

    if (store_open(place, &store, &err) != MU_OK)
        fail_msg("%s", err.text);
    return store;
}

static void record(struct store *store, const char *id, uint64_t at, bool ok, const char *detail)
{
    const struct attestation a = {.instance_id = id,
                                  .at_ms = at,
                                  .ok = ok,
                                  .baseline = "web",
                                  .baseline_version = ok ? "7" : NULL,
                                  .state = "running",
                                  .detail = detail,
                                  .address = "192.0.2.1"};

    if (store_record(store, &a, &err) != MU_OK)
        fail_msg("%s", err.text);
}

/* Copies of what one visit saw. */
struct seen {
    size_t count;
    char id[64], detail[64], good_version[16], mismatch[64];
    int64_t first_seen, last_seen, last_good, mismatch_at;
    bool ok;
    enum announced announced;
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

static int empty(void **state)
{
    struct store *store = opened();
    bool known;

    (void)state;
    assert_int_equal(store_forget(store, ONE, &known, &err), MU_OK);
    assert_int_equal(store_forget(store, TWO, &known, &err), MU_OK);
    store_close(&store);
    return 0;
}

static void test_good_then_mismatch(void **state)
{
    struct store *store = opened();
    struct seen seen;

    (void)state;
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
static void test_older_one_does_not_change_the_present(void **state)
{
    struct store *store = opened();
    struct seen seen;

    (void)state;
    record(store, ONE, 5000, true, NULL);
    record(store, ONE, 4000, false, "PCR 7");
    seen = look(store, ONE);
    assert_true(seen.ok);
    assert_int_equal(seen.last_seen, 5000);
    assert_int_equal(seen.mismatch_at, 4000); /* but it is not lost */
    assert_string_equal(seen.mismatch, "PCR 7");
    store_close(&store);
}

static void test_survives_closing(void **state)
{
    struct store *store = opened();

    (void)state;
    record(store, ONE, 1000, true, NULL);
    record(store, TWO, 1500, false, "PCR 12");
    store_close(&store);
    store = opened();
    assert_int_equal(look(store, NULL).count, 2);
    assert_int_equal(look(store, TWO).last_seen, 1500);
    store_close(&store);
}

static struct transition transition(const char *id, enum announced from, enum announced to,
                                    enum event_kind kind)
{
    struct transition t = {.from = from, .to = to, .at_ms = 9000, .event = {kind}, .events = 1};

    (void)snprintf(t.instance_id, sizeof(t.instance_id), "%s", id);
    return t;
}

static void test_events_reach_each_sink_once(void **state)
{
    struct store *store = opened();
    struct transition t;
    struct event event;
    int64_t waiting = 0, first;
    size_t made[EVENT_KINDS] = {0};

    (void)state;
    record(store, ONE, 1000, false, "PCR 4");
    assert_int_equal(store_sink_add(store, "a", &err), MU_OK);
    t = transition(ONE, ANNOUNCED_NOTHING, ANNOUNCED_MISMATCH, EVENT_MISMATCH);
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
    event_free(&event);
    assert_int_equal(store_event_next(store, "a", &event, &err), MU_OK);
    assert_int_equal(event.id, first); /* until it is done */
    event_free(&event);
    assert_int_equal(store_events_waiting(store, "a", &waiting, &err), MU_OK);
    assert_int_equal(waiting, 1);
    assert_int_equal(store_event_done(store, "a", first, &err), MU_OK);
    assert_int_equal(store_event_next(store, "a", &event, &err), MU_OK);
    assert_int_equal(event.id, 0);
    store_close(&store);
}

static void test_what_another_announced_is_left_out(void **state)
{
    struct store *store = opened();
    struct transition t = transition(ONE, ANNOUNCED_NOTHING, ANNOUNCED_OK, EVENT_FIRST_SEEN);
    size_t made[EVENT_KINDS] = {0};

    (void)state;
    record(store, ONE, 1000, true, NULL);
    assert_int_equal(store_announce(store, &t, 1, made, &err), MU_OK);
    assert_int_equal(made[EVENT_FIRST_SEEN], 1);
    assert_int_equal(look(store, ONE).announced, ANNOUNCED_OK);
    assert_int_equal(store_announce(store, &t, 1, made, &err), MU_OK);
    assert_int_equal(made[EVENT_FIRST_SEEN], 0);
    record(store, ONE, 2000, true, NULL);
    assert_int_equal(look(store, ONE).announced, ANNOUNCED_OK);
    store_close(&store);
}

static void test_forget_and_expire(void **state)
{
    struct store *store = opened();
    struct transition t = transition(ONE, ANNOUNCED_NOTHING, ANNOUNCED_MISSING, EVENT_MISSING);
    size_t made[EVENT_KINDS], gone = 0;
    bool known = true;

    (void)state;
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

static void *write_many(void *argument)
{
    struct store *store = opened(); /* as another process would */

    for (uint64_t i = 0; i < 200; i++)
        record(store, argument, 1000 + i, i % 2 == 0, "PCR 4");
    store_close(&store);
    return NULL;
}

static void test_several_writers(void **state)
{
    struct store *store = opened();
    pthread_t writer[2];

    (void)state;
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

static void test_other_schema_is_refused(void **state)
{
    struct store *store = NULL;
    sqlite3 *db;

    (void)state;
    if (strncmp(place, "sqlite:", 7) != 0)
        skip(); /* SQLite: the check is the same code */
    store = opened();
    store_close(&store);
    assert_int_equal(sqlite3_open(file, &db), SQLITE_OK);
    assert_int_equal(
        sqlite3_exec(db, "UPDATE meta SET value = 2 WHERE name = 'schema'", NULL, NULL, NULL),
        SQLITE_OK);
    assert_int_equal(store_open(place, &store, &err), MU_CONFIG);
    assert_non_null(strstr(err.text, "has schema 2"));
    assert_int_equal(
        sqlite3_exec(db, "UPDATE meta SET value = 1 WHERE name = 'schema'", NULL, NULL, NULL),
        SQLITE_OK);
    (void)sqlite3_close(db);
    store = opened();
    store_close(&store);
}

static void test_places_that_are_none(void **state)
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

    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct store *store = NULL;

        assert_int_equal(store_open(rows[i].where, &store, &err), rows[i].status);
        assert_null(store);
    }
}

static void test_no_database(void **state)
{
    char path[160], where[176];
    struct store *store = NULL;
    FILE *f;

    (void)state;
    (void)snprintf(path, sizeof(path), "%s/text", folder);
    (void)snprintf(where, sizeof(where), "sqlite:%s", path);
    f = fopen(path, "w");
    assert_non_null(f);
    for (int i = 0; i < 100; i++)
        (void)fputs("this is no database\n", f);
    (void)fclose(f);
    assert_int_equal(store_open(where, &store, &err), MU_CONFIG);
    assert_non_null(strstr(err.text, "not a database"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_good_then_mismatch, empty),
        cmocka_unit_test_setup(test_older_one_does_not_change_the_present, empty),
        cmocka_unit_test_setup(test_survives_closing, empty),
        cmocka_unit_test_setup(test_events_reach_each_sink_once, empty),
        cmocka_unit_test_setup(test_what_another_announced_is_left_out, empty),
        cmocka_unit_test_setup(test_forget_and_expire, empty),
        cmocka_unit_test_setup(test_several_writers, empty),
        cmocka_unit_test_setup(test_other_schema_is_refused, empty),
        cmocka_unit_test(test_places_that_are_none),
        cmocka_unit_test(test_no_database),
    };
    const char *other = getenv("MU_TEST_STORE");
    int failed;

    if (mkdtemp(folder) == NULL)
        return 1;
    (void)snprintf(file, sizeof(file), "%s/store", folder);
    (void)snprintf(place, sizeof(place), "%s%s", other ? other : "sqlite:", other ? "" : file);
    failed = cmocka_run_group_tests(tests, NULL, NULL);
    for (size_t i = 0; i < 4; i++) {
        static const char *const names[] = {"store", "store-wal", "store-shm", "text"};
        char path[160];

        (void)snprintf(path, sizeof(path), "%s/%s", folder, names[i]);
        (void)unlink(path);
    }
    (void)rmdir(folder);
    return failed;
}
