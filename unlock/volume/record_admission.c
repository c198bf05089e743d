/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "volume/record_admission.h"

#include <string.h>

#define ARN_MAX 2048

/* What else is in there the provider says. */
static enum mu_status check_key(const struct volume_config *volume, json_object *key,
                                struct mu_error *err)
{
    const char *key_arn = NULL;

    MU_TRY(json_string(key, "key_arn", ARN_MAX, MU_REFUSE, &key_arn, err));
    if (!ini_lists(volume->key_arn, INI_LIST_BETWEEN, key_arn))
        return mu_fail(err, MU_REFUSE,
                       "record made by an instance: its key is %.200s, this image's is %.200s",
                       key_arn, volume->key_arn);
    return MU_OK;
}

static enum mu_status parse_instance_record(const struct volume_config *volume, json_object *token,
                                            struct record *ret, struct mu_error *err)
{
    json_object *keys = NULL;

    MU_TRY(record_parse_instance_token(token, ret, err));
    MU_TRY(json_member(ret->provider_data, "keys", json_type_array, MU_REFUSE, &keys, err));
    for (size_t i = 0; i < json_object_array_length(keys); i++)
        MU_TRY(check_key(volume, json_object_array_get_idx(keys, i), err));
    return MU_OK;
}

enum mu_status volume_fits(const struct record *record, const struct luks_header *header,
                           int64_t minimum_version, struct mu_error *err)
{
    struct volume_geometry found = header->geometry;

    if (luks_header_is_copy(header))
        found.device_size = record->geometry.device_size;
    MU_TRY(record_check(record, header->uuid, minimum_version, err));
    return record_check_geometry(record, &found, err);
}

/* Never a copy of a header: a boot opens a device that holds the volume's data. */
static enum mu_status admit(const struct config *config, const struct volume_config *volume,
                            const struct public_keys *builder, const struct luks_header *header,
                            struct record *record, struct mu_error *err)
{
    int64_t minimum = config->minimum_record_version;
    json_object *token;

    MU_TRY(luks_header_record_token(header, &token, err));
    if (volume->create == CREATE_BLANK && record_token_by_instance(token)) {
        MU_TRY(parse_instance_record(volume, token, record, err));
        minimum = record->version; /* the configured one counts the builder's records */
    } else {
        MU_TRY(record_parse_token(token, builder, record, err));
    }
    MU_TRY(record_check(record, header->uuid, minimum, err));
    MU_TRY(record_check_name(record, volume->name, err));
    MU_TRY(record_check_geometry(record, &header->geometry, err));
    if (strcmp(record->provider, volume->provider) != 0)
        return mu_fail(err, MU_REFUSE, "the record's provider is '%s', the configuration's '%s'",
                       record->provider, volume->provider);
    return MU_OK;
}

enum mu_status volume_admit(const struct config *config, const struct volume_config *volume,
                            const struct public_keys *builder, const struct luks_header *header,
                            struct record *ret, struct mu_error *err)
{
    MU_CLEANUP(record_free) struct record record = {0};

    MU_TRY(admit(config, volume, builder, header, &record, err));
    *ret = MU_TAKE(record);
    return MU_OK;
}
