/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The TCG event log: parsed, described, replayed, and compared with a reference. What follows the
 * word below in the input, if it is there, is the reference log. */
#include "measure/changes.h"

#include <string.h>

#include "build/predict.h"
#include "fuzz.h"

static const uint8_t separator[] = {'-', '-', 'r', 'e', 'f', '-', '-', '\n'};

/* RFC 3629 is what the describer promises; control characters are what a terminal would obey. */
static void one_line(const char *text, size_t max)
{
    fuzz_require(strlen(text) < max, "the line is as short as it must be");
    for (const char *c = text; *c != '\0'; c++)
        fuzz_require((uint8_t)*c >= 0x20 && *c != 0x7f, "a line has no control characters");
}

static void line(const char *text, void *context)
{
    ++*(size_t *)context;
    one_line(text, 100);
}

static void describe(const struct eventlog *log)
{
    char text[300], unknown[16];

    for (size_t i = 0; i < log->count; i++) {
        size_t len = i % 7 == 3 ? 4 : sizeof(text);

        event_describe(&log->event[i], text, len);
        one_line(text, len);
        fuzz_require(event_type_name(log->event[i].type, unknown)[0] != '\0', "a type has a name");
    }
}

/* What systemd-pcrphase does after the log has ended. */
static void later_phase(struct pcr_values *values)
{
    struct mu_error err = {0};
    struct digest word;
    struct bytes text = {(const uint8_t *)EVENTLOG_PHASES, strlen(EVENTLOG_PHASES)};

    fuzz_require(hash_bytes(values->bank, text, &word, &err) == MU_OK &&
                     hash_extend(values->bank, &values->value[11], word.bytes, &err) == MU_OK,
                 "a hash");
}

static void explain(const struct eventlog *log, const struct eventlog *reference,
                    enum hash_alg bank)
{
    struct pcr_values found, expected = {.bank = bank};
    struct mu_error err = {0};
    enum mu_status status = eventlog_replay(log, bank, &found, &err);
    size_t lines = 0;

    fuzz_outcome(status, &err, 1u << MU_CONFIG);
    if (status != MU_OK)
        return;
    if (reference == NULL || eventlog_replay(reference, bank, &expected, &err) != MU_OK)
        expected = (struct pcr_values){.bank = bank};
    changes_describe(log, reference, &expected, &found, PCR_BIT(PCR_COUNT) - 1, line, &lines);
    found.value[4].bytes[0] ^= 1;
    expected.value[7].bytes[0] ^= 1;
    changes_describe(log, reference, &expected, &found, PCR_BIT(4) | PCR_BIT(7), line, &lines);
    fuzz_require(lines > 0, "something is said");
    found.value[4].bytes[0] ^= 1;
    later_phase(&found);
    memset(&expected.value, 0xa5, sizeof(expected.value));
    changes_describe(log, NULL, &expected, &found, found.mask, line, &lines);
}

/* What PCR 4 would be without the last event of the log that extends it. */
static void without_last(const struct eventlog *log, enum hash_alg bank)
{
    struct eventlog shorter = *log;
    struct pcr_values found, expected;
    struct mu_error err = {0};
    size_t lines = 0;

    if (log->count < 2 || eventlog_replay(log, bank, &found, &err) != MU_OK)
        return;
    shorter.count--;
    if (eventlog_replay(&shorter, bank, &expected, &err) == MU_OK)
        changes_describe(log, NULL, &expected, &found, PCR_BIT(log->event[shorter.count].pcr % 24),
                         line, &lines);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const uint8_t *at = size > 0 ? memmem(data, size, separator, sizeof(separator)) : NULL;
    size_t len = at != NULL ? (size_t)(at - data) : size;
    MU_CLEANUP(eventlog_free) struct eventlog log = {0};
    MU_CLEANUP(eventlog_free) struct eventlog reference = {0};
    struct mu_error err = {0};
    bool has_reference = false;
    enum mu_status status = eventlog_parse((struct bytes){data, len}, &log, &err);

    fuzz_outcome(status, &err, 1u << MU_CONFIG);
    if (status != MU_OK)
        return 0;
    if (at != NULL)
        has_reference =
            eventlog_parse((struct bytes){at + sizeof(separator), size - len - sizeof(separator)},
                           &reference, &err) == MU_OK;
    describe(&log);
    explain(&log, has_reference ? &reference : NULL, HASH_SHA1);
    explain(&log, has_reference ? &reference : NULL, HASH_SHA256);
    explain(&log, has_reference ? &reference : NULL, HASH_SHA384);
    without_last(&log, log.crypto_agile ? HASH_SHA384 : HASH_SHA1);
    return 0;
}
