/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "made_log.h"
#include "measure/changes.h"
#include "test.h"

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

TEST(command_line_is_shown)
{
    struct eventlog now = boot_of(usual, "init=/bin/sh"), then = boot_of(usual, NULL);
    struct lines lines = explain(&now, &then, false, true, PCR_BIT(12));

    expect_lines(&lines,
                 (const char *const[]){
                     "PCR 12: the event log explains it; without this event it would match:",
                     "  new: command line was handed in from outside: init=/bin/sh", NULL});
}

TEST(long_command_line_is_folded)
{
    char text[700];
    struct eventlog now, then = boot_of(usual, NULL);
    struct lines lines;
    size_t letters = 0;

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

TEST(added_events_are_found)
{
    static const char *const one[] = {"alpha", "evil", "bravo", "charlie", NULL};
    static const char *const two[] = {"alpha", "bravo", "charlie", "evil", "worse", NULL};
    struct eventlog now = boot_of(one, NULL), then = boot_of(usual, NULL);
    struct lines lines = explain(&now, &then, false, true, PCR_BIT(4));

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

TEST(changed_event_lists_them_all)
{
    static const char *const changed[] = {"alpha", "evil", "charlie", NULL};
    struct eventlog now = boot_of(changed, NULL), then = boot_of(usual, NULL);
    struct lines lines = explain(&now, &then, false, true, PCR_BIT(4));

    expect_lines(
        &lines,
        (const char *const[]){
            "PCR 4: the event log explains it; one of these was changed or one is missing:",
            "  logged: event 1 EV_EFI_ACTION: alpha (", "  logged: event 2 EV_EFI_ACTION: evil (",
            "  logged: event 3 EV_EFI_ACTION: charlie (", NULL});
}

TEST(reference_names_the_event)
{
    static const char *const changed[] = {"alpha", "evil", "charlie", NULL};
    static const char *const missing[] = {"alpha", "charlie", NULL};
    static const char *const added[] = {"alpha", "bravo", "evil", "charlie", NULL};
    static const char title[] = "PCR 4: the event log explains it; against the reference:";
    static const struct {
        const char *const *now;
        const char *lines[4];
    } cases[] = {
        {changed,
         {title, "  changed, was: event 2 EV_EFI_ACTION: bravo (",
          "  changed, now: event 2 EV_EFI_ACTION: evil (", NULL}},
        {missing, {title, "  missing: event 2 EV_EFI_ACTION: bravo (", NULL}},
        {added, {title, "  new: event 3 EV_EFI_ACTION: evil (", NULL}},
        {usual, {title, NULL}},
    };

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct eventlog now = boot_of(cases[i].now, NULL), then = boot_of(usual, NULL);
        struct lines lines = explain(&now, &then, true, true, PCR_BIT(4));

        expect_lines(&lines, cases[i].lines);
    }
}

/* UEFI_IMAGE_LOAD_EVENT of a file, or of what is in memory; its digest is that of the event. */
static void image_event(struct made_log *log, const char *path, uint8_t content)
{
    uint8_t data[128] = {0};
    struct writer w = writer_into(data, sizeof(data));
    size_t len = strlen(path);

    data[0] = content; /* the address */
    w.len = 24;
    writer_u8(&w, (uint8_t)(len > 0 ? 4 + 2 * len + 2 : 0));
    w.len = 32;
    if (len > 0) {
        writer_be16(&w, 0x0404);
        writer_be16(&w, (uint16_t)((4 + 2 * len + 2) << 8));
        for (size_t i = 0; i <= len; i++)
            writer_be16(&w, (uint16_t)(path[i] << 8));
    }
    made_event(log, 4, EV_EFI_BOOT_SERVICES_APPLICATION, (struct bytes){data, w.len});
}

/* The stub logs the name twice; the second digest is the contents'. */
static void section_event(struct made_log *log, const char *name, const char *contents)
{
    size_t event = log->len;

    made_utf16_event(log, 11, EV_IPL, name);
    event = log->len;
    made_utf16_event(log, 11, EV_IPL, name);
    log->data[event + 14] = (uint8_t)contents[0];          /* of SHA-256 */
    log->data[event + 14 + 32 + 2] = (uint8_t)contents[0]; /* of SHA-384 */
}

static struct eventlog uki_boot(uint8_t content, const char *initrd)
{
    struct made_log made = made_log_new();

    made_text_event(&made, 4, EV_EFI_ACTION, "Calling EFI Application from Boot Option");
    made_event(&made, 4, EV_SEPARATOR, (struct bytes){(const uint8_t *)"\0\0\0\0", 4});
    image_event(&made, "\\EFI\\BOOT\\BOOTX64.EFI", content);
    section_event(&made, ".linux", "kernel");
    section_event(&made, ".initrd", initrd);
    image_event(&made, "", 7);
    return made_parsed(&made);
}

TEST(uki_is_named)
{
    struct eventlog now = uki_boot(2, "new"), then = uki_boot(1, "old");
    struct lines lines = explain(&now, &then, false, true, PCR_BIT(4));

    expect_lines(&lines, (const char *const[]){"PCR 4: the event log explains it:",
                                               "  UKI \\EFI\\BOOT\\BOOTX64.EFI is not the "
                                               "enrolled one (event 3, ",
                                               NULL});
    now = uki_boot(2, "new");
    then = uki_boot(1, "old");
    lines = explain(&now, &then, true, true, PCR_BIT(4) | PCR_BIT(11));
    expect_lines(&lines,
                 (const char *const[]){
                     "PCR 4: the event log explains it; against the reference:",
                     "  UKI \\EFI\\BOOT\\BOOTX64.EFI is not the enrolled one (event 3: ", "      ",
                     "PCR 11: the event log explains it; against the reference:",
                     "  section .initrd of the UKI is not the enrolled one (event 7)", NULL});
}

/* Without a reference the names of sections are no suspects of their own. */
TEST(sections_are_listed_once)
{
    struct eventlog now = uki_boot(1, "new"), then = uki_boot(1, "old");
    struct lines lines = explain(&now, &then, false, true, PCR_BIT(11));

    expect_lines(&lines, (const char *const[]){"PCR 11: the event log explains it; one of these",
                                               "  logged: event 5 EV_IPL: .linux (",
                                               "  logged: event 7 EV_IPL: .initrd (", NULL});
}

static void extend_phase(struct pcr_values *values, const char *phase)
{
    struct digest digest;

    assert_int_equal(hash_bytes(HASH_SHA384, text_view(phase), &digest, &err), MU_OK);
    assert_int_equal(hash_extend(HASH_SHA384, &values->value[11], digest.bytes, &err), MU_OK);
}

/* The firmware's log ends before systemd measures the boot phase. */
TEST(boot_phase_is_known)
{
    struct eventlog now = uki_boot(1, "new"), then = uki_boot(1, "old");
    struct pcr_values expected = replayed(&then), found = replayed(&now);
    struct lines lines = {.count = 0};

    extend_phase(&expected, "enter-initrd");
    extend_phase(&found, "enter-initrd");
    changes_describe(&now, &then, &expected, &found, PCR_BIT(11), keep, &lines);
    expect_lines(&lines,
                 (const char *const[]){
                     "PCR 11: the event log explains it; against the reference:",
                     "  section .initrd of the UKI is not the enrolled one (event 7)", NULL});

    lines.count = 0;
    expected = replayed(&now);
    changes_describe(&now, NULL, &expected, &found, PCR_BIT(11), keep, &lines);
    expect_lines(&lines,
                 (const char *const[]){
                     "PCR 11: the event log explains it; without this event it would match:",
                     "  new: boot phase enter-initrd", NULL});

    lines.count = 0;
    extend_phase(&found, "something else");
    changes_describe(&now, NULL, &expected, &found, PCR_BIT(11), keep, &lines);
    assert_non_null(strstr(lines.line[0], "does not lead to the value found"));
    eventlog_free(&now);
    eventlog_free(&then);
}

static void variable_event(struct made_log *log, uint32_t type, const char *name, uint8_t value)
{
    uint8_t data[128] = {0};
    size_t len = strlen(name);

    data[16] = (uint8_t)len;
    data[24] = 1;
    for (size_t i = 0; i < len; i++)
        data[32 + 2 * i] = (uint8_t)name[i];
    data[32 + 2 * len] = value;
    made_event(log, 7, type, (struct bytes){data, 33 + 2 * len});
}

static struct eventlog secure_boot(uint8_t on)
{
    struct made_log made = made_log_new();

    variable_event(&made, EV_EFI_VARIABLE_DRIVER_CONFIG, "SecureBoot", on);
    variable_event(&made, EV_EFI_VARIABLE_DRIVER_CONFIG, "PK", on);
    made_event(&made, 7, EV_SEPARATOR, (struct bytes){(const uint8_t *)"\0\0\0\0", 4});
    if (on)
        variable_event(&made, EV_EFI_VARIABLE_AUTHORITY, "db", 1);
    return made_parsed(&made);
}

TEST(variables_are_named)
{
    struct eventlog now = secure_boot(0), then = secure_boot(1);
    struct lines lines = explain(&now, &then, true, true, PCR_BIT(7));

    expect_lines(&lines,
                 (const char *const[]){
                     "PCR 7: the event log explains it; against the reference:",
                     "  variable SecureBoot = 00 is not the enrolled one (event 1), which is: 01",
                     "  variable PK = 00 is not the enrolled one (event 2), which is: 01",
                     "  missing: event 4 EV_EFI_VARIABLE_AUTHORITY: db = 01 (", NULL});
}

/* GRUB logs each command it runs: more events than the search without a reference walks through. */
static struct eventlog many_commands(const char *last)
{
    struct made_log made = made_log_new();
    char command[24];

    for (int i = 0; i < 100; i++) {
        (void)snprintf(command, sizeof(command), "command %d", i);
        made_text_event(&made, 8, EV_IPL, command);
    }
    if (last != NULL)
        made_text_event(&made, 8, EV_IPL, last);
    return made_parsed(&made);
}

TEST(long_log_is_explained)
{
    for (int reference = 0; reference < 2; reference++) {
        struct eventlog now = many_commands("init=/bin/sh"), then = many_commands(NULL);
        struct lines lines = explain(&now, &then, reference == 1, true, PCR_BIT(8));

        expect_lines(&lines,
                     (const char *const[]){"PCR 8: the event log explains it; ",
                                           "  new: event 101 EV_IPL: init=/bin/sh (", NULL});
    }
}

TEST(other_reference_is_not_used)
{
    static const char *const other[] = {"delta", NULL};
    static const char *const changed[] = {"alpha", "evil", "charlie", NULL};
    struct eventlog now = boot_of(changed, NULL), then = boot_of(usual, NULL);
    struct eventlog reference = boot_of(other, NULL);
    struct pcr_values expected = replayed(&then), found = replayed(&now);
    struct lines lines = {.count = 0};

    changes_describe(&now, &reference, &expected, &found, PCR_BIT(4), keep, &lines);
    assert_int_equal(lines.count, 5);
    assert_string_equal(lines.line[0],
                        "PCR 4: the reference does not lead to the value expected: not used");
    eventlog_free(&now);
    eventlog_free(&then);
    eventlog_free(&reference);
}

TEST(only_some_are_told)
{
    static const char *const many[] = {"a", "b", "c", "d", "e", "f", "g", "h", "i", "j", NULL};
    struct eventlog now = boot_of(many, NULL), then = boot_of(usual, NULL);
    struct lines lines = explain(&now, &then, true, true, PCR_BIT(4));

    assert_int_equal(lines.count, 10);
    assert_string_equal(lines.line[9], "  and more");
}

/* A log that was edited, or an extend that was not logged: nothing may be concluded from it. */
TEST(dishonest_log_proves_nothing)
{
    struct eventlog now = boot_of(usual, NULL), then = boot_of(usual, NULL);
    struct lines lines = explain(&now, &then, true, false, PCR_BIT(4));

    assert_int_equal(lines.count, 4);
    assert_non_null(strstr(lines.line[0], "does not lead to the value found"));
}

TEST(only_asked_pcrs_are_described)
{
    struct eventlog now = boot_of(usual, "x"), then = boot_of(usual, NULL);
    struct lines lines = explain(&now, &then, false, true, 0);

    assert_int_equal(lines.count, 0);
}
