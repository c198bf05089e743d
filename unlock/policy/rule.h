/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef MU_POLICY_RULE_H
#define MU_POLICY_RULE_H

#include "policy/policy.h"
#include "policy/statement.h"

struct policy {
    struct statement *statement;
    size_t count;
    unsigned fence_pcr;
    uint32_t without;
};

/* Which statements a rule looks at; POLICY_ONCE: the rule gets none and looks at all. */
enum scope {
    EACH,
    EACH_ALLOW,
    EACH_USE,     /* an Allow of something that gives the key away */
    EACH_RELEASE, /* such an Allow that compares PCRs */
    POLICY_ONCE,
};

struct rule {
    const char *name;
    enum scope scope;
    bool warning;
    void (*check)(const struct policy *p, const struct statement *s, const struct rule *rule,
                  struct policy_report *report);
    const char *fix;
};

void policy_found(struct policy_report *report, const struct rule *rule, const struct statement *s,
                  const char *format, ...) MU_PRINTF(4, 5);

#define CHECK(name)                                                                                \
    void name(const struct policy *p, const struct statement *s, const struct rule *rule,          \
              struct policy_report *report)

/* pcr_rules.c: what a condition on a PCR is worth. */
CHECK(rule_pcr4_without_12);
CHECK(rule_firmware_drivers);
CHECK(rule_extensions);
CHECK(rule_no_image);
CHECK(rule_proves_nothing);
CHECK(rule_useless_pcr);
CHECK(rule_fence);
CHECK(rule_upper_case);
CHECK(rule_bad_value);
CHECK(rule_wildcard);
CHECK(rule_wrong_operator);
CHECK(rule_outside_command_line);
CHECK(rule_mixed_baselines);

/* kms_rules.c: what PutKeyPolicy accepts although KMS never applies it. */
CHECK(rule_resource);
CHECK(rule_deleted_principal);
CHECK(rule_no_document);

#endif
