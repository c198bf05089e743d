/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <string.h>

#include "release/vault.h"
#include "release/vault_client.h"

#define NAME_MAX_LENGTH 128
#define CIPHERTEXT_MAX 1024
#define CONTEXT_MAX 256

static enum mu_status path_member(json_object *object, const char *name, const char **ret,
                                  struct mu_error *err)
{
    const char *text = NULL;

    MU_TRY(json_string(object, name, NAME_MAX_LENGTH, MU_REFUSE, &text, err));
    if (!vault_path_ok(text))
        return mu_fail(err, MU_REFUSE, "\"%s\" has characters other than A-Z a-z 0-9 - _ . ~ /",
                       name);
    *ret = text;
    return MU_OK;
}

static enum mu_status address_member(json_object *object, const char *name, const char **ret,
                                     struct mu_error *err)
{
    const char *text = NULL;

    MU_TRY(json_string(object, name, SERVICE_URL_MAX, MU_REFUSE, &text, err));
    if (!service_address_ok(text))
        return mu_fail(err, MU_REFUSE,
                       "\"%s\" is not https:// with a host, and no slash at the end", name);
    *ret = text;
    return MU_OK;
}

static bool has(json_object *object, const char *name)
{
    return json_object_object_get_ex(object, name, NULL);
}

static enum mu_status parse_kv(json_object *kv, struct vault_record *ret, struct mu_error *err)
{
    static const char *const members[] = {"mount", "path", "field", "version", NULL};

    ret->kv = true;
    MU_TRY(json_only(kv, "kv", members, MU_REFUSE, err));
    MU_TRY(path_member(kv, "mount", &ret->mount, err));
    MU_TRY(path_member(kv, "path", &ret->path, err));
    MU_TRY(json_string(kv, "field", NAME_MAX_LENGTH, MU_REFUSE, &ret->field, err));
    return has(kv, "version")
               ? json_integer(kv, "version", 1, INT32_MAX, MU_REFUSE, &ret->version, err)
               : MU_OK;
}

static enum mu_status plain_text(json_object *object, const char *name, size_t max,
                                 const char **ret, struct mu_error *err)
{
    const char *text = NULL;

    MU_TRY(json_string(object, name, max, MU_REFUSE, &text, err));
    if (!http_token_ok(text_view(text), 1, max) || strpbrk(text, "\"\\") != NULL)
        return mu_fail(err, MU_REFUSE, "\"%s\" is not plain text", name);
    *ret = text;
    return MU_OK;
}

static enum mu_status parse_transit(json_object *transit, struct vault_record *ret,
                                    struct mu_error *err)
{
    static const char *const members[] = {"mount", "key", "ciphertext", "context", NULL};

    MU_TRY(json_only(transit, "transit", members, MU_REFUSE, err));
    MU_TRY(path_member(transit, "mount", &ret->mount, err));
    MU_TRY(path_member(transit, "key", &ret->key, err));
    MU_TRY(plain_text(transit, "ciphertext", CIPHERTEXT_MAX, &ret->ciphertext, err));
    return has(transit, "context") ? plain_text(transit, "context", CONTEXT_MAX, &ret->context, err)
                                   : MU_OK;
}

static enum mu_status parse_source(json_object *data, struct vault_record *ret,
                                   struct mu_error *err)
{
    json_object *source = NULL;
    bool kv = has(data, "kv");

    if (kv == has(data, "transit"))
        return mu_fail(err, MU_REFUSE, "exactly one of \"kv\" and \"transit\" is needed");
    MU_TRY(json_member(data, kv ? "kv" : "transit", json_type_object, MU_REFUSE, &source, err));
    return kv ? parse_kv(source, ret, err) : parse_transit(source, ret, err);
}

static enum mu_status vault_record_parse(json_object *data, struct vault_record *ret,
                                         struct mu_error *err)
{
    static const char *const members[] = {"verifier", "address", "namespace", "auth_mount", "role",
                                          "kv",       "transit", "wrap_ttl",  NULL};

    MU_TRY(json_only(data, "it", members, MU_REFUSE, err));
    MU_TRY(address_member(data, "verifier", &ret->verifier, err));
    MU_TRY(address_member(data, "address", &ret->address, err));
    MU_TRY(path_member(data, "auth_mount", &ret->auth_mount, err));
    MU_TRY(path_member(data, "role", &ret->role, err));
    if (has(data, "namespace"))
        MU_TRY(path_member(data, "namespace", &ret->scope, err));
    if (has(data, "wrap_ttl"))
        MU_TRY(
            json_integer(data, "wrap_ttl", 1, VAULT_WRAP_TTL_MAX, MU_REFUSE, &ret->wrap_ttl, err));
    return parse_source(data, ret, err);
}

enum mu_status vault_parse_record(json_object *data, struct vault_record *ret, struct mu_error *err)
{
    struct vault_record record = {0};

    if (vault_record_parse(data, &record, err) != MU_OK)
        return mu_context(err, "record: vault");
    *ret = record;
    return MU_OK;
}
