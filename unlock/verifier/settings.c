/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "verifier/settings.h"

#include <stdlib.h>
#include <string.h>

#include "base/config.h"
#include "base/ini.h"

#define ACCOUNTS_BETWEEN ", \t"
#define AT(field) offsetof(struct settings, field)
#define KEY_AT(field) offsetof(struct key_settings, field)
#define BASELINE_AT(field) offsetof(struct baseline_settings, field)

static const char *const demands[] = {"no", "optional", "required", NULL};
static const char *const states[] = {"boot", "running", NULL};

static const struct ini_key keys[] = {
    {"verifier", "listen", KIND_TEXT, AT(listen), 0, 0, NULL},
    {"verifier", "certificate", KIND_PATH, AT(certificate), 0, 0, NULL},
    {"verifier", "certificate_key", KIND_PATH, AT(certificate_key), 0, 0, NULL},
    {"verifier", "issuer", KIND_TEXT, AT(issuer), 0, 0, NULL},
    {"verifier", "audience", KIND_TEXT, AT(audience), 0, 0, NULL},
    {"verifier", "root", KIND_PATH, AT(root), 0, 0, NULL},
    {"verifier", "region_certificates", KIND_PATH, AT(region_certificates), 0, 0, NULL},
    {"verifier", "store", KIND_TEXT, AT(store), 0, 0, NULL},
    {"verifier", "identity", KIND_WORD, AT(identity), 0, 0, demands},
    {"verifier", "accounts", KIND_TEXT, AT(accounts), 0, 0, NULL},
    {"verifier", "challenge_lifetime", KIND_NUMBER, AT(challenge_lifetime), 5, 600, NULL},
    {"verifier", "max_age", KIND_NUMBER, AT(max_age), 5, 3600, NULL},
    {"verifier", "token_lifetime", KIND_NUMBER, AT(token_lifetime), 10, 86400, NULL},
    {"verifier", "fence_pcr", KIND_NUMBER, AT(fence_pcr), FENCE_FIRST, FENCE_LAST, NULL},
    {"limits", "threads", KIND_NUMBER, AT(threads), 1, 16, NULL},
    {"limits", "connections", KIND_NUMBER, AT(connections), 1, 100000, NULL},
    {"limits", "connections_per_address", KIND_NUMBER, AT(connections_per_address), 1, 100000,
     NULL},
    {"limits", "requests_per_second", KIND_NUMBER, AT(requests_per_second), 1, 1000000, NULL},
    {"limits", "burst", KIND_NUMBER, AT(burst), 1, 1000000, NULL},
    {"limits", "timeout", KIND_NUMBER, AT(timeout), 1, 300, NULL},
    {"signing-key", "file", KIND_PATH, KEY_AT(file), 0, 0, NULL},
    {"challenge-key", "file", KIND_PATH, KEY_AT(file), 0, 0, NULL},
    {"baseline", "file", KIND_PATH, BASELINE_AT(file), 0, 0, NULL},
    {"baseline", "version", KIND_TEXT, BASELINE_AT(version), 0, 0, NULL},
    {"baseline", "state", KIND_WORD, BASELINE_AT(state), 0, 0, states},
};

static const struct ini_section sections[] = {
    {"verifier", 0, 0, 0, 0},
    {"limits", 0, 0, 0, 0},
    {"signing-key", AT(signing_key), sizeof(struct key_settings), SETTINGS_KEYS_MAX,
     AT(signing_keys)},
    {"challenge-key", AT(challenge_key), sizeof(struct key_settings), SETTINGS_KEYS_MAX,
     AT(challenge_keys)},
    {"baseline", AT(baseline), sizeof(struct baseline_settings), SETTINGS_BASELINES_MAX,
     AT(baselines)},
};

static const struct ini_schema schema = {sections, MU_COUNT(sections), keys, MU_COUNT(keys)};
_Static_assert(MU_COUNT(keys) <= INI_KEYS_MAX, "ini_load counts that many");
_Static_assert(sizeof(enum identity_demand) == sizeof(unsigned), "enums are stored as unsigned");
_Static_assert(sizeof(enum reference_state) == sizeof(unsigned), "enums are stored as unsigned");

static const struct {
    size_t offset;
    const char *name; /* NULL: has a default, or need not be there */
    const char *value;
} texts[] = {
    {AT(listen), NULL, "0.0.0.0:8443"},
    {AT(region_certificates), NULL, REGION_CERTIFICATES_DEFAULT_PATH},
    {AT(certificate), "certificate", NULL},
    {AT(certificate_key), "certificate_key", NULL},
    {AT(issuer), "issuer", NULL},
    {AT(audience), "audience", NULL},
};

const char *reference_state_name(enum reference_state state)
{
    return states[state];
}

const char *identity_demand_name(enum identity_demand demand)
{
    return demands[demand];
}

bool settings_serve(const struct settings *settings, const char *account)
{
    return settings->accounts == NULL || ini_lists(settings->accounts, ACCOUNTS_BETWEEN, account);
}

void settings_free(struct settings *settings)
{
    ini_free(&schema, settings);
    *settings = (struct settings){0};
}

static char **text_at(struct settings *settings, size_t i)
{
    return (char **)(void *)((char *)settings + texts[i].offset);
}

static enum mu_status set_defaults(struct settings *settings, struct mu_error *err)
{
    *settings = (struct settings){
        .challenge_lifetime = 60,
        .max_age = 120,
        .token_lifetime = 300,
        .fence_pcr = FENCE_DEFAULT,
        .threads = 2,
        .connections = 1000,
        .connections_per_address = 16,
        .requests_per_second = 10,
        .burst = 20,
        .timeout = 10,
    };
    for (size_t i = 0; i < MU_COUNT(texts); i++)
        if (texts[i].value != NULL)
            MU_TRY(string_set(text_at(settings, i), texts[i].value, err));
    return MU_OK;
}

static enum mu_status check_keys(const struct key_settings *key, size_t count, const char *section,
                                 const char *path, struct mu_error *err)
{
    if (count == 0)
        return mu_fail(err, MU_CONFIG, "%s: no [%s NAME] section", path, section);
    for (size_t i = 0; i < count; i++)
        if (key[i].file == NULL)
            return mu_fail(err, MU_CONFIG, "%s: %s %s has no file", path, section, key[i].name);
    return MU_OK;
}

/* Without an identity document the account of an instance is not known. */
static enum mu_status check_accounts(const struct settings *settings, const char *path,
                                     struct mu_error *err)
{
    const char *at = settings->accounts;
    struct bytes id;
    size_t count = 0;

    if (at == NULL)
        return MU_OK;
    for (; (id = ini_next_item(&at, ACCOUNTS_BETWEEN)).len > 0; count++)
        if (id.len != SETTINGS_ACCOUNT_LEN ||
            strspn((const char *)id.data, "0123456789") < SETTINGS_ACCOUNT_LEN)
            return mu_fail(err, MU_CONFIG, "%s: accounts: '%.*s' is not an account's 12 digits",
                           path, (int)(id.len < 40 ? id.len : 40), (const char *)id.data);
    if (count == 0)
        return mu_fail(err, MU_CONFIG, "%s: accounts: names no account", path);
    if (settings->identity != IDENTITY_REQUIRED)
        return mu_fail(err, MU_CONFIG,
                       "%s: accounts: only the identity document tells the account: add identity = "
                       "required",
                       path);
    return MU_OK;
}

static enum mu_status check(struct settings *settings, const char *path, struct mu_error *err)
{
    for (size_t i = 0; i < MU_COUNT(texts); i++)
        if (*text_at(settings, i) == NULL)
            return mu_fail(err, MU_CONFIG, "%s: section [verifier] has no %s", path, texts[i].name);
    MU_TRY(check_keys(settings->signing_key, settings->signing_keys, "signing-key", path, err));
    MU_TRY(
        check_keys(settings->challenge_key, settings->challenge_keys, "challenge-key", path, err));
    MU_TRY(check_accounts(settings, path, err));
    if (settings->baselines == 0)
        return mu_fail(err, MU_CONFIG, "%s: no [baseline NAME] section", path);
    for (size_t i = 0; i < settings->baselines; i++) {
        struct baseline_settings *baseline = &settings->baseline[i];

        if (baseline->file == NULL)
            return mu_fail(err, MU_CONFIG, "%s: baseline %s has no file", path, baseline->name);
        if (baseline->version == NULL)
            MU_TRY(string_set(&baseline->version, "", err));
    }
    return MU_OK;
}

enum mu_status settings_load(const char *path, struct settings *ret, struct mu_error *err)
{
    MU_CLEANUP(settings_free) struct settings settings = {0};

    MU_TRY(set_defaults(&settings, err));
    MU_TRY(ini_load(path, &schema, &settings, err));
    MU_TRY(check(&settings, path, err));
    *ret = MU_TAKE(settings);
    return MU_OK;
}
