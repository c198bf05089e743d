/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "made_log.h"
#include "measure/changes.h"

#define EV_IPL 0x0d
#define EV_EFI_ACTION 0x80000007

struct lines {
    size_t count;
    char line[32][128];
};

static void keep(const char *text, void *context)
{
    struct lines *lines = context;

    assert_true(strlen(text) < 100);
    assert_true(lines->count < 32);
    (void)snprintf(lines->line[lines->count++], sizeof(lines->line[0]), "%s", text);
}

static struct pcr_values replayed(const struct eventlog *log)
{
    struct pcr_values values;
    struct mu_error err;

    assert_int_equal(eventlog_replay(log, HASH_SHA384, &values, &err), MU_OK);
    return values;
}

/* A boot that measures these texts into PCR 4 and, if not NULL, a command line into PCR 12. */
static struct eventlog boot_of(const char *const *texts, const char *command_line)
{
    struct made_log made = made_log_new();

    for (; *texts != NULL; texts++)
        made_text_event(&made, 4, EV_EFI_ACTION, *texts);
    if (command_line != NULL)
        made_utf16_event(&made, 12, EV_IPL, command_line);
    return made_parsed(&made);
}

static struct lines explain(struct eventlog *now, struct eventlog *then, bool reference,
                            bool honest, uint32_t mask)
{
    struct pcr_values expected = replayed(then), found = replayed(now);
    struct lines lines = {.count = 0};

    if (!honest)
        found.value[4].bytes[0] ^= 1;
    changes_describe(now, reference ? then : NULL, &expected, &found, mask, keep, &lines);
    eventlog_free(now);
    eventlog_free(then);
    return lines;
}

static void expect_lines(const struct lines *lines, const char *const *expected)
{
    for (size_t i = 0; i < lines->count || expected[i] != NULL; i++) {
        if (i >= lines->count || expected[i] == NULL)
            fail_msg("line %zu: '%s', expected '%s'", i, i < lines->count ? lines->line[i] : "",
                     expected[i] != NULL ? expected[i] : "");
        if (strncmp(lines->line[i], expected[i], strlen(expected[i])) != 0)
            fail_msg("line %zu: '%s', expected '%s'", i, lines->line[i], expected[i]);
    }
}

static const char *const usual[] = {"alpha", "bravo", "charlie", NULL};

static void command_line_is_shown(void **state)
{
    struct eventlog now = boot_of(usual, "init=/bin/sh"), then = boot_of(usual, NULL);
    struct lines lines = explain(&now, &then, false, true, PCR_BIT(12));

    (void)state;
    expect_lines(&lines,
                 (const char *const[]){
                     "PCR 12: the event log explains it; without this event it would match:",
                     "  new: command line was handed in from outside: init=/bin/sh", NULL});
}

static void long_command_line_is_folded(void **state)
{
    char text[700];
    struct eventlog now, then = boot_of(usual, NULL);
    struct lines lines;
    size_t letters = 0;

    (void)state;
    memset(text, 'x', sizeof(text));
    text[sizeof(text) - 1] = '\0';
    text[60] = ' ';
    now = boot_of(usual, text);
    lines = explain(&now, &then, false, true, PCR_BIT(12));
    assert_true(lines.count >= 8);
    for (size_t i = 1; i < lines.count; i++)
        for (const char *c = lines.line[i]; *c != '\0'; c++)
            letters += *c == 'x';
    assert_int_equal(letters, sizeof(text) - 2);
}

static void added_events_are_found(void **state)
{
    static const char *const one[] = {"alpha", "evil", "bravo", "charlie", NULL};
    static const char *const two[] = {"alpha", "bravo", "charlie", "evil", "worse", NULL};
    struct eventlog now = boot_of(one, NULL), then = boot_of(usual, NULL);
    struct lines lines = explain(&now, &then, false, true, PCR_BIT(4));

    (void)state;
    expect_lines(&lines, (const char *const[]){
                             "PCR 4: the event log explains it; without this event it would match:",
                             "  new: event 2 EV_EFI_ACTION: evil (", NULL});
    now = boot_of(two, NULL);
    then = boot_of(usual, NULL);
    lines = explain(&now, &then, false, true, PCR_BIT(4));
    expect_lines(&lines,
                 (const char *const[]){
                     "PCR 4: the event log explains it; without these events it would match:",
                     "  new: event 4 EV_EFI_ACTION: evil (",
                     "  new: event 5 EV_EFI_ACTION: worse (", NULL});
}

static void changed_event_lists_them_all(void **state)
{
    static const char *const changed[] = {"alpha", "evil", "charlie", NULL};
    struct eventlog now = boot_of(changed, NULL), then = boot_of(usual, NULL);
    struct lines lines = explain(&now, &then, false, true, PCR_BIT(4));

    (void)state;
    expect_lines(
        &lines,
        (const char *const[]){
            "PCR 4: the event log explains it; one of these was changed or one is missing:",
            "  logged: event 1 EV_EFI_ACTION: alpha (", "  logged: event 2 EV_EFI_ACTION: evil (",
            "  logged: event 3 EV_EFI_ACTION: charlie (", NULL});
}

static void reference_names_the_event(void **state)
{
    static const char *const changed[] = {"alpha", "evil", "charlie", NULL};
    static const char *const missing[] = {"alpha", "charlie", NULL};
    static const char *const added[] = {"alpha", "bravo", "evil", "charlie", NULL};
    static const char title[] = "PCR 4: the event log explains it; against the reference log:";
    static const struct {
        const char *const *now;
        const char *lines[4];
    } cases[] = {
        {changed,
         {title, "  changed, was: event 2 EV_EFI_ACTION: bravo (",
          "  changed, now: event 2 EV_EFI_ACTION: evil (", NULL}},
        {missing, {title, "  missing: event 2 EV_EFI_ACTION: bravo (", NULL}},
        {added, {title, "  new: event 3 EV_EFI_ACTION: evil (", NULL}},
        {usual, {title, "  the same events", NULL}},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct eventlog now = boot_of(cases[i].now, NULL), then = boot_of(usual, NULL);
        struct lines lines = explain(&now, &then, true, true, PCR_BIT(4));

        expect_lines(&lines, cases[i].lines);
    }
}

/* A log that was edited, or an extend that was not logged: nothing may be concluded from it. */
static void dishonest_log_proves_nothing(void **state)
{
    struct eventlog now = boot_of(usual, NULL), then = boot_of(usual, NULL);
    struct lines lines = explain(&now, &then, true, false, PCR_BIT(4));

    (void)state;
    assert_int_equal(lines.count, 4);
    assert_non_null(strstr(lines.line[0], "does not lead to the value found"));
}

static void only_asked_pcrs_are_described(void **state)
{
    struct eventlog now = boot_of(usual, "x"), then = boot_of(usual, NULL);
    struct lines lines = explain(&now, &then, false, true, 0);

    (void)state;
    assert_int_equal(lines.count, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(command_line_is_shown),
        cmocka_unit_test(long_command_line_is_folded),
        cmocka_unit_test(added_events_are_found),
        cmocka_unit_test(changed_event_lists_them_all),
        cmocka_unit_test(reference_names_the_event),
        cmocka_unit_test(dishonest_log_proves_nothing),
        cmocka_unit_test(only_asked_pcrs_are_described),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
