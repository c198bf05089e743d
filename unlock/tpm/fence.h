/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef MU_TPM_FENCE_H
#define MU_TPM_FENCE_H

#include "tpm/tpm.h"

/* The fence PCR holds its initial value (all zero) in every allocated bank, or MU_REFUSE. */
enum mu_status fence_check_open(struct tpm *tpm, unsigned pcr, struct mu_error *err) MU_MUST_CHECK;

/* MU_CONFIG unless the fence PCR is allocated in this bank, which is the one that what releases the
 * key goes by. */
enum mu_status fence_require_bank(struct tpm *tpm, unsigned pcr, enum hash_alg bank,
                                  struct mu_error *err) MU_MUST_CHECK;

/* Extends the fence PCR in every allocated bank with each of `count` items in order, and reads
 * back: each bank must hold what was computed here. Any difference is MU_REFUSE. */
enum mu_status fence_close(struct tpm *tpm, unsigned pcr, const struct bytes *items, size_t count,
                           struct mu_error *err) MU_MUST_CHECK;

/* For everything that went wrong: makes sure that no bank holds the initial value any more.
 * Idempotent: nothing is extended where every bank is closed already. */
enum mu_status fence_ensure(struct tpm *tpm, unsigned pcr, const char *reason,
                            struct mu_error *err) MU_MUST_CHECK;

#endif
