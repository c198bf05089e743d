/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "verifier/audience.h"

#include <string.h>

#define HTTPS "https://"

const char *audience_value(const struct audience *audience)
{
    const struct audience_settings *settings = audience->settings;

    return settings->value != NULL ? settings->value : settings->name;
}

const struct audience *audience_find(const struct audiences *set, const char *value)
{
    if (value == NULL)
        return &set->item[0];
    for (size_t i = 0; i < set->count; i++)
        if (strcmp(audience_value(&set->item[i]), value) == 0)
            return &set->item[i];
    return NULL;
}

bool issuer_is_url(const char *issuer)
{
    size_t scheme = strlen(HTTPS);
    size_t len = strlen(issuer);

    return strncmp(issuer, HTTPS, scheme) == 0 && len > scheme && issuer[scheme] != '/' &&
           issuer[len - 1] != '/' && strpbrk(issuer, "?# \"\\") == NULL;
}

static enum mu_status find_key(const struct settings *settings, EVP_PKEY *const *signing_key,
                               const char *name, EVP_PKEY **ret, struct mu_error *err)
{
    *ret = signing_key[0];
    if (name == NULL)
        return MU_OK;
    for (size_t i = 0; i < settings->signing_keys; i++) {
        *ret = signing_key[i];
        if (strcmp(settings->signing_key[i].name, name) == 0)
            return MU_OK;
    }
    return mu_fail(err, MU_CONFIG, "signing_key = %.64s: there is no [signing-key %.64s]", name,
                   name);
}

static enum mu_status add(const struct settings *settings, EVP_PKEY *const *signing_key,
                          const struct audience_settings *from, struct audiences *to,
                          struct mu_error *err)
{
    struct audience audience = {.settings = from};

    MU_TRY(find_key(settings, signing_key, from->signing_key, &audience.signing_key, err));
    if (to->count > 0 && audience_find(to, audience_value(&audience)) != NULL)
        return mu_fail(err, MU_CONFIG, "another audience has the value '%.80s'",
                       audience_value(&audience));
    if (from->profile == PROFILE_EAR && !issuer_is_url(settings->issuer))
        return mu_fail(err, MU_CONFIG,
                       "profile = ear names policies below the issuer: issuer must be https://HOST "
                       "with no '/' at its end");
    to->item[to->count++] = audience;
    return MU_OK;
}

enum mu_status audiences_load(const struct settings *settings, EVP_PKEY *const *signing_key,
                              const char *path, struct audiences *ret, struct mu_error *err)
{
    ret->count = 0;
    for (size_t i = 0; i < settings->audiences; i++)
        if (add(settings, signing_key, &settings->audience[i], ret, err) != MU_OK)
            return mu_context(err, "%s: audience %s", path, settings->audience[i].name);
    return MU_OK;
}
