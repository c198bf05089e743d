/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "base/config.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/doors.h"
#include "base/ini.h"

const char *const config_actions[] = {"poweroff", "reboot", "halt", NULL};
static const char *const creations[] = {"no", "blank", NULL};
const char *const config_fallbacks[] = {"none", "passphrase", "shell", NULL};

#define IN_CONFIG(field) offsetof(struct config, field)
#define IN_VOLUME(field) offsetof(struct volume_config, field)

static const struct ini_key keys[] = {
    {"boot", "baseline", KIND_PATH, IN_CONFIG(baseline), 0, 0, NULL},
    {"boot", "builder_key", KIND_PATH, IN_CONFIG(builder_key), 0, 0, NULL},
    {"boot", "fence_pcr", KIND_NUMBER, IN_CONFIG(fence_pcr), FENCE_FIRST, FENCE_LAST, NULL},
    {"boot", "timeout", KIND_NUMBER, IN_CONFIG(timeout), 5, 3600, NULL},
    {"boot", "minimum_record_version", KIND_VERSION, IN_CONFIG(minimum_record_version), 1,
     2147483647, NULL},
    {"boot", "action", KIND_WORD, IN_CONFIG(action), 0, 0, config_actions},
    {"boot", "fallback", KIND_WORD, IN_CONFIG(fallback), 0, 0, config_fallbacks},
    {"boot", "open", KIND_TEXT, IN_CONFIG(open), 0, 0, NULL},
    {"boot", "report", KIND_PATH, IN_CONFIG(report), 0, 0, NULL},
    {"tpm", "tcti", KIND_TCTI, IN_CONFIG(tcti), 0, 0, NULL},
    {"tpm", "eventlog", KIND_PATH, IN_CONFIG(eventlog), 0, 0, NULL},
    {"aws", "imds", KIND_URL, IN_CONFIG(aws.imds), 0, 0, NULL},
    {"aws", "ca_file", KIND_PATH, IN_CONFIG(aws.ca_file), 0, 0, NULL},
    {"aws", "kms_endpoint", KIND_URL, IN_CONFIG(aws.kms_endpoint), 0, 0, NULL},
    {"aws", "fips", KIND_FLAG, IN_CONFIG(aws.fips), 0, 0, ini_flags},
    {"aws", "dual_stack", KIND_FLAG, IN_CONFIG(aws.dual_stack), 0, 0, ini_flags},
    {"vault", "ca_file", KIND_PATH, IN_CONFIG(vault.ca_file), 0, 0, NULL},
    {"vault", "verifier_ca_file", KIND_PATH, IN_CONFIG(vault.verifier_ca_file), 0, 0, NULL},
    {"volume", "device", KIND_DEVICE, IN_VOLUME(device), 0, 0, NULL},
    {"volume", "mapping", KIND_NAME, IN_VOLUME(mapping), 0, 0, NULL},
    {"volume", "provider", KIND_NAME, IN_VOLUME(provider), 0, 0, NULL},
    {"volume", "discard", KIND_FLAG, IN_VOLUME(discard), 0, 0, ini_flags},
    {"volume", "create", KIND_WORD, IN_VOLUME(create), 0, 0, creations},
    {"volume", "key_arn", KIND_ARN, IN_VOLUME(key_arn), 0, 0, NULL},
};

static const struct ini_section sections[] = {
    {"boot", 0, 0, 0, 0},
    {"tpm", 0, 0, 0, 0},
    {"aws", 0, 0, 0, 0},
    {"vault", 0, 0, 0, 0},
    {"volume", IN_CONFIG(volume), sizeof(struct volume_config), CONFIG_VOLUMES_MAX,
     IN_CONFIG(volumes)},
};

static const struct ini_schema schema = {sections, MU_COUNT(sections), keys, MU_COUNT(keys)};
_Static_assert(MU_COUNT(keys) <= INI_KEYS_MAX, "ini_load counts that many");
_Static_assert(sizeof(enum refusal_action) == sizeof(unsigned), "enums are stored as unsigned");
_Static_assert(sizeof(enum volume_create) == sizeof(unsigned), "enums are stored as unsigned");
_Static_assert(sizeof(enum refusal_fallback) == sizeof(unsigned), "enums are stored as unsigned");

static const struct {
    size_t offset;
    const char *value;
} default_text[] = {
    {IN_CONFIG(baseline), BASELINE_DEFAULT_PATH},
    {IN_CONFIG(builder_key), BUILDER_KEY_DEFAULT_PATH},
    {IN_CONFIG(open), ""},
    {IN_CONFIG(report), REPORT_DEFAULT_PATH},
    {IN_CONFIG(eventlog), EVENTLOG_DEFAULT_PATH},
    {IN_CONFIG(aws.imds), IMDS_DEFAULT_URL},
    {IN_CONFIG(aws.ca_file), CA_DEFAULT_PATH},
    {IN_CONFIG(vault.ca_file), CA_DEFAULT_PATH},
    {IN_CONFIG(vault.verifier_ca_file), CA_DEFAULT_PATH},
};

void config_free(struct config *config)
{
    ini_free(&schema, config);
    *config = (struct config){0};
}

static enum mu_status set_defaults(struct config *config, struct mu_error *err)
{
    for (size_t i = 0; i < MU_COUNT(default_text); i++)
        MU_TRY(string_set((char **)(void *)((char *)config + default_text[i].offset),
                          default_text[i].value, err));
    config->fence_pcr = FENCE_DEFAULT;
    config->timeout = 120;
    config->minimum_record_version = 1;
    return MU_OK;
}

static enum mu_status check_create(const struct volume_config *volume, const char *path,
                                   struct mu_error *err)
{
    if ((volume->create == CREATE_BLANK) != (volume->key_arn != NULL))
        return mu_fail(err, MU_CONFIG, "%s: volume %s: create = blank and key_arn go together",
                       path, volume->name);
    if (volume->create == CREATE_BLANK && strcmp(volume->provider, PROVIDER_AWS_KMS) != 0)
        return mu_fail(err, MU_CONFIG,
                       "%s: volume %s: create = blank needs the provider " PROVIDER_AWS_KMS, path,
                       volume->name);
    return MU_OK;
}

#define KNOWN_MAX 256

bool config_opens(const struct config *config, const char *name)
{
    return ini_lists(config->open, CONFIG_OPEN_BETWEEN, name) && door_may_open(name);
}

/* Each name once, in the order of the table. */
static void list_doors(char ret[static KNOWN_MAX])
{
    size_t used = 0;

    ret[0] = '\0';
    for (size_t i = 0; i < doors_count && used < KNOWN_MAX; i++)
        if (door_is_first_of_its_name(i) && door_may_open(doors[i].name))
            used += (size_t)snprintf(ret + used, KNOWN_MAX - used, "%s%s", used > 0 ? ", " : "",
                                     doors[i].name);
}

static enum mu_status check_open(const struct config *config, const char *path,
                                 struct mu_error *err)
{
    const char *at = config->open;
    struct bytes item;

    while ((item = ini_next_item(&at, CONFIG_OPEN_BETWEEN)).len > 0) {
        char name[64], known[KNOWN_MAX];

        (void)snprintf(name, sizeof(name), "%.*s", (int)item.len, (const char *)item.data);
        if (door_may_open(name))
            continue;
        list_doors(known);
        return mu_fail(err, MU_CONFIG, "%s: open = %s: no door has this name; the doors are %s",
                       path, name, known);
    }
    return MU_OK;
}

static enum mu_status finish_volumes(struct config *config, const char *path, struct mu_error *err)
{
    if (config->volumes == 0)
        return mu_fail(err, MU_CONFIG, "%s: no [volume NAME] section", path);
    for (size_t i = 0; i < config->volumes; i++) {
        struct volume_config *volume = &config->volume[i];

        if (volume->device == NULL)
            return mu_fail(err, MU_CONFIG, "%s: volume %s has no device", path, volume->name);
        if (volume->mapping == NULL)
            MU_TRY(string_set(&volume->mapping, volume->name, err));
        if (volume->provider == NULL)
            MU_TRY(string_set(&volume->provider, PROVIDER_DEFAULT, err));
        MU_TRY(check_create(volume, path, err));
        for (size_t j = 0; j < i; j++)
            if (strcmp(config->volume[j].mapping, volume->mapping) == 0)
                return mu_fail(err, MU_CONFIG, "%s: volumes %s and %s have the same mapping %s",
                               path, config->volume[j].name, volume->name, volume->mapping);
    }
    return MU_OK;
}

enum mu_status config_load(const char *path, struct config *ret, struct mu_error *err)
{
    MU_CLEANUP(config_free) struct config config = {0};

    MU_TRY(set_defaults(&config, err));
    MU_TRY(ini_load(path, &schema, &config, err));
    MU_TRY(check_open(&config, path, err));
    MU_TRY(finish_volumes(&config, path, err));
    *ret = MU_TAKE(config);
    return MU_OK;
}
