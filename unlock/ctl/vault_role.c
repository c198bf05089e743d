/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "ctl/vault_role.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ACCOUNT_LEN 12

enum mu_status vault_token_from_environment(struct bytes *ret, struct mu_error *err)
{
    const char *token = getenv("VAULT_TOKEN");

    if (token == NULL || token[0] == '\0')
        return mu_fail(err, MU_CONFIG, "VAULT_TOKEN is not set");
    *ret = text_view(token);
    if (!http_token_ok(*ret, 1, VAULT_TOKEN_MAX))
        return mu_fail(err, MU_CONFIG, "VAULT_TOKEN holds no token");
    return MU_OK;
}

static bool is_account(json_object *value)
{
    const char *text = json_object_get_string(value);

    return json_object_is_type(value, json_type_string) && strlen(text) == ACCOUNT_LEN &&
           strspn(text, "0123456789") == ACCOUNT_LEN;
}

/* One account, or an array of accounts; a pattern (bound_claims_type "glob") is not an account. */
static bool names_accounts(json_object *claim)
{
    size_t count;

    if (!json_object_is_type(claim, json_type_array))
        return is_account(claim);
    count = json_object_array_length(claim);
    for (size_t i = 0; i < count; i++)
        if (!is_account(json_object_array_get_idx(claim, i)))
            return false;
    return count > 0;
}

enum vault_role_account vault_role_account(struct service *vault, const char *scope,
                                           struct bytes token, const char *mount, const char *role,
                                           struct mu_error *why)
{
    MU_CLEANUP(json_free) json_object *answer = NULL;
    json_object *data = NULL, *claims = NULL, *account = NULL;
    char path[VAULT_PATH_MAX];
    const struct vault_request request = {
        .method = "GET", .path = path, .scope = scope, .token = token};

    (void)snprintf(path, sizeof(path), "auth/%.200s/role/%.200s", mount, role);
    if (vault_call(vault, &request, &answer, why) != MU_OK ||
        json_member(answer, "data", json_type_object, MU_REFUSE, &data, why) != MU_OK)
        return VAULT_ROLE_UNKNOWN;
    if (json_object_object_get_ex(data, "bound_claims", &claims) &&
        json_object_object_get_ex(claims, "account", &account) && names_accounts(account))
        return VAULT_ROLE_BOUND;
    (void)mu_fail(why, MU_REFUSE,
                  "the role '%s' names no account in its bound_claims: anybody who boots this "
                  "image, in any AWS account, gets the key",
                  role);
    return VAULT_ROLE_OPEN;
}
