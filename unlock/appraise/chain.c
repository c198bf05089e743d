/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "appraise/chain.h"

#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509_vfy.h>
#include <openssl/x509v3.h>

#include "base/file.h"
#include "base/openssl.h"

#define PEM_MAX 65536
#define NAME_SIZE 40  /* "cabundle entry 123" */
#define INSTANCE_CA 1 /* in a path, after the leaf */
#define ZONE_CA 2

enum mu_status certificate_from_der(struct bytes der, const char *what, X509 **ret,
                                    struct mu_error *err)
{
    MU_CLEANUP(certificate_free) X509 *certificate = NULL;
    const uint8_t *pos = der.data;

    if (der.len > 0 && der.len <= LONG_MAX)
        certificate = d2i_X509(NULL, &pos, (long)der.len);
    if (certificate == NULL)
        return mu_fail(err, MU_REFUSE, "%s is not an X.509 certificate", what);
    if (pos != der.data + der.len)
        return mu_fail(err, MU_REFUSE, "%s has bytes after the certificate", what);
    *ret = MU_TAKE(certificate);
    return MU_OK;
}

enum mu_status certificate_from_pem(struct bytes pem, const char *what, X509 **ret,
                                    struct mu_error *err)
{
    MU_CLEANUP(bio_free) BIO *bio = NULL;
    MU_CLEANUP(certificate_free) X509 *certificate = NULL;
    MU_CLEANUP(certificate_free) X509 *second = NULL;

    bio = BIO_new_mem_buf(pem.data, pem.len <= INT_MAX ? (int)pem.len : 0);
    if (bio == NULL)
        return mu_oom(err);
    certificate = PEM_read_bio_X509(bio, NULL, NULL, NULL);
    if (certificate != NULL)
        second = PEM_read_bio_X509(bio, NULL, NULL, NULL);
    if (certificate == NULL)
        return mu_fail(err, MU_CONFIG, "%s: not a certificate in PEM", what);
    if (second != NULL)
        return mu_fail(err, MU_CONFIG, "%s: holds more than one certificate", what);
    *ret = MU_TAKE(certificate);
    return MU_OK;
}

enum mu_status certificate_file(const char *path, struct buffer *ret, struct mu_error *err)
{
    MU_CLEANUP(certificate_free) X509 *certificate = NULL;

    MU_TRY(file_read(path, PEM_MAX, ret, err));
    return certificate_from_pem(buffer_view(ret), path, &certificate, err);
}

bool certificate_is(X509 *certificate, struct bytes der)
{
    uint8_t *encoded = NULL;
    int len = i2d_X509(certificate, &encoded);
    bool same = len > 0 && bytes_equal((struct bytes){encoded, (size_t)len}, der);

    OPENSSL_free(encoded);
    return same;
}

static bool seconds_of(const ASN1_TIME *time, int64_t *ret)
{
    struct tm tm = {0};

    if (ASN1_TIME_to_tm(time, &tm) != 1)
        return false;
    *ret = (int64_t)timegm(&tm);
    return true;
}

enum mu_status certificate_validity(X509 *certificate, int64_t *ret_from, int64_t *ret_until,
                                    struct mu_error *err)
{
    int64_t from, until;

    if (!seconds_of(X509_get0_notBefore(certificate), &from) ||
        !seconds_of(X509_get0_notAfter(certificate), &until))
        return mu_fail(err, MU_REFUSE, "the certificate's validity cannot be read");
    *ret_from = from;
    *ret_until = until;
    return MU_OK;
}

struct bytes certificate_common_name(X509 *certificate)
{
    const X509_NAME *name = X509_get_subject_name(certificate);
    int index = X509_NAME_get_index_by_NID(name, NID_commonName, -1);
    const ASN1_STRING *value;

    if (index < 0 || X509_NAME_get_index_by_NID(name, NID_commonName, index) >= 0)
        return (struct bytes){0};
    value = X509_NAME_ENTRY_get_data(X509_NAME_get_entry(name, index));
    return (struct bytes){ASN1_STRING_get0_data(value), (size_t)ASN1_STRING_length(value)};
}

/* How messages call the certificate at `depth` of the path: the leaf is at 0, the root at `count`.
 */
static const char *position(size_t depth, size_t count, char to[static NAME_SIZE])
{
    if (depth == 0)
        return "certificate";
    if (depth >= count)
        return "the root";
    (void)snprintf(to, NAME_SIZE, "cabundle entry %zu", count - depth);
    return to;
}

/* RFC 5480, 2.1.1: the named curve, not parameters that may happen to be its own. */
static bool has_p384_key(X509 *certificate)
{
    X509_ALGOR *algorithm = NULL;
    const ASN1_OBJECT *object = NULL;
    const void *parameter = NULL;
    int type = 0;

    if (X509_PUBKEY_get0_param(NULL, NULL, NULL, &algorithm, X509_get_X509_PUBKEY(certificate)) !=
        1)
        return false;
    X509_ALGOR_get0(&object, &type, &parameter, algorithm);
    return OBJ_obj2nid(object) == NID_X9_62_id_ecPublicKey && type == V_ASN1_OBJECT &&
           OBJ_obj2nid(parameter) == NID_secp384r1 && X509_get0_pubkey(certificate) != NULL;
}

/* Checks that X509_verify_cert does not make without a purpose, or skips for old CAs. Its strict
 * mode does not help: AWS's leaf has no key identifiers (RFC 5280, 4.2.1.1). */
static const char *rule_broken(X509 *certificate, bool is_ca)
{
    uint32_t flags = X509_get_extension_flags(certificate);
    uint32_t usage = X509_get_key_usage(certificate);

    if (!has_p384_key(certificate))
        return "has a key that is not on P-384";
    if (X509_get_signature_nid(certificate) != NID_ecdsa_with_SHA384)
        return "is not signed with ecdsa-with-SHA384";
    if ((flags & EXFLAG_INVALID) != 0)
        return "has extensions that are malformed or occur twice";
    if ((flags & EXFLAG_BCONS) == 0)
        return "has no basicConstraints";
    if (((flags & EXFLAG_CA) != 0) != is_ca)
        return is_ca ? "is not a CA" : "is a CA";
    if ((flags & EXFLAG_KUSAGE) == 0)
        return "has no keyUsage";
    if (is_ca && (usage & KU_KEY_CERT_SIGN) == 0)
        return "may not sign certificates: keyUsage lacks keyCertSign";
    if (!is_ca && (usage & KU_DIGITAL_SIGNATURE) == 0)
        return "may not sign documents: keyUsage lacks digitalSignature";
    return NULL;
}

static enum mu_status parse_cabundle(const struct bytes *cabundle, size_t count,
                                     STACK_OF(X509) * stack, struct mu_error *err)
{
    for (size_t depth = 1; depth < count; depth++) {
        MU_CLEANUP(certificate_free) X509 *certificate = NULL;
        char name[NAME_SIZE];

        MU_TRY(certificate_from_der(cabundle[count - depth], position(depth, count, name),
                                    &certificate, err));
        if (sk_X509_push(stack, certificate) == 0)
            return mu_oom(err);
        certificate = NULL;
    }
    return MU_OK;
}

/* The path that OpenSSL found must be the one that the document shows, or the beginning of it. */
static bool begins_with(const STACK_OF(X509) * path, const STACK_OF(X509) * found)
{
    int count = sk_X509_num(found);

    if (count > sk_X509_num(path))
        return false;
    for (int i = 0; i < count; i++)
        if (X509_cmp(sk_X509_value(found, i), sk_X509_value(path, i)) != 0)
            return false;
    return true;
}

/* True if path[0] to path[depth - 1] are valid below path[depth]. If not, verify_path says why. */
static bool is_below(STACK_OF(X509) * path, int depth, int64_t at)
{
    MU_CLEANUP(store_free) X509_STORE *store = X509_STORE_new();
    MU_CLEANUP(store_context_free) X509_STORE_CTX *context = X509_STORE_CTX_new();
    X509_VERIFY_PARAM *parameters;
    const STACK_OF(X509) * found;

    if (store == NULL || context == NULL ||
        X509_STORE_add_cert(store, sk_X509_value(path, depth)) != 1 ||
        X509_STORE_CTX_init(context, store, sk_X509_value(path, 0), path) != 1)
        return false;
    parameters = X509_STORE_CTX_get0_param(context);
    X509_VERIFY_PARAM_set_time(parameters, (time_t)at);
    X509_VERIFY_PARAM_set_depth(parameters, depth - 1);
    if (X509_VERIFY_PARAM_set_flags(parameters, X509_V_FLAG_PARTIAL_CHAIN) != 1 ||
        X509_verify_cert(context) != 1)
        return false;
    found = X509_STORE_CTX_get0_chain(context);
    return begins_with(path, found) && sk_X509_num(found) == depth + 1;
}

/* True if the path is valid by what is known; false says nothing. */
static bool is_known(struct chain_cache *cache, STACK_OF(X509) * path, int64_t at)
{
    if (chain_cache_knows(cache, path, INSTANCE_CA, at))
        return is_below(path, INSTANCE_CA, at);
    if (sk_X509_num(path) <= ZONE_CA + 1 || !chain_cache_knows(cache, path, ZONE_CA, at) ||
        !is_below(path, ZONE_CA, at))
        return false;
    chain_cache_add(cache, path, INSTANCE_CA, at);
    return true;
}

static enum mu_status verify_path(STACK_OF(X509) * path, X509 *root, int64_t at,
                                  struct mu_error *err)
{
    MU_CLEANUP(store_free) X509_STORE *store = X509_STORE_new();
    MU_CLEANUP(store_context_free) X509_STORE_CTX *context = X509_STORE_CTX_new();
    X509_VERIFY_PARAM *parameters;
    int last = sk_X509_num(path) - 1;
    int reason, depth;
    char name[NAME_SIZE];

    if (store == NULL || context == NULL || X509_STORE_add_cert(store, root) != 1 ||
        X509_STORE_CTX_init(context, store, sk_X509_value(path, 0), path) != 1)
        return mu_oom(err);
    parameters = X509_STORE_CTX_get0_param(context);
    X509_VERIFY_PARAM_set_time(parameters, (time_t)at);
    X509_VERIFY_PARAM_set_depth(parameters, last - 1);
    if (X509_verify_cert(context) == 1)
        return sk_X509_num(X509_STORE_CTX_get0_chain(context)) == last + 1 &&
                       begins_with(path, X509_STORE_CTX_get0_chain(context))
                   ? MU_OK
                   : mu_fail(err, MU_REFUSE, "cabundle is not the path from the root, in order");
    reason = X509_STORE_CTX_get_error(context);
    depth = X509_STORE_CTX_get_error_depth(context);
    if (reason == X509_V_OK || reason == X509_V_ERR_OUT_OF_MEM || depth < 0)
        return mu_oom(err);
    return mu_fail(err, MU_REFUSE, "%s: %s", position((size_t)depth, (size_t)last, name),
                   X509_verify_cert_error_string(reason));
}

enum mu_status chain_verify(X509 *leaf, const struct bytes *cabundle, size_t count, X509 *root,
                            int64_t at, struct chain_cache *cache, struct mu_error *err)
{
    MU_CLEANUP(certificates_free) STACK_OF(X509) *path = sk_X509_new_null();

    if (path == NULL || X509_add_cert(path, leaf, X509_ADD_FLAG_UP_REF) != 1)
        return mu_oom(err);
    MU_TRY(parse_cabundle(cabundle, count, path, err));
    if (X509_add_cert(path, root, X509_ADD_FLAG_UP_REF) != 1)
        return mu_oom(err);
    for (int depth = 0; depth < sk_X509_num(path); depth++) {
        const char *broken = rule_broken(sk_X509_value(path, depth), depth > 0);
        char name[NAME_SIZE];

        if (broken != NULL)
            return mu_fail(err, MU_REFUSE, "%s %s", position((size_t)depth, count, name), broken);
    }
    if (cache != NULL && !chain_cache_may_split(path))
        cache = NULL;
    if (cache != NULL && is_known(cache, path, at))
        return MU_OK;
    MU_TRY(verify_path(path, root, at, err));
    if (cache != NULL) {
        chain_cache_add(cache, path, INSTANCE_CA, at);
        if (sk_X509_num(path) > ZONE_CA + 1)
            chain_cache_add(cache, path, ZONE_CA, at);
    }
    return MU_OK;
}
