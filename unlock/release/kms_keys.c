/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "release/kms_keys.h"

#include <stdio.h>
#include <string.h>

#include "base/defaults.h"
#include "base/ini.h"
#include "release/kms_client.h"

/* In the encryption context of a key that an instance had made, and of no other: the right to
 * Encrypt for enrolment does not allow such a ciphertext (docs/guide/key-policy.md). */
#define MADE_BY "made-by"
#define INSTANCE "instance"
#define CONTEXT_VALUE_MAX 256
#define CIPHERTEXT_TEXT_MAX ((size_t)4 * (KMS_CIPHERTEXT_MAX / 3))
#define MULTI_REGION ":key/mrk-"

enum kms_arn_field { ARN, PARTITION, SERVICE, REGION, ACCOUNT, RESOURCE, ARN_FIELDS };

/* ---- one ARN ---- */

static bool equals(struct bytes text, const char *value)
{
    return text.len == strlen(value) && memcmp(text.data, value, text.len) == 0;
}

static size_t split(const char *arn, struct bytes field[static ARN_FIELDS])
{
    size_t count = 0;

    for (const char *p = arn; p != NULL && count < ARN_FIELDS; count++) {
        const char *colon = count < RESOURCE ? strchr(p, ':') : NULL;

        field[count] = (struct bytes){(const uint8_t *)p, colon ? (size_t)(colon - p) : strlen(p)};
        p = colon ? colon + 1 : NULL;
    }
    return count;
}

enum mu_status kms_parse_key_arn(const char *arn, char ret_region[static KMS_REGION_MAX],
                                 char ret_partition[static KMS_PARTITION_MAX], struct mu_error *err)
{
    static const char key[] = "key/", name[] = "abcdefghijklmnopqrstuvwxyz0123456789-";
    struct bytes field[ARN_FIELDS] = {0};
    struct bytes id;

    if (split(arn, field) != ARN_FIELDS || !equals(field[ARN], "arn") ||
        !equals(field[SERVICE], "kms") || !bytes_all_of(field[PARTITION], name) ||
        field[PARTITION].len >= KMS_PARTITION_MAX || !bytes_all_of(field[REGION], name) ||
        field[REGION].len >= KMS_REGION_MAX || field[ACCOUNT].len != 12 ||
        !bytes_all_of(field[ACCOUNT], "0123456789"))
        return mu_fail(err, MU_REFUSE,
                       "'%.200s' is not arn:<partition>:kms:<region>:<account>:key/<id>", arn);
    id = field[RESOURCE];
    if (id.len <= sizeof(key) - 1 || memcmp(id.data, key, sizeof(key) - 1) != 0)
        return mu_fail(err, MU_REFUSE,
                       "'%.200s' does not name a key; an alias can be moved: use the key's ARN",
                       arn);
    id = (struct bytes){id.data + sizeof(key) - 1, id.len - (sizeof(key) - 1)};
    if (id.len != 36 || !bytes_all_of(id, name))
        return mu_fail(err, MU_REFUSE, "'%.200s' does not end in the ID of a key", arn);
    memcpy(ret_region, field[REGION].data, field[REGION].len);
    ret_region[field[REGION].len] = '\0';
    memcpy(ret_partition, field[PARTITION].data, field[PARTITION].len);
    ret_partition[field[PARTITION].len] = '\0';
    return MU_OK;
}

bool kms_is_replica(const char *arn, const char *other)
{
    struct bytes a[ARN_FIELDS] = {0}, b[ARN_FIELDS] = {0};

    return split(arn, a) == ARN_FIELDS && split(other, b) == ARN_FIELDS &&
           strstr(arn, MULTI_REGION) != NULL && bytes_equal(a[PARTITION], b[PARTITION]) &&
           !bytes_equal(a[REGION], b[REGION]) && bytes_equal(a[ACCOUNT], b[ACCOUNT]) &&
           bytes_equal(a[RESOURCE], b[RESOURCE]);
}

/* ---- several ---- */

static enum mu_status check_partition(const struct kms_keys *keys, const char *arn,
                                      const char *partition, struct mu_error *err)
{
    char region[KMS_REGION_MAX], first[KMS_PARTITION_MAX];

    if (keys->count == 0)
        return MU_OK;
    MU_TRY(kms_parse_key_arn(keys->key[0].arn, region, first, err));
    if (strcmp(first, partition) == 0)
        return MU_OK;
    return mu_fail(err, MU_REFUSE,
                   "%.200s is in the partition %s, and the keys before it are in %s: credentials "
                   "of one partition are not known in another; leave it out, and enroll a volume "
                   "of its own for the image of that partition",
                   arn, partition, first);
}

enum mu_status kms_keys_add(struct kms_keys *keys, const char *arn, struct mu_error *err)
{
    struct kms_key key = {.arn = arn};
    char partition[KMS_PARTITION_MAX];

    MU_TRY(kms_parse_key_arn(arn, key.region, partition, err));
    MU_TRY(check_partition(keys, arn, partition, err));
    for (size_t i = 0; i < keys->count; i++)
        if (strcmp(keys->key[i].arn, arn) == 0)
            return mu_fail(err, MU_REFUSE,
                           "%.200s stands twice: each key is asked once a round; leave one out",
                           arn);
    if (keys->count == KMS_KEYS_MAX)
        return mu_fail(err, MU_REFUSE,
                       "%.200s is one key too many: a volume has 1 to %d; leave out what no "
                       "machine asks",
                       arn, KMS_KEYS_MAX);
    keys->key[keys->count++] = key;
    return MU_OK;
}

enum mu_status kms_keys_of_list(const char *list, char **ret_text, struct kms_keys *ret,
                                struct mu_error *err)
{
    struct kms_keys keys = {0};
    const char *at;

    MU_TRY(string_set(ret_text, list, err));
    at = *ret_text;
    for (;;) {
        struct bytes item = ini_next_item(&at, INI_LIST_BETWEEN);
        char *end = *ret_text + (at - *ret_text);

        if (item.len == 0)
            break;
        at += *at != '\0';
        *end = '\0';
        MU_TRY(kms_keys_add(&keys, (const char *)item.data, err));
    }
    if (keys.count == 0)
        return mu_fail(err, MU_REFUSE, "'%.80s' names no key", list);
    *ret = keys;
    return MU_OK;
}

size_t kms_keys_first(const struct kms_keys *keys, size_t i)
{
    size_t first = 0;

    while (first < i && !kms_is_replica(keys->key[first].arn, keys->key[i].arn))
        first++;
    return first;
}

/* ---- encryption context ---- */

static bool add_instance_context(json_object *context, const struct record *record)
{
    const struct volume_geometry *geometry = &record->geometry;
    char text[80];

    (void)snprintf(text, sizeof(text), "offset=%llu,sector=%llu,size=%llu",
                   (unsigned long long)geometry->data_offset,
                   (unsigned long long)geometry->sector_size,
                   (unsigned long long)geometry->device_size);
    return json_add_text(context, "volume-name", record->volume_name) &&
           json_add_text(context, "volume-geometry", text) &&
           json_add_text(context, MADE_BY, INSTANCE);
}

enum mu_status aws_kms_context(const struct record *record, json_object **ret, struct mu_error *err)
{
    MU_CLEANUP(json_free) json_object *context = json_object_new_object();
    char identity[2 * VOLUME_IDENTITY_SIZE + 1];

    hex_encode((struct bytes){record->volume_identity, VOLUME_IDENTITY_SIZE}, identity);
    if (!json_add_text(context, "volume-uuid", record->volume_uuid) ||
        !json_add_text(context, "volume-identity", identity) ||
        (record->by_instance && !add_instance_context(context, record)))
        return mu_oom(err);
    *ret = MU_TAKE(context);
    return MU_OK;
}

/* Compared whole: missing members, different members and additional ones are refused. */
static enum mu_status check_context(const struct record *record, json_object *found,
                                    struct mu_error *err)
{
    MU_CLEANUP(json_free) json_object *expected = NULL;

    MU_TRY(aws_kms_context(record, &expected, err));
    json_object_object_foreach(expected, name, value)
    {
        const char *text;

        MU_TRY(json_string(found, name, CONTEXT_VALUE_MAX, MU_REFUSE, &text, err));
        if (strcmp(text, json_object_get_string(value)) != 0)
            return mu_fail(err, MU_REFUSE, "encryption context: %s is not this volume's", name);
    }
    if (json_object_object_length(found) != json_object_object_length(expected))
        return mu_fail(err, MU_REFUSE, "record: encryption_context has %d members, not %d",
                       json_object_object_length(found), json_object_object_length(expected));
    return MU_OK;
}

/* ---- in a record ---- */

/* A replica has the ciphertext of the key before it, and none of its own. */
static enum mu_status parse_key(json_object *object, struct kms_keys *keys, struct mu_error *err)
{
    static const char *const names[] = {"key_arn", "ciphertext", NULL};
    static const char *const replicas[] = {"key_arn", NULL};
    const char *arn = NULL;
    size_t i = keys->count, first;

    MU_TRY(json_string(object, "key_arn", KMS_ARN_MAX, MU_REFUSE, &arn, err));
    MU_TRY(kms_keys_add(keys, arn, err));
    first = kms_keys_first(keys, i);
    MU_TRY(json_only(object, "record: a key", first < i ? replicas : names, MU_REFUSE, err));
    if (first < i) {
        keys->key[i].ciphertext = keys->key[first].ciphertext;
        return MU_OK;
    }
    return json_string(object, "ciphertext", CIPHERTEXT_TEXT_MAX, MU_REFUSE,
                       &keys->key[i].ciphertext, err);
}

enum mu_status kms_keys_parse(const struct record *record, struct kms_keys *ret,
                              struct mu_error *err)
{
    static const char *const members[] = {"keys", "encryption_context", NULL};
    struct kms_keys keys = {0};
    json_object *data = record->provider_data, *list = NULL;

    MU_TRY(json_only(data, "record: aws-kms", members, MU_REFUSE, err));
    MU_TRY(json_member(data, "keys", json_type_array, MU_REFUSE, &list, err));
    MU_TRY(json_member(data, "encryption_context", json_type_object, MU_REFUSE,
                       &keys.encryption_context, err));
    if (json_object_array_length(list) == 0)
        return mu_fail(err, MU_REFUSE, "record: aws-kms names no key");
    for (size_t i = 0; i < json_object_array_length(list); i++)
        MU_TRY(parse_key(json_object_array_get_idx(list, i), &keys, err));
    MU_TRY(check_context(record, keys.encryption_context, err));
    *ret = keys;
    return MU_OK;
}

static json_object *key_to_json(const struct kms_keys *keys, size_t i)
{
    const struct kms_key *key = &keys->key[i];
    json_object *object = json_object_new_object();

    if (!json_add_text(object, "key_arn", key->arn) ||
        (kms_keys_first(keys, i) == i && !json_add_text(object, "ciphertext", key->ciphertext)))
        json_free(&object);
    return object;
}

enum mu_status kms_keys_describe(const struct kms_keys *keys, struct record *record,
                                 struct mu_error *err)
{
    MU_CLEANUP(json_free) json_object *data = json_object_new_object();
    json_object *list = json_object_new_array();

    if (!json_add(data, "keys", list))
        return mu_oom(err);
    for (size_t i = 0; i < keys->count; i++)
        if (!json_append(list, key_to_json(keys, i)))
            return mu_oom(err);
    if (!json_add(data, "encryption_context", json_object_get(keys->encryption_context)))
        return mu_oom(err);
    (void)snprintf(record->provider, sizeof(record->provider), "%s", PROVIDER_AWS_KMS);
    json_free(&record->provider_data);
    record->provider_data = MU_TAKE(data);
    return MU_OK;
}
