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

struct rule;

/* What a rule is applied to, and where its findings go. */
struct look {
    const struct policy *p;
    const struct rule *rule;
    struct policy_report *report;
};

struct rule {
    const char *name;
    enum scope scope;
    bool warning;
    void (*check)(const struct look *look, const struct statement *s);
    const char *fix;
};

/* `s` may be NULL. */
void policy_found(const struct look *look, const struct statement *s, const char *format, ...)
    MU_PRINTF(3, 4);

/* pcr_rules.c: what a condition on a PCR is worth. */
void rule_pcr4_without_12(const struct look *look, const struct statement *s);
void rule_firmware_drivers(const struct look *look, const struct statement *s);
void rule_extensions(const struct look *look, const struct statement *s);
void rule_no_image(const struct look *look, const struct statement *s);
void rule_proves_nothing(const struct look *look, const struct statement *s);
void rule_useless_pcr(const struct look *look, const struct statement *s);
void rule_fence(const struct look *look, const struct statement *s);
void rule_upper_case(const struct look *look, const struct statement *s);
void rule_bad_value(const struct look *look, const struct statement *s);
void rule_wildcard(const struct look *look, const struct statement *s);
void rule_wrong_operator(const struct look *look, const struct statement *s);
void rule_outside_command_line(const struct look *look, const struct statement *s);
void rule_mixed_baselines(const struct look *look, const struct statement *s);

/* kms_rules.c: what PutKeyPolicy accepts although KMS never applies it. */
void rule_resource(const struct look *look, const struct statement *s);
void rule_deleted_principal(const struct look *look, const struct statement *s);
void rule_no_document(const struct look *look, const struct statement *s);

#endif
