/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <openssl/cms.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/rsa.h>
#include <openssl/x509.h>

#include "release/cms.h"
#include "test.h"

static const char undecryptable[] = "the released key could not be decrypted";
static EVP_PKEY *key, *other_key;
static X509 *certificate;

void before_all(void)
{
    key = EVP_RSA_gen(2048);
    other_key = EVP_RSA_gen(2048);
    certificate = X509_new();
    X509_set_pubkey(certificate, key);
    ASN1_INTEGER_set(X509_get_serialNumber(certificate), 1);
    X509_gmtime_adj(X509_getm_notBefore(certificate), 0);
    X509_gmtime_adj(X509_getm_notAfter(certificate), 3600);
    assert_true(X509_sign(certificate, key, EVP_sha256()) > 0);
}

void after_all(void)
{
    EVP_PKEY_free(key);
    EVP_PKEY_free(other_key);
    X509_free(certificate);
}

struct wrapping {
    size_t size;
    const EVP_CIPHER *cipher;
    int padding;
    const EVP_MD *digest, *mask_digest;
    int recipients;
};

/* What KMS sends, made by OpenSSL: streaming gives the same indefinite lengths. */
static struct buffer wrap(const struct wrapping *w)
{
    static const uint8_t zeroes[256];
    unsigned flags = CMS_BINARY | CMS_STREAM | CMS_PARTIAL;
    BIO *in = BIO_new_mem_buf(zeroes, (int)w->size);
    BIO *out = BIO_new(BIO_s_mem());
    CMS_ContentInfo *cms = CMS_encrypt(NULL, in, w->cipher, flags);
    struct buffer ret;
    char *data;

    for (int i = 0; i < w->recipients; i++) {
        CMS_RecipientInfo *ri = CMS_add1_recipient_cert(cms, certificate, flags | CMS_KEY_PARAM);
        EVP_PKEY_CTX *context = CMS_RecipientInfo_get0_pkey_ctx(ri);

        assert_true(EVP_PKEY_CTX_set_rsa_padding(context, w->padding) > 0);
        if (w->padding == RSA_PKCS1_OAEP_PADDING) {
            assert_true(EVP_PKEY_CTX_set_rsa_oaep_md(context, w->digest) > 0);
            assert_true(EVP_PKEY_CTX_set_rsa_mgf1_md(context, w->mask_digest) > 0);
        }
    }
    assert_int_equal(i2d_CMS_bio_stream(out, cms, in, (int)flags), 1);
    assert_int_equal(buffer_copy(&ret,
                                 (struct bytes){(uint8_t *)(BIO_get_mem_data(out, &data), data),
                                                BIO_ctrl_pending(out)},
                                 &err),
                     MU_OK);
    CMS_ContentInfo_free(cms);
    BIO_free(in);
    BIO_free(out);
    return ret;
}

static struct wrapping good(void)
{
    return (struct wrapping){32,           EVP_aes_256_cbc(), RSA_PKCS1_OAEP_PADDING,
                             EVP_sha256(), EVP_sha256(),      1};
}

static void check(struct bytes ber, EVP_PKEY *with, const char *because)
{
    struct secret secret = {0};
    enum mu_status status = cms_decrypt(ber, with, 32, &secret, &err);

    if (because == NULL) {
        if (status != MU_OK)
            fail_msg("%s", err.text);
        assert_int_equal(secret.len, 32);
        assert_true(bytes_all_zero(secret_view(&secret)));
    } else {
        assert_int_equal(status, MU_REFUSE);
        if (strstr(err.text, because) == NULL)
            fail_msg("\"%s\" does not say \"%s\"", err.text, because);
        assert_null(secret.data);
    }
    assert_int_equal(ERR_peek_error(), 0);
    secret_free(&secret);
}

static void check_wrapping(struct wrapping w, const char *because)
{
    struct buffer ber = wrap(&w);

    check(buffer_view(&ber), key, because);
    buffer_free(&ber);
}

#define WITH(member, value)                                                                        \
    ({                                                                                             \
        struct wrapping changed = good();                                                          \
        changed.member = value;                                                                    \
        changed;                                                                                   \
    })

TEST(test_wrappings)
{
    check_wrapping(good(), NULL);
    check_wrapping(WITH(padding, RSA_PKCS1_PADDING), "RSAES-OAEP");
    check_wrapping(WITH(digest, EVP_sha1()), "RSAES-OAEP");
    check_wrapping(WITH(mask_digest, EVP_sha1()), "RSAES-OAEP");
    check_wrapping(WITH(digest, EVP_sha512()), "RSAES-OAEP");
    check_wrapping(WITH(recipients, 0), "one recipient");
    check_wrapping(WITH(recipients, 2), "one recipient");
    check_wrapping(WITH(cipher, EVP_aes_128_cbc()), undecryptable);
    check_wrapping(WITH(cipher, EVP_camellia_256_cbc()), undecryptable);
    check_wrapping(WITH(size, 31), undecryptable);
    check_wrapping(WITH(size, 33), undecryptable);
    check_wrapping(WITH(size, 0), undecryptable);
    check_wrapping(WITH(size, 200), undecryptable);
}

/* Where the encrypted content ends in the message. */
static size_t content_end(const struct buffer *ber)
{
    const uint8_t *p = ber->data;
    CMS_ContentInfo *cms = d2i_CMS_ContentInfo(NULL, &p, (long)ber->len);
    ASN1_OCTET_STRING *content = *CMS_get0_content(cms);
    int len = ASN1_STRING_length(content);
    const uint8_t *found =
        memmem(ber->data, ber->len, ASN1_STRING_get0_data(content) + len - 16, 16);

    CMS_ContentInfo_free(cms);
    assert_non_null(found);
    return (size_t)(found - ber->data) + 16;
}

/* Nothing tells a wrong key from a damaged one or from wrong padding. */
TEST(test_damaged)
{
    struct wrapping w = good();
    struct buffer ber = wrap(&w);
    size_t end = content_end(&ber);

    check(buffer_view(&ber), other_key, undecryptable);
    check(buffer_view(&ber), key, NULL);
    for (size_t at = end - 16; at < end; at++) {
        ber.data[at] ^= 0x40;
        check(buffer_view(&ber), key, undecryptable);
        ber.data[at] ^= 0x40;
    }
    check(buffer_view(&ber), key, NULL);
    buffer_free(&ber);
}

TEST(test_truncation)
{
    struct wrapping w = good();
    struct buffer ber = wrap(&w);

    for (size_t n = 0; n < ber.len; n++)
        check((struct bytes){ber.data, n}, key, "the released key");
    buffer_free(&ber);
}

/* Any number of them: a parser that reads ahead by blocks would miss some. */
TEST(test_trailing_bytes)
{
    struct wrapping w = good();
    struct buffer ber = wrap(&w), longer;

    for (size_t extra = 1; extra <= 16; extra++) {
        assert_int_equal(buffer_alloc(&longer, ber.len + extra, &err), MU_OK);
        memcpy(longer.data, ber.data, ber.len);
        check(buffer_view(&longer), key, "bytes follow");
        buffer_free(&longer);
    }
    buffer_free(&ber);
}

TEST(test_other_content)
{
    static const uint8_t plain[32];
    BIO *in = BIO_new_mem_buf(plain, sizeof(plain));
    CMS_ContentInfo *cms = CMS_data_create(in, CMS_BINARY);
    uint8_t *der = NULL;
    int len = i2d_CMS_ContentInfo(cms, &der);

    check((struct bytes){der, (size_t)len}, key, "not EnvelopedData");
    OPENSSL_free(der);
    CMS_ContentInfo_free(cms);
    BIO_free(in);
}

static void opens(struct bytes ber, EVP_PKEY *recipient, struct bytes plain)
{
    struct secret secret = {0};

    assert_non_null(recipient);
    if (cms_decrypt(ber, recipient, plain.len, &secret, &err) != MU_OK)
        fail_msg("%s", err.text);
    assert_true(bytes_equal(secret_view(&secret), plain));
    secret_free(&secret);
    assert_int_equal(cms_decrypt(ber, recipient, plain.len + 1, &secret, &err), MU_REFUSE);
    check(ber, key, undecryptable);
}

TEST(test_emulator)
{
    struct buffer ber = data_load("samples/kms.cms");
    uint8_t plain[32];
    BIO *pem = BIO_new_file("tests/fuzz/keys/rsa.pem", "r");
    EVP_PKEY *recipient = PEM_read_bio_PrivateKey(pem, NULL, NULL, NULL);

    for (uint8_t i = 0; i < sizeof(plain); i++)
        plain[i] = i;
    opens(buffer_view(&ber), recipient, (struct bytes){plain, sizeof(plain)});
    EVP_PKEY_free(recipient);
    BIO_free(pem);
    buffer_free(&ber);
}

/* A CiphertextForRecipient of the real KMS, with the key that its owner published. */
TEST(test_genuine)
{
    MU_CLEANUP(buffer_free) struct buffer ber = {0};
    MU_CLEANUP(buffer_free) struct buffer der = {0};
    MU_CLEANUP(buffer_free) struct buffer plain = {0};
    EVP_PKEY *recipient;

    if (!vector_find("kms-cms/edgebit.cms", &ber) ||
        !vector_find("kms-cms/edgebit.key.der", &der) ||
        !vector_find("kms-cms/edgebit.plaintext", &plain))
        return;
    recipient = d2i_AutoPrivateKey(NULL, &(const uint8_t *){der.data}, (long)der.len);
    opens(buffer_view(&ber), recipient, buffer_view(&plain));
    EVP_PKEY_free(recipient);
}

/* Two more genuine ones, without their keys: parsed as far as the RSA decryption. */
TEST(test_genuine_without_key)
{
    static const char *const names[] = {"kms-cms/sdkc-input_ber.bin",
                                        "kms-cms/sdkc-input_ber_w_ctx.bin"};

    for (size_t i = 0; i < 2; i++) {
        MU_CLEANUP(buffer_free) struct buffer ber = {0};

        if (vector_find(names[i], &ber))
            check(buffer_view(&ber), key, undecryptable);
    }
}
