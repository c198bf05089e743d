/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Signatures as mu-verifier verifies them. Standard input: a line each of digest, key
 * (SubjectPublicKeyInfo), message and signature, all but the first in hex, separated by a comma;
 * standard output: 1 or 0 for each. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/x509.h>

static uint8_t *bytes_of(char **line, long *ret_len)
{
    return OPENSSL_hexstr2buf(strsep(line, ","), ret_len);
}

static int is_valid(char *line)
{
    const EVP_MD *digest = EVP_get_digestbyname(strsep(&line, ","));
    long key_len = 0, message_len = 0, signature_len = 0;
    uint8_t *key_der = bytes_of(&line, &key_len), *message = bytes_of(&line, &message_len);
    uint8_t *signature = bytes_of(&line, &signature_len);
    const uint8_t *at = key_der;
    EVP_PKEY *key = d2i_PUBKEY(NULL, &at, key_len);
    EVP_MD_CTX *context = EVP_MD_CTX_new();
    int valid = key != NULL && EVP_DigestVerifyInit(context, NULL, digest, NULL, key) == 1 &&
                EVP_DigestVerify(context, signature, (size_t)signature_len, message,
                                 (size_t)message_len) == 1;

    EVP_MD_CTX_free(context);
    EVP_PKEY_free(key);
    OPENSSL_free(signature);
    OPENSSL_free(message);
    OPENSSL_free(key_der);
    return valid;
}

int main(void)
{
    char *line = NULL;
    size_t size = 0;

    while (getline(&line, &size, stdin) > 0) {
        line[strcspn(line, "\n")] = '\0';
        (void)printf("%d\n", is_valid(line));
    }
    free(line);
    return 0;
}
