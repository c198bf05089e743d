/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The instance identity document. The first byte says in which form the rest comes: (0) one file,
 * (1) a document and, after an empty line, its signature, (2) a document that is signed here, (3)
 * the same in PKCS7; + 4: when the certificate has expired; + 8: the rest are the certificates. */
#include "appraise/instance_identity.h"

#include <string.h>

#include <openssl/cms.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509.h>

#include "fuzz.h"

#define EXPIRES INT64_C(4102444800)

static struct bytes bio_bytes(BIO *bio)
{
    char *data;
    long len = BIO_get_mem_data(bio, &data);

    return (struct bytes){(const uint8_t *)data, (size_t)len};
}

static X509 *certificate(void)
{
    static X509 *made;

    if (made != NULL)
        return made;
    made = X509_new();
    fuzz_require(X509_set_version(made, X509_VERSION_3) == 1 &&
                     ASN1_TIME_set(X509_getm_notBefore(made), 0) != NULL &&
                     ASN1_TIME_set(X509_getm_notAfter(made), EXPIRES) != NULL &&
                     X509_set_pubkey(made, fuzz_rsa_key()) == 1 &&
                     X509_sign(made, fuzz_rsa_key(), EVP_sha256()) > 0,
                 "a certificate");
    return made;
}

static struct buffer sign(struct bytes text)
{
    EVP_MD_CTX *context = EVP_MD_CTX_new();
    uint8_t signature[256];
    size_t len = sizeof(signature);
    struct buffer base64 = {0};
    struct mu_error err = {0};
    char *encoded = NULL;

    fuzz_require(EVP_DigestSignInit(context, NULL, EVP_sha256(), NULL, fuzz_rsa_key()) == 1 &&
                     EVP_DigestSign(context, signature, &len, text.data, text.len) == 1 &&
                     base64_encode((struct bytes){signature, len}, &encoded, &err) == MU_OK &&
                     buffer_copy(&base64, text_view(encoded), &err) == MU_OK,
                 "a signature");
    EVP_MD_CTX_free(context);
    string_free(&encoded);
    return base64;
}

static struct buffer wrap(struct bytes text)
{
    BIO *in = BIO_new_mem_buf(text.data, (int)text.len), *out = BIO_new(BIO_s_mem());
    CMS_ContentInfo *cms = CMS_sign(certificate(), fuzz_rsa_key(), NULL, in,
                                    CMS_BINARY | CMS_NOCERTS | CMS_NOSMIMECAP);
    struct buffer pkcs7 = {0};
    struct mu_error err = {0};

    fuzz_require(cms != NULL && i2d_CMS_bio(out, cms) == 1 &&
                     buffer_copy(&pkcs7, bio_bytes(out), &err) == MU_OK,
                 "a message");
    CMS_ContentInfo_free(cms);
    BIO_free(in);
    BIO_free(out);
    return pkcs7;
}

static void check(const struct identity_evidence *evidence, int64_t at, bool signed_here)
{
    struct identity_facts facts = {0};
    struct mu_error err = {0}, other = {0};
    enum mu_status readable = identity_read(evidence, &facts, &err), status;
    int bits = 0;

    fuzz_outcome(readable, &err, 1u << MU_REFUSE);
    fuzz_require((facts.instance_id[0] != '\0') == (readable == MU_OK), "facts or nothing");
    fuzz_require(strspn(facts.region, "abcdefghijklmnopqrstuvwxyz0123456789-") ==
                     strlen(facts.region),
                 "the region is fit for a file name");
    status = identity_verify(evidence, at, &bits, &other);
    fuzz_outcome(status, &other, 1u << MU_REFUSE | 1u << MU_CONFIG);
    fuzz_require(status != MU_OK || (readable == MU_OK && at <= EXPIRES && bits == 2048),
                 "verified only if readable and in time");
    fuzz_require(!signed_here || readable != MU_OK || at > EXPIRES || status == MU_OK,
                 "what was signed here verifies");
    fuzz_require(ERR_peek_error() == 0, "OpenSSL's queue is empty");
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char text[] =
        "{\"instanceId\":\"i-1\",\"accountId\":\"111122223333\",\"region\":"
        "\"r\",\"instanceType\":\"t\",\"imageId\":\"a\",\"pendingTime\":\"p\"}";
    MU_CLEANUP(buffer_free) struct buffer made = {0};
    BIO *pem = BIO_new(BIO_s_mem());
    struct identity_evidence evidence = {.certificates_name = "certificates"};
    struct reader r = reader_of((struct bytes){data, size});
    unsigned form = reader_u8(&r);
    struct bytes rest = reader_take(&r, reader_left(&r));
    int64_t at = (form & 4) != 0 ? EXPIRES + 1 : 1770000000;
    const uint8_t *line = memmem(rest.data, rest.len, "\n\n", 2);

    fuzz_require(PEM_write_bio_X509(pem, certificate()) == 1, "a certificate");
    evidence.certificates = (form & 8) != 0 ? rest : bio_bytes(pem);
    evidence.document =
        (form & 8) != 0 ? (struct bytes){(const uint8_t *)text, sizeof(text) - 1} : rest;
    if ((form & 3) == 2)
        made = sign(evidence.document);
    if ((form & 3) == 3)
        made = wrap(evidence.document);
    if ((form & 3) == 2)
        evidence.signature = buffer_view(&made);
    if ((form & 3) == 3)
        evidence.document = buffer_view(&made);
    if ((form & 11) == 1 && line != NULL) {
        evidence.document.len = (size_t)(line - rest.data);
        evidence.signature = (struct bytes){line + 2, rest.len - evidence.document.len - 2};
    }
    check(&evidence, at, (form & 3) >= 2 && (form & 8) == 0);
    BIO_free(pem);
    return 0;
}
