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
    {"boot", "baseline", KIND_PATH, IN_CONFIG(baseline), .text = BASELINE_DEFAULT_PATH},
    {"boot", "builder_key", KIND_PATH, IN_CONFIG(builder_key), .text = BUILDER_KEY_DEFAULT_PATH},
    {"boot", "fence_pcr", KIND_NUMBER, IN_CONFIG(fence_pcr), FENCE_FIRST, FENCE_LAST,
     .preset = FENCE_DEFAULT},
    {"boot", "timeout", KIND_NUMBER, IN_CONFIG(timeout), 5, 3600, .preset = 120},
    {"boot", "minimum_record_version", KIND_VERSION, IN_CONFIG(minimum_record_version), 1,
     2147483647, .preset = 1},
    {"boot", "action", KIND_WORD, IN_CONFIG(action), .words = config_actions},
    {"boot", "fallback", KIND_WORD, IN_CONFIG(fallback), .words = config_fallbacks},
    {"boot", "open", KIND_TEXT, IN_CONFIG(open), .text = ""},
    {"boot", "report", KIND_PATH, IN_CONFIG(report), .text = REPORT_DEFAULT_PATH},
    {"tpm", "tcti", KIND_TCTI, .offset = IN_CONFIG(tcti)},
    {"tpm", "eventlog", KIND_PATH, IN_CONFIG(eventlog), .text = EVENTLOG_DEFAULT_PATH},
    {"aws", "imds", KIND_URL, IN_CONFIG(aws.imds), .text = IMDS_DEFAULT_URL},
    {"aws", "ca_file", KIND_PATH, IN_CONFIG(aws.ca_file), .text = CA_DEFAULT_PATH},
    {"aws", "kms_endpoint", KIND_URLS, .offset = IN_CONFIG(aws.kms_endpoint)},
    {"aws", "fips", KIND_FLAG, IN_CONFIG(aws.fips), .words = ini_flags},
    {"aws", "dual_stack", KIND_FLAG, IN_CONFIG(aws.dual_stack), .words = ini_flags},
    {"vault", "ca_file", KIND_PATH, IN_CONFIG(vault.ca_file), .text = CA_DEFAULT_PATH},
    {"vault", "verifier_ca_file", KIND_PATH, IN_CONFIG(vault.verifier_ca_file),
     .text = CA_DEFAULT_PATH},
    {"volume", "device", KIND_DEVICE, IN_VOLUME(device), .needed = true},
    {"volume", "mapping", KIND_NAME, .offset = IN_VOLUME(mapping)},
    {"volume", "provider", KIND_NAME, IN_VOLUME(provider), .text = PROVIDER_DEFAULT},
    {"volume", "discard", KIND_FLAG, IN_VOLUME(discard), .words = ini_flags},
    {"volume", "create", KIND_WORD, IN_VOLUME(create), .words = creations},
    {"volume", "key_arn", KIND_ARNS, .offset = IN_VOLUME(key_arn)},
};

static const struct ini_section sections[] = {
    {"boot", 0, 0, 0, 0, false},
    {"tpm", 0, 0, 0, 0, false},
    {"aws", 0, 0, 0, 0, false},
    {"vault", 0, 0, 0, 0, false},
    {"volume", IN_CONFIG(volume), sizeof(struct volume_config), CONFIG_VOLUMES_MAX,
     IN_CONFIG(volumes), false},
};

static const struct ini_schema schema = {sections, MU_COUNT(sections), keys, MU_COUNT(keys)};
_Static_assert(MU_COUNT(keys) <= INI_KEYS_MAX, "ini_load counts that many");
_Static_assert(sizeof(enum refusal_action) == sizeof(unsigned), "enums are stored as unsigned");
_Static_assert(sizeof(enum volume_create) == sizeof(unsigned), "enums are stored as unsigned");
_Static_assert(sizeof(enum refusal_fallback) == sizeof(unsigned), "enums are stored as unsigned");

void config_free(struct config *config)
{
    ini_free(&schema, config);
    *config = (struct config){0};
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
    for (size_t i = 0; i < config->volumes; i++) {
        struct volume_config *volume = &config->volume[i];

        if (volume->mapping == NULL)
            MU_TRY(string_set(&volume->mapping, volume->name, err));
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

    MU_TRY(ini_load(path, &schema, &config, err));
    MU_TRY(check_open(&config, path, err));
    MU_TRY(finish_volumes(&config, path, err));
    *ret = MU_TAKE(config);
    return MU_OK;
}
