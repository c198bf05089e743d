/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "measure/eventlog.h"

#include <stdlib.h>
#include <string.h>

#include "base/file.h"

#define SHA1_BYTES 20

/* The smallest event of either format; bounds how many a log can hold. */
#define EVENT_BYTES_MIN 16

/* No event has the type 0 (EV_PREBOOT_CERT) or 0xffffffff. */
#define PADDING_BYTES_MIN 8

/* The algorithms of the log, from its Spec ID event (10.4.5.1). */
struct algorithms {
    size_t count;
    uint16_t alg[EVENT_DIGESTS_MAX];
    uint16_t size[EVENT_DIGESTS_MAX];
};

static size_t algorithm_size(const struct algorithms *algorithms, uint16_t alg)
{
    for (size_t i = 0; i < algorithms->count; i++)
        if (algorithms->alg[i] == alg)
            return algorithms->size[i];
    return 0;
}

static bool data_begins(struct bytes data, const char *signature)
{
    size_t len = strlen(signature) + 1;

    return data.len >= len && memcmp(data.data, signature, len) == 0;
}

static enum mu_status parse_algorithm(struct reader *r, struct algorithms *algorithms,
                                      struct mu_error *err)
{
    uint16_t alg = reader_le16(r);
    uint16_t size = reader_le16(r);
    size_t known = hash_size((enum hash_alg)alg);

    if (r->failed)
        return mu_fail(err, MU_CONFIG, "Spec ID event is truncated");
    if (size == 0 || size > HASH_MAX_SIZE || (known != 0 && size != known))
        return mu_fail(err, MU_CONFIG, "Spec ID event: algorithm 0x%04x has digests of %u bytes",
                       alg, size);
    if (algorithm_size(algorithms, alg) != 0)
        return mu_fail(err, MU_CONFIG, "Spec ID event: algorithm 0x%04x is named twice", alg);
    algorithms->alg[algorithms->count] = alg;
    algorithms->size[algorithms->count] = size;
    algorithms->count++;
    return MU_OK;
}

/* Some logs do not count the vendor information in the event's size: it then follows the event, and
 * `log` passes over it. */
static enum mu_status parse_spec_id(struct bytes data, struct reader *log,
                                    struct algorithms *algorithms, struct mu_error *err)
{
    struct reader r = reader_of(data);
    uint32_t count;
    uint8_t vendor_size;

    (void)reader_take(&r, 24); /* signature, platform class, version, size of UINTN */
    count = reader_le32(&r);
    if (r.failed || count == 0 || count > EVENT_DIGESTS_MAX)
        return mu_fail(err, MU_CONFIG, "Spec ID event: %u algorithms, not 1 to %d", count,
                       EVENT_DIGESTS_MAX);
    for (uint32_t i = 0; i < count; i++)
        MU_TRY(parse_algorithm(&r, algorithms, err));
    vendor_size = reader_u8(&r);
    if (reader_left(&r) == 0)
        (void)reader_take(log, vendor_size);
    else
        (void)reader_take(&r, vendor_size);
    if (r.failed || log->failed || reader_left(&r) != 0)
        return mu_fail(err, MU_CONFIG, "Spec ID event: vendor information of %u bytes does not fit",
                       vendor_size);
    return MU_OK;
}

/* 10.2.1, TCG_PCClientPCREvent */
static void read_sha1_digest(struct reader *r, struct event *event)
{
    event->digests = 1;
    event->digest[0] = (struct event_digest){HASH_SHA1, reader_take(r, SHA1_BYTES)};
}

/* 10.2.2, TPML_DIGEST_VALUES of TCG_PCR_EVENT2 */
static enum mu_status read_digests(struct reader *r, const struct algorithms *algorithms,
                                   struct event *event, struct mu_error *err)
{
    uint32_t count = reader_le32(r);

    if (!r->failed && (count == 0 || count > algorithms->count))
        return mu_fail(err, MU_CONFIG, "%u digests, but the log has %zu algorithms", count,
                       algorithms->count);
    for (uint32_t i = 0; i < count && !r->failed; i++) {
        uint16_t alg = reader_le16(r);
        size_t size = algorithm_size(algorithms, alg);

        if (!r->failed && size == 0)
            return mu_fail(err, MU_CONFIG, "algorithm 0x%04x is not in the Spec ID event", alg);
        for (size_t k = 0; k < event->digests; k++)
            if (event->digest[k].alg == alg)
                return mu_fail(err, MU_CONFIG, "two digests of algorithm 0x%04x", alg);
        event->digest[event->digests++] = (struct event_digest){alg, reader_take(r, size)};
    }
    return MU_OK;
}

static enum mu_status read_event(struct reader *r, const struct algorithms *algorithms,
                                 struct event *ret, struct mu_error *err)
{
    struct event event = {.offset = reader_offset(r)};
    uint32_t size;

    event.pcr = reader_le32(r);
    event.type = reader_le32(r);
    if (algorithms == NULL)
        read_sha1_digest(r, &event);
    else
        MU_TRY(read_digests(r, algorithms, &event, err));
    size = reader_le32(r);
    event.data = reader_take(r, size);
    if (r->failed)
        return mu_fail(err, MU_CONFIG, "the log ends within the event");
    if (event.pcr >= PCR_COUNT && event.type != EV_NO_ACTION)
        return mu_fail(err, MU_CONFIG, "there is no PCR %u", event.pcr);
    *ret = event;
    return MU_OK;
}

/* Some firmware reports the size of the buffer and not of the log in it: what is erased memory to
 * its end, and longer than PCR and type of an event that was cut off could be, are no events. */
static bool is_padding(struct bytes rest)
{
    const uint8_t erased = rest.data[0];

    if (rest.len < PADDING_BYTES_MIN || (erased != 0x00 && erased != 0xff))
        return false;
    for (size_t i = 0; i < rest.len; i++)
        if (rest.data[i] != erased)
            return false;
    return true;
}

static enum mu_status parse_events(struct eventlog *log, struct mu_error *err)
{
    struct reader r = reader_of(buffer_view(&log->raw));
    struct algorithms algorithms = {0};

    while (reader_left(&r) > 0 && !is_padding((struct bytes){r.pos, reader_left(&r)})) {
        const struct algorithms *format = log->crypto_agile ? &algorithms : NULL;
        struct event *event = &log->event[log->count];
        size_t offset = reader_offset(&r);
        enum mu_status status = read_event(&r, format, event, err);

        if (status == MU_OK && log->count == 0 && event->type == EV_NO_ACTION &&
            data_begins(event->data, "Spec ID Event03")) {
            log->crypto_agile = true;
            status = parse_spec_id(event->data, &r, &algorithms, err);
        }
        if (status != MU_OK)
            return mu_context(err, "event log: event %zu at offset %zu", log->count, offset);
        log->count++;
    }
    if (log->count == 0)
        return mu_fail(err, MU_CONFIG, "event log: no event at offset 0");
    return MU_OK;
}

enum mu_status eventlog_parse(struct bytes log, struct eventlog *ret, struct mu_error *err)
{
    MU_CLEANUP(eventlog_free) struct eventlog parsed = {0};

    if (log.len > EVENTLOG_MAX_BYTES)
        return mu_fail(err, MU_CONFIG, "event log: %zu bytes, more than %u", log.len,
                       EVENTLOG_MAX_BYTES);
    MU_TRY(buffer_copy(&parsed.raw, log, err));
    parsed.event = calloc(log.len / EVENT_BYTES_MIN + 1, sizeof(*parsed.event));
    if (parsed.event == NULL)
        return mu_oom(err);
    MU_TRY(parse_events(&parsed, err));
    *ret = MU_TAKE(parsed);
    return MU_OK;
}

enum mu_status eventlog_load(const char *path, struct eventlog *ret, struct mu_error *err)
{
    MU_CLEANUP(buffer_free) struct buffer raw = {0};

    MU_TRY(file_read(path, EVENTLOG_MAX_BYTES, &raw, err));
    if (eventlog_parse(buffer_view(&raw), ret, err) != MU_OK)
        return mu_context(err, "%s", path);
    return MU_OK;
}

void eventlog_free(struct eventlog *log)
{
    buffer_free(&log->raw);
    buffer_free(&log->userspace);
    free(log->event);
    *log = (struct eventlog){0};
}

const uint8_t *event_digest_of(const struct event *event, enum hash_alg bank)
{
    for (size_t i = 0; i < event->digests; i++)
        if (event->digest[i].alg == bank)
            return event->digest[i].value.data;
    return NULL;
}

bool event_extends(const struct event *event, unsigned pcr)
{
    return event->type != EV_NO_ACTION && event->pcr == pcr;
}

/* 10.4.5.3: PCR 0 begins with the locality of TPM2_Startup, if it was not 0. */
bool event_startup_locality(const struct event *event, uint8_t *ret)
{
    static const char signature[] = "StartupLocality";

    if (event->type != EV_NO_ACTION || event->pcr != 0 || !data_begins(event->data, signature) ||
        event->data.len != sizeof(signature) + 1)
        return false;
    *ret = event->data.data[sizeof(signature)];
    return true;
}

/* Both came before all that the log tells, wherever firmware wrote it down. TPM 2.0 Library, Part
 * 1, "H-CRTM before TPM2_Startup": PCR 0 begins with 4 then, and TPM2_Startup leaves it as it is.
 */
uint8_t eventlog_pcr0_start(const struct eventlog *log)
{
    uint8_t locality = 0;

    for (size_t i = log->count; i-- > 0;) {
        if (log->event[i].type == EV_EFI_HCRTM_EVENT && log->event[i].pcr == 0)
            return 4;
        (void)event_startup_locality(&log->event[i], &locality);
    }
    return locality;
}

enum mu_status eventlog_replay(const struct eventlog *log, enum hash_alg bank,
                               struct pcr_values *ret, struct mu_error *err)
{
    struct pcr_values values = {.bank = bank};
    size_t size = hash_size(bank);
    const struct event *lacking = NULL;
    uint32_t unknown = 0;

    if (size == 0)
        return mu_fail(err, MU_CONFIG, "event log: no such bank");
    values.value[0].bytes[size - 1] = eventlog_pcr0_start(log);
    for (size_t i = 0; i < log->count; i++) {
        const struct event *event = &log->event[i];
        const uint8_t *digest = event_digest_of(event, bank);

        if (event->type == EV_NO_ACTION)
            continue;
        values.mask |= PCR_BIT(event->pcr);
        if (digest == NULL) {
            lacking = lacking != NULL ? lacking : event;
            unknown |= PCR_BIT(event->pcr);
            continue;
        }
        MU_TRY(hash_extend(bank, &values.value[event->pcr], digest, err));
    }
    if (unknown != 0 && unknown == values.mask)
        return mu_fail(err, MU_CONFIG, "event log: event %zu at offset %zu has no %s digest",
                       (size_t)(lacking - log->event), lacking->offset, hash_name(bank));
    values.mask &= ~unknown;
    *ret = values;
    return MU_OK;
}
