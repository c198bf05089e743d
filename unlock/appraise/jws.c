/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "appraise/jws.h"

#include <stdio.h>
#include <string.h>

#include <openssl/core_names.h>
#include <openssl/err.h>

#include "appraise/ecdsa.h"
#include "jose/token_parts.h"

#define RSA_BITS_MIN 2048
#define RSA_BITS_MAX 8192
#define RSA_BYTES_MAX (RSA_BITS_MAX / 8)

const char *jws_algorithm(EVP_PKEY *key)
{
    const struct jwk_curve *curve = jwk_curve_of(key);
    int bits = EVP_PKEY_get_bits(key);

    if (curve != NULL)
        return curve->alg;
    return EVP_PKEY_is_a(key, "RSA") && bits >= RSA_BITS_MIN && bits <= RSA_BITS_MAX ? "RS256"
                                                                                     : NULL;
}

static enum mu_status check_signs(EVP_PKEY *key, struct mu_error *err)
{
    if (jws_algorithm(key) != NULL)
        return MU_OK;
    return mu_fail(err, MU_REFUSE,
                   "tokens are signed by a key on P-384 or P-256, or an RSA key of %d to %d bits",
                   RSA_BITS_MIN, RSA_BITS_MAX);
}

/* ---- public keys ---- */

/* RFC 7518, 6.3.1: without leading zeros. */
static enum mu_status add_number(EVP_PKEY *key, const char *parameter, json_object *to,
                                 const char *name, struct mu_error *err)
{
    MU_CLEANUP(bignum_free) BIGNUM *number = NULL;
    MU_CLEANUP(string_free) char *text = NULL;
    uint8_t bytes[RSA_BYTES_MAX];
    int len;

    if (EVP_PKEY_get_bn_param(key, parameter, &number) != 1 ||
        BN_num_bytes(number) > RSA_BYTES_MAX || (len = BN_bn2bin(number, bytes)) < 0)
        return mu_fail(err, MU_REFUSE, "the RSA key has no \"%s\"", name);
    MU_TRY(base64url_encode((struct bytes){bytes, (size_t)len}, &text, err));
    return json_add_text(to, name, text) ? MU_OK : mu_oom(err);
}

enum mu_status jws_public_key(EVP_PKEY *key, json_object **ret, struct mu_error *err)
{
    MU_CLEANUP(json_free) json_object *jwk = NULL;

    MU_TRY(check_signs(key, err));
    if (jwk_curve_of(key) != NULL)
        return jwk_from_key(key, ret, err);
    jwk = json_object_new_object();
    MU_TRY(add_number(key, OSSL_PKEY_PARAM_RSA_E, jwk, "e", err));
    if (!json_add_text(jwk, "kty", "RSA"))
        return mu_oom(err);
    MU_TRY(add_number(key, OSSL_PKEY_PARAM_RSA_N, jwk, "n", err));
    *ret = MU_TAKE(jwk);
    return MU_OK;
}

enum mu_status jws_thumbprint(EVP_PKEY *key, char ret[static JWK_THUMBPRINT_SIZE],
                              struct mu_error *err)
{
    MU_CLEANUP(json_free) json_object *jwk = NULL;
    MU_CLEANUP(string_free) char *encoded = NULL;
    uint8_t digest[EVP_MAX_MD_SIZE];
    unsigned len;
    const char *text;

    MU_TRY(jws_public_key(key, &jwk, err));
    text = json_object_to_json_string_ext(jwk, JSON_C_TO_STRING_PLAIN);
    if (text == NULL || EVP_Digest(text, strlen(text), digest, &len, EVP_sha256(), NULL) != 1)
        return mu_oom(err);
    MU_TRY(base64url_encode((struct bytes){digest, len}, &encoded, err));
    memcpy(ret, encoded, JWK_THUMBPRINT_SIZE);
    return MU_OK;
}

/* ---- signing ---- */

static enum mu_status signing_input(EVP_PKEY *key, json_object *claims, char **ret,
                                    struct mu_error *err)
{
    MU_CLEANUP(json_free) json_object *header = json_object_new_object();
    MU_CLEANUP(string_free) char *first = NULL;
    MU_CLEANUP(string_free) char *second = NULL;
    char kid[JWK_THUMBPRINT_SIZE];

    MU_TRY(jws_thumbprint(key, kid, err));
    if (!json_add_text(header, "alg", jws_algorithm(key)) || !json_add_text(header, "kid", kid) ||
        !json_add_text(header, "typ", "JWT"))
        return mu_oom(err);
    MU_TRY(token_encode_json(header, &first, err));
    MU_TRY(token_encode_json(claims, &second, err));
    return string_print(ret, err, "%s.%s", first, second);
}

/* RSASSA-PKCS1-v1_5 (RFC 7518, 3.3), which is OpenSSL's default for RSA. */
static enum mu_status rsa_sign(EVP_PKEY *key, struct bytes input, uint8_t *ret, size_t *len,
                               struct mu_error *err)
{
    MU_CLEANUP(md_free) EVP_MD_CTX *context = EVP_MD_CTX_new();

    if (context == NULL || EVP_DigestSignInit(context, NULL, EVP_sha256(), NULL, key) != 1 ||
        EVP_DigestSign(context, ret, len, input.data, input.len) != 1)
        return mu_fail(err, MU_INTERNAL, "cannot sign: %s",
                       ERR_reason_error_string(ERR_get_error()));
    return MU_OK;
}

static enum mu_status sign(EVP_PKEY *key, struct bytes input, uint8_t ret[static RSA_BYTES_MAX],
                           size_t *ret_len, struct mu_error *err)
{
    const struct jwk_curve *curve = jwk_curve_of(key);

    *ret_len = curve != NULL ? 2 * curve->size : RSA_BYTES_MAX;
    return curve != NULL ? ecdsa_sign(key, curve->digest(), input, ret, *ret_len, err)
                         : rsa_sign(key, input, ret, ret_len, err);
}

enum mu_status token_sign(EVP_PKEY *key, json_object *claims, char **ret, struct mu_error *err)
{
    MU_CLEANUP(string_free) char *input = NULL;
    MU_CLEANUP(string_free) char *encoded = NULL;
    uint8_t signature[RSA_BYTES_MAX];
    size_t len;

    MU_TRY(check_signs(key, err));
    MU_TRY(signing_input(key, claims, &input, err));
    MU_TRY(sign(key, text_view(input), signature, &len, err));
    MU_TRY(base64url_encode((struct bytes){signature, len}, &encoded, err));
    return string_print(ret, err, "%s.%s", input, encoded);
}
