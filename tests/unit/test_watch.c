/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "fleet/watch.h"
#include "test.h"

#define SILENCE 180000
#define BOOT 600000

/* Events as letters: F irst-seen, M ismatch, B oot-overdue, S ilent (missing), R ecovered. */
static void letters(const struct transition *t, char ret[static TRANSITION_EVENTS + 1])
{
    for (size_t i = 0; i < t->events; i++)
        ret[i] = "FMBSR"[t->event[i]];
    ret[t->events] = '\0';
}

#define NEW                                                                                        \
    {                                                                                              \
        STANDING_NEW, false                                                                        \
    }
#define GOOD                                                                                       \
    {                                                                                              \
        STANDING_OK, false                                                                         \
    }
#define ALTERED                                                                                    \
    {                                                                                              \
        STANDING_MISMATCH, false                                                                   \
    }
#define STUCK                                                                                      \
    {                                                                                              \
        STANDING_BOOT, false                                                                       \
    }
#define GONE                                                                                       \
    {                                                                                              \
        STANDING_OK, true                                                                          \
    }
#define ALTERED_GONE                                                                               \
    {                                                                                              \
        STANDING_MISMATCH, true                                                                    \
    }
#define STUCK_GONE                                                                                 \
    {                                                                                              \
        STANDING_BOOT, true                                                                        \
    }

struct row {
    const char *what;
    struct announced announced;
    int64_t announced_mismatch, mismatch_at;
    bool ok;
    int64_t silent_for;
    const char *events;
    struct announced to;
    int64_t in_boot_for; /* by its documents */
};

static const struct row rows[] = {
    {"new and good", NEW, 0, 0, true, 5, "F", GOOD, 0},
    {"new and altered", NEW, 0, 500, false, 5, "FM", ALTERED, 0},
    {"new, altered, good again", NEW, 0, 500, true, 5, "FMR", GOOD, 0},
    {"new and silent", NEW, 0, 0, true, SILENCE + 1, "FS", GONE, 0},
    {"new, altered, good again, silent", NEW, 0, 500, true, SILENCE + 1, "FMRS", GONE, 0},
    {"good still", GOOD, 0, 0, true, 5, "", GOOD, 0},
    {"silent as long as it may", GOOD, 0, 0, true, SILENCE, "", GOOD, 0},
    {"silent for longer", GOOD, 0, 0, true, SILENCE + 1, "S", GONE, 0},
    {"silent still", GONE, 0, 0, true, SILENCE + 9, "", GONE, 0},
    {"back", GONE, 0, 0, true, 5, "R", GOOD, 0},
    {"back, altered", GONE, 0, 500, false, 5, "M", ALTERED, 0},
    {"altered", GOOD, 0, 500, false, 5, "M", ALTERED, 0},
    {"altered before, again", GOOD, 500, 600, false, 5, "M", ALTERED, 0},
    {"altered still", ALTERED, 500, 900, false, 5, "", ALTERED, 0},
    {"recovered", ALTERED, 500, 900, true, 5, "R", GOOD, 0},
    {"altered and good within one look", GOOD, 500, 600, true, 5, "MR", GOOD, 0},
    {"altered long ago", GOOD, 500, 500, true, 5, "", GOOD, 0},
    {"altered, then silent", ALTERED, 500, 900, false, SILENCE + 1, "S", ALTERED_GONE, 0},
    {"altered and silent still", ALTERED_GONE, 500, 500, false, SILENCE + 9, "", ALTERED_GONE, 0},
    {"altered, silent, back as it was", ALTERED_GONE, 500, 900, false, 5, "M", ALTERED, 0},
    {"altered, silent, back and good", ALTERED_GONE, 500, 500, true, 5, "R", GOOD, 0},
    {"altered, good, silent within one look", ALTERED, 500, 500, true, SILENCE + 1, "RS", GONE, 0},
    {"altered and silent within one look", GOOD, 0, 500, false, SILENCE + 1, "MS", ALTERED_GONE, 0},
    {"booting", GOOD, 0, 0, true, 5, "", GOOD, BOOT},
    {"booting for longer", GOOD, 0, 0, true, 5, "B", STUCK, BOOT + 1},
    {"new, booting for longer", NEW, 0, 0, true, 5, "FB", STUCK, BOOT + 1},
    {"booting still", STUCK, 0, 0, true, 5, "", STUCK, BOOT + 9},
    {"booted at last", STUCK, 0, 0, true, 5, "R", GOOD, 0},
    {"booting for longer, silent", STUCK, 0, 0, true, SILENCE + 1, "S", STUCK_GONE, BOOT + 1},
    {"booting for longer, silent, back", STUCK_GONE, 0, 0, true, 5, "B", STUCK, BOOT + 9},
    {"booting for longer, then altered", STUCK, 0, 500, false, 5, "M", ALTERED, 0},
    {"its clock is ahead", GOOD, 0, 0, true, -5000, "", GOOD, 0},
};

static bool same(struct announced a, struct announced b)
{
    return a.standing == b.standing && a.missing == b.missing;
}

TEST(test_steps)
{
    const struct watch_limits limits = {SILENCE, BOOT};
    const int64_t now = 1764000000000;

    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        const struct row *row = &rows[i];
        int64_t last_seen = now - row->silent_for;
        struct instance instance = {.id = "i-1",
                                    .last_seen = last_seen,
                                    .boot_since =
                                        row->in_boot_for > 0 ? last_seen - row->in_boot_for : 0,
                                    .ok = row->ok,
                                    .mismatch_at = row->mismatch_at,
                                    .announced = row->announced,
                                    .announced_mismatch = row->announced_mismatch};
        char events[TRANSITION_EVENTS + 1];
        struct transition t;

        watch_step(&instance, now, &limits, &t);
        letters(&t, events);
        if (strcmp(events, row->events) != 0 || !same(t.to, row->to))
            fail_msg("%s: '%s' to %s", row->what, events, watch_state(t.to));
        assert_true(same(t.from, row->announced));
        /* What was told is not told again. */
        instance.announced = t.to;
        instance.announced_mismatch = t.mismatch_at;
        watch_step(&instance, now, &limits, &t);
        assert_int_equal(t.events, 0);
    }
}

TEST(test_state_in_a_word)
{
    assert_string_equal(watch_state((struct announced)GOOD), "ok");
    assert_string_equal(watch_state((struct announced)GONE), "missing");
    assert_string_equal(watch_state((struct announced)ALTERED_GONE), "mismatch");
    assert_string_equal(watch_state((struct announced)STUCK_GONE), "boot-overdue");
}

TEST(test_time)
{
    char text[32];

    watch_time(1764039600042, text);
    assert_string_equal(text, "2025-11-25T03:00:00.042Z");
    watch_time(0, text);
    assert_string_equal(text, "");
}
