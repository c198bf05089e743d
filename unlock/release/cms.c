/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "release/cms.h"

#include <limits.h>

#include <openssl/asn1t.h>
#include <openssl/cms.h>
#include <openssl/rsa.h>

#include "base/openssl.h"

#define CONTENT_MAX 64

static void oaep_free(RSA_OAEP_PARAMS **params)
{
    RSA_OAEP_PARAMS_free(*params);
}

static enum mu_status bad(struct mu_error *err, const char *rule)
{
    return mu_fail(err, MU_REFUSE, "the released key is not as KMS wraps it: %s", rule);
}

static enum mu_status undecryptable(struct mu_error *err)
{
    return mu_fail(err, MU_REFUSE, "the released key could not be decrypted");
}

/* Not d2i_CMS_bio: of an indefinite length it reads ahead, past the end of the message. */
static enum mu_status cms_parse(struct bytes ber, CMS_ContentInfo **ret, struct mu_error *err)
{
    const uint8_t *pos = ber.data;

    if (ber.len == 0 || ber.len > INT_MAX)
        return bad(err, "no CMS message");
    *ret = d2i_CMS_ContentInfo(NULL, &pos, (long)ber.len);
    if (*ret == NULL)
        return bad(err, "no CMS message");
    return pos == ber.data + ber.len ? MU_OK : bad(err, "bytes follow the CMS message");
}

static int digest_of(const X509_ALGOR *algorithm)
{
    return algorithm != NULL ? OBJ_obj2nid(algorithm->algorithm) : NID_undef;
}

/* RFC 4055, 4.1: hash and mask generation both SHA-256, no label. */
static bool oaep_sha256(const X509_ALGOR *algorithm)
{
    MU_CLEANUP(oaep_free) RSA_OAEP_PARAMS *params = NULL;
    const X509_ALGOR *mask;
    X509_ALGOR *mask_hash;
    bool ok;

    if (OBJ_obj2nid(algorithm->algorithm) != NID_rsaesOaep)
        return false;
    params = ASN1_TYPE_unpack_sequence(ASN1_ITEM_rptr(RSA_OAEP_PARAMS), algorithm->parameter);
    if (params == NULL || digest_of(params->hashFunc) != NID_sha256 ||
        params->pSourceFunc != NULL || digest_of(params->maskGenFunc) != NID_mgf1)
        return false;
    mask = params->maskGenFunc;
    mask_hash = ASN1_TYPE_unpack_sequence(ASN1_ITEM_rptr(X509_ALGOR), mask->parameter);
    ok = digest_of(mask_hash) == NID_sha256;
    X509_ALGOR_free(mask_hash);
    return ok;
}

static enum mu_status check_recipient(CMS_ContentInfo *cms, CMS_RecipientInfo **ret,
                                      struct mu_error *err)
{
    STACK_OF(CMS_RecipientInfo) * recipients;
    X509_ALGOR *algorithm = NULL;

    if (OBJ_obj2nid(CMS_get0_type(cms)) != NID_pkcs7_enveloped)
        return bad(err, "not EnvelopedData");
    recipients = CMS_get0_RecipientInfos(cms);
    if (sk_CMS_RecipientInfo_num(recipients) != 1)
        return bad(err, "not exactly one recipient");
    *ret = sk_CMS_RecipientInfo_value(recipients, 0);
    if (CMS_RecipientInfo_type(*ret) != CMS_RECIPINFO_TRANS)
        return bad(err, "the recipient is not one by key transport");
    if (CMS_RecipientInfo_ktri_get0_algs(*ret, NULL, NULL, &algorithm) != 1 || algorithm == NULL ||
        !oaep_sha256(algorithm))
        return bad(err, "the key encryption is not RSAES-OAEP with SHA-256");
    return MU_OK;
}

/* CMS_decrypt would accept any cipher, and goes on with a random key if the RSA decryption
 * fails. */
static bool read_content(CMS_ContentInfo *cms, size_t size, struct secret *content)
{
    MU_CLEANUP(bio_free) BIO *out = CMS_dataInit(cms, NULL);
    BIO *cipher = out != NULL ? BIO_find_type(out, BIO_TYPE_CIPHER) : NULL;
    EVP_CIPHER_CTX *context = NULL;
    size_t len = 0, n = 0;

    if (cipher == NULL || BIO_get_cipher_ctx(cipher, &context) != 1 ||
        EVP_CIPHER_CTX_get_nid(context) != NID_aes_256_cbc)
        return false;
    while (len < content->len && BIO_read_ex(out, content->data + len, content->len - len, &n) == 1)
        len += n;
    return BIO_get_cipher_status(cipher) == 1 && len == size;
}

enum mu_status cms_decrypt(struct bytes ber, EVP_PKEY *key, size_t size, struct secret *ret,
                           struct mu_error *err)
{
    MU_CLEANUP(cms_free) CMS_ContentInfo *cms = NULL;
    MU_CLEANUP(secret_free) struct secret content = {0};
    CMS_RecipientInfo *recipient = NULL;

    if (size > CONTENT_MAX)
        return mu_fail(err, MU_INTERNAL, "a released key has at most %d bytes", CONTENT_MAX);
    MU_TRY(cms_parse(ber, &cms, err));
    MU_TRY(check_recipient(cms, &recipient, err));
    MU_TRY(secret_alloc(&content, CONTENT_MAX + 1, err));
    if (EVP_PKEY_up_ref(key) != 1)
        return mu_oom(err);
    if (CMS_RecipientInfo_set0_pkey(recipient, key) != 1) {
        EVP_PKEY_free(key);
        return undecryptable(err);
    }
    if (CMS_RecipientInfo_decrypt(cms, recipient) != 1 || !read_content(cms, size, &content))
        return undecryptable(err);
    content.len = size;
    *ret = MU_TAKE(content);
    return MU_OK;
}
