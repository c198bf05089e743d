/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef MU_POLICY_STATEMENT_H
#define MU_POLICY_STATEMENT_H

#include "base/json.h"

#define STATEMENTS_MAX 256
#define CONDITIONS_MAX 64
#define PCR_NONE (-1)
#define PCR_ENCLAVE                                                                                \
    (-2) /* ImageSha384, PCR<n>: of Nitro Enclaves, absent in NitroTPM documents                   \
          */

enum comparison {
    COMPARE_UNKNOWN,
    COMPARE_EQUAL,
    COMPARE_EQUAL_ANY_CASE,
    COMPARE_LIKE,
    COMPARE_NEGATED, /* true when the key is absent */
    COMPARE_NULL,
    COMPARE_ARN,
    COMPARE_OTHER,
};

/* One line of a Condition block: operator, key, value or values. */
struct condition {
    const char *op;
    const char *key;
    json_object *values;
    enum comparison comparison;
    bool passes_when_absent; /* ...IfExists, ForAllValues: */
    int pcr;                 /* 0..23 of NitroTPM, or PCR_NONE, PCR_ENCLAVE */
};

struct statement {
    char label[64]; /* Sid or index */
    bool allow;
    json_object *action, *not_action, *principal, *not_principal, *resource, *not_resource;
    size_t conditions;
    struct condition condition[CONDITIONS_MAX];
    const char *malformed; /* what KMS would not accept, or NULL */
};

/* Never fails: `malformed` names what cannot be read. Borrows from the object. */
void statement_read(json_object *object, size_t index, struct statement *ret);
/* All of a policy's; *ret is to be freed, and borrows from the policy. MU_CONFIG: not a policy. */
enum mu_status statements_read(json_object *policy, struct statement **ret, size_t *ret_count,
                               struct mu_error *err) MU_MUST_CHECK;

/* A value, or an array of values, as text; booleans and numbers become text as in IAM. */
size_t policy_count(json_object *values);
const char *policy_text(json_object *values, size_t index);

/* True if the statement is about this action ("kms:Decrypt"): * and ?, any case, NotAction. */
bool statement_has_action(const struct statement *s, const char *action);
/* Walks the AWS principals; "*" alone is one as well. NULL at the end. */
const char *statement_principal(const struct statement *s, size_t index);
bool statement_any_principal(const struct statement *s);
/* A condition holds for callers that it names in full: aws:PrincipalArn. */
bool statement_names_caller(const struct statement *s);
/* "arn:...:root" or an account's number: IAM policies of that account decide. */
bool policy_is_account(const char *principal);
/* Mask of the NitroTPM PCRs that a condition compares. */
uint32_t statement_pcrs(const struct statement *s);
/* The statement demands that the key is there: {"Null": {key: "false"}}. */
bool statement_demands(const struct statement *s, const char *key);

#endif
