/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "policy/statement.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define ATTESTATION_PREFIX "kms:RecipientAttestation:"
#define PCR_PREFIX ATTESTATION_PREFIX "NitroTPMPCR"

/* IAM User Guide, "IAM JSON policy elements: Condition operators" */
static const struct {
    const char *name;
    enum comparison comparison;
} comparisons[] = {
    {"StringEquals", COMPARE_EQUAL},
    {"StringEqualsIgnoreCase", COMPARE_EQUAL_ANY_CASE},
    {"StringLike", COMPARE_LIKE},
    {"StringNotEquals", COMPARE_NEGATED},
    {"StringNotEqualsIgnoreCase", COMPARE_NEGATED},
    {"StringNotLike", COMPARE_NEGATED},
    {"ArnNotEquals", COMPARE_NEGATED},
    {"ArnNotLike", COMPARE_NEGATED},
    {"NotIpAddress", COMPARE_NEGATED},
    {"NumericNotEquals", COMPARE_NEGATED},
    {"DateNotEquals", COMPARE_NEGATED},
    {"Null", COMPARE_NULL},
    {"Bool", COMPARE_OTHER},
    {"BinaryEquals", COMPARE_OTHER},
    {"ArnEquals", COMPARE_ARN},
    {"ArnLike", COMPARE_ARN},
    {"IpAddress", COMPARE_OTHER},
    {"NumericEquals", COMPARE_OTHER},
    {"NumericLessThan", COMPARE_OTHER},
    {"NumericLessThanEquals", COMPARE_OTHER},
    {"NumericGreaterThan", COMPARE_OTHER},
    {"NumericGreaterThanEquals", COMPARE_OTHER},
    {"DateEquals", COMPARE_OTHER},
    {"DateLessThan", COMPARE_OTHER},
    {"DateLessThanEquals", COMPARE_OTHER},
    {"DateGreaterThan", COMPARE_OTHER},
    {"DateGreaterThanEquals", COMPARE_OTHER},
};

size_t policy_count(json_object *values)
{
    if (values == NULL)
        return 0;
    return json_object_is_type(values, json_type_array) ? json_object_array_length(values) : 1;
}

const char *policy_text(json_object *values, size_t index)
{
    json_object *value = json_object_is_type(values, json_type_array)
                             ? json_object_array_get_idx(values, index)
                             : values;
    const char *text = json_object_get_string(value);

    return text != NULL ? text : "";
}

static bool all_of_type(json_object *values, bool scalars)
{
    for (size_t i = 0; i < policy_count(values); i++) {
        json_object *value = json_object_is_type(values, json_type_array)
                                 ? json_object_array_get_idx(values, i)
                                 : values;
        enum json_type type = json_object_get_type(value);
        bool scalar =
            type == json_type_boolean || type == json_type_int || type == json_type_double;

        if (type != json_type_string && !(scalars && scalar))
            return false;
    }
    return policy_count(values) > 0;
}

/* * and ?, any case; going back to the last * is enough. */
static bool glob(const char *pattern, const char *text)
{
    const char *star = NULL;
    const char *retry = text;

    while (*text != '\0') {
        if (*pattern == '*') {
            star = pattern++;
            retry = text;
        } else if (*pattern == '?' || (*pattern != '\0' && strncasecmp(pattern, text, 1) == 0)) {
            pattern++;
            text++;
        } else if (star != NULL) {
            pattern = star + 1;
            text = ++retry;
        } else {
            return false;
        }
    }
    while (*pattern == '*')
        pattern++;
    return *pattern == '\0';
}

bool statement_has_action(const struct statement *s, const char *action)
{
    json_object *patterns = s->action != NULL ? s->action : s->not_action;
    bool found = false;

    for (size_t i = 0; i < policy_count(patterns); i++)
        found |= glob(policy_text(patterns, i), action);
    return found != (s->action == NULL && s->not_action != NULL);
}

const char *statement_principal(const struct statement *s, size_t index)
{
    json_object *names = s->principal;

    if (json_object_is_type(names, json_type_object))
        names = json_object_object_get(names, "AWS");
    return index < policy_count(names) ? policy_text(names, index) : NULL;
}

bool statement_any_principal(const struct statement *s)
{
    const char *name;

    for (size_t i = 0; (name = statement_principal(s, i)) != NULL; i++)
        if (strcmp(name, "*") == 0)
            return true;
    return false;
}

bool statement_names_caller(const struct statement *s)
{
    for (size_t i = 0; i < s->conditions; i++) {
        const struct condition *c = &s->condition[i];
        bool named = strcasecmp(c->key, "aws:PrincipalArn") == 0 && !c->passes_when_absent &&
                     (c->comparison == COMPARE_EQUAL || c->comparison == COMPARE_LIKE ||
                      c->comparison == COMPARE_ARN);

        for (size_t v = 0; v < policy_count(c->values); v++)
            named = named && strpbrk(policy_text(c->values, v), "*?$") == NULL &&
                    !policy_is_account(policy_text(c->values, v));
        if (named)
            return true;
    }
    return false;
}

bool policy_is_account(const char *principal)
{
    size_t len = strlen(principal);

    if (len == 12 && strspn(principal, "0123456789") == 12)
        return true;
    return len > 5 && strcmp(principal + len - 5, ":root") == 0;
}

uint32_t statement_pcrs(const struct statement *s)
{
    uint32_t mask = 0;

    for (size_t i = 0; i < s->conditions; i++)
        if (s->condition[i].pcr >= 0 && s->condition[i].comparison != COMPARE_NULL)
            mask |= 1u << s->condition[i].pcr;
    return mask;
}

bool statement_demands(const struct statement *s, const char *key)
{
    for (size_t i = 0; i < s->conditions; i++) {
        const struct condition *c = &s->condition[i];

        if (c->comparison == COMPARE_NULL && strcasecmp(c->key, key) == 0 &&
            policy_count(c->values) == 1 && strcasecmp(policy_text(c->values, 0), "false") == 0)
            return true;
    }
    return false;
}

/* KMS Developer Guide, "Condition keys for attested platforms": NitroTPMPCR0 to NitroTPMPCR23 */
static int pcr_of_key(const char *key)
{
    char canonical[48];

    for (int pcr = 0; pcr < 24; pcr++) {
        (void)snprintf(canonical, sizeof(canonical), PCR_PREFIX "%d", pcr);
        if (strcasecmp(key, canonical) == 0)
            return pcr;
    }
    return strncasecmp(key, ATTESTATION_PREFIX, strlen(ATTESTATION_PREFIX)) == 0 ? PCR_ENCLAVE
                                                                                 : PCR_NONE;
}

static void read_operator(struct condition *c)
{
    const char *name = c->op;
    size_t len;

    if (strncmp(name, "ForAllValues:", 13) == 0) {
        c->passes_when_absent = true;
        name += 13;
    } else if (strncmp(name, "ForAnyValue:", 12) == 0) {
        name += 12;
    }
    len = strlen(name);
    if (len > 8 && strcmp(name + len - 8, "IfExists") == 0) {
        c->passes_when_absent = true;
        len -= 8;
    }
    for (size_t i = 0; i < MU_COUNT(comparisons); i++)
        if (strlen(comparisons[i].name) == len && strncmp(name, comparisons[i].name, len) == 0)
            c->comparison = comparisons[i].comparison;
    if (c->comparison == COMPARE_NULL && name + len != c->op + strlen("Null"))
        c->comparison = COMPARE_UNKNOWN;
    if (c->comparison == COMPARE_NULL && c->passes_when_absent)
        c->comparison = COMPARE_UNKNOWN;
}

static void read_condition(struct statement *s, const char *op, const char *key,
                           json_object *values)
{
    struct condition c = {.op = op, .key = key, .values = values};

    if (s->conditions == CONDITIONS_MAX) {
        s->malformed = "it has more than 64 conditions";
        return;
    }
    c.pcr = pcr_of_key(key);
    read_operator(&c);
    if (c.comparison == COMPARE_UNKNOWN)
        s->malformed = "a condition operator is not known";
    if (!all_of_type(values, true))
        s->malformed = "a condition value is not a string, or there is none";
    s->condition[s->conditions++] = c;
}

static void read_conditions(json_object *block, struct statement *s)
{
    if (!json_object_is_type(block, json_type_object)) {
        s->malformed = "Condition is not an object of objects";
        return;
    }
    json_object_object_foreach(block, op, keys)
    {
        if (!json_object_is_type(keys, json_type_object)) {
            s->malformed = "Condition is not an object of objects";
            return;
        }
        json_object_object_foreach(keys, key, values)
        {
            read_condition(s, op, key, values);
        }
    }
}

static void check_principal(json_object *principal, struct statement *s)
{
    static const char *const kinds[] = {"AWS", "Service", "Federated", "CanonicalUser", NULL};
    struct mu_error ignored = {0};

    if (json_object_is_type(principal, json_type_string) &&
        strcmp(json_object_get_string(principal), "*") == 0)
        return;
    if (json_only(principal, "", kinds, MU_REFUSE, &ignored) != MU_OK) {
        s->malformed = "Principal is neither \"*\" nor an object like {\"AWS\": \"arn:...\"}";
        return;
    }
    if (json_object_object_length(principal) == 0)
        s->malformed = "Principal is empty";
    json_object_object_foreach(principal, kind, names)
    {
        (void)kind;
        if (!all_of_type(names, false))
            s->malformed = "a principal is not a string, or there is none";
    }
}

/* "kms:Decrypt", or "*": a name alone means nothing, and KMS refuses it. */
static bool are_actions(json_object *actions)
{
    for (size_t i = 0; i < policy_count(actions); i++) {
        const char *action = policy_text(actions, i);

        if (strcmp(action, "*") != 0 && strchr(action, ':') == NULL)
            return false;
    }
    return true;
}

static void check_members(json_object *object, struct statement *s)
{
    static const char *const known[] = {"Sid",       "Effect",    "Principal", "NotPrincipal",
                                        "Action",    "NotAction", "Resource",  "NotResource",
                                        "Condition", NULL};
    struct mu_error ignored = {0};

    if (json_only(object, "", known, MU_REFUSE, &ignored) != MU_OK)
        s->malformed = "it has a member that a statement does not have";
    if ((s->action == NULL) == (s->not_action == NULL))
        s->malformed = "it needs Action or NotAction, and not both";
    if ((s->resource == NULL) == (s->not_resource == NULL))
        s->malformed = "it needs Resource or NotResource, and not both";
    if (s->principal != NULL && s->not_principal != NULL)
        s->malformed = "it has both Principal and NotPrincipal";
    if (!all_of_type(s->action != NULL ? s->action : s->not_action, false))
        s->malformed = "an action is not a string, or there is none";
    else if (!are_actions(s->action != NULL ? s->action : s->not_action))
        s->malformed = "an action is not of the form kms:Decrypt";
    if (!all_of_type(s->resource != NULL ? s->resource : s->not_resource, false))
        s->malformed = "a resource is not a string, or there is none";
}

void statement_read(json_object *object, size_t index, struct statement *ret)
{
    struct statement s = {0};
    json_object *condition = NULL;
    json_object *sid = NULL;
    const char *effect;

    (void)snprintf(s.label, sizeof(s.label), "%zu", index);
    if (!json_object_is_type(object, json_type_object)) {
        s.malformed = "it is not an object";
        *ret = s;
        return;
    }
    if (json_object_object_get_ex(object, "Sid", &sid))
        (void)snprintf(s.label, sizeof(s.label), "%s", policy_text(sid, 0));
    s.action = json_object_object_get(object, "Action");
    s.not_action = json_object_object_get(object, "NotAction");
    s.principal = json_object_object_get(object, "Principal");
    s.not_principal = json_object_object_get(object, "NotPrincipal");
    s.resource = json_object_object_get(object, "Resource");
    s.not_resource = json_object_object_get(object, "NotResource");
    check_members(object, &s);
    if (s.principal != NULL)
        check_principal(s.principal, &s);
    effect = policy_text(json_object_object_get(object, "Effect"), 0);
    s.allow = strcmp(effect, "Allow") == 0;
    if (!s.allow && strcmp(effect, "Deny") != 0)
        s.malformed = "Effect is neither Allow nor Deny";
    if (json_object_object_get_ex(object, "Condition", &condition))
        read_conditions(condition, &s);
    *ret = s;
}

static enum mu_status check_document(json_object *policy, struct mu_error *err)
{
    static const char *const members[] = {"Version", "Id", "Statement", NULL};
    const char *version = NULL;

    MU_TRY(json_only(policy, "key policy", members, MU_CONFIG, err));
    if (!json_object_object_get_ex(policy, "Version", NULL))
        return MU_OK; /* means 2008-10-17 */
    MU_TRY(json_string(policy, "Version", 16, MU_CONFIG, &version, err));
    if (strcmp(version, "2012-10-17") != 0 && strcmp(version, "2008-10-17") != 0)
        return mu_fail(err, MU_CONFIG, "key policy: Version is not 2012-10-17");
    return MU_OK;
}

enum mu_status statements_read(json_object *policy, struct statement **ret, size_t *ret_count,
                               struct mu_error *err)
{
    struct statement *statements;
    json_object *list = NULL;
    size_t count;
    bool array;

    MU_TRY(check_document(policy, err));
    if (!json_object_object_get_ex(policy, "Statement", &list) || list == NULL)
        return mu_fail(err, MU_CONFIG, "key policy: \"Statement\" is missing");
    array = json_object_is_type(list, json_type_array);
    count = policy_count(list);
    if (count == 0 || count > STATEMENTS_MAX)
        return mu_fail(err, MU_CONFIG, "key policy: 1 to %d statements are possible, not %zu",
                       STATEMENTS_MAX, count);
    statements = calloc(count, sizeof(*statements));
    if (statements == NULL)
        return mu_oom(err);
    for (size_t i = 0; i < count; i++)
        statement_read(array ? json_object_array_get_idx(list, i) : list, i, &statements[i]);
    *ret = statements;
    *ret_count = count;
    return MU_OK;
}
