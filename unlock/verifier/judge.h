/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef MU_VERIFIER_JUDGE_H
#define MU_VERIFIER_JUDGE_H

#include "base/json.h"
#include "verifier/material.h"

#define JUDGE_BODY_MAX 65536

/* What comes of a request: the answer, and what the log, metrics and store want to know. */
struct judgement {
    unsigned status;     /* of HTTP */
    const char *error;   /* one word; NULL: none */
    struct mu_error why; /* where there is an error */
    json_object *answer; /* NULL only where memory is short */
    bool genuine;        /* chain, signature and nonce hold: the instance has spoken */
    bool matches;        /* and is as one of the baselines has it */
    bool token;
    char instance_id[24];        /* empty unless genuine */
    const struct golden *golden; /* matched, or the closest; NULL: none; lives with the material */
};

void judgement_free(struct judgement *judgement);

/* The answer {"error", "detail"} with that status. */
void judge_refuse(struct judgement *ret, unsigned status, const char *word, const char *format, ...)
    MU_PRINTF(4, 5);

/* POST /v1/challenge and /v1/attest at the time now_ms (milliseconds since 1970). Both only
 * compute; but the certificates of the identity document's region are read. *ret is set always. */
void judge_challenge(const struct material *material, struct bytes body, uint64_t now_ms,
                     struct judgement *ret);
void judge_attest(const struct material *material, struct bytes body, uint64_t now_ms,
                  struct judgement *ret);

#endif
