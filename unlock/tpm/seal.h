/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef MU_TPM_SEAL_H
#define MU_TPM_SEAL_H

#include <openssl/evp.h>

#include "base/secret.h"
#include "tpm/tpm.h"

/* Secrets that a TPM gives back only while the machine is in a certain state: data objects below a
 * storage key that is derived again each time (`tpm2_createprimary -C o -G ecc -a
 * 'fixedtpm|fixedparent|sensitivedataorigin|userwithauth|noda|restricted|decrypt'`), with a SHA-256
 * policy and without a password. */

#define SEAL_MAX 128       /* bytes of one secret (TPM 2.0 Part 2, 11.1.14, MAX_SYM_DATA) */
#define SEAL_STATES_MAX 8  /* what one TPM2_PolicyOR takes */
#define SEAL_NAME_SIZE 34u /* TPM_ALG_SHA256 and a digest (Part 1, 16) */
#define SEAL_PART_MAX 1024 /* of a public area, a private area, a signature */

/* An NV counter of the TPM that must not have gone past the limit (tpm/counter.h). */
struct seal_counter {
    uint32_t index; /* 0: none */
    uint64_t limit;
};

/* When the TPM releases the secret: the PCRs have the values of one of the states, and the counter
 * allows it. With an authority, it must be a state that the authority has signed: the sealed object
 * itself then names no PCR, and states and limit may change later. */
struct seal_policy {
    size_t states;
    struct pcr_values state[SEAL_STATES_MAX];
    struct seal_counter counter;
    struct buffer authority;                  /* TPM2B_PUBLIC; without data: none */
    struct buffer signature[SEAL_STATES_MAX]; /* TPMT_SIGNATURE, one a state */
};
void seal_policy_free(struct seal_policy *policy) MU_NONNULL;

struct sealed {
    struct buffer public_area;  /* TPM2B_PUBLIC, as tpm2_load -u takes it */
    struct buffer private_area; /* TPM2B_PRIVATE, as tpm2_load -r takes it */
    struct buffer parent;       /* the storage key's Name; without data: any */
};
void sealed_free(struct sealed *sealed) MU_NONNULL;

/* Part 3, 23.7 (PolicyPCR) of a new session, and with a counter 23.9 (PolicyNV). */
enum mu_status seal_state_digest(const struct pcr_values *state, const struct seal_counter *counter,
                                 struct digest *ret, struct mu_error *err) MU_MUST_CHECK MU_NONNULL;
/* The policyRef in an authority's signature: the counter's Name, so that a signature without a
 * counter, or with another one, is of no use here. Empty without a counter. */
enum mu_status seal_policy_ref(const struct seal_counter *counter,
                               uint8_t ret[static SEAL_NAME_SIZE], size_t *ret_len,
                               struct mu_error *err) MU_MUST_CHECK MU_NONNULL;
/* A state's digest and the policyRef: an authority signs the hash of this (23.16). */
#define SEAL_APPROVAL_MAX (32u + SEAL_NAME_SIZE)
enum mu_status seal_approval(const struct seal_policy *policy, size_t state,
                             uint8_t ret[static SEAL_APPROVAL_MAX], size_t *ret_len,
                             struct mu_error *err) MU_MUST_CHECK MU_NONNULL;
/* The whole policy: a state's, with several states 23.6 (PolicyOR), or 23.16 (PolicyAuthorize). */
enum mu_status seal_policy_digest(const struct seal_policy *policy, struct digest *ret,
                                  struct mu_error *err) MU_MUST_CHECK MU_NONNULL;
/* Makes this key the policy's authority, and signs all states. ECDSA with P-256 or P-384;
 * MU_CONFIG for another key. */
enum mu_status seal_authorize(struct seal_policy *policy, EVP_PKEY *key,
                              struct mu_error *err) MU_MUST_CHECK MU_NONNULL;

/* The PCRs need not have these values yet. In both directions the secret is encrypted for the
 * storage key; it never travels in clear between the program and the TPM. */
enum mu_status tpm_seal(struct tpm *tpm, struct bytes secret, const struct seal_policy *policy,
                        struct sealed *ret, struct mu_error *err) MU_MUST_CHECK MU_NONNULL;
/* MU_REFUSE: the TPM refused, because a PCR differs or changed meanwhile, or because the object
 * belongs to another TPM or is older than the last time this one was cleared. MU_RETRY: locked out
 * for now. */
enum mu_status tpm_unseal(struct tpm *tpm, const struct sealed *sealed,
                          const struct seal_policy *policy, struct secret *ret,
                          struct mu_error *err) MU_MUST_CHECK MU_NONNULL;

#endif
