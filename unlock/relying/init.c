/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include <openssl/ec.h>
#include <openssl/err.h>
#include <openssl/pem.h>

#include "base/file.h"
#include "base/openssl.h"
#include "jose/jwk.h"
#include "relying/relying.h"
#include "verifier/challenge.h"

#define PEM_MAX 4096

static enum mu_status new_path(const char *folder, const char *name, char **ret,
                               struct mu_error *err)
{
    struct stat st;

    MU_TRY(string_print(ret, err, "%s/%s", folder, name));
    if (lstat(*ret, &st) == 0)
        return mu_fail(err, MU_CONFIG, "%s exists already, and is not changed", *ret);
    return MU_OK;
}

static enum mu_status write_challenge_key(const char *path, struct mu_error *err)
{
    MU_CLEANUP(secret_free) struct secret key = {0};

    MU_TRY(secret_random(&key, CHALLENGE_KEY_SIZE, err));
    return file_write(path, secret_view(&key), 0600, err);
}

static enum mu_status write_signing_key(const char *path, struct mu_error *err)
{
    MU_CLEANUP(key_free) EVP_PKEY *key = EVP_EC_gen("P-384");
    MU_CLEANUP(secret_free) struct secret pem = {0};
    MU_CLEANUP(bio_free) BIO *bio = BIO_new(BIO_s_secmem());
    int len;

    if (key == NULL || bio == NULL ||
        PEM_write_bio_PrivateKey(bio, key, NULL, NULL, 0, NULL, NULL) != 1)
        return mu_fail(err, MU_INTERNAL, "no signing key can be made");
    MU_TRY(secret_alloc(&pem, PEM_MAX, err));
    len = BIO_read(bio, pem.data, (int)pem.len);
    if (len <= 0)
        return mu_fail(err, MU_INTERNAL, "no signing key can be made");
    pem.len = (size_t)len;
    return file_write(path, secret_view(&pem), 0600, err);
}

static const char help[] =
    "Makes in DIR what a verifier needs of its own: challenge.key, 32 random bytes, which all\n"
    "verifiers of a fleet share, and signing.key, a P-384 key in PEM, for its tokens. Prints the\n"
    "sections of the configuration for them. Existing files are not changed: exit code 4.\n"
    "\n"
    "Example: mu-verifier init /etc/measured-unlock/verifier\n";

static enum mu_status init_run(int argc, char **argv, struct mu_error *err)
{
    static const struct cli_option options[] = {{0}};
    MU_CLEANUP(string_free) char *folder = NULL;
    MU_CLEANUP(string_free) char *challenge = NULL;
    MU_CLEANUP(string_free) char *signing = NULL;

    MU_TRY(cli_options(argc, argv, options, 1, 1, err));
    if (mkdir(argv[optind], 0700) != 0 && errno != EEXIST)
        return mu_fail(err, MU_CONFIG, "%s: %s", argv[optind], strerror(errno));
    folder = realpath(argv[optind], NULL);
    if (folder == NULL)
        return mu_fail(err, MU_CONFIG, "%s: %s", argv[optind], strerror(errno));
    MU_TRY(new_path(folder, "challenge.key", &challenge, err));
    MU_TRY(new_path(folder, "signing.key", &signing, err));
    MU_TRY(write_challenge_key(challenge, err));
    MU_TRY(write_signing_key(signing, err));
    (void)printf("[challenge-key first]\nfile = %s\n[signing-key first]\nfile = %s\n", challenge,
                 signing);
    return MU_OK;
}

const struct verb verb_init = {
    .name = "init",
    .synopsis = "DIR",
    .summary = "make the keys of a verifier",
    .help = help,
    .run = init_run,
};
