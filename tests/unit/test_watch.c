/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "verifier/watch.h"

#define SILENCE 180000

/* Events as letters: F irst-seen, M ismatch, S ilent (missing), R ecovered. */
static void letters(const struct transition *t, char ret[static TRANSITION_EVENTS + 1])
{
    for (size_t i = 0; i < t->events; i++)
        ret[i] = "FMSR"[t->event[i]];
    ret[t->events] = '\0';
}

struct row {
    const char *what;
    enum announced announced;
    int64_t announced_mismatch, mismatch_at;
    bool ok;
    int64_t silent_for;
    const char *events;
    enum announced to;
};

static void test_steps(void **state)
{
    static const struct row rows[] = {
        {"new and good", ANNOUNCED_NOTHING, 0, 0, true, 5, "F", ANNOUNCED_OK},
        {"new and altered", ANNOUNCED_NOTHING, 0, 500, false, 5, "FM", ANNOUNCED_MISMATCH},
        {"new, altered, good again", ANNOUNCED_NOTHING, 0, 500, true, 5, "FMR", ANNOUNCED_OK},
        {"new and silent", ANNOUNCED_NOTHING, 0, 0, true, SILENCE + 1, "FS", ANNOUNCED_MISSING},
        {"good still", ANNOUNCED_OK, 0, 0, true, 5, "", ANNOUNCED_OK},
        {"silent as long as it may", ANNOUNCED_OK, 0, 0, true, SILENCE, "", ANNOUNCED_OK},
        {"silent for longer", ANNOUNCED_OK, 0, 0, true, SILENCE + 1, "S", ANNOUNCED_MISSING},
        {"silent still", ANNOUNCED_MISSING, 0, 0, true, SILENCE + 9, "", ANNOUNCED_MISSING},
        {"back", ANNOUNCED_MISSING, 0, 0, true, 5, "R", ANNOUNCED_OK},
        {"back, altered", ANNOUNCED_MISSING, 0, 500, false, 5, "M", ANNOUNCED_MISMATCH},
        {"altered", ANNOUNCED_OK, 0, 500, false, 5, "M", ANNOUNCED_MISMATCH},
        {"altered before, again", ANNOUNCED_OK, 500, 600, false, 5, "M", ANNOUNCED_MISMATCH},
        {"altered still", ANNOUNCED_MISMATCH, 500, 900, false, 5, "", ANNOUNCED_MISMATCH},
        {"mended", ANNOUNCED_MISMATCH, 500, 900, true, 5, "R", ANNOUNCED_OK},
        {"altered and good within one look", ANNOUNCED_OK, 500, 600, true, 5, "MR", ANNOUNCED_OK},
        {"altered long ago", ANNOUNCED_OK, 500, 500, true, 5, "", ANNOUNCED_OK},
        {"altered, then silent", ANNOUNCED_MISMATCH, 500, 900, false, SILENCE + 1, "S",
         ANNOUNCED_MISSING},
        {"altered and silent within one look", ANNOUNCED_OK, 0, 500, false, SILENCE + 1, "MS",
         ANNOUNCED_MISSING},
        {"its clock is ahead", ANNOUNCED_OK, 0, 0, true, -5000, "", ANNOUNCED_OK},
    };
    const int64_t now = 1764000000000;

    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        const struct row *row = &rows[i];
        struct instance instance = {.id = "i-1",
                                    .last_seen = now - row->silent_for,
                                    .ok = row->ok,
                                    .mismatch_at = row->mismatch_at,
                                    .announced = row->announced,
                                    .announced_mismatch = row->announced_mismatch};
        char events[TRANSITION_EVENTS + 1];
        struct transition t;

        watch_step(&instance, now, SILENCE, &t);
        letters(&t, events);
        if (strcmp(events, row->events) != 0 || t.to != row->to)
            fail_msg("%s: '%s' to %d", row->what, events, t.to);
        assert_int_equal(t.from, row->announced);
        /* What was told is not told again. */
        instance.announced = t.to;
        instance.announced_mismatch = t.mismatch_at;
        watch_step(&instance, now, SILENCE, &t);
        assert_int_equal(t.events, 0);
    }
}

static void test_time(void **state)
{
    char text[32];

    (void)state;
    watch_time(1764039600042, text);
    assert_string_equal(text, "2025-11-25T03:00:00.042Z");
    watch_time(0, text);
    assert_string_equal(text, "");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_steps),
        cmocka_unit_test(test_time),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
