/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/retry.h"
#include "ctl/enroll.h"
#include "ctl/vault_role.h"
#include "release/vault.h"
#include "volume/luks_header.h"

#define NETWORK_SECONDS 60
#define VAULT "vault"
#define FIELD "key"

static bool is_set(const struct enroll_vault *v)
{
    return v->verifier != NULL || v->address != NULL || v->role != NULL || v->kv != NULL ||
           v->transit != NULL || v->scope != NULL || v->auth_mount != NULL || v->wrap_ttl != NULL ||
           v->cas != NULL;
}

static enum mu_status number(const char *name, const char *text, uint64_t max, uint64_t *ret,
                             struct mu_error *err)
{
    if (text != NULL && (!luks_number(text, ret) || *ret > max))
        return mu_fail(err, MU_USAGE, "%s '%s' is not a number up to %" PRIu64, name, text, max);
    return MU_OK;
}

enum mu_status enroll_vault_check(const struct enroll_vault *v, bool wanted, bool resign,
                                  struct mu_error *err)
{
    uint64_t ttl = 1, cas;

    if (!wanted || resign)
        return is_set(v) ? mu_fail(err, MU_USAGE,
                                   "the --vault and --verifier options are for the "
                                   "provider " VAULT ", and not for --resign")
                         : MU_OK;
    if (v->verifier == NULL || v->address == NULL || v->role == NULL ||
        (v->kv == NULL) == (v->transit == NULL))
        return mu_fail(err, MU_USAGE,
                       "--verifier, --vault, --vault-role and one of --vault-kv and "
                       "--vault-transit are needed; see 'muctl enroll --help'");
    if (v->cas != NULL && v->kv == NULL)
        return mu_fail(err, MU_USAGE, "--vault-cas is for --vault-kv");
    MU_TRY(number("--vault-wrap-ttl", v->wrap_ttl, VAULT_WRAP_TTL_MAX, &ttl, err));
    MU_TRY(number("--vault-cas", v->cas, INT32_MAX, &cas, err));
    if (ttl == 0)
        return mu_fail(err, MU_USAGE, "--vault-wrap-ttl is in seconds, from 1 on");
    return MU_OK;
}

/* MOUNT/PATH or MOUNT/KEY; the mount may hold slashes as well, "secret//vm/root" if it does. */
static enum mu_status split(const char *text, const char *rest_name, json_object *object,
                            struct mu_error *err)
{
    const char *slash = strstr(text, "//");
    size_t skip = 2;
    MU_CLEANUP(string_free) char *mount = NULL;

    if (slash == NULL) {
        slash = strchr(text, '/');
        skip = 1;
    }
    if (slash == NULL || slash == text || slash[skip] == '\0')
        return mu_fail(err, MU_USAGE, "'%s' is not MOUNT/%s", text,
                       strcmp(rest_name, "path") == 0 ? "PATH" : "KEY");
    mount = strndup(text, (size_t)(slash - text));
    if (mount == NULL || !json_add_text(object, "mount", mount) ||
        !json_add_text(object, rest_name, slash + skip))
        return mu_oom(err);
    return MU_OK;
}

static enum mu_status kv_where(const char *text, json_object *kv, struct mu_error *err)
{
    MU_CLEANUP(string_free) char *copy = strdup(text);
    char *hash = copy != NULL ? strchr(copy, '#') : NULL;
    const char *field = FIELD;

    if (copy == NULL)
        return mu_oom(err);
    if (hash != NULL) {
        *hash = '\0';
        field = hash + 1;
    }
    if (field[0] == '\0' || !vault_path_ok(field))
        return mu_fail(err, MU_USAGE, "--vault-kv '%s': the field's name after # is invalid", text);
    MU_TRY(split(copy, "path", kv, err));
    return json_add_text(kv, "field", field) ? MU_OK : mu_oom(err);
}

/* All of the record's data but what the server has to tell: a version, or the ciphertext. */
static enum mu_status describe(const struct enroll_vault *v, const char *uuid, json_object **ret,
                               struct mu_error *err)
{
    MU_CLEANUP(json_free) json_object *data = json_object_new_object();
    MU_CLEANUP(string_free) char *context = NULL;
    json_object *source = json_object_new_object();

    if (data == NULL || !json_add(data, v->kv != NULL ? "kv" : "transit", source) ||
        !json_add_text(data, "verifier", v->verifier) ||
        !json_add_text(data, "address", v->address) || !json_add_text(data, "role", v->role) ||
        !json_add_text(data, "auth_mount", v->auth_mount != NULL ? v->auth_mount : "jwt") ||
        (v->scope != NULL && !json_add_text(data, "namespace", v->scope)) ||
        (v->wrap_ttl != NULL &&
         !json_add(data, "wrap_ttl", json_object_new_int64(strtoll(v->wrap_ttl, NULL, 10)))))
        return mu_oom(err);
    if (v->kv != NULL) {
        MU_TRY(kv_where(v->kv, source, err));
    } else {
        MU_TRY(split(v->transit, "key", source, err));
        MU_TRY(base64_encode(text_view(uuid), &context, err));
        /* A placeholder, so that the whole can be checked before anything is sent. */
        if (!json_add_text(source, "context", context) ||
            !json_add_text(source, "ciphertext", "vault:v0:"))
            return mu_oom(err);
    }
    *ret = MU_TAKE(data);
    return MU_OK;
}

/* Called before anything is written. The right to write a key need not include the right to read
 * roles. */
static enum mu_status check_role(struct service *vault, const struct vault_request *request,
                                 const struct vault_record *where, struct mu_error *err)
{
    struct mu_error why = {0};

    switch (vault_role_account(vault, request->scope, request->token, where->auth_mount,
                               where->role, &why)) {
    case VAULT_ROLE_BOUND:
        return MU_OK;
    case VAULT_ROLE_OPEN:
        return mu_fail(err, MU_REFUSE, "%s: " VAULT_ROLE_FIX, why.text);
    case VAULT_ROLE_UNKNOWN:
        break;
    }
    log_line("not done: whether the role '%s' binds an account, without which instances of any "
             "account get the key: %s",
             where->role, why.text);
    return MU_OK;
}

static enum mu_status send(struct service *vault, const struct vault_request *request,
                           json_object **ret_data, json_object **ret_answer, struct mu_error *err)
{
    struct retry retry = {.policy = &retry_service,
                          .deadline = deadline_in(NETWORK_SECONDS),
                          .error = err,
                          .tell = true};
    enum mu_status status;

    do
        status = vault_call(vault, request, ret_answer, err);
    while (retry_after(&retry, status));
    MU_TRY(status);
    return json_member(*ret_answer, "data", json_type_object, MU_REFUSE, ret_data, err);
}

static enum mu_status format(struct secret *ret, struct bytes key, const char *before,
                             const char *after, struct mu_error *err)
{
    MU_CLEANUP(string_wipe) char *base64 = NULL;

    MU_TRY(base64_encode(key, &base64, err));
    MU_TRY(secret_alloc(ret, strlen(before) + strlen(base64) + strlen(after) + 1, err));
    ret->len = (size_t)snprintf((char *)ret->data, ret->len, "%s%s%s", before, base64, after);
    return MU_OK;
}

static enum mu_status write_kv(struct service *vault, struct vault_request request,
                               const struct vault_record *where, const char *cas, struct bytes key,
                               json_object *source, struct mu_error *err)
{
    MU_CLEANUP(secret_free) struct secret body = {0};
    MU_CLEANUP(json_free) json_object *answer = NULL;
    char path[VAULT_PATH_MAX], before[256];
    json_object *data = NULL;
    int64_t version;
    enum mu_status status;

    (void)snprintf(path, sizeof(path), "%s/data/%s", where->mount, where->path);
    (void)snprintf(before, sizeof(before), "{\"options\":{\"cas\":%s},\"data\":{\"%.128s\":\"",
                   cas != NULL ? cas : "0", where->field);
    MU_TRY(format(&body, key, before, "\"}}", err));
    request.path = path;
    request.body = secret_view(&body);
    status = send(vault, &request, &data, &answer, err);
    if (status == MU_REFUSE && strstr(err->text, "check-and-set") != NULL)
        return mu_context(err,
                          "%s/%s holds a secret already, or not the version that was named: "
                          "choose another path, or name its version with --vault-cas to add "
                          "one after it",
                          where->mount, where->path);
    MU_TRY(status);
    MU_TRY(json_integer(data, "version", 1, INT32_MAX, MU_REFUSE, &version, err));
    return json_add(source, "version", json_object_new_int64(version)) ? MU_OK : mu_oom(err);
}

static enum mu_status encrypt(struct service *vault, struct vault_request request,
                              const struct vault_record *where, struct bytes key,
                              json_object *source, struct mu_error *err)
{
    MU_CLEANUP(secret_free) struct secret body = {0};
    MU_CLEANUP(json_free) json_object *answer = NULL;
    char path[VAULT_PATH_MAX], after[320];
    json_object *data = NULL;
    const char *ciphertext = NULL;

    (void)snprintf(path, sizeof(path), "%s/encrypt/%s", where->mount, where->key);
    (void)snprintf(after, sizeof(after), "\",\"context\":\"%s\"}", where->context);
    MU_TRY(format(&body, key, "{\"plaintext\":\"", after, err));
    request.path = path;
    request.body = secret_view(&body);
    MU_TRY(send(vault, &request, &data, &answer, err));
    MU_TRY(json_string(data, "ciphertext", VAULT_TOKEN_MAX, MU_REFUSE, &ciphertext, err));
    return json_add_text(source, "ciphertext", ciphertext) ? MU_OK : mu_oom(err);
}

enum mu_status enroll_with_vault(struct bytes key, const struct record *old, struct record *record,
                                 void *context, struct mu_error *err)
{
    const struct enroll_context *c = context;
    const struct enroll_vault *v = c->vault;
    MU_CLEANUP(service_close) struct service *vault = NULL;
    MU_CLEANUP(json_free) json_object *data = NULL;
    struct vault_request request = {.method = "POST", .scope = v->scope};
    struct vault_record where, unused;
    json_object *source = NULL;

    (void)old;
    MU_TRY(describe(v, record->volume_uuid, &data, err));
    if (vault_parse_record(data, &where, err) != MU_OK) {
        err->status = MU_USAGE;
        return MU_USAGE;
    }
    if (vault_token_from_environment(&request.token, err) != MU_OK)
        return mu_context(err, "a token is needed that may write this key");
    MU_TRY(service_open("--vault", v->address, c->options->vault.ca_file,
                        deadline_in(NETWORK_SECONDS), &vault, err));
    MU_TRY(check_role(vault, &request, &where, err));
    (void)json_object_object_get_ex(data, where.kv ? "kv" : "transit", &source);
    MU_TRY(where.kv ? write_kv(vault, request, &where, v->cas, key, source, err)
                    : encrypt(vault, request, &where, key, source, err));
    MU_TRY(vault_parse_record(data, &unused, err));
    (void)snprintf(record->provider, sizeof(record->provider), VAULT);
    record->provider_data = MU_TAKE(data);
    return MU_OK;
}
