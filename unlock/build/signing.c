/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "build/signing.h"

#include <string.h>

#include "base/openssl.h"
#include "build/terminal.h"

static int ask_passphrase(char *to, int size, int writing, void *path)
{
    MU_CLEANUP(secret_free) struct secret secret = {0};
    struct mu_error ignored;

    (void)writing;
    (void)path;
    if (terminal_ask("Passphrase of the signing key: ", &secret, &ignored) != MU_OK || size < 0 ||
        secret.len > (size_t)size)
        return -1;
    memcpy(to, secret.data, secret.len);
    return (int)secret.len;
}

enum mu_status signing_load_key(const char *path, EVP_PKEY **ret, struct mu_error *err)
{
    return signature_load_key(path, ask_passphrase, ret, err);
}

enum mu_status signing_sign(EVP_PKEY *key, const char *context, struct bytes data,
                            struct buffer *ret, struct mu_error *err)
{
    MU_CLEANUP(md_free) EVP_MD_CTX *md = EVP_MD_CTX_new();
    MU_CLEANUP(buffer_free) struct buffer message = {0};
    MU_CLEANUP(buffer_free) struct buffer out = {0};
    const EVP_MD *digest;

    MU_TRY(signature_message(key, context, data, &digest, &message, err));
    MU_TRY(buffer_alloc(&out, SIGNATURE_MAX, err));
    if (md == NULL || EVP_DigestSignInit(md, NULL, digest, NULL, key) != 1 ||
        EVP_DigestSign(md, out.data, &out.len, message.data, message.len) != 1)
        return mu_fail(err, MU_CONFIG, "signing failed: is that a private key?");
    *ret = MU_TAKE(out);
    return MU_OK;
}
