/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <string.h>
#include <strings.h>

#include "base/log.h"
#include "measure/baseline.h"
#include "policy/rule.h"

#define BIT(pcr) (1u << (pcr))
#define HEX_LOWER "0123456789abcdef"

const char *policy_pcr_trouble(unsigned pcr)
{
    static const char equal[] = "is equal on all instances, whatever they boot";
    static const char resettable[] = "can be reset by anybody with access to the TPM";
    static const char *const trouble[24] = {
        [0] = equal,
        [6] = equal,
        [1] = "is not constant on EC2",
        [10] = "is not constant: IMA extends it in each boot",
        [16] = resettable,
        [23] = resettable,
        [17] = equal,
        [18] = equal,
        [19] = equal,
        [20] = equal,
        [21] = equal,
        [22] = equal,
    };

    return pcr < 24 ? trouble[pcr] : NULL;
}

static bool is_digits(const char *value)
{
    return strlen(value) == POLICY_PCR_DIGITS &&
           strspn(value, HEX_LOWER "ABCDEF") == POLICY_PCR_DIGITS;
}

static bool is_zero(const char *value)
{
    return strlen(value) == POLICY_PCR_DIGITS && strspn(value, "0") == POLICY_PCR_DIGITS;
}

/* PCR 7 with Secure Boot on: then firmware starts no driver that is not signed. */
static bool is_secure_boot(const char *value)
{
    struct pcr_values values = {.bank = HASH_SHA384, .mask = PCR_BIT(7)};

    return is_digits(value) && hex_decode(value, values.value[7].bytes, POLICY_PCR_DIGITS / 2) &&
           baseline_has_secure_boot(&values);
}

/* A value that a statement compares a PCR with. */
struct value {
    const struct condition *c;
    const char *text;
    size_t condition, next;
};

/* The next one; begins with {0}. */
static bool next_value(const struct statement *s, struct value *v)
{
    for (; v->condition < s->conditions; v->condition++, v->next = 0) {
        v->c = &s->condition[v->condition];
        if (v->c->pcr < 0 || v->c->comparison == COMPARE_NULL ||
            v->next == policy_count(v->c->values))
            continue;
        v->text = policy_text(v->c->values, v->next++);
        return true;
    }
    return false;
}

void rule_pcr4_without_12(const struct look *look, const struct statement *s)
{
    uint32_t mask = statement_pcrs(s);

    if ((mask & BIT(4)) != 0 && (mask & BIT(12)) == 0)
        policy_found(look, s,
                     "PCR 4 without PCR 12: a command line handed in from outside goes unnoticed");
}

/* Every value that it may have. */
static bool demands_secure_boot(const struct statement *s)
{
    bool demanded = false;

    for (struct value v = {0}; next_value(s, &v);) {
        if (v.c->pcr == 7 && !is_secure_boot(v.text))
            return false;
        demanded = demanded || v.c->pcr == 7;
    }
    return demanded;
}

/* Those of `wanted` that a statement about PCR 4 does not compare, "" if it does. */
static void lacking(const struct policy *p, const struct statement *s, uint32_t wanted,
                    char names[static BASELINE_NAMES_MAX])
{
    uint32_t compared = statement_pcrs(s);

    baseline_pcr_names((compared & BIT(4)) != 0 ? wanted & ~compared & ~p->without : 0, names);
}

void rule_firmware_drivers(const struct look *look, const struct statement *s)
{
    char names[BASELINE_NAMES_MAX];

    lacking(look->p, s, BIT(2) | BIT(3), names);
    if (names[0] != '\0' && !demands_secure_boot(s))
        policy_found(
            look, s,
            "PCR 4 without PCR %s, and no Secure Boot by PCR 7: a UEFI driver or option ROM "
            "that runs before the image goes unnoticed",
            names);
}

void rule_extensions(const struct look *look, const struct statement *s)
{
    char names[BASELINE_NAMES_MAX];

    lacking(look->p, s, BIT(13) | BIT(14), names);
    if (names[0] != '\0')
        policy_found(look, s,
                     "it does not compare PCR %s: extension images (13) and the machine owner's "
                     "keys (14) go unnoticed",
                     names);
}

void rule_no_image(const struct look *look, const struct statement *s)
{
    if ((statement_pcrs(s) & (BIT(4) | BIT(7))) == 0)
        policy_found(look, s, "it compares neither PCR 4 nor PCR 7: any image fits");
}

void rule_proves_nothing(const struct look *look, const struct statement *s)
{
    bool other = (statement_pcrs(s) & BIT(4)) != 0;

    for (struct value v = {0}; next_value(s, &v);) {
        if ((v.c->pcr == 4 || v.c->pcr == 7) && is_zero(v.text))
            policy_found(look, s, "PCR %d = 0: nothing was measured", v.c->pcr);
        else if (v.c->pcr == 7 && !other && is_digits(v.text) && !is_secure_boot(v.text))
            policy_found(
                look, s,
                "PCR 7 is that of every instance without Secure Boot, and PCR 4 is missing");
    }
}

void rule_useless_pcr(const struct look *look, const struct statement *s)
{
    for (size_t i = 0; i < s->conditions; i++) {
        const struct condition *c = &s->condition[i];

        if (c->pcr >= 0 && c->comparison != COMPARE_NULL &&
            policy_pcr_trouble((unsigned)c->pcr) != NULL)
            policy_found(look, s, "PCR %d %s", c->pcr, policy_pcr_trouble((unsigned)c->pcr));
    }
}

void rule_fence(const struct look *look, const struct statement *s)
{
    unsigned fence = look->p->fence_pcr;

    if ((statement_pcrs(s) & BIT(fence)) == 0)
        policy_found(
            look, s,
            "PCR %u, the fence, is not compared: the key can be released again after the unlock",
            fence);
    for (struct value v = {0}; next_value(s, &v);)
        if (v.c->pcr == (int)fence && !is_zero(v.text))
            policy_found(look, s, "PCR %u, the fence, may be other than 48 zero bytes", fence);
}

void rule_upper_case(const struct look *look, const struct statement *s)
{
    for (struct value v = {0}; next_value(s, &v);)
        if ((v.c->comparison == COMPARE_EQUAL || v.c->comparison == COMPARE_LIKE ||
             v.c->comparison == COMPARE_NEGATED) &&
            strpbrk(v.text, "ABCDEF") != NULL)
            policy_found(look, s, "PCR %d: %s never equals the lower-case hex of KMS", v.c->pcr,
                         v.c->op);
}

static bool is_pattern(const struct value *v)
{
    return v->c->comparison == COMPARE_LIKE && strpbrk(v->text, "*?") != NULL;
}

void rule_bad_value(const struct look *look, const struct statement *s)
{
    for (struct value v = {0}; next_value(s, &v);)
        if (!is_digits(v.text) && !is_pattern(&v))
            policy_found(look, s, "PCR %d: '%.16s...' is not the hex of 48 bytes (%zu digits)",
                         v.c->pcr, v.text, strlen(v.text));
}

void rule_wildcard(const struct look *look, const struct statement *s)
{
    for (struct value v = {0}; next_value(s, &v);)
        if (is_pattern(&v))
            policy_found(look, s, "PCR %d may be anything that fits '%.32s'", v.c->pcr, v.text);
}

void rule_wrong_operator(const struct look *look, const struct statement *s)
{
    for (size_t i = 0; i < s->conditions; i++) {
        const struct condition *c = &s->condition[i];

        if (c->pcr >= 0 && c->comparison == COMPARE_NEGATED)
            policy_found(look, s, "PCR %d: %s allows all values but one, and none at all", c->pcr,
                         c->op);
        else if (c->pcr >= 0 && (c->comparison == COMPARE_OTHER || c->comparison == COMPARE_ARN))
            policy_found(look, s, "PCR %d: %s is not for PCRs, which are strings", c->pcr, c->op);
    }
}

void rule_outside_command_line(const struct look *look, const struct statement *s)
{
    for (struct value v = {0}; next_value(s, &v);)
        if (v.c->pcr == 12 && is_digits(v.text) && !is_zero(v.text))
            policy_found(look, s, "PCR 12 is not zero: a command line from outside is allowed");
}

void rule_mixed_baselines(const struct look *look, const struct statement *s)
{
    unsigned several = 0;

    for (size_t i = 0; i < s->conditions; i++)
        several += s->condition[i].pcr >= 0 && policy_count(s->condition[i].values) > 1;
    if (several > 1)
        policy_found(look, s, "%u PCRs have several values: any mixture of them is allowed",
                     several);
}

/* PCRs that a baseline of other tools lacks and every clean machine has are still demanded. */
static enum mu_status add_clean_pcrs(const char *path, struct pcr_values *values,
                                     struct mu_error *err)
{
    uint32_t lacks = baseline_lacks(values);
    char names[BASELINE_NAMES_MAX];

    if (lacks == 0)
        return MU_OK;
    for (unsigned pcr = 0; pcr < PCR_COUNT; pcr++)
        if ((lacks & PCR_BIT(pcr)) != 0)
            MU_TRY(baseline_clean_value(values->bank, pcr, &values->value[pcr], err));
    values->mask |= lacks;
    baseline_pcr_names(lacks, names);
    log_line("%s: lacks PCR %s: the policy demands what every machine has on which no driver, "
             "extension image or key was loaded; 'muctl baseline record' on an instance says "
             "what yours has",
             path, names);
    return MU_OK;
}

enum mu_status policy_check_baseline(const char *path, unsigned fence_pcr,
                                     struct pcr_values *values, struct mu_error *err)
{
    if (values->bank != HASH_SHA384)
        return mu_fail(err, MU_CONFIG, "%s: KMS compares SHA-384 values, these are %s", path,
                       hash_name(values->bank));
    MU_TRY(add_clean_pcrs(path, values, err));
    if (baseline_check_complete(values, fence_pcr, err) != MU_OK)
        return mu_context(err, "%s", path);
    for (unsigned pcr = 0; pcr < PCR_COUNT; pcr++) {
        if ((values->mask & PCR_BIT(pcr)) == 0)
            continue;
        if (policy_pcr_trouble(pcr) != NULL) {
            log_line("%s: PCR %u is left out: it %s", path, pcr, policy_pcr_trouble(pcr));
            values->mask &= ~PCR_BIT(pcr);
        } else if ((pcr == 4 || pcr == 7) &&
                   bytes_all_zero(
                       (struct bytes){values->value[pcr].bytes, POLICY_PCR_DIGITS / 2})) {
            return mu_fail(err, MU_CONFIG, "%s: PCR %u is zero: nothing was measured", path, pcr);
        }
    }
    if (!bytes_all_zero((struct bytes){values->value[12].bytes, POLICY_PCR_DIGITS / 2}))
        log_line("%s: PCR 12 is not zero: the image gets a command line from outside", path);
    return MU_OK;
}
