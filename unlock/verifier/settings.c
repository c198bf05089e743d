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
#define AUDIENCE_AT(field) offsetof(struct audience_settings, field)

static const char *const demands[] = {"no", "optional", "required", NULL};
static const char *const states[] = {"boot", "running", NULL};
static const char *const profiles[] = {"eat", "ear", NULL};
static const char *const encryptions[] = {"document", "none", NULL};

static const struct ini_key keys[] = {
    {"verifier", "listen", KIND_TEXT, AT(listen), .text = "0.0.0.0:8443"},
    {"verifier", "certificate", KIND_PATH, AT(certificate), .needed = true},
    {"verifier", "certificate_key", KIND_PATH, AT(certificate_key), .needed = true},
    {"verifier", "issuer", KIND_TEXT, AT(issuer), .needed = true},
    {"verifier", "root", KIND_PATH, .offset = AT(root)},
    {"verifier", "region_certificates", KIND_PATH, AT(region_certificates),
     .text = REGION_CERTIFICATES_DEFAULT_PATH},
    {"verifier", "store", KIND_TEXT, .offset = AT(store)},
    {"verifier", "builder_key", KIND_PATH, .offset = AT(builder_key)},
    {"verifier", "identity", KIND_WORD, AT(identity), .words = demands},
    {"verifier", "accounts", KIND_TEXT, .offset = AT(accounts)},
    {"verifier", "challenge_lifetime", KIND_NUMBER, AT(challenge_lifetime), 5, 600, .preset = 60},
    {"verifier", "max_age", KIND_NUMBER, AT(max_age), 5, 3600, .preset = 120},
    {"verifier", "fence_pcr", KIND_NUMBER, AT(fence_pcr), FENCE_FIRST, FENCE_LAST,
     .preset = FENCE_DEFAULT},
    {"limits", "threads", KIND_NUMBER, AT(threads), 1, 16, .preset = 2},
    {"limits", "connections", KIND_NUMBER, AT(connections), 1, 100000, .preset = 1000},
    {"limits", "connections_per_address", KIND_NUMBER, AT(connections_per_address), 1, 100000,
     .preset = 16},
    {"limits", "requests_per_second", KIND_NUMBER, AT(requests_per_second), 1, 1000000,
     .preset = 10},
    {"limits", "burst", KIND_NUMBER, AT(burst), 1, 1000000, .preset = 20},
    {"limits", "timeout", KIND_NUMBER, AT(timeout), 1, 300, .preset = 10},
    {"page", "listen", KIND_TEXT, .offset = AT(page.listen)},
    {"page", "token_file", KIND_PATH, .offset = AT(page.token_file)},
    {"page", "client_ca", KIND_PATH, .offset = AT(page.client_ca)},
    {"audience", "value", KIND_TEXT, .offset = AUDIENCE_AT(value)},
    {"audience", "signing_key", KIND_TEXT, .offset = AUDIENCE_AT(signing_key)},
    {"audience", "profile", KIND_WORD, AUDIENCE_AT(profile), .words = profiles},
    {"audience", "encryption", KIND_WORD, AUDIENCE_AT(encryption), .words = encryptions},
    {"audience", "token_lifetime", KIND_NUMBER, AUDIENCE_AT(token_lifetime), 10, 86400,
     .preset = 300},
    {"audience", "tokens_per_minute", KIND_NUMBER, AUDIENCE_AT(tokens_per_minute), 0, 1000000,
     .preset = 0},
    {"signing-key", "file", KIND_PATH, KEY_AT(file), .needed = true},
    {"challenge-key", "file", KIND_PATH, KEY_AT(file), .needed = true},
    {"baseline", "file", KIND_PATH, BASELINE_AT(file), .needed = true},
    {"baseline", "version", KIND_TEXT, BASELINE_AT(version), .text = ""},
    {"baseline", "state", KIND_WORD, BASELINE_AT(state), .words = states},
};

static const struct ini_section sections[] = {
    {"verifier", 0, 0, 0, 0, false},
    {"limits", 0, 0, 0, 0, false},
    {"page", 0, 0, 0, 0, false},
    {"audience", AT(audience), sizeof(struct audience_settings), SETTINGS_AUDIENCES_MAX,
     AT(audiences), false},
    {"signing-key", AT(signing_key), sizeof(struct key_settings), SETTINGS_KEYS_MAX,
     AT(signing_keys), false},
    {"challenge-key", AT(challenge_key), sizeof(struct key_settings), SETTINGS_KEYS_MAX,
     AT(challenge_keys), false},
    {"baseline", AT(baseline), sizeof(struct baseline_settings), SETTINGS_BASELINES_MAX,
     AT(baselines), true},
};

static const struct ini_schema schema = {sections, MU_COUNT(sections), keys, MU_COUNT(keys)};
_Static_assert(MU_COUNT(keys) <= INI_KEYS_MAX, "ini_load counts that many");
_Static_assert(sizeof(enum identity_demand) == sizeof(unsigned), "enums are stored as unsigned");
_Static_assert(sizeof(enum reference_state) == sizeof(unsigned), "enums are stored as unsigned");
_Static_assert(sizeof(enum token_profile) == sizeof(unsigned), "enums are stored as unsigned");
_Static_assert(sizeof(enum token_encryption) == sizeof(unsigned), "enums are stored as unsigned");

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

static enum mu_status check_images(const struct settings *settings, const char *path,
                                   struct mu_error *err)
{
    if (settings->builder_key == NULL && settings->baselines == 0)
        return mu_fail(err, MU_CONFIG,
                       "%s: no [baseline NAME] section, and no builder_key for approved images",
                       path);
    if (settings->builder_key != NULL && settings->store == NULL)
        return mu_fail(err, MU_CONFIG,
                       "%s: builder_key: images are approved in a store: add store =", path);
    return MU_OK;
}

static enum mu_status check_page(const struct settings *settings, const char *path,
                                 struct mu_error *err)
{
    const struct page_settings *page = &settings->page;
    bool guarded = page->token_file != NULL || page->client_ca != NULL;

    if (page->listen == NULL)
        return guarded ? mu_fail(err, MU_CONFIG, "%s: [page] has no listen", path) : MU_OK;
    if (!guarded)
        return mu_fail(err, MU_CONFIG,
                       "%s: [page]: everybody could look at it: add token_file or client_ca", path);
    if (settings->store == NULL)
        return mu_fail(err, MU_CONFIG, "%s: [page]: it shows what a store has: add store =", path);
    return MU_OK;
}

enum mu_status settings_load(const char *path, struct settings *ret, struct mu_error *err)
{
    MU_CLEANUP(settings_free) struct settings settings = {0};

    MU_TRY(ini_load(path, &schema, &settings, err));
    MU_TRY(check_accounts(&settings, path, err));
    MU_TRY(check_images(&settings, path, err));
    MU_TRY(check_page(&settings, path, err));
    *ret = MU_TAKE(settings);
    return MU_OK;
}
