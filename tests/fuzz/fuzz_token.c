/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Tokens. The first byte says what the rest is: (0) a signed token, (1) claims that are signed
 * here, (2) an encrypted token, (3) the header of one, (4) what is encrypted here, (5) a public key
 * in DER to encrypt to, (6) base64url. */
#include "../token_verify.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <openssl/err.h>
#include <openssl/x509.h>

#include "fuzz.h"

static void verify(const char *token)
{
    MU_CLEANUP(json_free) json_object *claims = NULL;
    struct mu_error err = {0};
    enum mu_status status = token_verify(token, fuzz_leaf_key(), &claims, &err);

    fuzz_outcome(status, &err, 1u << MU_REFUSE);
}

static void sign(struct bytes text)
{
    MU_CLEANUP(json_free) json_object *claims = NULL;
    MU_CLEANUP(json_free) json_object *found = NULL;
    MU_CLEANUP(string_free) char *token = NULL;
    struct mu_error err = {0};

    if (json_parse(text, "claims", MU_REFUSE, &claims, &err) != MU_OK)
        return;
    fuzz_require(token_sign(fuzz_leaf_key(), claims, &token, &err) == MU_OK, "it can be signed");
    if (strlen(token) <= TOKEN_MAX)
        fuzz_require(token_verify(token, fuzz_leaf_key(), &found, &err) == MU_OK,
                     "what was signed here verifies");
    string_free(&token);
    fuzz_require(token_sign(fuzz_rsa_key(), claims, &token, &err) == MU_OK, "by RSA, too");
    fuzz_require(token_verify(token, fuzz_leaf_key(), &found, &err) == MU_REFUSE, "no other key's");
}

static void decrypt(const char *token)
{
    MU_CLEANUP(secret_free) struct secret inner = {0};
    struct mu_error err = {0};
    enum mu_status status = token_decrypt(token, fuzz_leaf_key(), &inner, &err);

    fuzz_outcome(status, &err, 1u << MU_REFUSE);
    fuzz_require(status != MU_OK || inner.data[inner.len] == '\0', "a zero byte follows");
}

static void decrypt_header(struct bytes header)
{
    MU_CLEANUP(string_free) char *encoded = NULL;
    MU_CLEANUP(string_free) char *token = NULL;
    struct mu_error err = {0};

    fuzz_require(base64url_encode(header, &encoded, &err) == MU_OK &&
                     asprintf(&token, "%s..AAAAAAAAAAAAAAAA.AAAA.AAAAAAAAAAAAAAAAAAAAAA", encoded) >
                         0,
                 "memory");
    decrypt(token);
}

static void encrypt(const char *inner)
{
    MU_CLEANUP(string_free) char *token = NULL;
    MU_CLEANUP(secret_free) struct secret found = {0};
    struct mu_error err = {0};

    fuzz_require(token_encrypt(inner, fuzz_leaf_key(), &token, &err) == MU_OK, "it is encrypted");
    if (strlen(token) <= TOKEN_MAX)
        fuzz_require(token_decrypt(token, fuzz_leaf_key(), &found, &err) == MU_OK &&
                         strcmp((const char *)found.data, inner) == 0,
                     "what was encrypted here opens");
}

static void encrypt_to(struct bytes der)
{
    MU_CLEANUP(string_free) char *token = NULL;
    const uint8_t *pos = der.data;
    MU_CLEANUP(key_free) EVP_PKEY *key = d2i_PUBKEY(NULL, &pos, (long)der.len);
    MU_CLEANUP(json_free) json_object *jwk = NULL;
    struct mu_error err = {0};
    enum mu_status status;

    ERR_clear_error();
    if (key == NULL)
        return;
    status = jws_public_key(key, &jwk, &err);
    fuzz_outcome(status, &err, 1u << MU_REFUSE);
    fuzz_require((status == MU_OK) == (jws_algorithm(key) != NULL), "what signs can be published");
    status = token_encrypt("a.b.c", key, &token, &err);
    fuzz_outcome(status, &err, 1u << MU_REFUSE);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    MU_CLEANUP(string_free)
    char *text = size > 0 ? strndup((const char *)data + 1, size - 1) : NULL;
    struct bytes rest;

    if (text == NULL)
        return 0;
    rest = (struct bytes){data + 1, size - 1};
    switch (data[0]) {
    case 0:
        verify(text);
        break;
    case 1:
        sign(rest);
        break;
    case 2:
        decrypt(text);
        break;
    case 3:
        decrypt_header(rest);
        break;
    case 4:
        encrypt(text);
        break;
    default:
        encrypt_to(rest);
    }
    fuzz_require(ERR_peek_error() == 0, "OpenSSL's queue is empty");
    return 0;
}
