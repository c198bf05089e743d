/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef MU_RELEASE_VAULT_CLIENT_H
#define MU_RELEASE_VAULT_CLIENT_H

#include "base/json.h"
#include "base/secret.h"
#include "release/service.h"

#define VAULT_TOKEN_MAX 4096
#define VAULT_PATH_MAX 512 /* what follows /v1/ */
#define VAULT_WRAP_TTL_MAX 3600

/* ---- the verifier ---- */

/* POST /v1/challenge. */
enum mu_status verifier_challenge(struct service *verifier, struct buffer *ret_nonce,
                                  int64_t *ret_seconds, struct mu_error *err) MU_MUST_CHECK;
/* POST /v1/attest: a token for the public key in the document, encrypted to it, good for so many
 * seconds. MU_REFUSE: the verifier does not accept the document. MU_RETRY: among others, that the
 * nonce is too old (ret_stale). */
enum mu_status verifier_attest(struct service *verifier, struct bytes document, char **ret_token,
                               int64_t *ret_seconds, bool *ret_stale,
                               struct mu_error *err) MU_MUST_CHECK;

/* ---- Vault ---- */

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
/* *ret is NULL for an answer without a body (204); it may hold secrets (json_wipe). What an answer
 * other than 2xx means is in vault_explain. */
enum mu_status vault_call(struct service *vault, const struct vault_request *request,
                          json_object **ret, struct mu_error *err) MU_MUST_CHECK;
/* The same with response wrapping where wrap_ttl says so: the answer must have been wrapped for
 * this very path, and must not have been unwrapped by anybody else. */
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

/* Never MU_OK. 429 and what Vault's own states are (472, 473, 5xx, also 503 for sealed, 412 for a
 * replica that lags): MU_RETRY. 404: MU_CONFIG. All else: MU_REFUSE. */
enum mu_status vault_explain(long http_status, struct bytes body, const char *path,
                             struct mu_error *err);
/* Letters, digits and -_.~ in segments between single slashes: fit for a URL as they are. */
bool vault_path_ok(const char *path);

#endif
