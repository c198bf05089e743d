/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "measure/userlog.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/json.h"

#define RECORD_SEPARATOR 0x1e

/* The unit that extends events of this type. systemd measures their text, except for those
 * marked. */
static const struct origin {
    const char *type;
    const char *unit;
    bool secret; /* the digest is keyed, the text is not what was measured */
} origins[] = {
    {"phase", "systemd-pcrphase", false},
    {"os-separator", "systemd-pcrosseparator.service", false},
    {"imds-userdata", "systemd-imds-import.service", false},
    {"filesystem", "systemd-pcrfs", false},
    {"machine-id", "systemd-pcrmachine.service", false},
    {"product-id", "systemd-pcrproduct.service", false},
    {"login", "systemd-logind.service", false},
    {"volume-key", "systemd-cryptsetup", true},
    {"keyslot", "systemd-cryptsetup", true},
};

static const struct origin *find_origin(const char *type)
{
    for (size_t i = 0; i < MU_COUNT(origins); i++)
        if (strcmp(type, origins[i].type) == 0)
            return &origins[i];
    return NULL;
}

static enum mu_status read_digest(json_object *entry, struct event *event, struct writer *store,
                                  struct mu_error *err)
{
    const char *name, *hex;
    uint8_t value[HASH_MAX_SIZE];
    enum hash_alg alg;

    if (!json_object_is_type(entry, json_type_object))
        return mu_fail(err, MU_CONFIG, "a digest is not an object");
    MU_TRY(json_string(entry, "hashAlg", 32, MU_CONFIG, &name, err));
    MU_TRY(json_string(entry, "digest", (size_t)2 * HASH_MAX_SIZE, MU_CONFIG, &hex, err));
    alg = hash_from_name(name);
    if (alg == HASH_NONE)
        return MU_OK;
    if (!hex_decode(hex, value, hash_size(alg)))
        return mu_fail(err, MU_CONFIG, "invalid %s digest", name);
    event->digest[event->digests++] =
        (struct event_digest){(uint16_t)alg, {store->data + store->len, hash_size(alg)}};
    writer_bytes(store, (struct bytes){value, hash_size(alg)});
    return MU_OK;
}

static enum mu_status read_digests(json_object *record, struct event *event, struct writer *store,
                                   struct mu_error *err)
{
    json_object *digests;

    MU_TRY(json_member(record, "digests", json_type_array, MU_CONFIG, &digests, err));
    if (json_object_array_length(digests) > EVENT_DIGESTS_MAX)
        return mu_fail(err, MU_CONFIG, "more than %d digests", EVENT_DIGESTS_MAX);
    for (size_t i = 0; i < json_object_array_length(digests); i++)
        MU_TRY(read_digest(json_object_array_get_idx(digests, i), event, store, err));
    return MU_OK;
}

/* Whether one of the digests is that of the text. */
static bool is_measured(const struct event *event, const char *text)
{
    const struct bytes view = {(const uint8_t *)text, strlen(text)};
    struct mu_error err = {0};
    struct digest digest;

    for (size_t i = 0; i < event->digests; i++) {
        enum hash_alg alg = (enum hash_alg)event->digest[i].alg;

        if (hash_bytes(alg, view, &digest, &err) != MU_OK ||
            memcmp(digest.bytes, event->digest[i].value.data, hash_size(alg)) != 0)
            return false;
    }
    return event->digests > 0;
}

static void write_text(struct writer *store, const char *text)
{
    writer_bytes(store, text_view(text));
}

/* "UNIT: TEXT", from systemd's own words. */
static enum mu_status read_content(json_object *record, struct event *event, struct writer *store,
                                   struct mu_error *err)
{
    const char *type = "systemd", *text = "(no text)";
    const struct origin *origin;
    size_t start = store->len;
    json_object *content;

    MU_TRY(json_member(record, "content", json_type_object, MU_CONFIG, &content, err));
    if (json_object_object_get_ex(content, "eventType", NULL))
        MU_TRY(json_string(content, "eventType", 64, MU_CONFIG, &type, err));
    if (json_object_object_get_ex(content, "string", NULL))
        MU_TRY(json_string(content, "string", USERLOG_MAX_BYTES, MU_CONFIG, &text, err));
    origin = find_origin(type);
    write_text(store, origin != NULL ? origin->unit : type);
    write_text(store, ": ");
    write_text(store, text);
    if ((origin == NULL || !origin->secret) && !is_measured(event, text))
        write_text(store, " (not what was measured)");
    event->data = (struct bytes){store->data + start, store->len - start};
    return MU_OK;
}

/* *ret has no digests if the record is not about a PCR. */
static enum mu_status read_record(struct bytes text, struct writer *store, struct event *ret,
                                  struct mu_error *err)
{
    MU_CLEANUP(json_free) json_object *record = NULL;
    struct event event = {.type = EV_USERSPACE};
    int64_t pcr;

    MU_TRY(json_parse(text, "record", MU_CONFIG, &record, err));
    if (!json_object_is_type(record, json_type_object))
        return mu_fail(err, MU_CONFIG, "not an object");
    if (json_object_object_get_ex(record, "pcr", NULL)) {
        MU_TRY(json_integer(record, "pcr", 0, PCR_COUNT - 1, MU_CONFIG, &pcr, err));
        event.pcr = (uint32_t)pcr;
        MU_TRY(read_digests(record, &event, store, err));
        MU_TRY(read_content(record, &event, store, err));
        if (store->failed)
            return mu_fail(err, MU_INTERNAL, "the record is longer than it was counted");
    }
    *ret = event;
    return MU_OK;
}

/* From one separator to the next, or to the end. */
static struct bytes next_record(struct reader *r)
{
    const uint8_t *end;

    if (reader_u8(r) != RECORD_SEPARATOR)
        r->failed = true;
    end = memchr(r->pos, RECORD_SEPARATOR, reader_left(r));
    return reader_take(r, end != NULL ? (size_t)(end - r->pos) : reader_left(r));
}

static size_t count_records(struct bytes text)
{
    size_t count = 0;

    for (size_t i = 0; i < text.len; i++)
        count += text.data[i] == RECORD_SEPARATOR;
    return count;
}

static enum mu_status append(struct bytes text, struct event *list, size_t *count,
                             struct writer *store, struct mu_error *err)
{
    struct reader r = reader_of(text);

    for (size_t record = 0; reader_left(&r) > 0; record++) {
        struct bytes one = next_record(&r);
        struct event event;

        if (r.failed || read_record(one, store, &event, err) != MU_OK) {
            if (r.failed)
                (void)mu_fail(err, MU_CONFIG, "not a JSON text sequence");
            return mu_context(err, "log of user space: record %zu", record);
        }
        if (event.digests > 0)
            list[(*count)++] = event;
    }
    return MU_OK;
}

enum mu_status userlog_append(struct bytes text, struct eventlog *log, struct mu_error *err)
{
    /* A record's text and digests, decoded, are shorter than the record; its unit and what is said
     * of it may not be. */
    const size_t words = 128;
    size_t records = count_records(text), count = log->count;
    MU_CLEANUP(buffer_free) struct buffer memory = {0};
    struct writer store;
    struct event *list;

    if (text.len > USERLOG_MAX_BYTES || records > USERLOG_EVENTS_MAX)
        return mu_fail(err, MU_CONFIG, "log of user space: larger than %u bytes or %d records",
                       USERLOG_MAX_BYTES, USERLOG_EVENTS_MAX);
    MU_TRY(buffer_alloc(&memory, text.len + records * words + 1, err));
    list = realloc(log->event, (count + records + 1) * sizeof(*list));
    if (list == NULL)
        return mu_oom(err);
    log->event = list;
    store = writer_into(memory.data, memory.len);
    MU_TRY(append(text, list, &count, &store, err));
    log->count = count;
    buffer_free(&log->userspace);
    log->userspace = MU_TAKE(memory);
    return MU_OK;
}

void userlog_append_running(struct eventlog *log)
{
    MU_CLEANUP(buffer_free) struct buffer text = {0};
    struct mu_error err = {0};

    if (file_read(USERLOG_DEFAULT_PATH, USERLOG_MAX_BYTES, &text, &err) != MU_OK ||
        userlog_append(buffer_view(&text), log, &err) != MU_OK)
        return; /* the log is as it was */
}
