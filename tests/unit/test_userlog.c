/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "made_log.h"
#include "measure/changes.h"
#include "measure/userlog.h"
#include "test.h"

#define EV_EFI_ACTION 0x80000007
#define SEPARATOR "os-separator"

/* Records as systemd 262 writes them. */
struct sequence {
    char text[USERLOG_MAX_BYTES + 4096];
    size_t len;
};

static void add_text(struct sequence *sequence, const char *text)
{
    size_t len = strlen(text);

    assert_true(sequence->len + len < sizeof(sequence->text));
    memcpy(sequence->text + sequence->len, text, len + 1);
    sequence->len += len;
}

static struct digest digest_of(enum hash_alg alg, const char *text)
{
    struct digest digest = {0};

    assert_int_equal(hash_bytes(alg, text_view(text), &digest, &err), MU_OK);
    return digest;
}

static void add_record(struct sequence *sequence, unsigned pcr, const char *type,
                       const char *measured, const char *text)
{
    struct digest sha256 = digest_of(HASH_SHA256, measured);
    struct digest sha384 = digest_of(HASH_SHA384, measured);
    char hex256[2 * HASH_MAX_SIZE + 1], hex384[2 * HASH_MAX_SIZE + 1], record[2048];

    hex_encode((struct bytes){sha256.bytes, 32}, hex256);
    hex_encode((struct bytes){sha384.bytes, 48}, hex384);
    (void)snprintf(record, sizeof(record),
                   "\x1e{\"pcr\":%u,\"digests\":[{\"hashAlg\":\"sha256\",\"digest\":\"%s\"},"
                   "{\"hashAlg\":\"sha384\",\"digest\":\"%s\"},"
                   "{\"hashAlg\":\"sm3_256\",\"digest\":\"00\"}],\"content_type\":\"systemd\","
                   "\"content\":{\"string\":\"%s\",\"bootId\":\"5f27a5b0b0a04ac2a1ea1c7f1d0b4f10\","
                   "\"timestamp\":3511273,\"eventType\":\"%s\"}}\n",
                   pcr, hex256, hex384, text, type);
    add_text(sequence, record);
}

static struct bytes view(const struct sequence *sequence)
{
    return (struct bytes){(const uint8_t *)sequence->text, sequence->len};
}

static struct eventlog firmware_log(void)
{
    struct made_log made = made_log_new();

    made_text_event(&made, 4, EV_EFI_ACTION, "alpha");
    made_text_event(&made, 7, EV_EFI_ACTION, "bravo");
    return made_parsed(&made);
}

static char told[8][128];
static size_t told_count;

static void keep(const char *text, void *context)
{
    (void)context;
    assert_true(told_count < 8);
    (void)snprintf(told[told_count++], sizeof(told[0]), "%s", text);
}

static void extend(struct pcr_values *values, unsigned pcr, const char *text)
{
    struct digest digest = digest_of(HASH_SHA384, text);

    assert_int_equal(hash_extend(HASH_SHA384, &values->value[pcr], digest.bytes, &err), MU_OK);
}

/* What is said of a PCR that these texts were extended into after the firmware. */
static void explain(const struct sequence *sequence, unsigned pcr, const char *const *extended)
{
    struct eventlog log = firmware_log();
    struct pcr_values expected, found;

    assert_int_equal(eventlog_replay(&log, HASH_SHA384, &expected, &err), MU_OK);
    found = expected;
    for (; *extended != NULL; extended++)
        extend(&found, pcr, *extended);
    assert_int_equal(userlog_append(view(sequence), &log, &err), MU_OK);
    told_count = 0;
    changes_describe(&log, NULL, &expected, &found, PCR_BIT(pcr), keep, NULL);
    eventlog_free(&log);
}

static void assert_told(size_t line, const char *text)
{
    assert_true(line < told_count);
    if (strncmp(told[line], text, strlen(text)) != 0)
        fail_msg("'%s', expected '%s'", told[line], text);
}

TEST(unit_is_named)
{
    struct sequence sequence = {.len = 0};

    add_record(&sequence, 7, SEPARATOR, SEPARATOR, SEPARATOR);
    add_record(&sequence, 12, SEPARATOR, SEPARATOR, SEPARATOR);
    add_record(&sequence, 12, "imds-userdata", "imds-userdata:eA==", "imds-userdata:eA==");
    explain(&sequence, 7, (const char *const[]){SEPARATOR, NULL});
    assert_int_equal(told_count, 2);
    assert_told(0, "PCR 7: the event log explains it; without this event it would match:");
    assert_told(1, "  new: user space: systemd-pcrosseparator.service: os-separator (");
    explain(&sequence, 12, (const char *const[]){SEPARATOR, "imds-userdata:eA==", NULL});
    assert_told(0, "PCR 12: the event log explains it; without these events it would match:");
    assert_told(2, "  new: user space: systemd-imds-import.service: imds-userdata:eA==");
}

/* systemd goes on while we look: what was written down after the PCRs were read does not disturb.
 */
TEST(later_events_are_left_out)
{
    struct sequence sequence = {.len = 0};

    add_record(&sequence, 12, SEPARATOR, SEPARATOR, SEPARATOR);
    add_record(&sequence, 12, "phase", "later", "later");
    explain(&sequence, 12, (const char *const[]){SEPARATOR, NULL});
    assert_int_equal(told_count, 2);
    assert_told(0, "PCR 12: the event log explains it; without this event it would match:");
}

TEST(lies_explain_nothing)
{
    struct sequence sequence = {.len = 0};

    add_record(&sequence, 12, SEPARATOR, SEPARATOR, SEPARATOR);
    explain(&sequence, 12, (const char *const[]){"evil", NULL});
    assert_told(0, "PCR 12: the event log does not lead to the value found");
    sequence.len = 0;
    add_record(&sequence, 12, SEPARATOR, "evil", SEPARATOR);
    explain(&sequence, 12, (const char *const[]){"evil", NULL});
    assert_told(1, "  new: user space: systemd-pcrosseparator.service: os-separator (not what was");
}

TEST(other_records_are_passed_over)
{
    struct sequence sequence = {.len = 0};
    struct eventlog log = firmware_log();
    size_t before = log.count;

    add_text(&sequence, "\x1e{\"nvIndex\":31854592,\"nvIndexName\":\"hardware\",\"digests\":[],"
                        "\"content_type\":\"systemd\",\"content\":{}}\n");
    add_record(&sequence, 15, "volume-key", "key", "volume-key:root");
    assert_int_equal(userlog_append(view(&sequence), &log, &err), MU_OK);
    assert_int_equal(log.count, before + 1);
    assert_int_equal(log.event[before].pcr, 15);
    assert_int_equal(log.event[before].digests, 2);
    assert_memory_equal(log.event[before].data.data, "systemd-cryptsetup: volume-key:root",
                        log.event[before].data.len);
    eventlog_free(&log);
}

static void refuses(const struct sequence *sequence)
{
    struct eventlog log = firmware_log();
    size_t before = log.count;

    assert_int_equal(userlog_append(view(sequence), &log, &err), MU_CONFIG);
    assert_int_equal(log.count, before);
    eventlog_free(&log);
}

TEST(what_is_no_log_is_refused)
{
    static const char *const bad[] = {
        "{}",
        "\x1e",
        "\x1e[]",
        "\x1e{\"pcr\":24,\"digests\":[],\"content\":{}}",
        "\x1e{\"pcr\":1}",
        "\x1e{\"pcr\":1,\"digests\":[1],\"content\":{}}",
        "\x1e{\"pcr\":1,\"digests\":[{\"hashAlg\":\"sha384\",\"digest\":\"00\"}],\"content\":{}}",
        "\x1e{\"pcr\":1,\"digests\":[{},{},{},{},{},{},{},{},{}],\"content\":{}}",
        "\x1e{\"pcr\":1,\"digests\":[],\"content\":[]}",
        "\x1e{\"pcr\":1,\"digests\":[],\"content\":{\"eventType\":7}}",
        "\x1e{\"pcr\":1,\"digests\":[],\"content\":{\"string\":\"a\\u0000b\"}}",
    };
    static struct sequence sequence;

    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        sequence.len = 0;
        add_record(&sequence, 12, SEPARATOR, SEPARATOR, SEPARATOR);
        add_text(&sequence, bad[i]);
        refuses(&sequence);
    }
    sequence.len = 0;
    add_record(&sequence, 12, SEPARATOR, SEPARATOR, SEPARATOR);
    memset(sequence.text + sequence.len, ' ', USERLOG_MAX_BYTES + 1 - sequence.len);
    sequence.len = USERLOG_MAX_BYTES + 1;
    refuses(&sequence);
    sequence.len = 0;
    for (size_t i = 0; i <= USERLOG_EVENTS_MAX; i++)
        add_text(&sequence, "\x1e{}\n");
    refuses(&sequence);
}
