/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef MU_VERIFIER_ISSUE_H
#define MU_VERIFIER_ISSUE_H

#include "attest/verify.h"
#include "verifier/material.h"

/* What is known of an instance whose document holds and matches. */
struct finding {
    const struct document *document;
    const struct verify_report *report;
    const struct golden *golden;
    uint64_t at_ms;
};

/* The token (claims: docs/verifier.md), signed by the first key and encrypted to the document's
 * public key, an SPKI. MU_REFUSE: nothing can be encrypted to that. */
enum mu_status issue_token(const struct material *material, const struct finding *finding,
                           char **ret, struct mu_error *err) MU_MUST_CHECK;

#endif
