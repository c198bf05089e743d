/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "build/secureboot.h"

#include <openssl/err.h>
#include <openssl/pkcs7.h>
#include <openssl/x509v3.h>
#include <string.h>

#include "build/authenticode.h"
#include "build/pe.h"

#define ATTRIBUTES_BYTES 4
#define TIME_BYTES 16
#define CHAIN_MAX 16
#define WIN_CERT_TYPE_PKCS_SIGNED_DATA 0x0002
#define WIN_CERT_TYPE_EFI_GUID 0x0ef1

const uint8_t secureboot_global_guid[EFI_GUID_BYTES] =
    EFI_GUID(0x8be4df61, 0x93ca, 0x11d2, 0xaa0d, 0x00e098032b8c);
const uint8_t secureboot_database_guid[EFI_GUID_BYTES] =
    EFI_GUID(0xd719b2cb, 0x3d3a, 0x4596, 0xa3bc, 0xdad00e67656f);

/* EFI_CERT_SHA256_GUID and its like. */
static const struct digest_type {
    uint8_t guid[EFI_GUID_BYTES];
    enum hash_alg alg;
} digest_types[] = {
    {EFI_GUID(0xc1c41626, 0x504c, 0x4092, 0xaca9, 0x41f936934328), HASH_SHA256},
    {EFI_GUID(0xff3e5307, 0x9fd0, 0x48c9, 0x85f1, 0x8ad56c701e01), HASH_SHA384},
    {EFI_GUID(0x093e0fae, 0xa6c4, 0x4f50, 0x9f1b, 0xd41e2b89c19a), HASH_SHA512},
};

/* EFI_CERT_X509_SHA256_GUID and its like. */
static const struct digest_type revocation_types[] = {
    {EFI_GUID(0x3bd2a492, 0x96c0, 0x4079, 0xb420, 0xfcf98ef103ed), HASH_SHA256},
    {EFI_GUID(0x7076876e, 0x80c2, 0x4ee6, 0xaad2, 0x28b349a6865b), HASH_SHA384},
    {EFI_GUID(0x446dbf63, 0x2502, 0x4cda, 0xbcfa, 0x2465d2b0fe9d), HASH_SHA512},
};

/* UEFI 2.10, 8.2.2, EFI_VARIABLE_AUTHENTICATION_2: time stamp, WIN_CERTIFICATE_UEFI_GUID */
static struct bytes after_descriptor(struct bytes file)
{
    struct reader r = reader_of(file);
    uint32_t len;
    uint16_t type;

    (void)reader_take(&r, TIME_BYTES);
    len = reader_le32(&r);
    (void)reader_le16(&r); /* revision */
    type = reader_le16(&r);
    if (r.failed || type != WIN_CERT_TYPE_EFI_GUID || len < 8)
        return file;
    (void)reader_take(&r, len - 8);
    return r.failed ? file : reader_take(&r, reader_left(&r));
}

enum mu_status secureboot_variable(struct bytes file, struct bytes *ret, struct mu_error *err)
{
    struct bytes list = file;

    if (file.len > 1 && (file.data[0] == 0x30 || file.data[0] == '-'))
        return mu_fail(err, MU_CONFIG,
                       "a certificate, not a signature list: its owner's GUID is measured too, so "
                       "make a list of it with 'muctl secureboot list'");
    if (!signature_lists_valid(list) && file.len >= ATTRIBUTES_BYTES)
        list = (struct bytes){file.data + ATTRIBUTES_BYTES, file.len - ATTRIBUTES_BYTES};
    if (!signature_lists_valid(list))
        list = after_descriptor(file);
    if (!signature_lists_valid(list))
        return mu_fail(err, MU_CONFIG,
                       "neither EFI signature lists nor a variable that holds some");
    *ret = list;
    return MU_OK;
}

/* One Authenticode signature of an image: the PKCS #7, what it signs, and the digest in that. */
struct signed_data {
    PKCS7 *pkcs7;
    struct bytes content;
    enum hash_alg alg;
    struct bytes digest;
    X509_SIG *info;
};

static void signed_data_free(struct signed_data *s)
{
    PKCS7_free(s->pkcs7);
    X509_SIG_free(s->info);
    *s = (struct signed_data){0};
}

static enum hash_alg alg_of(const X509_ALGOR *algorithm)
{
    const ASN1_OBJECT *object;

    X509_ALGOR_get0(&object, NULL, NULL, algorithm);
    switch (OBJ_obj2nid(object)) {
    case NID_sha1:
        return HASH_SHA1;
    case NID_sha256:
        return HASH_SHA256;
    case NID_sha384:
        return HASH_SHA384;
    case NID_sha512:
        return HASH_SHA512;
    default:
        return HASH_NONE;
    }
}

/* Takes one ASN.1 header and narrows *der to what it is the header of. */
static bool enter_sequence(struct bytes *der)
{
    const uint8_t *pos = der->data;
    int tag, class;
    long len;

    if (der->len > LONG_MAX || (ASN1_get_object(&pos, &len, &tag, &class, (long)der->len) & 0x81) ||
        tag != V_ASN1_SEQUENCE)
        return false;
    *der = (struct bytes){pos, (size_t)len};
    return true;
}

/* Authenticode PE 1.0, SpcIndirectDataContent: the kind of data, then a DigestInfo. The signature
 * is over the contents of the outer sequence. */
static bool read_content(struct signed_data *s)
{
    const X509_ALGOR *algorithm;
    const ASN1_OCTET_STRING *digest;
    const ASN1_TYPE *other;
    struct bytes kind, info;
    const uint8_t *pos;

    if (!PKCS7_type_is_signed(s->pkcs7) || s->pkcs7->d.sign == NULL ||
        s->pkcs7->d.sign->contents == NULL)
        return false;
    other = s->pkcs7->d.sign->contents->d.other;
    if (other == NULL || other->type != V_ASN1_SEQUENCE)
        return false;
    s->content = (struct bytes){ASN1_STRING_get0_data(other->value.sequence),
                                (size_t)ASN1_STRING_length(other->value.sequence)};
    if (!enter_sequence(&s->content))
        return false;
    kind = s->content;
    if (!enter_sequence(&kind))
        return false;
    pos = kind.data + kind.len;
    info = (struct bytes){pos, (size_t)(s->content.data + s->content.len - pos)};
    s->info = d2i_X509_SIG(NULL, &pos, (long)info.len);
    if (s->info == NULL)
        return false;
    X509_SIG_get0(s->info, &algorithm, &digest);
    s->alg = alg_of(algorithm);
    s->digest = (struct bytes){ASN1_STRING_get0_data(digest), (size_t)ASN1_STRING_length(digest)};
    return true;
}

static bool signed_data_parse(struct bytes der, struct signed_data *ret)
{
    const uint8_t *pos = der.data;
    struct signed_data s = {.pkcs7 = d2i_PKCS7(NULL, &pos, (long)der.len)};

    if (s.pkcs7 != NULL && read_content(&s)) {
        *ret = s;
        return true;
    }
    signed_data_free(&s);
    ERR_clear_error();
    return false;
}

/* Firmware takes each certificate of db as an anchor of its own, and has no clock to trust. */
static bool verifies(const struct signed_data *s, struct bytes certificate)
{
    const uint8_t *pos = certificate.data;
    X509 *anchor = d2i_X509(NULL, &pos, (long)certificate.len);
    X509_STORE *store = X509_STORE_new();
    BIO *memory = BIO_new_mem_buf(s->content.data, (int)s->content.len);
    BIO *content = BIO_new(BIO_f_null()); /* PKCS7_verify() may leak its copy of a memory BIO */
    bool holds = false;

    if (anchor != NULL && store != NULL && memory != NULL && content != NULL &&
        BIO_push(content, memory) == content && X509_STORE_add_cert(store, anchor) == 1 &&
        X509_STORE_set_flags(store, X509_V_FLAG_PARTIAL_CHAIN | X509_V_FLAG_NO_CHECK_TIME) == 1 &&
        X509_STORE_set_purpose(store, X509_PURPOSE_ANY) == 1)
        holds = PKCS7_verify(s->pkcs7, NULL, store, content, NULL, PKCS7_BINARY) == 1;
    BIO_free(content);
    BIO_free(memory);
    X509_STORE_free(store);
    X509_free(anchor);
    ERR_clear_error();
    return holds;
}

static bool find_certificate(struct bytes lists, const struct signed_data *s, struct bytes *ret)
{
    struct signature_lists at = signature_list_of(lists);
    struct signature signature;

    while (signature_list_next(&at, &signature)) {
        if (!signature_is_certificate(&signature) || !verifies(s, signature.data))
            continue;
        *ret = signature.entry;
        return true;
    }
    return false;
}

/* The first element of a certificate, with its header: what its issuer has signed. */
static bool to_be_signed(struct bytes certificate, struct bytes *ret)
{
    struct bytes inner;

    if (!enter_sequence(&certificate))
        return false;
    inner = certificate;
    if (!enter_sequence(&inner))
        return false;
    *ret = (struct bytes){certificate.data, (size_t)(inner.data + inner.len - certificate.data)};
    return true;
}

/* UEFI 2.10, 32.4.1, EFI_CERT_X509_SHA256 and its like: digest and time of revocation. That time is
 * compared with the time stamp of a signature, which firmware believes if dbt has the certificate
 * of the time stamp; here there is no dbt, so the time does not matter. */
static enum mu_status check_revoked(struct bytes lists, struct bytes certificate, const char *what,
                                    struct mu_error *err)
{
    bool found = false;
    struct bytes tbs;

    if (!to_be_signed(certificate, &tbs))
        return mu_fail(err, MU_CONFIG, "a certificate that is not X.509 in DER");
    for (size_t i = 0; i < MU_COUNT(revocation_types); i++) {
        const size_t size = hash_size(revocation_types[i].alg);
        struct signature_lists at = signature_list_of(lists);
        struct signature signature;
        struct digest digest;

        MU_TRY(hash_bytes(revocation_types[i].alg, tbs, &digest, err));
        while (signature_list_next(&at, &signature))
            found = found ||
                    (memcmp(signature.type.data, revocation_types[i].guid, EFI_GUID_BYTES) == 0 &&
                     signature.data.len >= size &&
                     memcmp(signature.data.data, digest.bytes, size) == 0);
    }
    return found ? mu_fail(err, MU_REFUSE, "dbx revokes %s", what) : MU_OK;
}

static enum mu_status check_certificate(struct bytes dbx, X509 *certificate, struct mu_error *err)
{
    uint8_t *der = NULL;
    int len = i2d_X509(certificate, &der);
    enum mu_status status;

    if (len <= 0)
        return mu_oom(err);
    status = check_revoked(dbx, (struct bytes){der, (size_t)len},
                           "a certificate of the image's signature by its digest", err);
    OPENSSL_free(der);
    return status;
}

static X509 *issuer_of(X509 *certificate, STACK_OF(X509) * among)
{
    for (int i = 0; i < sk_X509_num(among); i++) {
        X509 *candidate = sk_X509_value(among, i);

        if (candidate != certificate && X509_check_issued(candidate, certificate) == X509_V_OK)
            return candidate;
    }
    return NULL;
}

/* The signer's certificate and those above it that the signature brings along. */
static enum mu_status check_chain(struct bytes dbx, const struct signed_data *s,
                                  struct mu_error *err)
{
    STACK_OF(X509) *signers = PKCS7_get0_signers(s->pkcs7, NULL, 0);
    enum mu_status status = MU_OK;

    for (int i = 0; i < sk_X509_num(signers) && status == MU_OK; i++) {
        X509 *certificate = sk_X509_value(signers, i);

        for (int depth = 0; certificate != NULL && depth < CHAIN_MAX && status == MU_OK; depth++) {
            status = check_certificate(dbx, certificate, err);
            certificate = issuer_of(certificate, s->pkcs7->d.sign->cert);
        }
    }
    sk_X509_free(signers);
    ERR_clear_error();
    return status;
}

/* The entry that is the image's own digest; *ret is empty if there is none. */
static enum mu_status find_digest(struct bytes lists, struct bytes image, struct bytes *ret,
                                  struct mu_error *err)
{
    struct signature_lists at = signature_list_of(lists);
    struct signature signature;
    struct digest digest;

    *ret = (struct bytes){NULL, 0};
    for (size_t i = 0; i < MU_COUNT(digest_types); i++) {
        const size_t size = hash_size(digest_types[i].alg);

        MU_TRY(authenticode_hash(image, digest_types[i].alg, &digest, err));
        at = signature_list_of(lists);
        while (signature_list_next(&at, &signature)) {
            if (memcmp(signature.type.data, digest_types[i].guid, EFI_GUID_BYTES) != 0 ||
                !bytes_equal(signature.data, (struct bytes){digest.bytes, size}))
                continue;
            *ret = signature.entry;
            return MU_OK;
        }
    }
    return MU_OK;
}

static enum mu_status check_signed_digest(const struct signed_data *s, struct bytes image,
                                          struct mu_error *err)
{
    struct digest digest;

    MU_TRY(authenticode_hash(image, s->alg, &digest, err));
    if (!bytes_equal(s->digest, (struct bytes){digest.bytes, hash_size(s->alg)}))
        return mu_fail(err, MU_REFUSE, "the image was changed after it was signed");
    return MU_OK;
}

/* The image's signatures one after the other (WIN_CERTIFICATE, UEFI 2.10, 32.2.4), aligned to eight
 * bytes; those of another type are not ours to judge. */
static bool next_signed_data(struct reader *table, struct bytes *ret)
{
    while (reader_left(table) >= 8) {
        uint32_t len = reader_le32(table);
        uint16_t type;
        struct bytes data;

        (void)reader_le16(table); /* revision */
        type = reader_le16(table);
        if (len < 8)
            return false;
        data = reader_take(table, len - 8);
        if (table->failed)
            return false;
        if (len % 8 != 0)
            (void)reader_take(table, 8 - len % 8);
        if (type != WIN_CERT_TYPE_PKCS_SIGNED_DATA)
            continue;
        *ret = data;
        return true;
    }
    return false;
}

/* *ret is empty if no signature leads to an entry of db. */
static enum mu_status judge_signatures(const struct secure_boot *keys, struct bytes image,
                                       struct bytes *ret, struct mu_error *err)
{
    struct bytes table, der, forbidden;
    struct reader r;

    *ret = (struct bytes){NULL, 0};
    MU_TRY(pe_certificates(image, &table, err));
    r = reader_of(table);
    while (next_signed_data(&r, &der)) {
        MU_CLEANUP(signed_data_free) struct signed_data s = {0};

        if (!signed_data_parse(der, &s))
            return mu_fail(err, MU_CONFIG, "the image's signature is not an Authenticode PKCS #7");
        MU_TRY(check_signed_digest(&s, image, err));
        if (find_certificate(keys->dbx, &s, &forbidden))
            return mu_fail(err, MU_REFUSE, "dbx forbids the key that signed the image");
        MU_TRY(check_chain(keys->dbx, &s, err));
        if (ret->len == 0 && find_certificate(keys->db, &s, ret))
            /* It may be above what the signature brings along. */
            MU_TRY(check_revoked(
                keys->dbx, (struct bytes){ret->data + EFI_GUID_BYTES, ret->len - EFI_GUID_BYTES},
                "the certificate of db that the image's signature leads to", err));
    }
    return MU_OK;
}

enum mu_status secureboot_authority(const struct secure_boot *keys, struct bytes image,
                                    struct bytes *ret, struct mu_error *err)
{
    struct bytes entry, forbidden;

    MU_TRY(find_digest(keys->dbx, image, &forbidden, err));
    if (forbidden.len > 0)
        return mu_fail(err, MU_REFUSE, "dbx forbids the image by its digest");
    MU_TRY(judge_signatures(keys, image, &entry, err));
    if (entry.len == 0)
        MU_TRY(find_digest(keys->db, image, &entry, err));
    if (entry.len == 0)
        return mu_fail(err, MU_REFUSE,
                       "nothing in db lets the image start with Secure Boot: sign it with a key "
                       "that is there");
    *ret = entry;
    return MU_OK;
}
