/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "appraise/jws.h"

#include <stdio.h>
#include <string.h>

#include "appraise/ecdsa.h"
#include "jose/token_parts.h"

static enum mu_status signing_curve(EVP_PKEY *key, const struct jwk_curve **ret,
                                    struct mu_error *err)
{
    *ret = jwk_curve_of(key);
    if (*ret == NULL)
        return mu_fail(err, MU_REFUSE, "tokens are signed by a key on P-384 or P-256");
    return MU_OK;
}

static enum mu_status signing_input(EVP_PKEY *key, const struct jwk_curve *curve,
                                    json_object *claims, char **ret, struct mu_error *err)
{
    MU_CLEANUP(json_free) json_object *header = json_object_new_object();
    MU_CLEANUP(string_free) char *first = NULL;
    MU_CLEANUP(string_free) char *second = NULL;
    char kid[JWK_THUMBPRINT_SIZE];

    MU_TRY(jwk_thumbprint(key, kid, err));
    if (!json_add_text(header, "alg", curve->alg) || !json_add_text(header, "kid", kid) ||
        !json_add_text(header, "typ", "JWT"))
        return mu_oom(err);
    MU_TRY(token_encode_json(header, &first, err));
    MU_TRY(token_encode_json(claims, &second, err));
    return string_print(ret, err, "%s.%s", first, second);
}

enum mu_status token_sign(EVP_PKEY *key, json_object *claims, char **ret, struct mu_error *err)
{
    MU_CLEANUP(string_free) char *input = NULL;
    MU_CLEANUP(string_free) char *encoded = NULL;
    const struct jwk_curve *curve;
    uint8_t signature[ECDSA_MAX];

    MU_TRY(signing_curve(key, &curve, err));
    MU_TRY(signing_input(key, curve, claims, &input, err));
    MU_TRY(ecdsa_sign(key, curve->digest(), text_view(input), signature, 2 * curve->size, err));
    MU_TRY(base64url_encode((struct bytes){signature, 2 * curve->size}, &encoded, err));
    return string_print(ret, err, "%s.%s", input, encoded);
}

enum mu_status token_verify(const char *token, EVP_PKEY *key, json_object **ret_claims,
                            struct mu_error *err)
{
    static const char *const members[] = {"alg", "kid", "typ", NULL};
    MU_CLEANUP(json_free) json_object *header = NULL;
    MU_CLEANUP(buffer_free) struct buffer signature = {0};
    MU_CLEANUP(buffer_free) struct buffer text = {0};
    const struct jwk_curve *curve;
    struct bytes part[3];

    MU_TRY(signing_curve(key, &curve, err));
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
