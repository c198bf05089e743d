/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef MU_BASE_OPENSSL_H
#define MU_BASE_OPENSSL_H

#include <openssl/bio.h>
#include <openssl/bn.h>
#include <openssl/cms.h>
#include <openssl/ec.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/x509.h>

/* For MU_CLEANUP; what OpenSSL noted of a failure goes, too. */
#define MU_OPENSSL(name, type, release)                                                            \
    static inline void name(type **object) /* NOLINT(bugprone-macro-parentheses): a type */        \
    {                                                                                              \
        release(*object);                                                                          \
        *object = NULL;                                                                            \
        ERR_clear_error();                                                                         \
    }

#define CERTIFICATES_FREE(stack) sk_X509_pop_free((stack), X509_free)

MU_OPENSSL(bio_free, BIO, BIO_free_all)
MU_OPENSSL(bignum_free, BIGNUM, BN_free)
MU_OPENSSL(cipher_free, EVP_CIPHER_CTX, EVP_CIPHER_CTX_free)
MU_OPENSSL(cms_free, CMS_ContentInfo, CMS_ContentInfo_free)
MU_OPENSSL(ecdsa_sig_free, ECDSA_SIG, ECDSA_SIG_free)
MU_OPENSSL(md_free, EVP_MD_CTX, EVP_MD_CTX_free)
MU_OPENSSL(key_free, EVP_PKEY, EVP_PKEY_free)
MU_OPENSSL(key_context_free, EVP_PKEY_CTX, EVP_PKEY_CTX_free)
MU_OPENSSL(certificate_free, X509, X509_free)
MU_OPENSSL(certificates_free, STACK_OF(X509), CERTIFICATES_FREE)
MU_OPENSSL(store_free, X509_STORE, X509_STORE_free)
MU_OPENSSL(store_context_free, X509_STORE_CTX, X509_STORE_CTX_free)

#endif
