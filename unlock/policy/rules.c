/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/file.h"
#include "base/text.h"
#include "policy/rule.h"

#define CONTEXT_KEYS "kms:EncryptionContextKeys"
#define CONTEXT_PREFIX "kms:EncryptionContext:"
/* A policy as a text in JSON: each quote and line end takes two bytes, other control characters
 * six. */
#define WRAPPED_MAX_BYTES ((size_t)6 * POLICY_MAX_BYTES)

/* What gives the key, or the right to it, away. Encrypt, ReEncryptTo and
 * GenerateDataKeyWithoutPlaintext do not. */
static const char *const uses[] = {
    "kms:Decrypt",         "kms:ReEncryptFrom",       "kms:CreateGrant",
    "kms:GenerateDataKey", "kms:GenerateDataKeyPair", "kms:DeriveSharedSecret",
    "kms:ReplicateKey",
};

void policy_found(const struct look *look, const struct statement *s, const char *format, ...)
{
    const struct rule *rule = look->rule;
    struct policy_report *report = look->report;
    struct policy_finding f = {.rule = rule->name, .fix = rule->fix, .warning = rule->warning};
    va_list args;

    (void)snprintf(f.statement, sizeof(f.statement), "%s", s != NULL ? s->label : "");
    va_start(args, format);
    (void)vsnprintf(f.detail, sizeof(f.detail), format, args);
    va_end(args);
    text_make_printable(f.statement); /* the policy may come from anywhere */
    text_make_printable(f.detail);
    if (!rule->warning)
        report->findings++;
    if (report->count < POLICY_FINDINGS_MAX)
        report->finding[report->count++] = f;
}

/* The first action of `uses` that the statement is about, or NULL. */
static const char *use_of(const struct statement *s)
{
    for (size_t i = 0; i < MU_COUNT(uses); i++)
        if (statement_has_action(s, uses[i]))
            return uses[i];
    return NULL;
}

static void malformed(const struct look *look, const struct statement *s)
{
    if (s->malformed != NULL)
        policy_found(look, s, "%s", s->malformed);
}

static void principal_missing(const struct look *look, const struct statement *s)
{
    if (s->principal == NULL && s->not_principal == NULL)
        policy_found(look, s, "it names no principal; in a key policy each statement must");
}

static void not_element(const struct look *look, const struct statement *s)
{
    if (s->not_action != NULL || s->not_principal != NULL || s->not_resource != NULL)
        policy_found(look, s, "%s: all that is not listed is meant, also what is added later",
                     s->not_action != NULL      ? "NotAction"
                     : s->not_principal != NULL ? "NotPrincipal"
                                                : "NotResource");
}

static void principal_any(const struct look *look, const struct statement *s)
{
    if (statement_any_principal(s) && !statement_names_caller(s))
        policy_found(look, s,
                     "it allows anybody; PCR values are no secret, so any account may show them");
}

static void principal_wildcard(const struct look *look, const struct statement *s)
{
    const char *name;

    for (size_t i = 0; (name = statement_principal(s, i)) != NULL; i++)
        if (strpbrk(name, "*?") != NULL && strcmp(name, "*") != 0)
            policy_found(look, s, "principal %.128s: no wildcard is possible there", name);
}

static void account_root(const struct look *look, const struct statement *s)
{
    const char *name;

    if (statement_names_caller(s))
        return;
    for (size_t i = 0; (name = statement_principal(s, i)) != NULL; i++)
        if (policy_is_account(name))
            policy_found(look, s, "%.64s: IAM policies of the account may grant %s", name,
                         use_of(s));
}

static void account_administers(const struct look *look, const struct statement *s)
{
    const char *name;

    if (use_of(s) != NULL || !statement_has_action(s, "kms:PutKeyPolicy"))
        return;
    for (size_t i = 0; (name = statement_principal(s, i)) != NULL; i++)
        if (policy_is_account(name))
            policy_found(look, s, "%.64s: IAM policies of the account may grant kms:PutKeyPolicy",
                         name);
}

static void unconditioned(const struct look *look, const struct statement *s)
{
    if (statement_pcrs(s) == 0)
        policy_found(look, s, "it allows %s without comparing a PCR", use_of(s));
}

static bool is_context(const struct condition *c)
{
    return strncasecmp(c->key, CONTEXT_PREFIX, strlen(CONTEXT_PREFIX)) == 0 ||
           strcasecmp(c->key, CONTEXT_KEYS) == 0;
}

static void absent(const struct look *look, const struct statement *s)
{
    for (size_t i = 0; i < s->conditions; i++) {
        const struct condition *c = &s->condition[i];

        if ((c->pcr != PCR_NONE || is_context(c)) && c->passes_when_absent &&
            !statement_demands(s, c->key))
            policy_found(look, s, "%s %.96s holds when the request does not have it", c->op,
                         c->key);
    }
}

static void enclave_key(const struct look *look, const struct statement *s)
{
    for (size_t i = 0; i < s->conditions; i++)
        if (s->condition[i].pcr == PCR_ENCLAVE)
            policy_found(look, s, "%.96s is not a key of NitroTPM documents: it is never there",
                         s->condition[i].key);
}

/* The instance's role could write itself another policy. */
static void role_administers(const struct look *look, const struct statement *s)
{
    const char *name;

    for (size_t i = 0; (name = statement_principal(s, i)) != NULL; i++)
        for (size_t t = 0; t < look->p->count; t++) {
            const struct statement *other = &look->p->statement[t];
            const char *admin;

            if (!other->allow || !statement_has_action(other, "kms:PutKeyPolicy"))
                continue;
            for (size_t k = 0; (admin = statement_principal(other, k)) != NULL; k++)
                if (strcmp(name, admin) == 0)
                    policy_found(look, other, "%.128s unlocks, and may put another policy", name);
        }
}

static bool is_of_this_key(const struct statement *s)
{
    return policy_count(s->resource) == 1 && strcmp(policy_text(s->resource, 0), "*") == 0;
}

/* A Deny that holds for everybody, the account's root included, without a document. */
static bool denies_unattested(const struct statement *s, const char *action)
{
    if (s->allow || s->malformed != NULL || !statement_has_action(s, action) ||
        !statement_any_principal(s) || !is_of_this_key(s))
        return false;
    for (size_t i = 0; i < s->conditions; i++) {
        const struct condition *c = &s->condition[i];
        bool null = c->comparison == COMPARE_NULL && policy_count(c->values) == 1 &&
                    strcasecmp(policy_text(c->values, 0), "true") == 0;
        bool negated = c->comparison == COMPARE_NEGATED && strncmp(c->op, "ForAny", 6) != 0;

        if (c->pcr < 0 || (!null && !negated))
            return false;
    }
    return true;
}

static bool denied(const struct policy *p, const char *action)
{
    for (size_t i = 0; i < p->count; i++)
        if (denies_unattested(&p->statement[i], action))
            return true;
    return false;
}

static void null_deny(const struct look *look, const struct statement *s)
{
    (void)s;
    if (!denied(look->p, uses[0]))
        policy_found(look, NULL, "nothing denies %s to everybody who shows no document", uses[0]);
}

static void null_deny_others(const struct look *look, const struct statement *s)
{
    (void)s;
    for (size_t i = 1; i < MU_COUNT(uses); i++)
        if (!denied(look->p, uses[i]))
            policy_found(look, NULL, "nothing denies %s to everybody who shows no document",
                         uses[i]);
}

static void no_administrator(const struct look *look, const struct statement *s)
{
    static const char put[] = "kms:PutKeyPolicy";
    bool allowed = false;

    (void)s;
    for (size_t i = 0; i < look->p->count; i++)
        allowed |= look->p->statement[i].allow && statement_has_action(&look->p->statement[i], put);
    if (!allowed || denied(look->p, put))
        policy_found(look, NULL, "nobody may put another policy: the next image cannot be allowed");
}

static void no_context(const struct look *look, const struct statement *s)
{
    for (size_t i = 0; i < s->conditions; i++) {
        const struct condition *c = &s->condition[i];

        if (is_context(c) && (c->comparison == COMPARE_NULL
                                  ? statement_demands(s, c->key)
                                  : !c->passes_when_absent && c->comparison != COMPARE_NEGATED))
            return;
    }
    policy_found(look, s, "it asks for no encryption context");
}

static bool is_made_by(const struct condition *c)
{
    return strcasecmp(c->key, CONTEXT_PREFIX "made-by") == 0;
}

static bool says(const struct condition *c, const char *value)
{
    return policy_count(c->values) == 1 && strcasecmp(policy_text(c->values, 0), value) == 0;
}

static bool lists_made_by(const struct condition *c)
{
    for (size_t i = 0; i < policy_count(c->values); i++)
        if (strcasecmp(policy_text(c->values, i), "made-by") == 0 ||
            strpbrk(policy_text(c->values, i), "*?") != NULL)
            return true;
    return false;
}

/* Only contexts without made-by: it must be absent, or the names that may be there are listed. */
static bool without_made_by(const struct statement *s)
{
    for (size_t i = 0; i < s->conditions; i++) {
        const struct condition *c = &s->condition[i];

        if (is_made_by(c) && c->comparison == COMPARE_NULL && says(c, "true"))
            return true;
        if (strcasecmp(c->key, CONTEXT_KEYS) == 0 && strncmp(c->op, "ForAllValues:", 13) == 0 &&
            c->comparison == COMPARE_EQUAL && !lists_made_by(c))
            return true;
    }
    return false;
}

static bool denies_made_by(const struct policy *p, const char *action)
{
    for (size_t i = 0; i < p->count; i++) {
        const struct statement *s = &p->statement[i];

        if (!s->allow && s->malformed == NULL && statement_has_action(s, action) &&
            statement_any_principal(s) && is_of_this_key(s) && s->conditions == 1 &&
            is_made_by(&s->condition[0]) && s->condition[0].comparison == COMPARE_NULL &&
            says(&s->condition[0], "false"))
            return true;
    }
    return false;
}

/* If instances make volumes, a ciphertext with made-by must come from GenerateDataKey alone. */
static void forged_volumes(const struct look *look, const struct statement *s)
{
    static const char *const ways[] = {"kms:Encrypt", "kms:ReEncryptTo"};

    if (!look->report->data_volumes || without_made_by(s))
        return;
    for (size_t i = 0; i < MU_COUNT(ways); i++)
        if (statement_has_action(s, ways[i]) && !denies_made_by(look->p, ways[i]) &&
            !denied(look->p, ways[i]))
            policy_found(look, s,
                         "it allows %s with made-by: a data volume whose key somebody knows",
                         ways[i]);
}

/* Warnings last: they must not use up the room for findings. */
static const struct rule rules[] = {
    {"malformed", EACH, false, malformed,
     "write it as the IAM User Guide has it; KMS refuses this"},
    {"principal-missing", EACH, false, principal_missing,
     "add \"Principal\": {\"AWS\": \"<ARN of the instance's role>\"}"},
    {"principal-wildcard", EACH, false, principal_wildcard, "name each role in full"},
    {"principal-deleted", EACH, false, rule_deleted_principal,
     "name the role that there is now by its ARN, or take the principal out"},
    {"resource", EACH, false, rule_resource, "write \"Resource\": \"*\""},
    {"not-element", EACH_ALLOW, false, not_element,
     "list what is meant: Action, Principal, Resource"},
    {"principal-any", EACH_ALLOW, false, principal_any,
     "name the role: \"Principal\": {\"AWS\": \"<ARN>\"}"},
    {"account-root-delegation", EACH_USE, false, account_root,
     "give administrators named actions without kms:Decrypt, and the role a statement of its own"},
    {"unconditioned-allow", EACH_USE, false, unconditioned,
     "take the action out, or compare PCR 4, 12 and the fence as 'muctl policy kms' does"},
    {"pcr4-without-pcr12", EACH_RELEASE, false, rule_pcr4_without_12,
     "add PCR 12 = 96 zeros to the same StringEquals"},
    {"firmware-drivers", EACH_RELEASE, false, rule_firmware_drivers,
     "add PCR 2 and 3 of the image's baseline ('muctl policy kms' does), or say --without-pcr"},
    {"no-image-pcr", EACH_RELEASE, false, rule_no_image,
     "add PCR 4 and 12 of the image's baseline"},
    {"pcr-proves-nothing", EACH_RELEASE, false, rule_proves_nothing,
     "add PCR 4 and 12 of the image's baseline"},
    {"pcr-not-useful", EACH_ALLOW, false, rule_useless_pcr, "take this condition out"},
    {"fence-pcr", EACH_RELEASE, false, rule_fence,
     "add the fence PCR (15) = 96 zeros, and no other value"},
    {"upper-case-hex", EACH, false, rule_upper_case, "write the value in lower case"},
    {"bad-pcr-value", EACH, false, rule_bad_value,
     "use the 96 hex digits of the SHA-384 bank, as in the baseline"},
    {"pcr-wildcard", EACH_ALLOW, false, rule_wildcard, "use StringEquals with the values in full"},
    {"pcr-operator", EACH_ALLOW, false, rule_wrong_operator, "use StringEquals"},
    {"passes-when-absent", EACH_ALLOW, false, absent,
     "use the operator without IfExists or ForAllValues, or add {\"Null\": {<key>: \"false\"}}"},
    {"enclave-condition-key", EACH, false, enclave_key,
     "use kms:RecipientAttestation:NitroTPMPCR<0 to 23>"},
    {"role-administers", EACH_RELEASE, false, role_administers,
     "leave kms:PutKeyPolicy to a role that no instance has"},
    {"forged-data-volumes", EACH_ALLOW, false, forged_volumes,
     "deny kms:Encrypt to Principal \"*\" with {\"Null\": {<kms:EncryptionContext:made-by>: "
     "\"false\"}}, as 'muctl policy kms --data-volumes' does"},
    {"missing-null-deny", POLICY_ONCE, false, null_deny,
     "add a Deny for Principal \"*\" with {\"Null\": {<NitroTPMPCR4>: \"true\"}}, nothing else in "
     "it"},
    {"incomplete-null-deny", POLICY_ONCE, true, null_deny_others, "add the action to that Deny"},
    {"no-document", EACH_ALLOW, true, rule_no_document,
     "take the action out; kms:Decrypt, GenerateDataKey, GenerateDataKeyPair and "
     "DeriveSharedSecret "
     "take a document"},
    {"no-administrator", POLICY_ONCE, true, no_administrator,
     "allow an administrators' role kms:PutKeyPolicy, and deny it to nobody"},
    {"account-root-administers", EACH_ALLOW, true, account_administers,
     "name the administrators' role instead of the account"},
    {"encryption-context", EACH_RELEASE, true, no_context,
     "compare kms:EncryptionContext:volume-uuid, or demand that it is there"},
    {"outside-command-line", EACH_RELEASE, true, rule_outside_command_line,
     "use 96 zeros unless the image is meant to get its command line from outside"},
    {"extensions", EACH_RELEASE, true, rule_extensions,
     "add PCR 13 and 14 = 96 zeros ('muctl policy kms' does)"},
    {"mixed-baselines", EACH_RELEASE, true, rule_mixed_baselines,
     "write one statement for each baseline, as 'muctl policy kms' does"},
};

static bool in_scope(enum scope scope, const struct statement *s)
{
    switch (scope) {
    case EACH:
        return true;
    case EACH_ALLOW:
        return s->allow;
    case EACH_USE:
        return s->allow && use_of(s) != NULL;
    case EACH_RELEASE:
        return s->allow && use_of(s) != NULL && statement_pcrs(s) != 0;
    default:
        return false;
    }
}

static enum mu_status apply(const struct policy *p, struct policy_report *ret, struct mu_error *err)
{
    for (size_t i = 0; i < p->count; i++)
        ret->data_volumes |=
            p->statement[i].allow && statement_has_action(&p->statement[i], "kms:GenerateDataKey");
    for (size_t r = 0; r < MU_COUNT(rules); r++) {
        const struct look look = {p, &rules[r], ret};

        if (rules[r].scope == POLICY_ONCE)
            rules[r].check(&look, NULL);
        for (size_t i = 0; i < p->count; i++)
            if (in_scope(rules[r].scope, &p->statement[i]))
                rules[r].check(&look, &p->statement[i]);
    }
    if (ret->findings == 0)
        return MU_OK;
    return mu_fail(err, MU_REFUSE, "the key policy has %zu finding%s", ret->findings,
                   ret->findings == 1 ? "" : "s");
}

enum mu_status policy_lint(json_object *policy, unsigned fence_pcr, uint32_t without,
                           struct policy_report *ret, struct mu_error *err)
{
    MU_CLEANUP(memory_free) struct statement *statements = NULL;
    struct policy p = {.fence_pcr = fence_pcr, .without = without};

    MU_TRY(statements_read(policy, &statements, &p.count, err));
    p.statement = statements;
    return apply(&p, ret, err);
}

/* ---- the document ---- */

static enum mu_status unwrap(json_object **policy, const char *path, struct mu_error *err)
{
    json_object *inner = NULL, *text = NULL;

    if (!json_object_is_type(*policy, json_type_object) ||
        json_object_object_get_ex(*policy, "Statement", NULL) ||
        !json_object_object_get_ex(*policy, "Policy", &text) ||
        !json_object_is_type(text, json_type_string))
        return MU_OK;
    MU_TRY(json_parse((struct bytes){(const uint8_t *)json_object_get_string(text),
                                     (size_t)json_object_get_string_len(text)},
                      path, MU_CONFIG, &inner, err));
    json_free(policy);
    *policy = inner;
    return MU_OK;
}

enum mu_status policy_load(const char *path, json_object **ret, struct mu_error *err)
{
    MU_CLEANUP(buffer_free) struct buffer text = {0};
    MU_CLEANUP(json_free) json_object *policy = NULL;

    MU_TRY(file_read(path, WRAPPED_MAX_BYTES, &text, err));
    MU_TRY(json_parse(buffer_view(&text), path, MU_CONFIG, &policy, err));
    MU_TRY(unwrap(&policy, path, err));
    *ret = MU_TAKE(policy);
    return MU_OK;
}
