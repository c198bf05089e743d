/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef MU_VERIFIER_APPRAISE_H
#define MU_VERIFIER_APPRAISE_H

#include "base/json.h"
#include "verifier/issue.h"
#include "verifier/senders.h"
#include "verifier/verifier.h"

#define APPRAISE_BODY_MAX 65536

/* The result of a request: the answer, and the facts for log, metrics and store. */
struct appraisal {
    unsigned status;      /* of HTTP */
    const char *error;    /* one word; NULL: none */
    struct mu_error why;  /* if there is an error */
    json_object *answer;  /* NULL only if out of memory */
    bool genuine;         /* chain, signature and nonce are valid: it is the instance's */
    bool matches;         /* and one of the baselines matches */
    const char *audience; /* a token for it was issued; NULL: none; lives with the verifier */
    char token_id[ISSUE_ID_SIZE];            /* its "jti" */
    char instance_id[24];                    /* empty unless genuine */
    const struct reference_value *reference; /* matched, or the closest; NULL: none was looked for;
                                                lives with the verifier, or with `images` */
    struct approved_set *images;             /* NULL: none */
};

void appraisal_free(struct appraisal *appraisal);

/* The answer {"error", "detail"} with that status. */
void appraise_refuse(struct appraisal *ret, unsigned status, const char *word, const char *format,
                     ...) MU_PRINTF(4, 5);

/* POST /v1/challenge and /v1/attest at the time now_ms (milliseconds since 1970). Both only
 * compute; but the certificates of the identity document's region are read. *ret is always set. */
void appraise_challenge(const struct verifier *verifier, struct bytes body, uint64_t now_ms,
                        struct appraisal *ret);
/* `tokens` counts the tokens of each account and audience. */
void appraise_attest(const struct verifier *verifier, struct limiter *tokens, struct bytes body,
                     uint64_t now_ms, struct appraisal *ret);

#endif
