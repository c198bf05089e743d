/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "appraise/jws.h"

#include <stdio.h>
#include <string.h>

#include "appraise/ecdsa.h"
#include "jose/token_parts.h"

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
    const struct jwk_curve *curve = jwk_curve_of(key);
    uint8_t signature[ECDSA_MAX];

    if (curve == NULL)
        return mu_fail(err, MU_REFUSE, "tokens are signed by a key on P-384 or P-256");
    MU_TRY(signing_input(key, curve, claims, &input, err));
    MU_TRY(ecdsa_sign(key, curve->digest(), text_view(input), signature, 2 * curve->size, err));
    MU_TRY(base64url_encode((struct bytes){signature, 2 * curve->size}, &encoded, err));
    return string_print(ret, err, "%s.%s", input, encoded);
}
