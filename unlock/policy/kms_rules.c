/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <string.h>
#include <strings.h>

#include "policy/rule.h"

/* KMS Developer Guide, "Key policies", Resource: "*" is the key that the policy belongs to.
 * PutKeyPolicy takes other values, and the statement then applies to nothing. */
void rule_resource(const struct look *look, const struct statement *s)
{
    for (size_t i = 0; i < policy_count(s->resource); i++)
        if (strcmp(policy_text(s->resource, i), "*") != 0) {
            policy_found(look, s,
                         "Resource is %.128s: in a key policy only \"*\" is this key, and the "
                         "statement has no effect",
                         policy_text(s->resource, i));
            return;
        }
}

/* IAM User Guide, "Unique identifiers": what is left of a principal that was deleted. A new role of
 * the same name has another one. */
static bool is_unique_id(const char *name)
{
    static const char *const kinds[] = {"AROA", "AIDA", "AGPA", "AIPA"};
    size_t len = strlen(name);

    if (len < 16 || len > 128 || strspn(name, "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789") != len)
        return false;
    for (size_t i = 0; i < MU_COUNT(kinds); i++)
        if (strncmp(name, kinds[i], strlen(kinds[i])) == 0)
            return true;
    return false;
}

void rule_deleted_principal(const struct look *look, const struct statement *s)
{
    const char *name;

    for (size_t i = 0; (name = statement_principal(s, i)) != NULL; i++)
        if (is_unique_id(name))
            policy_found(look, s,
                         "principal %.128s is the unique id of a role or user that was deleted",
                         name);
}

/* KMS API Reference: the operations that have the parameter Recipient. */
static bool carries_document(const char *action)
{
    static const char *const carriers[] = {"kms:Decrypt", "kms:DeriveSharedSecret",
                                           "kms:GenerateDataKey", "kms:GenerateDataKeyPair"};

    for (size_t i = 0; i < MU_COUNT(carriers); i++)
        if (strcasecmp(action, carriers[i]) == 0)
            return true;
    return strpbrk(action, "*?") != NULL;
}

void rule_no_document(const struct look *look, const struct statement *s)
{
    if (statement_pcrs(s) == 0)
        return;
    for (size_t i = 0; i < policy_count(s->action); i++)
        if (!carries_document(policy_text(s->action, i)))
            policy_found(look, s,
                         "%.64s takes no attestation document, so it is never allowed by a "
                         "statement that compares PCRs",
                         policy_text(s->action, i));
}
