/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "verifier/publish.h"

#include <string.h>

#include "appraise/jws.h"

static enum mu_status add_key(json_object *keys, EVP_PKEY *key, struct mu_error *err)
{
    MU_CLEANUP(json_free) json_object *jwk = NULL;
    char kid[JWK_THUMBPRINT_SIZE];

    MU_TRY(jws_public_key(key, &jwk, err));
    MU_TRY(jws_thumbprint(key, kid, err));
    if (!json_add_text(jwk, "kid", kid) || !json_add_text(jwk, "use", "sig") ||
        !json_add_text(jwk, "alg", jws_algorithm(key)) || !json_append(keys, MU_TAKE(jwk)))
        return mu_oom(err);
    return MU_OK;
}

static enum mu_status text_of(json_object *object, char **ret, struct mu_error *err)
{
    const char *text = json_text(object);

    return text != NULL ? string_set(ret, text, err) : mu_oom(err);
}

enum mu_status publish_keys(EVP_PKEY *const *key, size_t keys, char **ret, struct mu_error *err)
{
    MU_CLEANUP(json_free) json_object *set = json_object_new_object();
    json_object *list = json_object_new_array();

    if (!json_add(set, "keys", list))
        return mu_oom(err);
    for (size_t i = 0; i < keys; i++)
        MU_TRY(add_key(list, key[i], err));
    return text_of(set, ret, err);
}

static bool add_list(json_object *to, const char *name, const char *const *items)
{
    json_object *list = json_object_new_array();

    if (!json_add(to, name, list))
        return false;
    for (; *items != NULL; items++)
        if (!json_append(list, json_object_new_string(*items)))
            return false;
    return true;
}

/* Each algorithm once, with which tokens are signed. */
static void algorithms_of(const struct audiences *audiences,
                          const char *ret[static SETTINGS_AUDIENCES_MAX + 1])
{
    size_t count = 0;

    for (size_t i = 0; i < audiences->count; i++) {
        const char *algorithm = jws_algorithm(audiences->item[i].signing_key);
        size_t k = 0;

        while (k < count && strcmp(ret[k], algorithm) != 0)
            k++;
        if (k == count)
            ret[count++] = algorithm;
    }
    ret[count] = NULL;
}

enum mu_status publish_discovery(const char *issuer, const struct audiences *audiences, char **ret,
                                 struct mu_error *err)
{
    static const char *const claims[] = {"iss",      "aud",      "sub",   "iat",     "nbf",
                                         "exp",      "jti",      "cnf",   "account", "region",
                                         "image_id", "baseline", "state", "pcr4",    "pcr7",
                                         "pcr12",    "image",    "ueid",  "dbgstat", NULL};
    static const char *const response_types[] = {"id_token", NULL};
    static const char *const subject_types[] = {"public", NULL};
    const char *algorithms[SETTINGS_AUDIENCES_MAX + 1];
    MU_CLEANUP(json_free) json_object *object = json_object_new_object();
    MU_CLEANUP(string_free) char *keys = NULL;

    *ret = NULL;
    if (!issuer_is_url(issuer))
        return MU_OK;
    algorithms_of(audiences, algorithms);
    MU_TRY(string_print(&keys, err, "%s%s", issuer, PUBLISH_KEYS_PATH));
    if (!json_add_text(object, "issuer", issuer) || !json_add_text(object, "jwks_uri", keys) ||
        !add_list(object, "response_types_supported", response_types) ||
        !add_list(object, "subject_types_supported", subject_types) ||
        !add_list(object, "id_token_signing_alg_values_supported", algorithms) ||
        !add_list(object, "claims_supported", claims))
        return mu_oom(err);
    return text_of(object, ret, err);
}
