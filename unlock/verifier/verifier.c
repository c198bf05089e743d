/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "verifier/verifier.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509.h>

#include "appraise/chain.h"
#include "appraise/jws.h"
#include "base/file.h"
#include "base/openssl.h"
#include "base/text.h"
#include "verifier/publish.h"

#define PEM_MAX 65536
#define PAGE_TOKEN_MIN 16
#define PAGE_TOKEN_MAX 512

void verifier_free(struct verifier **verifier)
{
    struct verifier *m = *verifier;

    *verifier = NULL;
    if (m == NULL)
        return;
    settings_free(&m->settings);
    challenge_keys_free(&m->challenge);
    for (size_t i = 0; i < m->signing_keys; i++)
        EVP_PKEY_free(m->signing_key[i]);
    string_free(&m->jwks);
    string_free(&m->discovery);
    buffer_free(&m->root);
    buffer_free(&m->certificate);
    secret_free(&m->certificate_key);
    secret_free(&m->page_token);
    buffer_free(&m->page_ca);
    chain_cache_free(&m->chains);
    approved_free(&m->approved);
    free(m);
}

static int no_passphrase(char *to, int size, int writing, void *unused)
{
    (void)to;
    (void)size;
    (void)writing;
    (void)unused;
    return -1;
}

static enum mu_status read_private_key(const char *path, struct bytes pem, EVP_PKEY **ret,
                                       struct mu_error *err)
{
    MU_CLEANUP(bio_free) BIO *bio = BIO_new_mem_buf(pem.data, (int)pem.len);

    if (bio == NULL)
        return mu_oom(err);
    *ret = PEM_read_bio_PrivateKey(bio, NULL, no_passphrase, NULL);
    return *ret != NULL
               ? MU_OK
               : mu_fail(err, MU_CONFIG, "%s: not a private key in PEM without a passphrase", path);
}

/* Its content is wiped from where it was read to; a zero byte follows. */
static enum mu_status read_secret_file(const char *path, struct secret *ret, struct mu_error *err)
{
    MU_CLEANUP(buffer_free) struct buffer content = {0};

    MU_TRY(file_read(path, PEM_MAX, &content, err));
    MU_TRY(secret_alloc(ret, content.len + 1, err));
    memcpy(ret->data, content.data, content.len);
    explicit_bzero(content.data, content.len);
    ret->len = content.len;
    return MU_OK;
}

static enum mu_status load_signing_key(struct verifier *m, const char *path, struct mu_error *err)
{
    EVP_PKEY **key = &m->signing_key[m->signing_keys];
    MU_CLEANUP(secret_free) struct secret pem = {0};

    MU_TRY(read_secret_file(path, &pem, err));
    MU_TRY(read_private_key(path, secret_view(&pem), key, err));
    m->signing_keys++;
    if (jws_algorithm(*key) == NULL)
        return mu_fail(err, MU_CONFIG,
                       "%s: tokens are signed by a key on P-384 or P-256, or an RSA key of 2048 to "
                       "8192 bits",
                       path);
    return MU_OK;
}

static enum mu_status load_keys(struct verifier *m, struct mu_error *err)
{
    const struct settings *settings = &m->settings;

    for (size_t i = 0; i < settings->signing_keys; i++)
        MU_TRY(load_signing_key(m, settings->signing_key[i].file, err));
    for (size_t i = 0; i < settings->challenge_keys; i++)
        MU_TRY(challenge_keys_add(&m->challenge, settings->challenge_key[i].file, err));
    return publish_keys(m->signing_key, m->signing_keys, &m->jwks, err);
}

/* GnuTLS will read both; here it shows early whether they fit, and until when. */
static enum mu_status check_certificate(struct verifier *m, struct mu_error *err)
{
    MU_CLEANUP(bio_free) BIO *bio = BIO_new_mem_buf(m->certificate.data, (int)m->certificate.len);
    MU_CLEANUP(certificate_free) X509 *certificate = NULL;
    MU_CLEANUP(key_free) EVP_PKEY *key = NULL;
    int64_t from;

    if (bio == NULL)
        return mu_oom(err);
    certificate = PEM_read_bio_X509(bio, NULL, NULL, NULL);
    if (certificate == NULL)
        return mu_fail(err, MU_CONFIG, "%s: not a certificate in PEM", m->settings.certificate);
    MU_TRY(
        read_private_key(m->settings.certificate_key, secret_view(&m->certificate_key), &key, err));
    if (X509_check_private_key(certificate, key) != 1)
        return mu_fail(err, MU_CONFIG, "%s is not the key of the certificate in %s",
                       m->settings.certificate_key, m->settings.certificate);
    return certificate_validity(certificate, &from, &m->certificate_until, err);
}

static enum mu_status load_certificate(struct verifier *m, struct mu_error *err)
{
    MU_TRY(file_read(m->settings.certificate, PEM_MAX, &m->certificate, err));
    MU_TRY(read_secret_file(m->settings.certificate_key, &m->certificate_key, err));
    return check_certificate(m, err);
}

static enum mu_status load_builder_key(struct verifier *m, struct mu_error *err)
{
    MU_CLEANUP(public_keys_free) struct public_keys keys = {0};

    if (m->settings.builder_key == NULL)
        return MU_OK;
    MU_TRY(signature_load_keys(m->settings.builder_key, &keys, err));
    return approved_new(&keys, m->settings.fence_pcr, &m->approved, err);
}

/* A line of one word, which nobody guesses. */
static enum mu_status load_page_token(struct verifier *m, const char *path, struct mu_error *err)
{
    struct secret *token = &m->page_token;

    MU_TRY(read_secret_file(path, token, err));
    while (token->len > 0 && token->data[token->len - 1] == '\n')
        token->len--;
    if (token->len < PAGE_TOKEN_MIN || token->len > PAGE_TOKEN_MAX ||
        !text_is_word(secret_view(token)))
        return mu_fail(err, MU_CONFIG,
                       "%s: the token of the page is one word of %d to %d printable characters; "
                       "'openssl rand -hex 32' makes one",
                       path, PAGE_TOKEN_MIN, PAGE_TOKEN_MAX);
    return MU_OK;
}

static enum mu_status load_page(struct verifier *m, struct mu_error *err)
{
    const struct page_settings *page = &m->settings.page;

    if (page->token_file != NULL)
        MU_TRY(load_page_token(m, page->token_file, err));
    return page->client_ca != NULL ? certificate_file(page->client_ca, &m->page_ca, err) : MU_OK;
}

enum mu_status verifier_load(const char *path, struct verifier **ret, struct mu_error *err)
{
    MU_CLEANUP(verifier_free) struct verifier *m = calloc(1, sizeof(*m));

    if (m == NULL)
        return mu_oom(err);
    MU_TRY(settings_load(path, &m->settings, err));
    MU_TRY(reference_values_load(&m->settings, &m->reference, err));
    MU_TRY(load_keys(m, err));
    MU_TRY(audiences_load(&m->settings, m->signing_key, path, &m->audiences, err));
    MU_TRY(publish_discovery(m->settings.issuer, &m->audiences, &m->discovery, err));
    MU_TRY(load_builder_key(m, err));
    if (m->settings.root != NULL)
        MU_TRY(certificate_file(m->settings.root, &m->root, err));
    MU_TRY(load_certificate(m, err));
    MU_TRY(load_page(m, err));
    MU_TRY(chain_cache_new(&m->chains, err));
    *ret = MU_TAKE(m);
    return MU_OK;
}

enum mu_status verifier_check(const struct verifier *verifier, int64_t at, struct mu_error *err)
{
    if (at > verifier->certificate_until)
        return mu_fail(err, MU_CONFIG, "%s: the certificate expired %" PRId64 " s ago",
                       verifier->settings.certificate, at - verifier->certificate_until);
    return MU_OK;
}
