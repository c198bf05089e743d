/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef MU_VERIFIER_ISSUE_H
#define MU_VERIFIER_ISSUE_H

#include "appraise/verify.h"
#include "verifier/verifier.h"

/* What is known of an instance whose document is valid and matches. */
struct finding {
    const struct document *document;
    const struct verify_report *report;
    const struct reference_value *reference;
    uint64_t at_ms;
};

/* The token (claims: docs/guide/verifier.md), signed by the first key and encrypted to the
 * document's public key, an SPKI. MU_REFUSE: nothing can be encrypted to that key. */
enum mu_status issue_token(const struct verifier *verifier, const struct finding *finding,
                           char **ret, struct mu_error *err) MU_MUST_CHECK;

#endif
