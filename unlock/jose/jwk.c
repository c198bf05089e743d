/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "jose/jwk.h"

#include <string.h>

#include <openssl/core_names.h>
#include <openssl/ec.h>
#include <openssl/err.h>

#include "base/openssl.h"

#define COORDINATE_MAX 48
#define COORDINATE_TEXT_MAX 64 /* of that, as base64url */

static const struct jwk_curve curves[] = {
    {"secp384r1", "P-384", "ES384", 48, EVP_sha384},
    {"prime256v1", "P-256", "ES256", 32, EVP_sha256},
};

const struct jwk_curve *jwk_curve_of(EVP_PKEY *key)
{
    char group[32];
    size_t len;

    if (!EVP_PKEY_is_a(key, "EC") || EVP_PKEY_get_group_name(key, group, sizeof(group), &len) != 1)
        return NULL;
    for (size_t i = 0; i < MU_COUNT(curves); i++)
        if (strcmp(group, curves[i].group) == 0)
            return &curves[i];
    return NULL;
}

static enum mu_status add_coordinate(EVP_PKEY *key, const char *parameter, size_t size,
                                     json_object *to, const char *name, struct mu_error *err)
{
    MU_CLEANUP(bignum_free) BIGNUM *number = NULL;
    MU_CLEANUP(string_free) char *text = NULL;
    uint8_t bytes[COORDINATE_MAX];

    if (EVP_PKEY_get_bn_param(key, parameter, &number) != 1 ||
        BN_bn2binpad(number, bytes, (int)size) != (int)size)
        return mu_fail(err, MU_REFUSE, "the key has no public point");
    MU_TRY(base64url_encode((struct bytes){bytes, size}, &text, err));
    return json_add_text(to, name, text) ? MU_OK : mu_oom(err);
}

enum mu_status jwk_from_key(EVP_PKEY *key, json_object **ret, struct mu_error *err)
{
    const struct jwk_curve *curve = jwk_curve_of(key);
    MU_CLEANUP(json_free) json_object *jwk = json_object_new_object();

    if (curve == NULL)
        return mu_fail(err, MU_REFUSE, "the key is not an EC key on P-256 or P-384");
    if (!json_add_text(jwk, "crv", curve->crv) || !json_add_text(jwk, "kty", "EC"))
        return mu_oom(err);
    MU_TRY(add_coordinate(key, OSSL_PKEY_PARAM_EC_PUB_X, curve->size, jwk, "x", err));
    MU_TRY(add_coordinate(key, OSSL_PKEY_PARAM_EC_PUB_Y, curve->size, jwk, "y", err));
    *ret = MU_TAKE(jwk);
    return MU_OK;
}

static enum mu_status read_coordinate(json_object *jwk, const char *name, size_t size,
                                      struct writer *to, struct mu_error *err)
{
    MU_CLEANUP(buffer_free) struct buffer value = {0};
    const char *text;

    MU_TRY(json_string(jwk, name, COORDINATE_TEXT_MAX, MU_REFUSE, &text, err));
    MU_TRY(base64url_decode(text_view(text), size, MU_REFUSE, &value, err));
    if (value.len != size)
        return mu_fail(err, MU_REFUSE, "\"%s\" has %zu bytes, not %zu", name, value.len, size);
    writer_bytes(to, buffer_view(&value));
    return MU_OK;
}

/* OpenSSL checks that the point is on the curve (SP 800-56A, 5.6.2.3.3). */
static enum mu_status key_of_point(const char *group, struct bytes point, EVP_PKEY **ret,
                                   struct mu_error *err)
{
    MU_CLEANUP(key_context_free)
    EVP_PKEY_CTX *context = EVP_PKEY_CTX_new_from_name(NULL, "EC", NULL);
    MU_CLEANUP(key_free) EVP_PKEY *key = NULL;
    OSSL_PARAM parameters[] = {
        OSSL_PARAM_construct_utf8_string(OSSL_PKEY_PARAM_GROUP_NAME, (char *)group, 0),
        OSSL_PARAM_construct_octet_string(OSSL_PKEY_PARAM_PUB_KEY, (void *)point.data, point.len),
        OSSL_PARAM_construct_end(),
    };

    if (context == NULL || EVP_PKEY_fromdata_init(context) != 1)
        return mu_oom(err);
    if (EVP_PKEY_fromdata(context, &key, EVP_PKEY_PUBLIC_KEY, parameters) != 1)
        return mu_fail(err, MU_REFUSE, "not a point of curve %s", group);
    *ret = MU_TAKE(key);
    return MU_OK;
}

enum mu_status jwk_to_key(json_object *jwk, EVP_PKEY **ret, struct mu_error *err)
{
    static const char *const members[] = {"crv", "kty", "x", "y", NULL};
    uint8_t point[1 + 2 * COORDINATE_MAX];
    struct writer w = writer_into(point, sizeof(point));
    const char *kty, *crv;
    size_t i = 0;

    MU_TRY(json_only(jwk, "key", members, MU_REFUSE, err));
    MU_TRY(json_string(jwk, "kty", 16, MU_REFUSE, &kty, err));
    MU_TRY(json_string(jwk, "crv", 16, MU_REFUSE, &crv, err));
    while (i < MU_COUNT(curves) && strcmp(curves[i].crv, crv) != 0)
        i++;
    if (strcmp(kty, "EC") != 0 || i == MU_COUNT(curves))
        return mu_fail(err, MU_REFUSE, "the key is not an EC key on P-256 or P-384");
    writer_u8(&w, POINT_CONVERSION_UNCOMPRESSED);
    MU_TRY(read_coordinate(jwk, "x", curves[i].size, &w, err));
    MU_TRY(read_coordinate(jwk, "y", curves[i].size, &w, err));
    return key_of_point(curves[i].group, (struct bytes){point, w.len}, ret, err);
}
