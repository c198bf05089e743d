/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "appraise/ecdsa.h"

#include <openssl/ec.h>
#include <openssl/err.h>

#include "base/openssl.h"

/* To the ECDSA-Sig-Value of RFC 3279, which OpenSSL takes. *ret is OpenSSL's. */
static enum mu_status to_der(struct bytes signature, uint8_t **ret, int *ret_len,
                             struct mu_error *err)
{
    size_t half = signature.len / 2;
    MU_CLEANUP(ecdsa_sig_free) ECDSA_SIG *der = ECDSA_SIG_new();
    MU_CLEANUP(bignum_free) BIGNUM *r = BN_bin2bn(signature.data, (int)half, NULL);
    MU_CLEANUP(bignum_free) BIGNUM *s = BN_bin2bn(signature.data + half, (int)half, NULL);

    if (der == NULL || r == NULL || s == NULL || ECDSA_SIG_set0(der, r, s) != 1)
        return mu_oom(err);
    r = s = NULL;
    *ret_len = i2d_ECDSA_SIG(der, ret);
    return *ret_len > 0 ? MU_OK : mu_oom(err);
}

enum mu_status ecdsa_verify(EVP_PKEY *key, const EVP_MD *digest, struct bytes message,
                            struct bytes signature, struct mu_error *err)
{
    MU_CLEANUP(md_free) EVP_MD_CTX *md = EVP_MD_CTX_new();
    uint8_t *der = NULL;
    int der_len = 0, good;

    if (md == NULL)
        return mu_oom(err);
    MU_TRY(to_der(signature, &der, &der_len, err));
    good = EVP_DigestVerifyInit(md, NULL, digest, NULL, key) == 1 &&
           EVP_DigestVerify(md, der, (size_t)der_len, message.data, message.len) == 1;
    OPENSSL_free(der);
    return good ? MU_OK : mu_fail(err, MU_REFUSE, "the signature does not hold");
}

static bool from_der(const uint8_t *der, size_t der_len, uint8_t *ret, size_t len)
{
    MU_CLEANUP(ecdsa_sig_free) ECDSA_SIG *signature = d2i_ECDSA_SIG(NULL, &der, (long)der_len);
    int half = (int)(len / 2);

    return signature != NULL && BN_bn2binpad(ECDSA_SIG_get0_r(signature), ret, half) == half &&
           BN_bn2binpad(ECDSA_SIG_get0_s(signature), ret + half, half) == half;
}

enum mu_status ecdsa_sign(EVP_PKEY *key, const EVP_MD *digest, struct bytes message, uint8_t *ret,
                          size_t len, struct mu_error *err)
{
    MU_CLEANUP(md_free) EVP_MD_CTX *md = EVP_MD_CTX_new();
    uint8_t der[ECDSA_MAX + 16];
    size_t der_len = sizeof(der);

    if (md == NULL)
        return mu_oom(err);
    if (EVP_DigestSignInit(md, NULL, digest, NULL, key) != 1 ||
        EVP_DigestSign(md, der, &der_len, message.data, message.len) != 1 ||
        !from_der(der, der_len, ret, len))
        return mu_fail(err, MU_CONFIG, "signing failed: is that a private key on P-256 or P-384?");
    return MU_OK;
}
