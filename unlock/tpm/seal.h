/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef MU_TPM_SEAL_H
#define MU_TPM_SEAL_H

#include <openssl/evp.h>

#include "base/secret.h"
#include "tpm/tpm.h"

/* Secrets that a TPM gives back to a machine in a certain state only: data objects below a storage
 * key that is derived anew each time (`tpm2_createprimary -C o -G ecc -a
 * 'fixedtpm|fixedparent|sensitivedataorigin|userwithauth|noda|restricted|decrypt'`), with a SHA-256
 * policy and without a password. */

#define SEAL_MAX 128       /* bytes of one secret (TPM 2.0 Part 2, 11.1.14, MAX_SYM_DATA) */
#define SEAL_STATES_MAX 8  /* what one TPM2_PolicyOR takes */
#define SEAL_NAME_SIZE 34u /* TPM_ALG_SHA256 and a digest (Part 1, 16) */
#define SEAL_PART_MAX 1024 /* of a public area, a private area, a signature */

/* When the secret may be had: the PCRs are those of one of the states. With an authority, of one
 * whose policy it has signed: the sealed object itself names no PCR then, and states may come and
 * go. */
struct seal_policy {
    size_t states;
    struct pcr_values state[SEAL_STATES_MAX];
    struct buffer authority;                  /* TPM2B_PUBLIC; without data: none */
    struct buffer signature[SEAL_STATES_MAX]; /* TPMT_SIGNATURE, one a state */
};
void seal_policy_free(struct seal_policy *policy);

struct sealed {
    struct buffer public_area;  /* TPM2B_PUBLIC, as tpm2_load -u takes it */
    struct buffer private_area; /* TPM2B_PRIVATE, as tpm2_load -r takes it */
    struct buffer parent;       /* the storage key's Name; without data: any */
};
void sealed_free(struct sealed *sealed);

/* Part 3, 23.7 (PolicyPCR), of a new session: what an authority signs. */
enum mu_status seal_state_digest(const struct pcr_values *state, struct digest *ret,
                                 struct mu_error *err) MU_MUST_CHECK;
/* The whole policy: 23.7, with several states 23.6 (PolicyOR), or 23.16 (PolicyAuthorize). */
enum mu_status seal_policy_digest(const struct seal_policy *policy, struct digest *ret,
                                  struct mu_error *err) MU_MUST_CHECK;
/* Makes this key the policy's authority, and signs all states. ECDSA with P-256 or P-384;
 * MU_CONFIG for another key. */
enum mu_status seal_authorize(struct seal_policy *policy, EVP_PKEY *key,
                              struct mu_error *err) MU_MUST_CHECK;

/* The PCRs need not have these values yet. Both ways the secret is encrypted for the storage key,
 * and never in clear between the program and the TPM. */
enum mu_status tpm_seal(struct tpm *tpm, struct bytes secret, const struct seal_policy *policy,
                        struct sealed *ret, struct mu_error *err) MU_MUST_CHECK;
/* MU_REFUSE: by the TPM, since a PCR differs or changed meanwhile, or the object is another TPM's
 * or from before it was cleared. MU_RETRY: locked out for now. */
enum mu_status tpm_unseal(struct tpm *tpm, const struct sealed *sealed,
                          const struct seal_policy *policy, struct secret *ret,
                          struct mu_error *err) MU_MUST_CHECK;

#endif
