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

#define ISSUE_ID_SIZE 33 /* "jti", and a zero byte */

/* The token for an audience (claims: docs/develop/formats.md, "Token"), encrypted to the document's
 * public key, an SPKI, unless the audience says otherwise. MU_REFUSE: nothing can be encrypted to
 * that key. */
enum mu_status issue_token(const struct verifier *verifier, const struct audience *audience,
                           const struct finding *finding, char ret_id[static ISSUE_ID_SIZE],
                           char **ret, struct mu_error *err) MU_MUST_CHECK;

#endif
