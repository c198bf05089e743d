/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef MU_RELEASE_VAULT_H
#define MU_RELEASE_VAULT_H

#include "base/json.h"

/* The "vault" data of a record:
 *   {"verifier": URL, "address": URL, "auth_mount": "jwt", "role": NAME, "namespace": NAME,
 *    "wrap_ttl": seconds, and one of
 *    "kv": {"mount", "path", "field", "version"},          (KV version 2)
 *    "transit": {"mount", "key", "ciphertext", "context"}} (context: base64)
 * "namespace", "wrap_ttl", "version" and "context" may be missing. */
struct vault_record {
    const char *verifier, *address;
    const char *scope; /* namespace; NULL: none */
    const char *auth_mount, *role;
    int64_t wrap_ttl; /* 0: not wrapped */
    bool kv;          /* or transit */
    const char *mount, *path, *field;
    int64_t version; /* 0: the latest */
    const char *key, *ciphertext;
    const char *context; /* NULL: none */
};

/* Borrows from data. MU_REFUSE if the data are malformed. */
enum mu_status vault_parse_record(json_object *data, struct vault_record *ret,
                                  struct mu_error *err) MU_MUST_CHECK;

#endif
