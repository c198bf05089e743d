/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef MU_RELEASE_TPM2_H
#define MU_RELEASE_TPM2_H

#include "base/json.h"
#include "tpm/seal.h"
#include "volume/record.h"

/* A sealed object in JSON, the "tpm2" data of a record; the states of its policy are the baselines
 * that stand beside it, each with the fence PCR at zero if one is named.
 *   {"public": TPM2B_PUBLIC, "private": TPM2B_PRIVATE, "parent": Name, "fence_pcr": 15,
 *    "counter": {"index": "0x01804d55", "limit": 33},
 *    "authority": TPM2B_PUBLIC, "signatures": [TPMT_SIGNATURE, one a baseline]}
 * binary parts in base64; the last two only with an authority, "fence_pcr" only with a fence,
 * "counter" only with a counter that must not have gone past the limit. */

#define TPM2_NO_FENCE (-1)

/* The policy for these baselines, not signed yet. */
enum mu_status tpm2_policy(const struct pcr_values *baselines, size_t count, int fence_pcr,
                           struct seal_policy *ret, struct mu_error *err) MU_MUST_CHECK;

enum mu_status tpm2_to_json(const struct sealed *sealed, const struct seal_policy *policy,
                            int fence_pcr, json_object **ret, struct mu_error *err) MU_MUST_CHECK;
/* Puts a policy's counter, authority and signatures into the data, replacing those that were
 * there. */
enum mu_status tpm2_set_signatures(json_object *data, const struct seal_policy *policy,
                                   struct mu_error *err) MU_MUST_CHECK;
/* MU_REFUSE if the data are malformed. */
enum mu_status tpm2_from_json(json_object *data, const struct pcr_values *baselines, size_t count,
                              struct sealed *ret, struct seal_policy *ret_policy,
                              int *ret_fence_pcr, struct mu_error *err) MU_MUST_CHECK;

/* The counter that a record is bound to; index 0 if there is none. */
enum mu_status tpm2_counter(const struct record *record, struct seal_counter *ret,
                            struct mu_error *err) MU_MUST_CHECK;

#endif
