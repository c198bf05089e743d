/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef MU_TPM_FENCE_H
#define MU_TPM_FENCE_H

#include "tpm/tpm.h"

/* The fence PCR holds its initial value (all zero) in every allocated bank, or MU_REFUSE. */
enum mu_status fence_check_open(struct tpm *tpm, unsigned pcr,
                                struct mu_error *err) MU_MUST_CHECK MU_NONNULL;

/* MU_CONFIG unless the fence PCR is allocated in this bank, the bank that the release of the key
 * depends on. */
enum mu_status fence_require_bank(struct tpm *tpm, unsigned pcr, enum hash_alg bank,
                                  struct mu_error *err) MU_MUST_CHECK MU_NONNULL;

/* Extends the fence PCR in every allocated bank with each of `count` items in order, and reads
 * back: each bank must hold what was computed here. Any difference is MU_REFUSE. */
enum mu_status fence_close(struct tpm *tpm, unsigned pcr, const struct bytes *items, size_t count,
                           struct mu_error *err) MU_MUST_CHECK MU_NONNULL_AT(1, 5);

/* For every failure: makes sure that no bank holds the initial value any more. Idempotent: nothing
 * is extended if every bank is closed already. */
enum mu_status fence_ensure(struct tpm *tpm, unsigned pcr, const char *reason,
                            struct mu_error *err) MU_MUST_CHECK MU_NONNULL_AT(1, 4);

/* The same for each PCR that a configuration can choose as the fence (8 to 15): for when no
 * configuration can be read. Goes on after a failure, and returns the first one; a PCR that no bank
 * has is skipped. */
enum mu_status fence_ensure_all(struct tpm *tpm, const char *reason,
                                struct mu_error *err) MU_MUST_CHECK MU_NONNULL_AT(1, 3);

#endif
