/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef MU_RELEASE_VAULT_CLIENT_H
#define MU_RELEASE_VAULT_CLIENT_H

#include "base/json.h"
#include "base/secret.h"
#include "net/service.h"

#define VAULT_TOKEN_MAX 4096
#define VAULT_PATH_MAX 512 /* what follows /v1/ */
#define VAULT_WRAP_TTL_MAX 3600

struct vault_request {
    const char *method;
    const char *path;   /* what follows /v1/ */
    const char *scope;  /* namespace; NULL: none */
    int64_t version;    /* of a KV secret; 0: the latest */
    struct bytes token; /* X-Vault-Token; empty: none */
    int64_t wrap_ttl;   /* seconds that a wrapped answer may wait; 0: not wrapped */
    struct bytes body;
    unsigned total_ms; /* 0: as usual */
};
/* *ret is NULL for an answer without a body (204); the object may hold secrets (json_wipe).
 * vault_explain says what an answer other than 2xx means. */
enum mu_status vault_call(struct service *vault, const struct vault_request *request,
                          json_object **ret, struct mu_error *err) MU_MUST_CHECK;
/* The same with response wrapping, if wrap_ttl is set: the answer must have been wrapped for
 * exactly this path, and must not have been unwrapped by anybody else. */
enum mu_status vault_call_wrapped(struct service *vault, const struct vault_request *request,
                                  json_object **ret, struct mu_error *err) MU_MUST_CHECK;
/* A client token, by JWT (Vault HTTP API, "JWT/OIDC auth method", "JWT login"). */
enum mu_status vault_login(struct service *vault, const char *scope, const char *mount,
                           const char *role, const struct secret *jwt, struct secret *ret_token,
                           struct mu_error *err) MU_MUST_CHECK;
/* The base64 text at answer.data.<name>, or at answer.data.data.<name> (KV version 2). MU_REFUSE if
 * it is not `size` bytes. */
enum mu_status vault_key(json_object *answer, bool kv, const char *name, size_t size,
                         struct secret *ret, struct mu_error *err) MU_MUST_CHECK;

/* Never MU_OK. MU_RETRY: 429, and the states of Vault itself (472, 473, 5xx with 503 for sealed,
 * 412 for a replica that lags). MU_CONFIG: 404. MU_REFUSE: all others. */
enum mu_status vault_explain(long http_status, struct bytes body, const char *path,
                             struct mu_error *err);
/* True for letters, digits and -_.~ in segments between single slashes: they need no escaping in a
 * URL. */
bool vault_path_ok(const char *path);

#endif
