/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef MU_RELEASE_VERIFIER_CLIENT_H
#define MU_RELEASE_VERIFIER_CLIENT_H

#include "base/json.h"
#include "net/service.h"

/* The verifier's interface (docs/develop/formats.md, "HTTP interface of the verifier"), as the
 * machine that is appraised uses it: in the boot, monitor and doctor. MU_REFUSE: the verifier's own
 * verdict on this machine, and nothing else. MU_RETRY: the verifier was not reached, is busy, or
 * the nonce is too old. MU_CONFIG: the server is not a verifier, or not one with this interface. */

/* POST /v1/challenge. *ret_identity: the verifier wants the instance identity document, too. */
enum mu_status verifier_challenge(struct service *verifier, struct buffer *ret_nonce,
                                  int64_t *ret_seconds, bool *ret_identity,
                                  struct mu_error *err) MU_MUST_CHECK;
/* What to appraise. */
struct verifier_evidence {
    struct bytes document;
    struct bytes identity; /* what imds_identity gives; empty: none */
    const char *audience;  /* of the token; NULL: the verifier's first */
};

/* POST /v1/attest. *ret_answer: the object in the answer, also if the status is not MU_OK; or NULL.
 * ret_stale, with MU_RETRY: the nonce is too old. */
enum mu_status verifier_attest(struct service *verifier, const struct verifier_evidence *evidence,
                               json_object **ret_answer, bool *ret_stale,
                               struct mu_error *err) MU_MUST_CHECK;
/* The token in an answer, encrypted to the public key in the document, and the number of seconds
 * that it is valid. Borrowed. */
enum mu_status verifier_token(json_object *answer, const char **ret_token, int64_t *ret_seconds,
                              struct mu_error *err) MU_MUST_CHECK;

#endif
