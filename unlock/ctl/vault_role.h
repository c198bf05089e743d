/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef MU_CTL_VAULT_ROLE_H
#define MU_CTL_VAULT_ROLE_H

#include "release/vault_client.h"

/* Of the environment, VAULT_TOKEN. MU_CONFIG: not set, or no token. */
enum mu_status vault_token_from_environment(struct bytes *ret, struct mu_error *err) MU_MUST_CHECK;

/* Whether a role of the JWT auth method admits instances of named accounts alone. An image does not
 * tell its account: anybody who has the image can boot it in another account, with the same
 * PCRs. */
enum vault_role_account {
    VAULT_ROLE_UNKNOWN, /* the role could not be read; `why` says why */
    VAULT_ROLE_BOUND,
    VAULT_ROLE_OPEN, /* `why` says how */
};
#define VAULT_ROLE_FIX                                                                             \
    "put \"account\": \"YOUR ACCOUNT'S 12 DIGITS\" into its bound_claims, as in "                  \
    "docs/guide/vault.md"
enum vault_role_account vault_role_account(struct service *vault, const char *scope,
                                           struct bytes token, const char *mount, const char *role,
                                           struct mu_error *why);

#endif
