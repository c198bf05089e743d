/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef MU_POLICY_POLICY_H
#define MU_POLICY_POLICY_H

#include "base/json.h"
#include "tpm/tpm.h"

/* KMS quotas: a key policy document has at most 32 KB. */
#define POLICY_MAX_BYTES 32768
/* Hex digits of a PCR in a condition: KMS sees the SHA-384 bank only. */
#define POLICY_PCR_DIGITS 96

/* Why a condition on this PCR proves nothing, or will not hold; NULL if a condition on it makes
 * sense. */
const char *policy_pcr_trouble(unsigned pcr);

/* MU_CONFIG unless these values can guard the key. PCRs that are not worth a condition are taken
 * out of the mask, and the PCRs that every clean machine has are added, with a line in the log. */
enum mu_status policy_check_baseline(const char *path, unsigned fence_pcr,
                                     struct pcr_values *values, struct mu_error *err) MU_MUST_CHECK;

#define POLICY_FINDINGS_MAX 128

struct policy_finding {
    const char *rule;
    const char *fix;
    bool warning; /* worth knowing, but does not defeat attestation */
    char statement[64];
    char detail[320];
};

struct policy_report {
    size_t count; /* findings and warnings; what is beyond the bound only counts */
    size_t findings;
    bool data_volumes; /* somebody may have keys made for volumes of his own */
    struct policy_finding finding[POLICY_FINDINGS_MAX];
};

/* A key policy from a file ('-': standard input), or from what 'aws kms get-key-policy' prints,
 * which has it as a text in "Policy". MU_CONFIG: not JSON, or larger than KMS takes. */
enum mu_status policy_load(const char *path, json_object **ret, struct mu_error *err) MU_MUST_CHECK;

/* Whether the policy lets a machine with these PCRs decrypt while its fence is open: some Allow of
 * kms:Decrypt whose conditions on PCRs all hold, and no Deny whose do. What is compared besides
 * PCRs (who asks, the encryption context), and PCRs that are not in the values, is taken to hold.
 * MU_REFUSE says which PCRs the nearest statement wants otherwise; MU_CONFIG: not a policy. */
enum mu_status policy_admits(json_object *policy, const struct pcr_values *values,
                             unsigned fence_pcr, struct mu_error *err) MU_MUST_CHECK;

/* Applies every rule. without: PCRs (2, 3, 13, 14) whose absence is known and wanted. MU_CONFIG:
 * not a policy at all. MU_REFUSE: there is a finding (`ret` is filled). */
enum mu_status policy_lint(json_object *policy, unsigned fence_pcr, uint32_t without,
                           struct policy_report *ret, struct mu_error *err) MU_MUST_CHECK;

#endif
