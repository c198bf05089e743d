/* SPDX-License-Identifier: GPL-2.0-or-later */
/* token_driver sign|verify|encrypt|decrypt KEY.pem < text > result; the exit code is the class. */
#include <stdio.h>
#include <string.h>

#include <openssl/pem.h>

#include "../token_verify.h"
#include "base/file.h"
#include "base/log.h"

static EVP_PKEY *load(const char *path)
{
    FILE *file = fopen(path, "r");
    EVP_PKEY *key = NULL;

    if (file == NULL)
        return NULL;
    key = PEM_read_PrivateKey(file, NULL, NULL, NULL);
    if (key == NULL) {
        rewind(file);
        key = PEM_read_PUBKEY(file, NULL, NULL, NULL);
    }
    (void)fclose(file);
    return key;
}

static enum mu_status sign(struct bytes input, EVP_PKEY *key, struct mu_error *err)
{
    MU_CLEANUP(json_free) json_object *claims = NULL;
    MU_CLEANUP(string_free) char *text = NULL;

    MU_TRY(json_parse(input, "claims", MU_REFUSE, &claims, err));
    MU_TRY(token_sign(key, claims, &text, err));
    return fputs(text, stdout) >= 0 ? MU_OK : MU_INTERNAL;
}

static enum mu_status verify(const char *token, EVP_PKEY *key, struct mu_error *err)
{
    MU_CLEANUP(json_free) json_object *claims = NULL;

    MU_TRY(token_verify(token, key, &claims, err));
    (void)puts(json_object_to_json_string(claims));
    return MU_OK;
}

static enum mu_status encrypt(const char *inner, EVP_PKEY *key, struct mu_error *err)
{
    MU_CLEANUP(string_free) char *text = NULL;

    MU_TRY(token_encrypt(inner, key, &text, err));
    return fputs(text, stdout) >= 0 ? MU_OK : MU_INTERNAL;
}

static enum mu_status decrypt(const char *token, EVP_PKEY *key, struct mu_error *err)
{
    MU_CLEANUP(secret_free) struct secret inner = {0};

    MU_TRY(token_decrypt(token, key, &inner, err));
    (void)fwrite(inner.data, 1, inner.len, stdout);
    return MU_OK;
}

int main(int argc, char **argv)
{
    MU_CLEANUP(buffer_free) struct buffer input = {0};
    MU_CLEANUP(key_free) EVP_PKEY *key = argc == 3 ? load(argv[2]) : NULL;
    struct mu_error err = {0};
    enum mu_status status = MU_USAGE;
    const char *text;

    log_init("token_driver");
    if (key == NULL || file_read("-", 1 << 20, &input, &err) != MU_OK)
        return MU_USAGE;
    text = (const char *)input.data;
    if (strcmp(argv[1], "sign") == 0)
        status = sign(buffer_view(&input), key, &err);
    else if (strcmp(argv[1], "verify") == 0)
        status = verify(text, key, &err);
    else if (strcmp(argv[1], "encrypt") == 0)
        status = encrypt(text, key, &err);
    else if (strcmp(argv[1], "decrypt") == 0)
        status = decrypt(text, key, &err);
    if (status != MU_OK)
        log_error(&err);
    return (int)status;
}
