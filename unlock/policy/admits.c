/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <fnmatch.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "measure/baseline.h"
#include "policy/policy.h"
#include "policy/statement.h"

#define DECRYPT "kms:Decrypt"

/* The document that KMS would be shown, as far as it is known. */
struct document {
    const struct pcr_values *values;
    unsigned fence_pcr;
};

/* The text that KMS compares; false if it is not known. */
static bool value_of(const struct document *document, int pcr, char ret[static PCR_HEX_SIZE])
{
    if (pcr < 0)
        return false;
    if ((unsigned)pcr == document->fence_pcr) {
        memset(ret, '0', POLICY_PCR_DIGITS);
        ret[POLICY_PCR_DIGITS] = '\0';
        return true;
    }
    pcr_hex(document->values, (unsigned)pcr, ret);
    return ret[0] != '\0';
}

static bool matches(enum comparison comparison, const char *wanted, const char *found)
{
    switch (comparison) {
    case COMPARE_EQUAL:
        return strcmp(wanted, found) == 0;
    case COMPARE_EQUAL_ANY_CASE:
    case COMPARE_NEGATED: /* the generous reading; `policy lint` complains of other values */
        return strcasecmp(wanted, found) == 0;
    case COMPARE_LIKE:
        return fnmatch(wanted, found, FNM_NOESCAPE) == 0;
    case COMPARE_NULL: /* "true": that the key is absent */
        return strcasecmp(wanted, "false") == 0;
    default:
        return false;
    }
}

static bool holds(const struct document *document, const struct condition *c)
{
    char found[PCR_HEX_SIZE];
    bool any = false;

    if (c->pcr == PCR_ENCLAVE) /* never in such a document */
        return c->comparison == COMPARE_NULL ? strcasecmp(policy_text(c->values, 0), "true") == 0
                                             : c->comparison == COMPARE_NEGATED;
    if (!value_of(document, c->pcr, found))
        return true;
    for (size_t i = 0; i < policy_count(c->values); i++)
        any = any || matches(c->comparison, policy_text(c->values, i), found);
    return any != (c->comparison == COMPARE_NEGATED);
}

/* The PCRs whose conditions do not hold; *ret_enclave: one of enclaves does not. */
static uint32_t failing(const struct document *document, const struct statement *s,
                        bool *ret_enclave)
{
    uint32_t mask = 0;

    *ret_enclave = false;
    for (size_t i = 0; i < s->conditions; i++) {
        const struct condition *c = &s->condition[i];

        if (holds(document, c))
            continue;
        if (c->pcr >= 0)
            mask |= PCR_BIT((unsigned)c->pcr);
        else
            *ret_enclave = true;
    }
    return mask;
}

static bool decides_by_pcrs(const struct statement *s)
{
    for (size_t i = 0; i < s->conditions; i++)
        if (s->condition[i].pcr == PCR_NONE)
            return false;
    return s->conditions > 0;
}

static enum mu_status judge(const struct document *document, const struct statement *statements,
                            size_t count, struct mu_error *err)
{
    const struct statement *nearest = NULL;
    uint32_t wanted = UINT32_MAX;
    char names[BASELINE_NAMES_MAX];

    for (size_t i = 0; i < count; i++) {
        const struct statement *s = &statements[i];
        bool enclave;
        uint32_t mask = failing(document, s, &enclave);

        if (s->malformed != NULL || enclave || !statement_has_action(s, DECRYPT))
            continue;
        if (!s->allow && mask == 0 && decides_by_pcrs(s))
            return mu_fail(err, MU_REFUSE, "its statement '%s' denies " DECRYPT " to these PCRs",
                           s->label);
        if (s->allow && __builtin_popcount(mask) < __builtin_popcount(wanted)) {
            nearest = s;
            wanted = mask;
        }
    }
    if (nearest == NULL)
        return mu_fail(err, MU_REFUSE, "no statement of it allows " DECRYPT);
    if (wanted == 0)
        return MU_OK;
    baseline_pcr_names(wanted, names);
    return mu_fail(err, MU_REFUSE, "its statement '%s', the nearest one, wants another PCR %s",
                   nearest->label, names);
}

enum mu_status policy_admits(json_object *policy, const struct pcr_values *values,
                             unsigned fence_pcr, struct mu_error *err)
{
    const struct document document = {values, fence_pcr};
    MU_CLEANUP(memory_free) struct statement *statements = NULL;
    size_t count = 0;

    if (values->bank != HASH_SHA384)
        return mu_fail(err, MU_INTERNAL, "KMS sees PCRs of the SHA-384 bank only");
    MU_TRY(statements_read(policy, &statements, &count, err));
    return judge(&document, statements, count, err);
}
