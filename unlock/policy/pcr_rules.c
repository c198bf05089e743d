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

static bool compares(const struct condition *c, unsigned pcr)
{
    return c->pcr == (int)pcr && c->comparison != COMPARE_NULL;
}

CHECK(rule_pcr4_without_12)
{
    uint32_t mask = statement_pcrs(s);

    (void)p;
    if ((mask & BIT(4)) != 0 && (mask & BIT(12)) == 0)
        policy_found(report, rule, s,
                     "PCR 4 without PCR 12: a command line handed in from outside goes unnoticed");
}

/* Every value that it may have. */
static bool demands_secure_boot(const struct statement *s)
{
    bool demanded = false;

    for (size_t i = 0; i < s->conditions; i++) {
        const struct condition *c = &s->condition[i];

        for (size_t v = 0; compares(c, 7) && v < policy_count(c->values); v++) {
            if (!is_secure_boot(policy_text(c->values, v)))
                return false;
            demanded = true;
        }
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

CHECK(rule_firmware_drivers)
{
    char names[BASELINE_NAMES_MAX];

    lacking(p, s, BIT(2) | BIT(3), names);
    if (names[0] != '\0' && !demands_secure_boot(s))
        policy_found(
            report, rule, s,
            "PCR 4 without PCR %s, and no Secure Boot by PCR 7: a UEFI driver or option ROM "
            "that runs before the image goes unnoticed",
            names);
}

CHECK(rule_extensions)
{
    char names[BASELINE_NAMES_MAX];

    lacking(p, s, BIT(13) | BIT(14), names);
    if (names[0] != '\0')
        policy_found(report, rule, s,
                     "it does not compare PCR %s: extension images (13) and the machine owner's "
                     "keys (14) go unnoticed",
                     names);
}

CHECK(rule_no_image)
{
    (void)p;
    if ((statement_pcrs(s) & (BIT(4) | BIT(7))) == 0)
        policy_found(report, rule, s, "it compares neither PCR 4 nor PCR 7: any image fits");
}

CHECK(rule_proves_nothing)
{
    bool other = (statement_pcrs(s) & BIT(4)) != 0;

    (void)p;
    for (size_t i = 0; i < s->conditions; i++) {
        const struct condition *c = &s->condition[i];

        if (!compares(c, 4) && !compares(c, 7))
            continue;
        for (size_t v = 0; v < policy_count(c->values); v++) {
            const char *value = policy_text(c->values, v);

            if (is_zero(value))
                policy_found(report, rule, s, "PCR %d = 0: nothing was measured", c->pcr);
            else if (c->pcr == 7 && !other && is_digits(value) && !is_secure_boot(value))
                policy_found(
                    report, rule, s,
                    "PCR 7 is that of every instance without Secure Boot, and PCR 4 is missing");
        }
    }
}

CHECK(rule_useless_pcr)
{
    (void)p;
    for (size_t i = 0; i < s->conditions; i++) {
        const struct condition *c = &s->condition[i];

        if (c->pcr >= 0 && c->comparison != COMPARE_NULL &&
            policy_pcr_trouble((unsigned)c->pcr) != NULL)
            policy_found(report, rule, s, "PCR %d %s", c->pcr,
                         policy_pcr_trouble((unsigned)c->pcr));
    }
}

CHECK(rule_fence)
{
    (void)p;
    if ((statement_pcrs(s) & BIT(p->fence_pcr)) == 0)
        policy_found(
            report, rule, s,
            "PCR %u, the fence, is not compared: the key can be released again after the unlock",
            p->fence_pcr);
    for (size_t i = 0; i < s->conditions; i++) {
        const struct condition *c = &s->condition[i];

        for (size_t v = 0; compares(c, p->fence_pcr) && v < policy_count(c->values); v++)
            if (!is_zero(policy_text(c->values, v)))
                policy_found(report, rule, s, "PCR %u, the fence, may be other than 48 zero bytes",
                             p->fence_pcr);
    }
}

CHECK(rule_upper_case)
{
    (void)p;
    for (size_t i = 0; i < s->conditions; i++) {
        const struct condition *c = &s->condition[i];

        if (c->pcr < 0 || (c->comparison != COMPARE_EQUAL && c->comparison != COMPARE_LIKE &&
                           c->comparison != COMPARE_NEGATED))
            continue;
        for (size_t v = 0; v < policy_count(c->values); v++)
            if (strpbrk(policy_text(c->values, v), "ABCDEF") != NULL)
                policy_found(report, rule, s, "PCR %d: %s never equals the lower-case hex of KMS",
                             c->pcr, c->op);
    }
}

CHECK(rule_bad_value)
{
    (void)p;
    for (size_t i = 0; i < s->conditions; i++) {
        const struct condition *c = &s->condition[i];

        if (c->pcr < 0 || c->comparison == COMPARE_NULL)
            continue;
        for (size_t v = 0; v < policy_count(c->values); v++) {
            const char *value = policy_text(c->values, v);
            bool pattern = c->comparison == COMPARE_LIKE && strpbrk(value, "*?") != NULL;

            if (!is_digits(value) && !pattern)
                policy_found(report, rule, s,
                             "PCR %d: '%.16s...' is not the hex of 48 bytes (%zu digits)", c->pcr,
                             value, strlen(value));
        }
    }
}

CHECK(rule_wildcard)
{
    (void)p;
    for (size_t i = 0; i < s->conditions; i++) {
        const struct condition *c = &s->condition[i];

        for (size_t v = 0; c->pcr >= 0 && v < policy_count(c->values); v++)
            if (c->comparison == COMPARE_LIKE && strpbrk(policy_text(c->values, v), "*?") != NULL)
                policy_found(report, rule, s, "PCR %d may be anything that fits '%.32s'", c->pcr,
                             policy_text(c->values, v));
    }
}

CHECK(rule_wrong_operator)
{
    (void)p;
    for (size_t i = 0; i < s->conditions; i++) {
        const struct condition *c = &s->condition[i];

        if (c->pcr >= 0 && c->comparison == COMPARE_NEGATED)
            policy_found(report, rule, s, "PCR %d: %s allows all values but one, and none at all",
                         c->pcr, c->op);
        else if (c->pcr >= 0 && (c->comparison == COMPARE_OTHER || c->comparison == COMPARE_ARN))
            policy_found(report, rule, s, "PCR %d: %s is not for PCRs, which are strings", c->pcr,
                         c->op);
    }
}

CHECK(rule_outside_command_line)
{
    (void)p;
    for (size_t i = 0; i < s->conditions; i++) {
        const struct condition *c = &s->condition[i];

        for (size_t v = 0; compares(c, 12) && v < policy_count(c->values); v++)
            if (is_digits(policy_text(c->values, v)) && !is_zero(policy_text(c->values, v)))
                policy_found(report, rule, s,
                             "PCR 12 is not zero: a command line from outside is allowed");
    }
}

CHECK(rule_mixed_baselines)
{
    unsigned several = 0;

    (void)p;
    for (size_t i = 0; i < s->conditions; i++)
        several += s->condition[i].pcr >= 0 && policy_count(s->condition[i].values) > 1;
    if (several > 1)
        policy_found(report, rule, s, "%u PCRs have several values: any mixture of them is allowed",
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
