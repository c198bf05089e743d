/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "jose/token.h"

#include <stdio.h>
#include <string.h>

#include <openssl/ec.h>
#include <openssl/err.h>
#include <openssl/rand.h>
#include <openssl/rsa.h>

#include "base/openssl.h"
#include "jose/token_parts.h"

#define ENC "A256GCM"
#define KEY_SIZE 32
#define BLOCK_SIZE 32 /* of SHA-256 */
#define IV_SIZE 12
#define TAG_SIZE 16
#define RSA_BITS_MIN 2048
#define RSA_BITS_MAX 8192
#define OTHER_INFO_MAX 256

/* ---- key agreement ---- */

static enum mu_status shared_secret(EVP_PKEY *mine, EVP_PKEY *theirs, struct secret *ret,
                                    struct mu_error *err)
{
    const struct jwk_curve *curve = jwk_curve_of(mine);
    MU_CLEANUP(key_context_free) EVP_PKEY_CTX *context = EVP_PKEY_CTX_new(mine, NULL);

    if (curve == NULL || jwk_curve_of(theirs) != curve)
        return mu_fail(err, MU_REFUSE, "the token is encrypted to a key on another curve");
    MU_TRY(secret_alloc(ret, curve->size, err));
    if (context == NULL || EVP_PKEY_derive_init(context) != 1 ||
        EVP_PKEY_derive_set_peer(context, theirs) != 1 ||
        EVP_PKEY_derive(context, ret->data, &ret->len) != 1 || ret->len != curve->size)
        return mu_fail(err, MU_REFUSE, "no key can be agreed on with the token's");
    return MU_OK;
}

static void write_field(struct writer *w, struct bytes field)
{
    writer_be32(w, (uint32_t)field.len);
    writer_bytes(w, field);
}

/* RFC 7518, 4.6.2: Concat KDF with SHA-256, of which the first block is enough. Written here: the
 * one in OpenSSL 3.0 crashes if out of memory. */
static enum mu_status derive(struct bytes z, struct bytes info, struct secret *key,
                             struct mu_error *err)
{
    MU_CLEANUP(secret_free) struct secret input = {0};
    MU_CLEANUP(secret_free) struct secret block = {0};
    struct writer w;

    MU_TRY(secret_alloc(&input, 4 + z.len + info.len, err));
    MU_TRY(secret_alloc(&block, BLOCK_SIZE, err));
    w = writer_into(input.data, input.len);
    writer_be32(&w, 1);
    writer_bytes(&w, z);
    writer_bytes(&w, info);
    if (w.failed || key->len > BLOCK_SIZE ||
        EVP_Digest(input.data, w.len, block.data, NULL, EVP_sha256(), NULL) != 1)
        return mu_fail(err, MU_INTERNAL, "the token's key cannot be derived");
    memcpy(key->data, block.data, key->len);
    return MU_OK;
}

enum mu_status token_agree(EVP_PKEY *mine, EVP_PKEY *theirs, const char *algorithm,
                           struct bytes apu, struct bytes apv, size_t len, struct secret *ret,
                           struct mu_error *err)
{
    MU_CLEANUP(secret_free) struct secret z = {0};
    MU_CLEANUP(secret_free) struct secret key = {0};
    uint8_t info[OTHER_INFO_MAX];
    struct writer w = writer_into(info, sizeof(info));

    write_field(&w, text_view(algorithm));
    write_field(&w, apu);
    write_field(&w, apv);
    writer_be32(&w, (uint32_t)(8 * len));
    if (w.failed)
        return mu_fail(err, MU_INTERNAL, "the names of the parties are too long");
    MU_TRY(shared_secret(mine, theirs, &z, err));
    MU_TRY(secret_alloc(&key, len, err));
    MU_TRY(derive(secret_view(&z), (struct bytes){info, w.len}, &key, err));
    *ret = MU_TAKE(key);
    return MU_OK;
}

/* ---- making ---- */

/* A content key for the recipient, and what the header and the second part of the token say of it.
 */
struct wrapping {
    struct secret key;
    json_object *header;
    char *encrypted_key; /* base64url; empty for ECDH-ES */
};

static void wrapping_free(struct wrapping *wrapping)
{
    secret_free(&wrapping->key);
    json_free(&wrapping->header);
    string_free(&wrapping->encrypted_key);
}

static enum mu_status begin_header(const char *alg, json_object **ret, struct mu_error *err)
{
    *ret = json_object_new_object();
    if (!json_add_text(*ret, "alg", alg) || !json_add_text(*ret, "enc", ENC) ||
        !json_add_text(*ret, "cty", "JWT"))
        return mu_oom(err);
    return MU_OK;
}

static enum mu_status wrap_for_ec(EVP_PKEY *to, const struct jwk_curve *curve, struct wrapping *ret,
                                  struct mu_error *err)
{
    MU_CLEANUP(key_free) EVP_PKEY *own = EVP_EC_gen(curve->group);
    MU_CLEANUP(json_free) json_object *jwk = NULL;

    if (own == NULL)
        return mu_fail(err, MU_INTERNAL, "no key for ECDH-ES can be made");
    MU_TRY(jwk_from_key(own, &jwk, err));
    MU_TRY(begin_header("ECDH-ES", &ret->header, err));
    if (!json_add(ret->header, "epk", json_object_get(jwk)))
        return mu_oom(err);
    MU_TRY(string_set(&ret->encrypted_key, "", err));
    return token_agree(own, to, ENC, (struct bytes){0}, (struct bytes){0}, KEY_SIZE, &ret->key,
                       err);
}

static enum mu_status wrap_for_rsa(EVP_PKEY *to, struct wrapping *ret, struct mu_error *err)
{
    MU_CLEANUP(key_context_free) EVP_PKEY_CTX *context = EVP_PKEY_CTX_new(to, NULL);
    uint8_t wrapped[RSA_BITS_MAX / 8];
    size_t len = sizeof(wrapped);

    MU_TRY(secret_random(&ret->key, KEY_SIZE, err));
    if (context == NULL || EVP_PKEY_encrypt_init(context) != 1 ||
        EVP_PKEY_CTX_set_rsa_padding(context, RSA_PKCS1_OAEP_PADDING) != 1 ||
        EVP_PKEY_CTX_set_rsa_oaep_md(context, EVP_sha256()) != 1 ||
        EVP_PKEY_CTX_set_rsa_mgf1_md(context, EVP_sha256()) != 1 ||
        EVP_PKEY_encrypt(context, wrapped, &len, ret->key.data, ret->key.len) != 1)
        return mu_fail(err, MU_REFUSE, "nothing can be encrypted to the RSA key");
    MU_TRY(begin_header("RSA-OAEP-256", &ret->header, err));
    return base64url_encode((struct bytes){wrapped, len}, &ret->encrypted_key, err);
}

static enum mu_status wrap(EVP_PKEY *to, struct wrapping *ret, struct mu_error *err)
{
    const struct jwk_curve *curve = jwk_curve_of(to);
    int bits = EVP_PKEY_get_bits(to);

    if (curve != NULL)
        return wrap_for_ec(to, curve, ret, err);
    if (EVP_PKEY_is_a(to, "RSA") && bits >= RSA_BITS_MIN && bits <= RSA_BITS_MAX)
        return wrap_for_rsa(to, ret, err);
    return mu_fail(err, MU_REFUSE,
                   "a token is encrypted to P-256, P-384, or RSA of %d to %d bits, no other key",
                   RSA_BITS_MIN, RSA_BITS_MAX);
}

/* NIST SP 800-38D by way of RFC 7518, 5.3: the encoded header is authenticated with the content. */
static enum mu_status seal(const struct secret *key, const uint8_t *iv, const char *header,
                           struct bytes content, uint8_t *ret, uint8_t *ret_tag,
                           struct mu_error *err)
{
    MU_CLEANUP(cipher_free) EVP_CIPHER_CTX *context = EVP_CIPHER_CTX_new();
    uint8_t unused[1];
    int len;

    if (context == NULL ||
        EVP_EncryptInit_ex(context, EVP_aes_256_gcm(), NULL, key->data, iv) != 1 ||
        EVP_EncryptUpdate(context, NULL, &len, (const uint8_t *)header, (int)strlen(header)) != 1 ||
        EVP_EncryptUpdate(context, ret, &len, content.data, (int)content.len) != 1 ||
        EVP_EncryptFinal_ex(context, unused, &len) != 1 ||
        EVP_CIPHER_CTX_ctrl(context, EVP_CTRL_AEAD_GET_TAG, TAG_SIZE, ret_tag) != 1)
        return mu_fail(err, MU_INTERNAL, "the token cannot be encrypted");
    return MU_OK;
}

enum mu_status token_encrypt(const char *inner, EVP_PKEY *to, char **ret, struct mu_error *err)
{
    struct bytes content = {(const uint8_t *)inner, strlen(inner)};
    MU_CLEANUP(wrapping_free) struct wrapping wrapping = {0};
    MU_CLEANUP(buffer_free) struct buffer sealed = {0};
    MU_CLEANUP(string_free) char *header = NULL;
    MU_CLEANUP(string_free) char *iv_text = NULL;
    MU_CLEANUP(string_free) char *sealed_text = NULL;
    MU_CLEANUP(string_free) char *tag_text = NULL;
    uint8_t iv[IV_SIZE], tag[TAG_SIZE];

    MU_TRY(wrap(to, &wrapping, err));
    MU_TRY(token_encode_json(wrapping.header, &header, err));
    MU_TRY(buffer_alloc(&sealed, content.len, err));
    if (RAND_bytes(iv, sizeof(iv)) != 1)
        return mu_fail(err, MU_INTERNAL, "no random numbers");
    MU_TRY(seal(&wrapping.key, iv, header, content, sealed.data, tag, err));
    MU_TRY(base64url_encode((struct bytes){iv, sizeof(iv)}, &iv_text, err));
    MU_TRY(base64url_encode(buffer_view(&sealed), &sealed_text, err));
    MU_TRY(base64url_encode((struct bytes){tag, sizeof(tag)}, &tag_text, err));
    return string_print(ret, err, "%s.%s.%s.%s.%s", header, wrapping.encrypted_key, iv_text,
                        sealed_text, tag_text);
}

/* ---- opening ---- */

static enum mu_status sender_key(struct bytes part, EVP_PKEY **ret, struct mu_error *err)
{
    static const char *const members[] = {"alg", "enc", "cty", "epk", NULL};
    MU_CLEANUP(json_free) json_object *header = NULL;
    json_object *epk;

    MU_TRY(token_header(part, members, &header, err));
    MU_TRY(token_header_is(header, "alg", "ECDH-ES", false, err));
    MU_TRY(token_header_is(header, "enc", ENC, false, err));
    MU_TRY(token_header_is(header, "cty", "JWT", true, err));
    MU_TRY(json_member(header, "epk", json_type_object, MU_REFUSE, &epk, err));
    return jwk_to_key(epk, ret, err);
}

static bool unseal(const struct secret *key, const uint8_t *iv, struct bytes header,
                   struct bytes sealed, const uint8_t *tag, uint8_t *ret)
{
    MU_CLEANUP(cipher_free) EVP_CIPHER_CTX *context = EVP_CIPHER_CTX_new();
    uint8_t unused[1];
    int len;

    return context != NULL &&
           EVP_DecryptInit_ex(context, EVP_aes_256_gcm(), NULL, key->data, iv) == 1 &&
           EVP_DecryptUpdate(context, NULL, &len, header.data, (int)header.len) == 1 &&
           EVP_DecryptUpdate(context, ret, &len, sealed.data, (int)sealed.len) == 1 &&
           EVP_CIPHER_CTX_ctrl(context, EVP_CTRL_AEAD_SET_TAG, TAG_SIZE, (void *)tag) == 1 &&
           EVP_DecryptFinal_ex(context, unused, &len) == 1;
}

enum mu_status token_decrypt(const char *token, EVP_PKEY *key, struct secret *ret,
                             struct mu_error *err)
{
    MU_CLEANUP(key_free) EVP_PKEY *theirs = NULL;
    MU_CLEANUP(secret_free) struct secret content_key = {0};
    MU_CLEANUP(secret_free) struct secret content = {0};
    MU_CLEANUP(buffer_free) struct buffer iv = {0};
    MU_CLEANUP(buffer_free) struct buffer sealed = {0};
    MU_CLEANUP(buffer_free) struct buffer tag = {0};
    struct bytes part[5];

    MU_TRY(token_split(token, part, 5, err));
    MU_TRY(sender_key(part[0], &theirs, err));
    MU_TRY(base64url_decode(part[2], IV_SIZE, MU_REFUSE, &iv, err));
    MU_TRY(base64url_decode(part[3], TOKEN_MAX, MU_REFUSE, &sealed, err));
    MU_TRY(base64url_decode(part[4], TAG_SIZE, MU_REFUSE, &tag, err));
    if (part[1].len != 0 || iv.len != IV_SIZE || tag.len != TAG_SIZE)
        return mu_fail(err, MU_REFUSE, "the token is not one of ECDH-ES and " ENC);
    MU_TRY(token_agree(key, theirs, ENC, (struct bytes){0}, (struct bytes){0}, KEY_SIZE,
                       &content_key, err));
    MU_TRY(secret_alloc(&content, sealed.len + 1, err));
    if (!unseal(&content_key, iv.data, part[0], buffer_view(&sealed), tag.data, content.data))
        return mu_fail(err, MU_REFUSE, "the token is not encrypted to this key, or was altered");
    content.len = sealed.len;
    *ret = MU_TAKE(content);
    return MU_OK;
}
