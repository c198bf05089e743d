/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <string.h>
#include <strings.h>

#include "base/log.h"
#include "ctl/policy_rule.h"
#include "measure/baseline.h"

#define BIT(pcr) (1u << (pcr))
#define HEX_LOWER "0123456789abcdef"

const char policy_secure_boot_off[] =
    "98441c7f7625d10058c47683aec486ce311c633235eb555593a7ee791121e3578ae72d04ecef661f272d59058b77"
    "af35";

const char *policy_pcr_trouble(unsigned pcr)
{
    static const char equal[] = "is equal on all instances, whatever they boot";
    static const char resettable[] = "can be reset by whoever has the TPM";
    static const char *const trouble[24] = {
        [0] = equal,
        [2] = equal,
        [3] = equal,
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
        for (size_t v = 0; v < value_count(c->values); v++) {
            const char *value = value_text(c->values, v);

            if (is_zero(value))
                policy_found(report, rule, s, "PCR %d = 0: nothing was measured", c->pcr);
            else if (c->pcr == 7 && !other && strcasecmp(value, policy_secure_boot_off) == 0)
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
            "PCR %u, the fence, is not compared: the key can be had again after the unlock",
            p->fence_pcr);
    for (size_t i = 0; i < s->conditions; i++) {
        const struct condition *c = &s->condition[i];

        for (size_t v = 0; compares(c, p->fence_pcr) && v < value_count(c->values); v++)
            if (!is_zero(value_text(c->values, v)))
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
        for (size_t v = 0; v < value_count(c->values); v++)
            if (strpbrk(value_text(c->values, v), "ABCDEF") != NULL)
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
        for (size_t v = 0; v < value_count(c->values); v++) {
            const char *value = value_text(c->values, v);
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

        for (size_t v = 0; c->pcr >= 0 && v < value_count(c->values); v++)
            if (c->comparison == COMPARE_LIKE && strpbrk(value_text(c->values, v), "*?") != NULL)
                policy_found(report, rule, s, "PCR %d may be anything that fits '%.32s'", c->pcr,
                             value_text(c->values, v));
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

        for (size_t v = 0; compares(c, 12) && v < value_count(c->values); v++)
            if (is_digits(value_text(c->values, v)) && !is_zero(value_text(c->values, v)))
                policy_found(report, rule, s,
                             "PCR 12 is not zero: a command line from outside is allowed");
    }
}

CHECK(rule_mixed_baselines)
{
    unsigned several = 0;

    (void)p;
    for (size_t i = 0; i < s->conditions; i++)
        several += s->condition[i].pcr >= 0 && value_count(s->condition[i].values) > 1;
    if (several > 1)
        policy_found(report, rule, s, "%u PCRs have several values: any mixture of them is allowed",
                     several);
}

enum mu_status policy_check_baseline(const char *path, unsigned fence_pcr,
                                     struct pcr_values *values, struct mu_error *err)
{
    char pcr7[POLICY_PCR_DIGITS + 1];

    if (values->bank != HASH_SHA384)
        return mu_fail(err, MU_CONFIG, "%s: KMS compares SHA-384 values, these are %s", path,
                       hash_name(values->bank));
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
    hex_encode((struct bytes){values->value[7].bytes, POLICY_PCR_DIGITS / 2}, pcr7);
    if ((values->mask & PCR_BIT(4)) == 0 && strcmp(pcr7, policy_secure_boot_off) == 0)
        return mu_fail(err, MU_CONFIG,
                       "%s: PCR 7 says that Secure Boot is off, so any image fits: PCR 4 is needed",
                       path);
    if (!bytes_all_zero((struct bytes){values->value[12].bytes, POLICY_PCR_DIGITS / 2}))
        log_line("%s: PCR 12 is not zero: the image gets a command line from outside", path);
    return MU_OK;
}
