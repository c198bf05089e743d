/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "build/signer.h"

#include <string.h>
#include <unistd.h>

#include <openssl/evp.h>

#include "base/json.h"
#include "build/child.h"
#include "build/kms_sign.h"

#define DIGEST_BYTES 48 /* SHA-384 */
#define NETWORK_SECONDS 60

typedef enum mu_status (*sign_digest)(const struct signer *signer, struct bytes digest,
                                      struct buffer *ret, struct mu_error *err);

void signer_free(struct signer *signer)
{
    key_free(&signer->key);
    aws_credentials_free(&signer->found);
}

static enum mu_status run(char *const *argv, const char *package, struct bytes digest,
                          struct buffer *ret, struct mu_error *err)
{
    const struct child_program program = {argv, environ, package, .quiet = false};
    bool success = false;

    MU_TRY(child_run(&program, digest, SIGNATURE_MAX, ret, &success, err));
    if (!success)
        return mu_fail(err, MU_CONFIG, "the program that signs failed; it says why above");
    return MU_OK;
}

static enum mu_status sign_by_command(const struct signer *signer, struct bytes digest,
                                      struct buffer *ret, struct mu_error *err)
{
    const char *command = strchr(signer->from, ':') + 1;
    char *const argv[] = {(char[]){"sh"}, (char[]){"-c"}, (char *)command, NULL};

    return run(argv, "dash", digest, ret, err);
}

static enum mu_status sign_by_pkcs11(const struct signer *signer, struct bytes digest,
                                     struct buffer *ret, struct mu_error *err)
{
    static const char script[] =
        "if openssl list -providers -provider pkcs11 >/dev/null 2>&1\n"
        "then exec openssl pkeyutl -sign -provider pkcs11 -provider default -inkey \"$1\"\n"
        "else exec openssl pkeyutl -sign -engine pkcs11 -keyform engine -inkey \"$1\"\n"
        "fi\n";
    char *const argv[] = {(char[]){"sh"}, (char[]){"-c"},       (char *)script,
                          (char[]){"sh"}, (char *)signer->from, NULL};

    return run(argv, "openssl", digest, ret, err);
}

static enum mu_status sign_by_kms(const struct signer *signer, struct bytes digest,
                                  struct buffer *ret, struct mu_error *err)
{
    const struct aws_credentials *credentials =
        signer->credentials != NULL ? signer->credentials : &signer->found;

    return kms_sign(signer->aws, credentials, signer->from, digest, deadline_in(NETWORK_SECONDS),
                    ret, err);
}

static const struct way {
    const char *prefix;
    sign_digest sign;
    const char *group; /* the only one that it signs for, or NULL */
} ways[] = {
    {"arn:", sign_by_kms, "secp384r1"},
    {"pkcs11:", sign_by_pkcs11, NULL},
    {"exec:", sign_by_command, NULL},
};

/* NULL: a file. */
static const struct way *way_of(const char *from)
{
    for (size_t i = 0; i < MU_COUNT(ways); i++)
        if (strncmp(from, ways[i].prefix, strlen(ways[i].prefix)) == 0)
            return &ways[i];
    return NULL;
}

bool signer_is_kms(const char *from)
{
    const struct way *way = way_of(from);

    return way != NULL && way->sign == sign_by_kms;
}

static enum mu_status check_name(const struct way *way, const char *from, struct mu_error *err)
{
    char region[64], partition[32];

    if (way->sign == sign_by_kms)
        return kms_parse_key_arn(from, region, partition, err);
    if (from[strlen(way->prefix)] == '\0')
        return mu_fail(err, MU_USAGE, "'%s': no command or token is named", from);
    if (way->sign == sign_by_pkcs11 && strstr(from, "pin-value=") != NULL)
        return mu_fail(err, MU_USAGE,
                       "a PIN in the URI can be seen by anybody who lists processes: put it into a "
                       "file and say pin-source=file:PATH, or leave it out and be asked");
    return MU_OK;
}

static enum mu_status check_group(const struct way *way, EVP_PKEY *key, const char *path,
                                  struct mu_error *err)
{
    char group[32] = "";
    size_t len = 0;

    if (!EVP_PKEY_is_a(key, "EC"))
        return mu_fail(err, MU_CONFIG,
                       "%s: Ed25519 signs whole messages, and a key that is not a file signs a "
                       "digest: take ECDSA on P-384",
                       path);
    if (way->group != NULL && (EVP_PKEY_get_group_name(key, group, sizeof(group), &len) != 1 ||
                               strcmp(group, way->group) != 0))
        return mu_fail(err, MU_CONFIG,
                       "%s: AWS KMS signs SHA-384 digests with a key of ECC_NIST_P384 only", path);
    return MU_OK;
}

static enum mu_status check_halves(EVP_PKEY *private, EVP_PKEY *public, const char *from,
                                   const char *path, struct mu_error *err)
{
    if (EVP_PKEY_eq(private, public) != 1)
        return mu_fail(err, MU_REFUSE, "%s is not the public half of %s", path, from);
    return MU_OK;
}

enum mu_status signer_open(const char *from, const char *public_key, struct signer *ret,
                           struct mu_error *err)
{
    const struct way *way = way_of(from);
    MU_CLEANUP(key_free) EVP_PKEY *public = NULL;
    MU_CLEANUP(key_free) EVP_PKEY *private = NULL;

    if (way != NULL && public_key == NULL)
        return mu_fail(err, MU_USAGE,
                       "--builder-key FILE is needed with %.200s: the public half of the key, with "
                       "which its signatures are verified before they are used",
                       from);
    if (way != NULL)
        MU_TRY(check_name(way, from, err));
    if (public_key != NULL)
        MU_TRY(signature_load_key(public_key, NULL, &public, err));
    if (way != NULL) {
        MU_TRY(check_group(way, public, public_key, err));
    } else {
        MU_TRY(signing_load_key(from, &private, err));
        if (public != NULL)
            MU_TRY(check_halves(private, public, from, public_key, err));
    }
    *ret = (struct signer){.from = from, .key = way != NULL ? MU_TAKE(public) : MU_TAKE(private)};
    return MU_OK;
}

static enum mu_status sign_elsewhere(const struct signer *signer, const struct way *way,
                                     const char *context, struct bytes data, struct buffer *ret,
                                     struct mu_error *err)
{
    MU_CLEANUP(buffer_free) struct buffer message = {0};
    MU_CLEANUP(buffer_free) struct buffer signature = {0};
    uint8_t digest[DIGEST_BYTES];
    const EVP_MD *md;

    MU_TRY(signature_message(signer->key, context, data, &md, &message, err));
    if (EVP_Digest(message.data, message.len, digest, NULL, md, NULL) != 1)
        return mu_fail(err, MU_INTERNAL, "SHA-384 is not available");
    if (way->sign(signer, (struct bytes){digest, sizeof(digest)}, &signature, err) != MU_OK)
        return mu_context(err, "%.200s", signer->from);
    if (signature_verify(signer->key, context, data, buffer_view(&signature), err) != MU_OK)
        return mu_context(err, "what %.200s signed does not verify with --builder-key",
                          signer->from);
    *ret = MU_TAKE(signature);
    return MU_OK;
}

enum mu_status signer_sign(const struct signer *signer, const char *context, struct bytes data,
                           struct buffer *ret, struct mu_error *err)
{
    const struct way *way = way_of(signer->from);

    return way != NULL ? sign_elsewhere(signer, way, context, data, ret, err)
                       : signing_sign(signer->key, context, data, ret, err);
}

enum mu_status signer_record_token(const struct signer *signer, const struct record *record,
                                   char **ret, struct mu_error *err)
{
    MU_CLEANUP(json_free) json_object *payload = NULL;
    MU_CLEANUP(buffer_free) struct buffer signature = {0};
    struct bytes text;

    MU_TRY(record_payload(record, &payload, &text, err));
    MU_TRY(signer_sign(signer, RECORD_SIGNATURE_CONTEXT, text, &signature, err));
    return record_token(record, text, "signature", buffer_view(&signature), ret, err);
}
