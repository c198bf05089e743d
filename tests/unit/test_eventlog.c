/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "base/json.h"
#include "made_log.h"
#include "test.h"

#define EV_NO_ACTION 0x03
#define EV_SEPARATOR 0x04
#define EV_EVENT_TAG 0x06
#define EV_IPL 0x0d
#define EV_EFI_VARIABLE_DRIVER_CONFIG 0x80000001
#define EV_EFI_VARIABLE_BOOT 0x80000002
#define EV_EFI_APPLICATION 0x80000003
#define EV_EFI_ACTION 0x80000007
#define EV_EFI_BLOB2 0x8000000a

static struct made_log small_log(void)
{
    struct made_log log = made_log_new();

    made_event(&log, 0, EV_NO_ACTION, (struct bytes){(const uint8_t *)"StartupLocality\0\3", 17});
    made_text_event(&log, 0, 0x08, "firmware 1");
    made_text_event(&log, 4, EV_EFI_ACTION, "Calling EFI Application from Boot Option");
    made_event(&log, 4, EV_SEPARATOR, (struct bytes){(const uint8_t *)"\0\0\0\0", 4});
    return log;
}

static void check_bank(const struct eventlog *log, const char *file, const char *bank,
                       json_object *expected)
{
    enum hash_alg alg = hash_from_name(bank);
    struct pcr_values values;

    if (eventlog_replay(log, alg, &values, &err) != MU_OK)
        fail_msg("%s %s: %s", file, bank, err.text);
    json_object_object_foreach(expected, pcr, value)
    {
        char hex[2 * HASH_MAX_SIZE + 1];
        unsigned long number = strtoul(pcr, NULL, 10);

        hex_encode((struct bytes){values.value[number].bytes, hash_size(alg)}, hex);
        if (strcmp(hex, json_object_get_string(value)) != 0)
            fail_msg("%s %s PCR %s: %s, not %s", file, bank, pcr, hex,
                     json_object_get_string(value));
    }
}

/* Logs of real machines lead to the PCRs read from those machines. */
TEST(genuine_logs_replay)
{
    MU_CLEANUP(buffer_free) struct buffer text = {0};
    MU_CLEANUP(json_free) json_object *known = NULL;
    unsigned checked = 0;

    if (!vector_find("eventlog/go-eventlog/known-pcrs.json", &text))
        return;
    assert_int_equal(json_parse(buffer_view(&text), "known-pcrs", MU_CONFIG, &known, &err), MU_OK);
    json_object_object_foreach(known, file, banks)
    {
        MU_CLEANUP(buffer_free) struct buffer raw = {0};
        char name[128];
        struct eventlog log;

        (void)snprintf(name, sizeof(name), "eventlog/go-eventlog/%s", file);
        assert_true(vector_find(name, &raw));
        if (eventlog_parse(buffer_view(&raw), &log, &err) != MU_OK)
            fail_msg("%s: %s", file, err.text);
        json_object_object_foreach(banks, bank, pcrs)
        {
            check_bank(&log, file, bank, pcrs);
            checked++;
        }
        eventlog_free(&log);
    }
    assert_true(checked >= 9);
}

/* tpm2-tools' opinion of a log: "  0  : 0x543c..." below "pcrs:" and the bank's name. */
static void tpm2_tools_agree(struct bytes raw, const struct buffer *yaml)
{
    enum hash_alg bank = HASH_NONE;
    struct pcr_values values;
    struct eventlog log;
    char *line, *rest;
    unsigned checked = 0;

    if (eventlog_parse(raw, &log, &err) != MU_OK)
        fail_msg("%s", err.text);
    line = strtok_r(strstr((char *)yaml->data, "\npcrs:"), "\n", &rest);
    while ((line = strtok_r(NULL, "\n", &rest)) != NULL) {
        char hex[2 * HASH_MAX_SIZE + 1], word[2 * HASH_MAX_SIZE + 1];
        unsigned pcr;

        if (sscanf(line, " %u : 0x%128s", &pcr, word) == 2) {
            hex_encode((struct bytes){values.value[pcr].bytes, hash_size(bank)}, hex);
            assert_string_equal(hex, word);
            checked++;
        } else if (sscanf(line, " %16[a-z0-9]:", word) == 1) {
            bank = hash_from_name(word);
            assert_int_equal(eventlog_replay(&log, bank, &values, &err), MU_OK);
        }
    }
    assert_true(checked > 0);
    eventlog_free(&log);
}

TEST(tpm2_tools_agrees)
{
    static const struct {
        const char *log, *yaml;
    } cases[] = {
        {"eventlog/tpm2-tools/event.bin", "eventlog/tpm2-tools/event.bin.yaml"},
        {"eventlog/tpm2-tools/event-uefi-sha1-log.bin",
         "eventlog/tpm2-tools/event-pretty/event-uefi-sha1-log.bin.yaml"},
        {"eventlog/tpm2-tools/event-gce-ubuntu-2104-log.bin",
         "eventlog/tpm2-tools/event-pretty/event-gce-ubuntu-2104-log.bin.yaml"},
    };
    MU_CLEANUP(buffer_free) struct buffer ours = data_load("secureboot/eventlog.bin");
    MU_CLEANUP(buffer_free) struct buffer its_pcrs = data_load("samples/eventlog.yaml");

    tpm2_tools_agree(buffer_view(&ours), &its_pcrs);
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        MU_CLEANUP(buffer_free) struct buffer raw = {0};
        MU_CLEANUP(buffer_free) struct buffer yaml = {0};

        if (vector_find(cases[i].log, &raw) && vector_find(cases[i].yaml, &yaml))
            tpm2_tools_agree(buffer_view(&raw), &yaml);
    }
}

/* `raw` ends with 4 bytes of it. */
static void passes_over_vendor_information(struct buffer *raw)
{
    struct eventlog log;

    assert_int_equal(eventlog_parse(buffer_view(raw), &log, &err), MU_OK);
    assert_true(log.crypto_agile);
    assert_int_equal(log.count, 1);
    eventlog_free(&log);
    raw->data[raw->len - 5]++; /* its length */
    assert_int_equal(eventlog_parse(buffer_view(raw), &log, &err), MU_CONFIG);
    assert_non_null(strstr(err.text, "vendor information"));
}

TEST(vendor_information_is_passed_over)
{
    MU_CLEANUP(buffer_free) struct buffer made = data_load("samples/vendor.bin");
    MU_CLEANUP(buffer_free) struct buffer vector = {0};

    passes_over_vendor_information(&made);
    if (vector_find("eventlog/tpm2-tools/specid-vendordata.bin", &vector))
        passes_over_vendor_information(&vector);
}

TEST(startup_locality_counts)
{
    struct made_log made = small_log();
    struct eventlog log = made_parsed(&made);
    struct digest expected = {{0}}, value;
    struct pcr_values values;

    assert_int_equal(eventlog_replay(&log, HASH_SHA384, &values, &err), MU_OK);
    assert_int_equal(values.mask, PCR_BIT(0) | PCR_BIT(4));
    assert_int_equal(
        hash_bytes(HASH_SHA384, (struct bytes){(const uint8_t *)"firmware 1", 10}, &value, &err),
        MU_OK);
    expected.bytes[47] = 3;
    assert_int_equal(hash_extend(HASH_SHA384, &expected, value.bytes, &err), MU_OK);
    assert_memory_equal(values.value[0].bytes, expected.bytes, 48);

    assert_int_equal(eventlog_replay(&log, HASH_SHA1, &values, &err), MU_CONFIG);
    assert_non_null(strstr(err.text, "event 2 at offset "));
    assert_non_null(strstr(err.text, "has no sha1 digest"));
    eventlog_free(&log);
}

/* TPM2_Startup came first, wherever firmware says so. */
TEST(startup_locality_may_come_late)
{
    struct made_log early = small_log(), late = made_log_new();
    struct eventlog first = made_parsed(&early), second;
    struct pcr_values a, b;

    made_text_event(&late, 0, 0x08, "firmware 1");
    made_event(&late, 0, EV_NO_ACTION, (struct bytes){(const uint8_t *)"StartupLocality\0\3", 17});
    second = made_parsed(&late);
    assert_int_equal(eventlog_replay(&first, HASH_SHA384, &a, &err), MU_OK);
    assert_int_equal(eventlog_replay(&second, HASH_SHA384, &b, &err), MU_OK);
    assert_memory_equal(a.value[0].bytes, b.value[0].bytes, 48);
    eventlog_free(&first);
    eventlog_free(&second);
}

/* What measured before TPM2_Startup decides, not the locality of that. */
TEST(h_crtm_begins_pcr_0_at_4)
{
    struct made_log made = made_log_new();
    struct digest expected = {{0}}, value;
    struct pcr_values values;
    struct eventlog log;

    made_event(&made, 0, EV_NO_ACTION, (struct bytes){(const uint8_t *)"StartupLocality\0\3", 17});
    made_text_event(&made, 0, EV_EFI_HCRTM_EVENT, "HCRTM");
    log = made_parsed(&made);
    assert_int_equal(eventlog_pcr0_start(&log), 4);
    assert_int_equal(eventlog_replay(&log, HASH_SHA384, &values, &err), MU_OK);
    assert_int_equal(
        hash_bytes(HASH_SHA384, (struct bytes){(const uint8_t *)"HCRTM", 5}, &value, &err), MU_OK);
    expected.bytes[47] = 4;
    assert_int_equal(hash_extend(HASH_SHA384, &expected, value.bytes, &err), MU_OK);
    assert_memory_equal(values.value[0].bytes, expected.bytes, 48);
    eventlog_free(&log);
}

/* GRUB measures what it shows, in the language of whoever uses it. */
TEST(text_of_other_languages_is_text)
{
    static const struct {
        const char *data, *shown;
    } texts[] = {
        {"grub_cmd: echo 载入初始化内存盘...", "grub_cmd: echo 载入初始化内存盘..."},
        {"Jürgen", "Jürgen"},
        {"загрузка", "загрузка"},
        {"right\xe2\x80\xaeleft", "right\\u202eleft"},
        {"cut within \xe8\xbd", "cut within \\xe8\\xbd"},
        {"\xff\xfe\xfd\xfc\xfb", "fffefdfcfb"},
    };

    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        struct made_log made = made_log_new();
        struct eventlog log;
        char shown[256];

        made_text_event(&made, 8, EV_IPL, texts[i].data);
        log = made_parsed(&made);
        event_describe(&log.event[log.count - 1], shown, sizeof(shown));
        assert_string_equal(shown, texts[i].shown);
        eventlog_free(&log);
    }
}

/* An event without a digest of the bank leaves its PCR unknown there, and no other. */
TEST(missing_digests_leave_a_pcr_unknown)
{
    struct made_log made = small_log();
    struct eventlog log;
    struct pcr_values values;
    struct digest digest;

    assert_int_equal(hash_bytes(HASH_SHA256, (struct bytes){NULL, 0}, &digest, &err), MU_OK);
    made_le(&made, 0, 4);
    made_le(&made, 0x08, 4);
    made_le(&made, 1, 4);
    made_le(&made, HASH_SHA256, 2);
    made_bytes(&made, (struct bytes){digest.bytes, 32});
    made_le(&made, 0, 4); /* no data */
    log = made_parsed(&made);
    assert_int_equal(eventlog_replay(&log, HASH_SHA384, &values, &err), MU_OK);
    assert_int_equal(values.mask, PCR_BIT(4));
    assert_int_equal(eventlog_replay(&log, HASH_SHA256, &values, &err), MU_OK);
    assert_int_equal(values.mask, PCR_BIT(0) | PCR_BIT(4));
    eventlog_free(&log);
}

/* Cut anywhere, the log is refused, but between two events it is a shorter log. */
TEST(truncation_is_refused)
{
    struct made_log made = small_log();
    struct eventlog whole = made_parsed(&made), log;

    for (size_t len = 0; len < made.len; len++) {
        /* On the heap, so that valgrind sees a read beyond the end. */
        uint8_t *cut = malloc(len + 1);
        bool boundary = false;
        enum mu_status status;

        assert_non_null(cut);
        memcpy(cut, made.data, len);
        for (size_t i = 1; i < whole.count; i++)
            boundary |= whole.event[i].offset == len;
        status = eventlog_parse((struct bytes){cut, len}, &log, &err);
        assert_int_equal(status, boundary ? MU_OK : MU_CONFIG);
        if (status == MU_OK)
            eventlog_free(&log);
        else
            assert_true(len == 0 || strstr(err.text, "at offset ") != NULL);
        free(cut);
    }
    eventlog_free(&whole);
}

/* The same with what real machines write; and whatever one byte is made of, nothing reads beyond
 * the end, and an error names the offset. */
static void cut_and_altered(struct buffer *raw)
{
    struct eventlog log;
    size_t next = 1, boundary;

    assert_int_equal(eventlog_parse(buffer_view(raw), &log, &err), MU_OK);
    for (size_t len = 0; len < raw->len; len++) {
        struct eventlog shorter;
        uint8_t *cut = malloc(len + 1);
        enum mu_status status;

        assert_non_null(cut);
        memcpy(cut, raw->data, len);
        boundary = next < log.count ? log.event[next].offset : raw->len;
        status = eventlog_parse((struct bytes){cut, len}, &shorter, &err);
        assert_int_equal(status, len == boundary ? MU_OK : MU_CONFIG);
        if (status == MU_OK) {
            eventlog_free(&shorter);
            next++;
        } else {
            assert_non_null(strstr(err.text, "at offset "));
        }
        free(cut);
    }
    eventlog_free(&log);
    for (size_t at = 0; at < raw->len; at++) {
        raw->data[at] ^= 0xff;
        if (eventlog_parse(buffer_view(raw), &log, &err) == MU_OK) {
            char text[512];

            for (size_t k = 0; k < log.count; k++)
                if (log.event[k].offset + 200 > at && log.event[k].offset < at)
                    event_describe(&log.event[k], text, sizeof(text));
            eventlog_free(&log);
        } else {
            assert_non_null(strstr(err.text, "at offset "));
        }
        raw->data[at] ^= 0xff;
    }
}

TEST(logs_may_be_cut_or_altered)
{
    static const char *const genuine[] = {"eventlog/go-eventlog/arch-linux-workstation.bin",
                                          "eventlog/tpm2-tools/event-uefi-sha1-log.bin"};
    MU_CLEANUP(buffer_free) struct buffer ours = data_load("secureboot/eventlog.bin");

    cut_and_altered(&ours);
    for (size_t i = 0; i < sizeof(genuine) / sizeof(genuine[0]); i++) {
        MU_CLEANUP(buffer_free) struct buffer vector = {0};

        if (vector_find(genuine[i], &vector))
            cut_and_altered(&vector);
    }
}

/* Erased memory, unless it may as well be an event that was cut off. */
TEST(padding_at_the_end_is_passed_over)
{
    static const uint8_t erased[] = {0x00, 0xff};

    for (size_t k = 0; k < sizeof(erased); k++) {
        struct made_log made = small_log();
        struct eventlog log = made_parsed(&made);
        size_t count = log.count;

        eventlog_free(&log);
        for (size_t i = 1; i < 100; i++) {
            enum mu_status status;

            made_le(&made, erased[k], 1);
            status = eventlog_parse(made_view(&made), &log, &err);
            assert_int_equal(status, i < 8 ? MU_CONFIG : MU_OK);
            if (status == MU_OK)
                assert_int_equal(log.count, count);
            if (status == MU_OK)
                eventlog_free(&log);
        }
        made_le(&made, 1, 1);
        assert_int_equal(eventlog_parse(made_view(&made), &log, &err), MU_CONFIG);
    }
}

TEST(malformed_events_are_refused)
{
    static const struct {
        size_t offset; /* from the second event on, if `event` */
        bool event;
        uint8_t value;
        const char *message;
    } cases[] = {
        {0, true, 24, "there is no PCR 24"},
        {8, true, 0, "0 digests"},
        {8, true, 3, "3 digests"},
        {12, true, HASH_SHA512, "is not in the Spec ID event"},
        {46, true, HASH_SHA256, "two digests"},
        {56, false, 0, "0 algorithms"},
        {56, false, 9, "9 algorithms"},
        {62, false, 33, "digests of 33 bytes"},
        {64, false, HASH_SHA256, "algorithm 0x000b"},
    };

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct made_log made = made_log_new();
        size_t start = cases[i].event ? made.len : 0;
        struct eventlog log;

        made_text_event(&made, 4, EV_EFI_ACTION, "x");
        made.data[start + cases[i].offset] = cases[i].value;
        assert_int_equal(eventlog_parse(made_view(&made), &log, &err), MU_CONFIG);
        if (strstr(err.text, cases[i].message) == NULL)
            fail_msg("case %zu: '%s' lacks '%s'", i, err.text, cases[i].message);
        assert_non_null(strstr(err.text, cases[i].event ? "event 1 at offset 69" : "event 0"));
    }
}

static void expect_description(const struct made_log *made, const char *expected)
{
    struct eventlog log = made_parsed(made);
    char text[256];

    event_describe(&log.event[log.count - 1], text, sizeof(text));
    assert_string_equal(text, expected);
    /* Shortened anywhere, it is the same beginning and never runs over. */
    for (size_t len = 4; len < strlen(expected) + 1; len++) {
        char *cut = malloc(len);

        assert_non_null(cut);
        event_describe(&log.event[log.count - 1], cut, len);
        assert_true(strlen(cut) < len);
        assert_string_equal(cut + strlen(cut) - 3, "...");
        assert_memory_equal(cut, expected, strlen(cut) - 3);
        free(cut);
    }
    eventlog_free(&log);
}

TEST(texts_are_described)
{
    static const uint8_t accents[] = {'c', 0, 'a', 0, 'f', 0, 0xe9, 0, ' ', 0, 0x3d, 0xd8, 0, 0xde};
    static const uint8_t tricks[] = {'a', 0, 0x2e, 0x20, 'b', 0, 0x3d, 0xd8, 'c', 0};
    struct made_log made = made_log_new();

    made_text_event(&made, 4, EV_EFI_ACTION, "Calling EFI Application from Boot Option");
    expect_description(&made, "Calling EFI Application from Boot Option");
    made_event(&made, 4, EV_SEPARATOR, (struct bytes){(const uint8_t *)"\0\0\0\0", 4});
    expect_description(&made, "00000000");
    made_utf16_event(&made, 12, EV_IPL, "init=/bin/sh \033[2J\r\n quiet");
    expect_description(&made, "init=/bin/sh \\x1b[2J\\x0d\\x0a quiet");
    made_text_event(&made, 8, EV_IPL, "grub_cmd: set\n");
    expect_description(&made, "grub_cmd: set\\x0a");
    made_event(&made, 12, EV_IPL, (struct bytes){accents, sizeof(accents)});
    expect_description(&made, "caf\xc3\xa9 \xf0\x9f\x98\x80");
    made_event(&made, 12, EV_IPL, (struct bytes){tricks, sizeof(tricks)});
    expect_description(&made, "a\\u202eb\\ud83dc");
    made_event(&made, 5, EV_EVENT_TAG,
               (struct bytes){(const uint8_t *)"*X\274\365\4\0\0\0t\0=\0", 12});
    expect_description(&made, "loader.conf: t=");
    made_event(&made, 5, EV_EVENT_TAG,
               (struct bytes){(const uint8_t *)"*X\274\365\5\0\0\0t\0=\0", 12});
    expect_description(&made, "malformed: 2a58bcf50500000074003d00");
    made_event(&made, 0, EV_EFI_BLOB2,
               (struct bytes){(const uint8_t *)"\3PEI\0\1\0\0\0\0\0\0\20\0\0\0\0\0\0\0", 20});
    expect_description(&made, "PEI: 16 bytes at 0x100");
    made_event(&made, 0, EV_NO_ACTION, (struct bytes){(const uint8_t *)"vendor\0", 7});
    expect_description(&made, "vendor");
    made_event(&made, 0, EV_EFI_ACTION, (struct bytes){NULL, 0});
    expect_description(&made, "(no data)");
    {
        uint8_t binary[65] = {0x80};

        made_event(&made, 0, 0x08, (struct bytes){binary, sizeof(binary)});
        expect_description(&made, "8000000000000000000000000000000000000000000000000000000000000000"
                                  "... (65 bytes)");
    }
    made_text_event(&made, 0, 0x8000000f, "?");
    expect_description(&made, "?");
}

static void add_variable(struct made_log *made, const char *name, struct bytes data)
{
    struct made_log event = {.len = 0};

    made_le(&event, 0, 16);
    made_le(&event, strlen(name), 8);
    made_le(&event, data.len, 8);
    for (; *name != '\0'; name++)
        made_le(&event, (uint8_t)*name, 2);
    made_bytes(&event, data);
    made_event(made, 7, EV_EFI_VARIABLE_DRIVER_CONFIG, made_view(&event));
}

TEST(structures_are_described)
{
    static const uint8_t path[] = "\4\4\12\0\\\0A\0\0\0\x7f\xff\4";
    struct made_log made = made_log_new();
    struct made_log event = {.len = 0};

    add_variable(&made, "SecureBoot", (struct bytes){(const uint8_t *)"\1", 1});
    expect_description(&made, "SecureBoot = 01");
    add_variable(&made, "db", (struct bytes){NULL, 0});
    expect_description(&made, "db = (empty)");
    add_variable(&made, "BootOrder", (struct bytes){(const uint8_t *)"\1\0\0\1", 4});
    expect_description(&made, "BootOrder = 0001,0100");
    add_variable(&made, "Boot0001",
                 (struct bytes){(const uint8_t *)"\1\0\0\0\4\0d\0\0\0\x7f\xff\4\0", 14});
    expect_description(&made, "Boot0001 = \"d\" ");
    add_variable(&made, "dbx", (struct bytes){path, sizeof(path)});
    expect_description(&made, "dbx = 14 bytes");

    made_le(&event, 0, 24);
    made_le(&event, sizeof(path), 8);
    made_bytes(&event, (struct bytes){path, sizeof(path)});
    made_event(&made, 4, EV_EFI_APPLICATION, made_view(&event));
    expect_description(&made, "\\A");
    event.data[34] = 200; /* the node's length */
    made_event(&made, 4, EV_EFI_APPLICATION, made_view(&event));
    expect_description(&made, "malformed");
    event.data[24] = 200; /* the path's length */
    made_event(&made, 4, EV_EFI_APPLICATION, made_view(&event));
    {
        struct eventlog log = made_parsed(&made);
        char text[64];

        event_describe(&log.event[log.count - 1], text, sizeof(text));
        assert_memory_equal(text, "malformed: ", 11);
        eventlog_free(&log);
    }
}

TEST(types_have_names)
{
    char unknown[16];

    assert_string_equal(event_type_name(EV_EFI_ACTION, unknown), "EV_EFI_ACTION");
    assert_string_equal(event_type_name(0x8000000f, unknown), "0x8000000f");
}
