/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef MU_TESTS_TOKEN_VERIFY_H
#define MU_TESTS_TOKEN_VERIFY_H

#include "appraise/ecdsa.h"
#include "appraise/jws.h"
#include "jose/token_parts.h"

/* What a relying party does with a token; no program of this project is one. Verifies the signature
 * alone: the caller checks the claims (exp, aud, ...). kid and typ may be missing. MU_REFUSE. */
static inline enum mu_status token_verify(const char *token, EVP_PKEY *key, json_object **ret_claims,
                            struct mu_error *err)
{
    static const char *const members[] = {"alg", "kid", "typ", NULL};
    MU_CLEANUP(json_free) json_object *header = NULL;
    MU_CLEANUP(buffer_free) struct buffer signature = {0};
    MU_CLEANUP(buffer_free) struct buffer text = {0};
    const struct jwk_curve *curve;
    struct bytes part[3];

    curve = jwk_curve_of(key);
    if (curve == NULL)
        return mu_fail(err, MU_REFUSE, "tokens are signed by a key on P-384 or P-256");
    MU_TRY(token_split(token, part, 3, err));
    MU_TRY(token_header(part[0], members, &header, err));
    MU_TRY(token_header_is(header, "alg", curve->alg, false, err));
    MU_TRY(token_header_is(header, "typ", "JWT", true, err));
    MU_TRY(base64url_decode(part[2], ECDSA_MAX, MU_REFUSE, &signature, err));
    if (signature.len != 2 * curve->size)
        return mu_fail(err, MU_REFUSE, "the signature has %zu bytes, not %zu", signature.len,
                       2 * curve->size);
    MU_TRY(ecdsa_verify(
        key, curve->digest(),
        (struct bytes){part[0].data, (size_t)(part[1].data + part[1].len - part[0].data)},
        buffer_view(&signature), err));
    MU_TRY(base64url_decode(part[1], TOKEN_MAX, MU_REFUSE, &text, err));
    return json_parse(buffer_view(&text), "claims", MU_REFUSE, ret_claims, err);
}

#endif
