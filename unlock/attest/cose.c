/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "attest/cose.h"

#include <string.h>

#include <cbor.h>
#include <openssl/ec.h>
#include <openssl/err.h>

#define HEAD_MAX ((size_t)9)

static void free_signature(ECDSA_SIG **signature)
{
    ECDSA_SIG_free(*signature);
}

static void free_number(BIGNUM **number)
{
    BN_free(*number);
}

static void free_md(EVP_MD_CTX **md)
{
    EVP_MD_CTX_free(*md);
}

static void write_bytestring(struct writer *w, struct bytes content)
{
    uint8_t head[HEAD_MAX];

    writer_bytes(w,
                 (struct bytes){head, cbor_encode_bytestring_start(content.len, head, HEAD_MAX)});
    writer_bytes(w, content);
}

/* RFC 9052, 4.4: ["Signature1", body_protected, external_aad, payload] */
static enum mu_status to_be_signed(struct bytes protected_header, struct bytes payload,
                                   struct buffer *ret, struct mu_error *err)
{
    static const uint8_t context[] = {0x84, 0x6a, 'S', 'i', 'g', 'n', 'a', 't', 'u', 'r', 'e', '1'};
    struct writer w;

    MU_TRY(buffer_alloc(ret, sizeof(context) + 3 * HEAD_MAX + protected_header.len + payload.len,
                        err));
    w = writer_into(ret->data, ret->len);
    writer_bytes(&w, (struct bytes){context, sizeof(context)});
    write_bytestring(&w, protected_header);
    write_bytestring(&w, (struct bytes){0});
    write_bytestring(&w, payload);
    ret->len = w.len;
    return w.failed ? mu_fail(err, MU_INTERNAL, "Sig_structure does not fit") : MU_OK;
}

/* RFC 9053, 2.1 to the ECDSA-Sig-Value of RFC 3279, which OpenSSL takes. *ret is OpenSSL's. */
static enum mu_status to_der(struct bytes signature, uint8_t **ret, int *ret_len,
                             struct mu_error *err)
{
    MU_CLEANUP(free_signature) ECDSA_SIG *der = ECDSA_SIG_new();
    MU_CLEANUP(free_number) BIGNUM *r = BN_bin2bn(signature.data, COSE_ES384_SIZE / 2, NULL);
    MU_CLEANUP(free_number)
    BIGNUM *s = BN_bin2bn(signature.data + COSE_ES384_SIZE / 2, COSE_ES384_SIZE / 2, NULL);

    if (der == NULL || r == NULL || s == NULL || ECDSA_SIG_set0(der, r, s) != 1)
        return mu_oom(err);
    r = s = NULL;
    *ret_len = i2d_ECDSA_SIG(der, ret);
    return *ret_len > 0 ? MU_OK : mu_oom(err);
}

static bool is_p384(EVP_PKEY *key)
{
    char group[32];
    size_t len;

    return EVP_PKEY_is_a(key, "EC") &&
           EVP_PKEY_get_group_name(key, group, sizeof(group), &len) == 1 &&
           strcmp(group, "secp384r1") == 0;
}

enum mu_status cose_verify_es384(EVP_PKEY *key, struct bytes protected_header, struct bytes payload,
                                 struct bytes signature, struct mu_error *err)
{
    MU_CLEANUP(buffer_free) struct buffer message = {0};
    MU_CLEANUP(free_md) EVP_MD_CTX *md = EVP_MD_CTX_new();
    uint8_t *der = NULL;
    int der_len = 0, good;

    if (!is_p384(key))
        return mu_fail(err, MU_REFUSE, "the signing key is not on P-384");
    if (signature.len != COSE_ES384_SIZE)
        return mu_fail(err, MU_REFUSE, "the signature has %zu bytes, not %d", signature.len,
                       COSE_ES384_SIZE);
    if (md == NULL)
        return mu_oom(err);
    MU_TRY(to_be_signed(protected_header, payload, &message, err));
    MU_TRY(to_der(signature, &der, &der_len, err));
    good = EVP_DigestVerifyInit(md, NULL, EVP_sha384(), NULL, key) == 1 &&
           EVP_DigestVerify(md, der, (size_t)der_len, message.data, message.len) == 1;
    OPENSSL_free(der);
    ERR_clear_error();
    return good ? MU_OK : mu_fail(err, MU_REFUSE, "the signature does not hold");
}
