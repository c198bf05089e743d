/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "base/signature.h"

#include <limits.h>
#include <string.h>

#include <openssl/pem.h>

#include "base/file.h"
#include "base/openssl.h"

#define KEY_FILE_MAX 16384

/* RFC 8032, 5.1: Ed25519 does its own hashing. *ret_digest is NULL then. */
static enum mu_status digest_for(EVP_PKEY *key, const EVP_MD **ret_digest, struct mu_error *err)
{
    char group[32] = "";
    size_t len = 0;

    if (EVP_PKEY_is_a(key, "ED25519")) {
        *ret_digest = NULL;
        return MU_OK;
    }
    if (EVP_PKEY_is_a(key, "EC") && EVP_PKEY_get_group_name(key, group, sizeof(group), &len) == 1 &&
        (strcmp(group, "prime256v1") == 0 || strcmp(group, "secp384r1") == 0)) {
        *ret_digest = EVP_sha384();
        return MU_OK;
    }
    return mu_fail(err, MU_CONFIG,
                   "a signing key is ECDSA on P-256 or P-384, or Ed25519; this one is neither");
}

static bool holds(struct bytes text, const char *words)
{
    return memmem(text.data, text.len, words, strlen(words)) != NULL;
}

static size_t count_of(struct bytes text, const char *words)
{
    size_t count = 0;
    const uint8_t *end = text.data + text.len;

    for (const uint8_t *at = text.data; at < end; at++, count++) {
        at = memmem(at, (size_t)(end - at), words, strlen(words));
        if (at == NULL)
            break;
    }
    return count;
}

static enum mu_status no_key(const char *path, struct bytes text, bool private,
                             struct mu_error *err)
{
    if (private && holds(text, "BEGIN PUBLIC KEY"))
        return mu_fail(err, MU_CONFIG,
                       "%s: this is the public half of a key; the private key is wanted", path);
    if (!private && holds(text, "PRIVATE KEY"))
        return mu_fail(err, MU_CONFIG,
                       "%s: this is a private key; its public half is wanted: openssl pkey -in %s "
                       "-pubout",
                       path, path);
    return mu_fail(err, MU_CONFIG, "%s: not a PEM %s key%s", path, private ? "private" : "public",
                   private ? ", or not the right passphrase" : "");
}

static enum mu_status read_key(BIO *bio, const char *path, struct bytes text, pem_password_cb *ask,
                               EVP_PKEY **ret, struct mu_error *err)
{
    MU_CLEANUP(key_free)
    EVP_PKEY *key = ask != NULL ? PEM_read_bio_PrivateKey(bio, NULL, ask, NULL)
                                : PEM_read_bio_PUBKEY(bio, NULL, NULL, NULL);
    const EVP_MD *unused;

    if (key == NULL)
        return no_key(path, text, ask != NULL, err);
    if (digest_for(key, &unused, err) != MU_OK)
        return mu_context(err, "%s", path);
    *ret = MU_TAKE(key);
    return MU_OK;
}

enum mu_status signature_load_key(const char *path, pem_password_cb *ask, EVP_PKEY **ret,
                                  struct mu_error *err)
{
    MU_CLEANUP(buffer_wipe) struct buffer text = {0};
    MU_CLEANUP(bio_free) BIO *bio = NULL;

    MU_TRY(file_read(path, KEY_FILE_MAX, &text, err));
    bio = BIO_new_mem_buf(text.data, (int)text.len);
    return bio != NULL ? read_key(bio, path, buffer_view(&text), ask, ret, err) : mu_oom(err);
}

void public_keys_free(struct public_keys *keys)
{
    while (keys->count > 0)
        key_free(&keys->key[--keys->count]);
}

enum mu_status signature_load_keys(const char *path, struct public_keys *ret, struct mu_error *err)
{
    MU_CLEANUP(buffer_wipe) struct buffer text = {0};
    MU_CLEANUP(bio_free) BIO *bio = NULL;
    MU_CLEANUP(public_keys_free) struct public_keys keys = {0};
    size_t blocks;

    MU_TRY(file_read(path, KEY_FILE_MAX, &text, err));
    blocks = count_of(buffer_view(&text), "-----BEGIN PUBLIC KEY-----");
    if (blocks > PUBLIC_KEYS_MAX)
        return mu_fail(err, MU_CONFIG,
                       "%s: %zu keys; an image trusts one, or two while a new one "
                       "takes over from the old",
                       path, blocks);
    bio = BIO_new_mem_buf(text.data, (int)text.len);
    if (bio == NULL)
        return mu_oom(err);
    do {
        MU_TRY(read_key(bio, path, buffer_view(&text), NULL, &keys.key[keys.count], err));
        keys.count++;
    } while (keys.count < blocks);
    *ret = MU_TAKE(keys);
    return MU_OK;
}

enum mu_status signature_message(EVP_PKEY *key, const char *context, struct bytes data,
                                 const EVP_MD **ret_digest, struct buffer *ret,
                                 struct mu_error *err)
{
    size_t prefix = context != NULL ? strlen(context) + 1 : 0;
    struct buffer out = {0};

    MU_TRY(digest_for(key, ret_digest, err));
    if (data.len > INT_MAX)
        return mu_fail(err, MU_INTERNAL, "%zu bytes are too many to sign", data.len);
    MU_TRY(buffer_alloc(&out, prefix + data.len, err));
    if (prefix > 0)
        memcpy(out.data, context, prefix);
    if (data.len > 0)
        memcpy(out.data + prefix, data.data, data.len);
    *ret = out;
    return MU_OK;
}

enum mu_status signature_verify(EVP_PKEY *key, const char *context, struct bytes data,
                                struct bytes signature, struct mu_error *err)
{
    MU_CLEANUP(md_free) EVP_MD_CTX *md = EVP_MD_CTX_new();
    MU_CLEANUP(buffer_free) struct buffer message = {0};
    const EVP_MD *digest;

    MU_TRY(signature_message(key, context, data, &digest, &message, err));
    if (md == NULL || EVP_DigestVerifyInit(md, NULL, digest, NULL, key) != 1)
        return mu_fail(err, MU_INTERNAL, "the signature cannot be checked with this key");
    if (EVP_DigestVerify(md, signature.data, signature.len, message.data, message.len) != 1)
        return mu_fail(err, MU_REFUSE, "the signature does not hold");
    return MU_OK;
}

enum mu_status signature_verify_any(const struct public_keys *keys, const char *context,
                                    struct bytes data, struct bytes signature, struct mu_error *err)
{
    struct mu_error why = {MU_REFUSE, "no key is trusted"};

    for (size_t i = 0; i < keys->count && why.status == MU_REFUSE; i++) {
        why = (struct mu_error){0};
        if (signature_verify(keys->key[i], context, data, signature, &why) == MU_OK)
            return MU_OK;
    }
    *err = why;
    return why.status;
}
