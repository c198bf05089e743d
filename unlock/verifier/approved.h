/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef MU_VERIFIER_APPROVED_H
#define MU_VERIFIER_APPROVED_H

#include "base/signature.h"
#include "fleet/store.h"
#include "verifier/reference.h"

/* The reference values that follow from the images of a store: of each by itself, and of each UKI
 * behind each boot loader. What was approved and is not any more is among them, to be named. */
struct approved_set;
const struct reference_list *approved_list(const struct approved_set *set);
/* Every holder releases it. NULL is allowed. */
void approved_release(struct approved_set **set);

/* The present set of one store, for any number of threads. */
struct approved;
/* keys: of the builder, taken over. */
enum mu_status approved_new(struct public_keys *keys, unsigned fence_pcr, struct approved **ret,
                            struct mu_error *err) MU_MUST_CHECK;
void approved_free(struct approved **approved);

/* The set as the store has it now: it is read again if there was an act since. A manifest that is
 * not of the builder's, or not the one that was approved, is left out, and the log says so. If the
 * store cannot be read, what was read before holds for five minutes; after that MU_RETRY. */
enum mu_status approved_get(struct approved *approved, struct store *store,
                            struct approved_set **ret, struct mu_error *err) MU_MUST_CHECK;

#endif
