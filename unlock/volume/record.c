/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "volume/record.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <openssl/hmac.h>

#include "base/signature.h"
#include "base/time.h"
#include "volume/luks_header.h"

#define PAYLOAD_MAX 65536
#define INSTANCE_PAYLOAD_MAX 8192 /* no baselines, and read before it is authentic */
#define SIGNATURE_MAX 256

void record_free(struct record *record)
{
    json_free(&record->provider_data);
    buffer_free(&record->payload);
    *record = (struct record){0};
}

/* ---- reading ---- */

enum mu_status record_date(struct record *record, struct mu_error *err)
{
    char now[TIME_TEXT];

    if (!time_text_now(now))
        return mu_fail(err, MU_CONFIG, "the clock shows no valid date");
    (void)snprintf(record->created, sizeof(record->created), "%.20s", now);
    return MU_OK;
}

/* YYYY-MM-DDThh:mm:ssZ */
static bool time_well_formed(const char *text)
{
    uint64_t ms;

    return time_parse(text, &ms) && strlen(text) == 20 && text[10] == 'T' && text[19] == 'Z';
}

/* The name is that of a payload member, too, and must not be one of the others. */
static bool provider_name_valid(const char *name)
{
    return strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789-") == strlen(name) &&
           strcmp(name, "format") != 0 && strcmp(name, "created") != 0 &&
           strcmp(name, "keyslot") != 0 && strcmp(name, "provider") != 0 &&
           strcmp(name, "baselines") != 0;
}

static enum mu_status parse_baselines(json_object *payload, struct record *record,
                                      struct mu_error *err)
{
    static const char *const names[] = {"Measurements", "Without", NULL};
    json_object *list = NULL;
    size_t count;

    MU_TRY(json_member(payload, "baselines", json_type_array, MU_REFUSE, &list, err));
    count = json_object_array_length(list);
    if (count < 1 || count > RECORD_BASELINES_MAX)
        return mu_fail(err, MU_REFUSE, "%zu baselines, not 1 to %d", count, RECORD_BASELINES_MAX);
    for (size_t i = 0; i < count; i++) {
        json_object *item = json_object_array_get_idx(list, i);

        MU_TRY(json_only(item, "baseline", names, MU_REFUSE, err));
        if (baseline_parse_object(item, "baseline", &record->baseline[i], err) != MU_OK) {
            err->status = MU_REFUSE;
            return MU_REFUSE;
        }
    }
    record->baselines = count;
    return MU_OK;
}

static enum mu_status parse_geometry(json_object *payload, struct volume_geometry *ret,
                                     struct mu_error *err)
{
    int64_t offset, sector, size;

    MU_TRY(json_integer(payload, "data_offset", 1, INT64_MAX - 1, MU_REFUSE, &offset, err));
    MU_TRY(json_integer(payload, "sector_size", 512, 4096, MU_REFUSE, &sector, err));
    MU_TRY(json_integer(payload, "device_size", offset + 1, INT64_MAX, MU_REFUSE, &size, err));
    *ret = (struct volume_geometry){(uint64_t)offset, (uint64_t)sector, (uint64_t)size};
    return MU_OK;
}

static enum mu_status parse_volume(json_object *payload, struct record *record,
                                   struct mu_error *err)
{
    const char *text = NULL;
    int64_t keyslot;

    MU_TRY(json_string(payload, "volume_name", INI_NAME_MAX, MU_REFUSE, &text, err));
    if (!ini_is_name(text))
        return mu_fail(err, MU_REFUSE, "\"volume_name\" is not the name of a [volume NAME]");
    (void)snprintf(record->volume_name, sizeof(record->volume_name), "%s", text);
    MU_TRY(json_string(payload, "volume_uuid", UUID_TEXT_SIZE - 1, MU_REFUSE, &text, err));
    (void)snprintf(record->volume_uuid, sizeof(record->volume_uuid), "%s", text);
    MU_TRY(json_string(payload, "volume_identity", (size_t)2 * VOLUME_IDENTITY_SIZE, MU_REFUSE,
                       &text, err));
    if (!hex_decode(text, record->volume_identity, VOLUME_IDENTITY_SIZE))
        return mu_fail(err, MU_REFUSE, "\"volume_identity\" is not %d hex digits",
                       2 * VOLUME_IDENTITY_SIZE);
    MU_TRY(json_integer(payload, "keyslot", 0, LUKS_KEYSLOTS_MAX - 1, MU_REFUSE, &keyslot, err));
    record->keyslot = (int)keyslot;
    return parse_geometry(payload, &record->geometry, err);
}

/* Only one format is read. */
static enum mu_status check_format(json_object *payload, struct mu_error *err)
{
    int64_t format;

    MU_TRY(json_integer(payload, "format", 1, INT64_MAX, MU_REFUSE, &format, err));
    if (format == RECORD_FORMAT)
        return MU_OK;
    return mu_fail(err, MU_REFUSE,
                   "its \"format\" is %lld, and this program reads %d only: enroll again, with the "
                   "muctl that belongs to this image",
                   (long long)format, RECORD_FORMAT);
}

static enum mu_status parse_payload(struct bytes text, bool by_instance, struct record *ret,
                                    struct mu_error *err)
{
    MU_CLEANUP(json_free) json_object *payload = NULL;
    MU_CLEANUP(record_free) struct record record = {.by_instance = by_instance};
    const char *names[] = {"format",
                           "record_version",
                           "created",
                           "volume_name",
                           "volume_uuid",
                           "volume_identity",
                           "data_offset",
                           "sector_size",
                           "device_size",
                           "keyslot",
                           "provider",
                           record.provider,
                           by_instance ? NULL : "baselines",
                           NULL};
    const char *string = NULL;
    json_object *data = NULL;

    MU_TRY(json_parse(text, "payload", MU_REFUSE, &payload, err));
    MU_TRY(check_format(payload, err));
    MU_TRY(
        json_integer(payload, "record_version", 1, INT64_MAX - 1, MU_REFUSE, &record.version, err));
    MU_TRY(json_string(payload, "created", sizeof(record.created) - 1, MU_REFUSE, &string, err));
    if (!time_well_formed(string))
        return mu_fail(err, MU_REFUSE, "\"created\" is not like 2006-01-02T15:04:05Z");
    (void)snprintf(record.created, sizeof(record.created), "%s", string);
    MU_TRY(json_string(payload, "provider", sizeof(record.provider) - 1, MU_REFUSE, &string, err));
    if (!provider_name_valid(string))
        return mu_fail(err, MU_REFUSE, "\"provider\" is malformed");
    (void)snprintf(record.provider, sizeof(record.provider), "%s", string);
    MU_TRY(json_only(payload, "payload", names, MU_REFUSE, err));
    MU_TRY(json_member(payload, record.provider, json_type_object, MU_REFUSE, &data, err));
    MU_TRY(parse_volume(payload, &record, err));
    if (!by_instance)
        MU_TRY(parse_baselines(payload, &record, err));
    record.provider_data = json_object_get(data);
    *ret = MU_TAKE(record);
    return MU_OK;
}

/* The token's own list of key slots is outside the signature, but libcryptsetup uses it. */
static enum mu_status check_token(json_object *token, const struct record *record,
                                  struct mu_error *err)
{
    json_object *list = NULL;
    json_object *item = NULL;
    uint64_t keyslot = 0;

    MU_TRY(json_member(token, "keyslots", json_type_array, MU_REFUSE, &list, err));
    item = json_object_array_get_idx(list, 0);
    if (json_object_array_length(list) != 1 || !json_object_is_type(item, json_type_string) ||
        !luks_number(json_object_get_string(item), &keyslot) ||
        keyslot != (uint64_t)record->keyslot)
        return mu_fail(err, MU_REFUSE, "the token is not bound to key slot %d alone",
                       record->keyslot);
    return MU_OK;
}

static enum mu_status parse_token(json_object *token, const struct public_keys *keys,
                                  struct record *ret, struct mu_error *err)
{
    static const char *const names[] = {"type", "keyslots", "record", "signature", NULL};
    MU_CLEANUP(buffer_free) struct buffer payload = {0};
    MU_CLEANUP(buffer_free) struct buffer signature = {0};
    MU_CLEANUP(record_free) struct record record = {0};

    MU_TRY(json_only(token, "token", names, MU_REFUSE, err));
    MU_TRY(json_base64(token, "record", PAYLOAD_MAX, MU_REFUSE, &payload, err));
    MU_TRY(json_base64(token, "signature", SIGNATURE_MAX, MU_REFUSE, &signature, err));
    if (keys != NULL)
        MU_TRY(signature_verify_any(keys, RECORD_SIGNATURE_CONTEXT, buffer_view(&payload),
                                    buffer_view(&signature), err));
    MU_TRY(parse_payload(buffer_view(&payload), false, &record, err));
    MU_TRY(check_token(token, &record, err));
    *ret = MU_TAKE(record);
    return MU_OK;
}

bool record_token_by_instance(json_object *token)
{
    return json_object_is_type(token, json_type_object) &&
           json_object_object_get_ex(token, "mac", NULL);
}

static enum mu_status parse_instance_token(json_object *token, struct record *ret,
                                           struct mu_error *err)
{
    static const char *const names[] = {"type", "keyslots", "record", "mac", NULL};
    MU_CLEANUP(buffer_free) struct buffer payload = {0};
    MU_CLEANUP(buffer_free) struct buffer mac = {0};
    MU_CLEANUP(record_free) struct record record = {0};

    MU_TRY(json_only(token, "token", names, MU_REFUSE, err));
    MU_TRY(json_base64(token, "record", INSTANCE_PAYLOAD_MAX, MU_REFUSE, &payload, err));
    MU_TRY(json_base64(token, "mac", RECORD_MAC_SIZE, MU_REFUSE, &mac, err));
    if (mac.len != RECORD_MAC_SIZE)
        return mu_fail(err, MU_REFUSE, "\"mac\" has %zu bytes instead of %d", mac.len,
                       RECORD_MAC_SIZE);
    MU_TRY(parse_payload(buffer_view(&payload), true, &record, err));
    MU_TRY(check_token(token, &record, err));
    memcpy(record.mac, mac.data, sizeof(record.mac));
    record.payload = MU_TAKE(payload);
    *ret = MU_TAKE(record);
    return MU_OK;
}

enum mu_status record_parse_instance_token(json_object *token, struct record *ret,
                                           struct mu_error *err)
{
    if (parse_instance_token(token, ret, err) != MU_OK)
        return mu_context(err, "record made by an instance");
    return MU_OK;
}

static enum mu_status compute_mac(const struct secret *key, struct bytes payload,
                                  uint8_t ret[static RECORD_MAC_SIZE], struct mu_error *err)
{
    MU_CLEANUP(buffer_free) struct buffer message = {0};
    unsigned len = 0;

    MU_TRY(buffer_alloc(&message, sizeof(RECORD_MADE_CONTEXT) + payload.len, err));
    memcpy(message.data, RECORD_MADE_CONTEXT, sizeof(RECORD_MADE_CONTEXT));
    memcpy(message.data + sizeof(RECORD_MADE_CONTEXT), payload.data, payload.len);
    if (HMAC(EVP_sha384(), key->data, (int)key->len, message.data, message.len, ret, &len) ==
            NULL ||
        len != RECORD_MAC_SIZE)
        return mu_fail(err, MU_INTERNAL, "record: the MAC cannot be computed");
    return MU_OK;
}

enum mu_status record_check_mac(const struct record *record, const struct secret *key,
                                struct mu_error *err)
{
    uint8_t mac[RECORD_MAC_SIZE];

    MU_TRY(compute_mac(key, buffer_view(&record->payload), mac, err));
    if (!record->by_instance || !bytes_equal((struct bytes){mac, sizeof(mac)},
                                             (struct bytes){record->mac, RECORD_MAC_SIZE}))
        return mu_fail(err, MU_REFUSE,
                       "record made by an instance: its MAC does not hold with the released key");
    return MU_OK;
}

enum mu_status record_parse_token(json_object *token, const struct public_keys *keys,
                                  struct record *ret, struct mu_error *err)
{
    if (keys == NULL || keys->count == 0)
        return mu_fail(err, MU_CONFIG, "enrolment record: no key to check its signature with");
    if (record_token_by_instance(token))
        return mu_fail(err, MU_REFUSE,
                       "enrolment record: it was made by an instance, not signed by the image "
                       "builder; only a volume with 'create = blank' may have such a record");
    if (parse_token(token, keys, ret, err) != MU_OK)
        return mu_context(err, "enrolment record");
    return MU_OK;
}

enum mu_status record_parse_token_unverified(json_object *token, struct record *ret,
                                             struct mu_error *err)
{
    if (record_token_by_instance(token))
        return record_parse_instance_token(token, ret, err);
    if (parse_token(token, NULL, ret, err) != MU_OK)
        return mu_context(err, "enrolment record");
    return MU_OK;
}

enum mu_status record_check(const struct record *record, const char *volume_uuid,
                            int64_t minimum_version, struct mu_error *err)
{
    if (strcmp(record->volume_uuid, volume_uuid) != 0)
        return mu_fail(err, MU_REFUSE, "enrolment record: made for volume %s, found on %s",
                       record->volume_uuid, volume_uuid);
    if (record->version < minimum_version)
        return mu_fail(err, MU_REFUSE,
                       "enrolment record: version %lld is older than %lld, the least this image "
                       "accepts",
                       (long long)record->version, (long long)minimum_version);
    return MU_OK;
}

enum mu_status record_check_name(const struct record *record, const char *name,
                                 struct mu_error *err)
{
    if (strcmp(record->volume_name, name) == 0)
        return MU_OK;
    return mu_fail(err, MU_REFUSE,
                   "enrolment record: made for the volume '%s', and this one is configured as '%s'",
                   record->volume_name, name);
}

enum mu_status record_check_geometry(const struct record *record,
                                     const struct volume_geometry *found, struct mu_error *err)
{
    const struct volume_geometry *enrolled = &record->geometry;

    if (found->data_offset != enrolled->data_offset)
        return mu_fail(err, MU_REFUSE,
                       "enrolment record: the data began at byte %llu, and the header says %llu",
                       (unsigned long long)enrolled->data_offset,
                       (unsigned long long)found->data_offset);
    if (found->sector_size != enrolled->sector_size)
        return mu_fail(
            err, MU_REFUSE, "enrolment record: sectors had %llu bytes, and the header says %llu",
            (unsigned long long)enrolled->sector_size, (unsigned long long)found->sector_size);
    if (found->device_size < enrolled->device_size)
        return mu_fail(err, MU_REFUSE,
                       "enrolment record: the device had %llu bytes, and now has %llu: a part of "
                       "the volume is gone",
                       (unsigned long long)enrolled->device_size,
                       (unsigned long long)found->device_size);
    return MU_OK;
}

/* ---- writing ---- */

static bool add_volume(json_object *payload, const struct record *record)
{
    const struct volume_geometry *geometry = &record->geometry;
    char identity[2 * VOLUME_IDENTITY_SIZE + 1];

    hex_encode((struct bytes){record->volume_identity, VOLUME_IDENTITY_SIZE}, identity);
    return json_add_text(payload, "volume_name", record->volume_name) &&
           json_add_text(payload, "volume_uuid", record->volume_uuid) &&
           json_add_text(payload, "volume_identity", identity) &&
           json_add(payload, "data_offset",
                    json_object_new_int64((int64_t)geometry->data_offset)) &&
           json_add(payload, "sector_size",
                    json_object_new_int64((int64_t)geometry->sector_size)) &&
           json_add(payload, "device_size", json_object_new_int64((int64_t)geometry->device_size));
}

static enum mu_status baselines_json(const struct record *record, json_object **ret,
                                     struct mu_error *err)
{
    MU_CLEANUP(json_free) json_object *list = json_object_new_array();

    if (list == NULL)
        return mu_oom(err);
    for (size_t i = 0; i < record->baselines; i++) {
        json_object *item = NULL;

        MU_TRY(baseline_to_json(&record->baseline[i], &item, err));
        if (!json_append(list, item))
            return mu_oom(err);
    }
    *ret = MU_TAKE(list);
    return MU_OK;
}

enum mu_status record_to_json(const struct record *record, json_object **ret, struct mu_error *err)
{
    MU_CLEANUP(json_free) json_object *payload = json_object_new_object();
    json_object *baselines = NULL;

    if (payload == NULL)
        return mu_oom(err);
    if (!record->by_instance)
        MU_TRY(baselines_json(record, &baselines, err));
    if ((!record->by_instance && !json_add(payload, "baselines", baselines)) ||
        !json_add(payload, "format", json_object_new_int(RECORD_FORMAT)) ||
        !json_add_text(payload, "created", record->created) ||
        !json_add(payload, "record_version", json_object_new_int64(record->version)) ||
        !add_volume(payload, record) ||
        !json_add(payload, "keyslot", json_object_new_int(record->keyslot)) ||
        !json_add_text(payload, "provider", record->provider) ||
        !json_add(payload, record->provider, json_object_get(record->provider_data)))
        return mu_oom(err);
    *ret = MU_TAKE(payload);
    return MU_OK;
}

enum mu_status record_token(const struct record *record, struct bytes payload, const char *name,
                            struct bytes proof, char **ret, struct mu_error *err)
{
    MU_CLEANUP(json_free) json_object *token = json_object_new_object();
    json_object *slots = json_object_new_array();
    char *payload64 = NULL;
    char *proof64 = NULL;
    const char *text = NULL;
    char slot[16];
    bool done = false;

    (void)snprintf(slot, sizeof(slot), "%d", record->keyslot);
    if (token != NULL && json_append(slots, json_object_new_string(slot)) &&
        base64_encode(payload, &payload64, err) == MU_OK &&
        base64_encode(proof, &proof64, err) == MU_OK)
        done = json_add_text(token, "type", RECORD_TOKEN_TYPE) &&
               json_add(token, "keyslots", json_object_get(slots)) &&
               json_add_text(token, "record", payload64) && json_add_text(token, name, proof64);
    json_free(&slots);
    free(payload64);
    free(proof64);
    if (done)
        text = json_text(token);
    if (text == NULL || (*ret = strdup(text)) == NULL)
        return mu_oom(err);
    return MU_OK;
}

enum mu_status record_payload(const struct record *record, json_object **ret_payload,
                              struct bytes *ret, struct mu_error *err)
{
    size_t max = record->by_instance ? INSTANCE_PAYLOAD_MAX : PAYLOAD_MAX;
    MU_CLEANUP(record_free) struct record unused = {0};

    MU_TRY(record_to_json(record, ret_payload, err));
    ret->data = (const uint8_t *)json_text(*ret_payload);
    if (ret->data == NULL)
        return mu_oom(err);
    ret->len = strlen((const char *)ret->data);
    if (ret->len > max)
        return mu_fail(err, MU_CONFIG, "enrolment record: %zu bytes are too many", ret->len);
    if (parse_payload(*ret, record->by_instance, &unused, err) != MU_OK) {
        if (err->status == MU_REFUSE)
            err->status = MU_CONFIG;
        return mu_context(err, "enrolment record cannot be written");
    }
    return MU_OK;
}

enum mu_status record_make_instance_token(const struct record *record, const struct secret *key,
                                          char **ret, struct mu_error *err)
{
    MU_CLEANUP(json_free) json_object *payload = NULL;
    uint8_t mac[RECORD_MAC_SIZE];
    struct bytes text;

    MU_TRY(record_payload(record, &payload, &text, err));
    MU_TRY(compute_mac(key, text, mac, err));
    return record_token(record, text, "mac", (struct bytes){mac, sizeof(mac)}, ret, err);
}
