/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "appraise/instance_identity.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include <openssl/cms.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/pemerr.h>

#include "appraise/chain.h"
#include "base/file.h"
#include "base/json.h"
#include "base/openssl.h"
#include "base/text.h"

#define PKCS7_BITS_MIN 2048
#define SIGNATURE_BITS_MIN 1024
#define CERTIFICATES_MAX 65536

/* The evidence with its armour taken off. */
struct identity {
    struct buffer text; /* the JSON, as it was signed */
    struct buffer signature;
    struct buffer pkcs7; /* instead of a signature */
};

static void identity_free(struct identity *identity)
{
    buffer_free(&identity->text);
    buffer_free(&identity->signature);
    buffer_free(&identity->pkcs7);
}

static enum mu_status bad(struct mu_error *err, const char *rule)
{
    return mu_fail(err, MU_REFUSE, "the identity document %s", rule);
}

/* ---- encodings ---- */

/* IMDS folds its base64; AWS's instructions put PEM lines around it. */
static enum mu_status decode_base64(struct bytes in, struct buffer *ret, struct mu_error *err)
{
    static const char begin[] = "-----BEGINPKCS7-----", end[] = "-----ENDPKCS7-----";
    MU_CLEANUP(buffer_free) struct buffer text = {0};
    const char *start;
    size_t len = 0;

    MU_TRY(buffer_alloc(&text, in.len + 1, err));
    for (size_t i = 0; i < in.len; i++)
        if (in.data[i] == '\0' || strchr(" \t\r\n", in.data[i]) == NULL)
            text.data[len++] = in.data[i];
    text.data[len] = '\0';
    start = (const char *)text.data;
    if (strlen(start) != len)
        return bad(err, "or its signature is not base64");
    if (len > sizeof(begin) + sizeof(end) && strncmp(start, begin, strlen(begin)) == 0 &&
        strcmp(start + len - strlen(end), end) == 0) {
        text.data[len - strlen(end)] = '\0';
        start += strlen(begin);
    }
    if (base64_decode(start, IDENTITY_MAX_BYTES, MU_REFUSE, ret, err) != MU_OK || ret->len == 0)
        return bad(err, "or its signature is not base64");
    return MU_OK;
}

/* No base64 begins with a zero and a byte that is not ASCII. */
static bool is_der(struct bytes in)
{
    return in.len > 1 && in.data[0] == (V_ASN1_SEQUENCE | V_ASN1_CONSTRUCTED) && in.data[1] >= 0x80;
}

static bool begins_json(struct bytes in)
{
    size_t i = 0;

    while (i < in.len && in.data[i] != '\0' && strchr(" \t\r\n", in.data[i]) != NULL)
        i++;
    return i < in.len && in.data[i] == '{';
}

/* ---- PKCS7 ---- */

static enum mu_status check_signer(CMS_SignerInfo *signer, struct mu_error *err)
{
    X509_ALGOR *digest = NULL, *signature = NULL;
    int nid;

    CMS_SignerInfo_get0_algs(signer, NULL, NULL, &digest, &signature);
    nid = OBJ_obj2nid(signature->algorithm);
    if (nid == NID_dsa || nid == NID_dsaWithSHA1 || nid == NID_dsaWithSHA || nid == NID_dsa_2 ||
        nid == NID_dsa_with_SHA256)
        return bad(err, "is signed with DSA: this is the form 'pkcs7', which is not accepted; "
                        "fetch /latest/dynamic/instance-identity/rsa2048 instead");
    if (nid != NID_rsaEncryption && nid != NID_sha256WithRSAEncryption)
        return bad(err, "is not signed with RSA");
    if (OBJ_obj2nid(digest->algorithm) != NID_sha256)
        return bad(err, "is not signed with SHA-256: fetch "
                        "/latest/dynamic/instance-identity/rsa2048 instead");
    return MU_OK;
}

/* Certificates inside the PKCS7 are ignored. */
static enum mu_status parse_pkcs7(struct bytes ber, CMS_ContentInfo **ret,
                                  CMS_SignerInfo **ret_signer, struct mu_error *err)
{
    MU_CLEANUP(cms_free) CMS_ContentInfo *cms = NULL;
    STACK_OF(CMS_SignerInfo) * signers;
    const uint8_t *pos = ber.data;
    ASN1_OCTET_STRING **content;

    cms = d2i_CMS_ContentInfo(NULL, &pos, (long)ber.len);
    if (cms == NULL || OBJ_obj2nid(CMS_get0_type(cms)) != NID_pkcs7_signed)
        return bad(err, "is not PKCS7 SignedData");
    if (pos != ber.data + ber.len)
        return bad(err, "has bytes after the PKCS7 message");
    content = CMS_get0_content(cms);
    if (OBJ_obj2nid(CMS_get0_eContentType(cms)) != NID_pkcs7_data || content == NULL ||
        *content == NULL)
        return bad(err, "is missing in the PKCS7 message");
    signers = CMS_get0_SignerInfos(cms);
    if (sk_CMS_SignerInfo_num(signers) != 1)
        return bad(err, "does not have exactly one signature");
    MU_TRY(check_signer(sk_CMS_SignerInfo_value(signers, 0), err));
    *ret_signer = sk_CMS_SignerInfo_value(signers, 0);
    *ret = MU_TAKE(cms);
    return MU_OK;
}

static enum mu_status content_of(struct bytes pkcs7, struct buffer *ret, struct mu_error *err)
{
    MU_CLEANUP(cms_free) CMS_ContentInfo *cms = NULL;
    CMS_SignerInfo *signer;
    const ASN1_OCTET_STRING *content;

    MU_TRY(parse_pkcs7(pkcs7, &cms, &signer, err));
    content = *CMS_get0_content(cms);
    return buffer_copy(
        ret, (struct bytes){ASN1_STRING_get0_data(content), (size_t)ASN1_STRING_length(content)},
        err);
}

/* Not CMS_verify, which looks for the certificate by its serial number: AWS has renewed
 * certificates over the same key. */
static bool pkcs7_is_by(struct bytes pkcs7, X509 *certificate)
{
    MU_CLEANUP(cms_free) CMS_ContentInfo *cms = NULL;
    MU_CLEANUP(bio_free) BIO *content = NULL;
    CMS_SignerInfo *signer;
    struct mu_error ignored;
    uint8_t part[1024];

    if (parse_pkcs7(pkcs7, &cms, &signer, &ignored) != MU_OK)
        return false;
    CMS_SignerInfo_set1_signer_cert(signer, certificate);
    if (CMS_signed_get_attr_count(signer) >= 0 && CMS_SignerInfo_verify(signer) != 1)
        return false;
    content = CMS_dataInit(cms, NULL);
    if (content == NULL)
        return false;
    while (BIO_read(content, part, sizeof(part)) > 0)
        ;
    return CMS_SignerInfo_verify_content(signer, content) == 1;
}

static bool signature_is_by(const struct identity *identity, EVP_PKEY *key)
{
    MU_CLEANUP(md_free) EVP_MD_CTX *context = EVP_MD_CTX_new();

    return context != NULL && EVP_DigestVerifyInit(context, NULL, EVP_sha256(), NULL, key) == 1 &&
           EVP_DigestVerify(context, identity->signature.data, identity->signature.len,
                            identity->text.data, identity->text.len) == 1;
}

/* ---- the document ---- */

static enum mu_status open_evidence(const struct identity_evidence *evidence, struct identity *ret,
                                    struct mu_error *err)
{
    struct bytes document = evidence->document;

    if (document.len == 0 || document.len > IDENTITY_MAX_BYTES ||
        evidence->signature.len > IDENTITY_MAX_BYTES)
        return bad(err, "or its signature is empty or larger than 16 KiB");
    if (evidence->signature.data != NULL) {
        MU_TRY(buffer_copy(&ret->text, document, err));
        return decode_base64(evidence->signature, &ret->signature, err);
    }
    if (begins_json(document))
        return bad(err, "comes without a signature: give that as well, or the form rsa2048, "
                        "which holds both");
    if (is_der(document))
        MU_TRY(buffer_copy(&ret->pkcs7, document, err));
    else
        MU_TRY(decode_base64(document, &ret->pkcs7, err));
    return content_of(buffer_view(&ret->pkcs7), &ret->text, err);
}

static enum mu_status take(json_object *object, const char *name, char *to, size_t cap,
                           struct mu_error *err)
{
    const char *text;

    if (json_string(object, name, cap - 1, MU_REFUSE, &text, err) != MU_OK)
        return mu_context(err, "the identity document");
    if (!text_is_word(text_view(text)))
        return mu_fail(err, MU_REFUSE, "the identity document: %s is not printable ASCII", name);
    (void)snprintf(to, cap, "%s", text);
    return MU_OK;
}

static enum mu_status read_facts(struct bytes text, struct identity_facts *ret,
                                 struct mu_error *err)
{
    MU_CLEANUP(json_free) json_object *object = NULL;
    struct identity_facts facts;

    MU_TRY(json_parse(text, "the identity document", MU_REFUSE, &object, err));
    MU_TRY(take(object, "instanceId", facts.instance_id, sizeof(facts.instance_id), err));
    MU_TRY(take(object, "accountId", facts.account, sizeof(facts.account), err));
    MU_TRY(take(object, "region", facts.region, sizeof(facts.region), err));
    MU_TRY(take(object, "instanceType", facts.instance_type, sizeof(facts.instance_type), err));
    MU_TRY(take(object, "imageId", facts.image_id, sizeof(facts.image_id), err));
    MU_TRY(take(object, "pendingTime", facts.pending_time, sizeof(facts.pending_time), err));
    if (strlen(facts.account) != 12 || strspn(facts.account, "0123456789") != 12)
        return bad(err, "has an accountId that is not of 12 digits");
    if (strspn(facts.region, "abcdefghijklmnopqrstuvwxyz0123456789-") != strlen(facts.region))
        return bad(err, "has an invalid region");
    *ret = facts;
    return MU_OK;
}

enum mu_status identity_read(const struct identity_evidence *evidence, struct identity_facts *ret,
                             struct mu_error *err)
{
    MU_CLEANUP(identity_free) struct identity identity = {0};

    MU_TRY(open_evidence(evidence, &identity, err));
    return read_facts(buffer_view(&identity.text), ret, err);
}

/* ---- certificates ---- */

static enum mu_status load_certificates(const struct identity_evidence *evidence,
                                        STACK_OF(X509) * stack, struct mu_error *err)
{
    MU_CLEANUP(bio_free) BIO *bio = NULL;
    struct bytes pem = evidence->certificates;
    X509 *certificate;

    bio = BIO_new_mem_buf(pem.data, pem.len <= INT_MAX ? (int)pem.len : 0);
    if (bio == NULL)
        return mu_oom(err);
    while ((certificate = PEM_read_bio_X509(bio, NULL, NULL, NULL)) != NULL) {
        if (sk_X509_push(stack, certificate) == 0) {
            certificate_free(&certificate);
            return mu_oom(err);
        }
    }
    if (sk_X509_num(stack) == 0 || ERR_GET_REASON(ERR_peek_last_error()) != PEM_R_NO_START_LINE)
        return mu_fail(err, MU_CONFIG, "%s: not certificates in PEM", evidence->certificates_name);
    return MU_OK;
}

static bool is_by(const struct identity *identity, X509 *certificate, int *ret_bits)
{
    bool pkcs7 = identity->pkcs7.data != NULL;
    EVP_PKEY *key = X509_get0_pubkey(certificate);

    /* AWS's list for a region has a DSA key, too. */
    if (key == NULL || EVP_PKEY_get_base_id(key) != EVP_PKEY_RSA ||
        EVP_PKEY_get_bits(key) < (pkcs7 ? PKCS7_BITS_MIN : SIGNATURE_BITS_MIN))
        return false;
    *ret_bits = EVP_PKEY_get_bits(key);
    return pkcs7 ? pkcs7_is_by(buffer_view(&identity->pkcs7), certificate)
                 : signature_is_by(identity, key);
}

/* Renewed certificates stand beside the old ones: one that has not expired is enough. */
static enum mu_status verify_by_any(const struct identity *identity, STACK_OF(X509) * stack,
                                    const char *name, int64_t at, int *ret_bits,
                                    struct mu_error *err)
{
    bool expired = false;

    for (int i = 0; i < sk_X509_num(stack); i++) {
        X509 *certificate = sk_X509_value(stack, i);
        int64_t from, until;

        if (!is_by(identity, certificate, ret_bits))
            continue;
        MU_TRY(certificate_validity(certificate, &from, &until, err));
        if (at <= until)
            return MU_OK;
        expired = true;
    }
    if (expired)
        return mu_fail(err, MU_REFUSE,
                       "%s: the certificate has expired: install the one that AWS publishes now",
                       name);
    return mu_fail(err, MU_REFUSE,
                   "the signature is by none of the RSA certificates in %s: the document was "
                   "altered, or they are another region's or for another form of the signature",
                   name);
}

enum mu_status identity_verify(const struct identity_evidence *evidence, int64_t at, int *ret_bits,
                               struct mu_error *err)
{
    MU_CLEANUP(identity_free) struct identity identity = {0};
    MU_CLEANUP(certificates_free) STACK_OF(X509) *stack = sk_X509_new_null();
    struct identity_facts facts;

    if (stack == NULL)
        return mu_oom(err);
    MU_TRY(open_evidence(evidence, &identity, err));
    MU_TRY(read_facts(buffer_view(&identity.text), &facts, err));
    if (evidence->certificates.len == 0)
        return mu_fail(
            err, MU_REFUSE,
            "there is no certificate for its region; put those that AWS publishes for %s "
            "into %s",
            facts.region, evidence->certificates_name);
    MU_TRY(load_certificates(evidence, stack, err));
    return verify_by_any(&identity, stack, evidence->certificates_name, at, ret_bits, err);
}

void identity_files_free(struct identity_files *files)
{
    buffer_free(&files->document);
    buffer_free(&files->signature);
    buffer_free(&files->certificates);
    string_free(&files->certificates_path);
}

enum mu_status identity_load(struct identity_files *files, const char *path,
                             struct identity_evidence *ret, struct mu_error *err)
{
    struct identity_facts facts = {0};
    struct mu_error refused = {0};
    struct stat st;
    bool folder = stat(path, &st) != 0 || S_ISDIR(st.st_mode);

    *ret = (struct identity_evidence){.document = buffer_view(&files->document),
                                      .signature = buffer_view(&files->signature)};
    if (identity_read(ret, &facts, &refused) != MU_OK)
        return MU_OK;
    MU_TRY(string_print(&files->certificates_path, err, "%s%s%s%s", path, folder ? "/" : "",
                        folder ? facts.region : "", folder ? ".pem" : ""));
    ret->certificates_name = files->certificates_path;
    if (folder && stat(files->certificates_path, &st) != 0 && errno == ENOENT)
        return MU_OK;
    MU_TRY(file_read(files->certificates_path, CERTIFICATES_MAX, &files->certificates, err));
    ret->certificates = buffer_view(&files->certificates);
    return MU_OK;
}
