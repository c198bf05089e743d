/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef MU_TPM_COUNTER_H
#define MU_TPM_COUNTER_H

#include "tpm/seal.h"

/* NV counters that take sealed objects out of use. A counter goes up and never down. Deleting it
 * does not bring a lower one: a new counter begins at the highest count that any counter of this
 * TPM has ever had (Part 1, 37.2.4 "Counter"; Part 3, 31.8 TPM2_NV_Increment). The Name of the
 * index says that it is a counter, so an index of another kind is of no use. Anybody on the machine
 * can raise a counter, which locks secrets in and releases none. */

/* The owner's part of the NV indexes (TCG Registry of Reserved TPM 2.0 Handles, 2.2.2), without the
 * first ones, which attestation requests pass through. */
#define TPM_COUNTER_FIRST 0x01800100u
#define TPM_COUNTER_LAST 0x01bfffffu

/* "0x01804d55"; false if a counter may not have that index. */
bool tpm_counter_index(const char *text, uint32_t *ret) MU_NONNULL;

/* The Name of a counter of ours at that index, written at least once: it needs no TPM (Part 1, 16,
 * and Part 2, 13.5, TPMS_NV_PUBLIC). */
enum mu_status tpm_counter_name(uint32_t index, uint8_t ret[static SEAL_NAME_SIZE],
                                struct mu_error *err) MU_MUST_CHECK MU_NONNULL;

/* MU_CONFIG: there is no counter at that index, or something else. */
enum mu_status tpm_counter_read(struct tpm *tpm, uint32_t index, uint64_t *ret,
                                struct mu_error *err) MU_MUST_CHECK MU_NONNULL;
/* The same, but makes the counter if the index is free. */
enum mu_status tpm_counter_make(struct tpm *tpm, uint32_t index, uint64_t *ret,
                                struct mu_error *err) MU_MUST_CHECK MU_NONNULL;
/* Raises the counter to `to`; a count that is as high already stays. */
enum mu_status tpm_counter_raise(struct tpm *tpm, uint32_t index, uint64_t to,
                                 struct mu_error *err) MU_MUST_CHECK MU_NONNULL;

#endif
