/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509.h>

#include "appraise/instance_identity.h"
#include "attest/attest.h"
#include "base/defaults.h"
#include "base/file.h"
#include "base/openssl.h"
#include "ctl/ctl.h"
#include "net/imds.h"

#define OPEN_SECONDS 10
#define KEY_FILE_MAX 16384

struct arguments {
    const char *nonce, *user_data, *public_key, *output, *tcti, *identity, *imds;
};

static enum mu_status attest_parse(int argc, char **argv, struct arguments *ret,
                                   struct mu_error *err)
{
    const struct cli_option options[] = {
        {"nonce", 'n', .text = &ret->nonce},
        {"user-data", 'u', .text = &ret->user_data},
        {"public-key", 'k', .text = &ret->public_key},
        {"output", 'o', .text = &ret->output},
        {"tcti", 't', .text = &ret->tcti},
        {"identity", 'i', .text = &ret->identity},
        {"imds", 0, .text = &ret->imds},
        {0},
    };

    *ret = (struct arguments){.output = "-", .tcti = getenv("MU_TCTI"), .imds = IMDS_DEFAULT_URL};
    return cli_options(argc, argv, options, 0, 0, err);
}

enum mu_status ctl_nonce(const char *hex, struct buffer *ret, struct mu_error *err)
{
    size_t len = strlen(hex) / 2;

    MU_TRY(buffer_alloc(ret, len, err));
    if (len == 0 || len > NSM_FIELD_MAX || strlen(hex) % 2 != 0 || !hex_decode(hex, ret->data, len))
        return mu_fail(err, MU_USAGE, "--nonce: '%.40s' is not hex of 1 to %d bytes", hex,
                       NSM_FIELD_MAX);
    return MU_OK;
}

/* PEM or DER in, the one DER encoding out. */
enum mu_status ctl_encode_public_key(EVP_PKEY *key, struct buffer *ret, struct mu_error *err)
{
    int len = i2d_PUBKEY(key, NULL);
    uint8_t *end;

    if (len <= 0)
        return mu_fail(err, MU_INTERNAL, "the public key cannot be encoded");
    MU_TRY(buffer_alloc(ret, (size_t)len, err));
    end = ret->data;
    return i2d_PUBKEY(key, &end) == len ? MU_OK : mu_oom(err);
}

static enum mu_status load_public_key(const char *path, struct buffer *ret, struct mu_error *err)
{
    MU_CLEANUP(key_free) EVP_PKEY *key = NULL;
    MU_CLEANUP(bio_free) BIO *bio = NULL;
    MU_CLEANUP(buffer_free) struct buffer file = {0};
    const uint8_t *der;

    MU_TRY(file_read(path, KEY_FILE_MAX, &file, err));
    bio = BIO_new_mem_buf(file.data, (int)file.len);
    if (bio == NULL)
        return mu_oom(err);
    der = file.data;
    key = PEM_read_bio_PUBKEY(bio, NULL, NULL, NULL);
    if (key == NULL && d2i_PUBKEY(&key, &der, (long)file.len) != NULL &&
        der != file.data + file.len)
        return mu_fail(err, MU_CONFIG, "%s: bytes follow the public key", path);
    if (key == NULL)
        return mu_fail(err, MU_CONFIG, "%s: not a public key (SubjectPublicKeyInfo, PEM or DER)",
                       path);
    return ctl_encode_public_key(key, ret, err);
}

/* With the PEM lines that IMDS leaves out, so that openssl reads it, too. */
static enum mu_status fetch_identity(const char *imds, struct buffer *ret, struct mu_error *err)
{
    MU_CLEANUP(buffer_free) struct buffer base64 = {0};
    MU_CLEANUP(string_free) char *pem = NULL;
    struct identity_evidence evidence;
    struct identity_facts facts;
    struct mu_error why;

    MU_TRY(imds_identity(imds, deadline_in(OPEN_SECONDS), &base64, err));
    evidence = (struct identity_evidence){.document = buffer_view(&base64)};
    if (identity_read(&evidence, &facts, &why) != MU_OK)
        return mu_fail(err, MU_RETRY, "IMDS: %s", why.text);
    MU_TRY(string_print(&pem, err, "-----BEGIN PKCS7-----\n%.*s\n-----END PKCS7-----\n",
                        (int)base64.len, (const char *)base64.data));
    return buffer_copy(ret, text_view(pem), err);
}

static enum mu_status attest_run(int argc, char **argv, struct mu_error *err)
{
    MU_CLEANUP(buffer_free) struct buffer nonce = {0};
    MU_CLEANUP(buffer_free) struct buffer user_data = {0};
    MU_CLEANUP(buffer_free) struct buffer public_key = {0};
    MU_CLEANUP(buffer_free) struct buffer document = {0};
    MU_CLEANUP(buffer_free) struct buffer identity = {0};
    MU_CLEANUP(tpm_close) struct tpm *tpm = NULL;
    struct arguments arguments;
    struct nsm_fields fields;

    MU_TRY(attest_parse(argc, argv, &arguments, err));
    if (strcmp(arguments.output, "-") == 0 && isatty(STDOUT_FILENO))
        return mu_fail(err, MU_USAGE,
                       "a document is binary and not written to a terminal: use -o FILE or a pipe");
    if (arguments.nonce != NULL)
        MU_TRY(ctl_nonce(arguments.nonce, &nonce, err));
    if (arguments.user_data != NULL)
        MU_TRY(file_read(arguments.user_data, NSM_FIELD_MAX, &user_data, err));
    if (arguments.public_key != NULL)
        MU_TRY(load_public_key(arguments.public_key, &public_key, err));
    fields =
        (struct nsm_fields){buffer_view(&user_data), buffer_view(&nonce), buffer_view(&public_key)};
    if (arguments.identity != NULL)
        MU_TRY(fetch_identity(arguments.imds, &identity, err));
    MU_TRY(tpm_open(arguments.tcti, deadline_in(OPEN_SECONDS), &tpm, err));
    MU_TRY(nsm_attest(tpm, &fields, &document, err));
    if (arguments.identity != NULL)
        MU_TRY(file_write(arguments.identity, buffer_view(&identity), 0644, err));
    return file_write(arguments.output, buffer_view(&document), 0644, err);
}

const struct verb verb_attest = {
    .name = "attest",
    .synopsis = "[--nonce HEX] [--user-data FILE] [--public-key FILE] [--identity FILE] [-o FILE]",
    .summary = "get an attestation document from the NitroTPM",
    .help =
        "  -n, --nonce HEX          put this nonce into the document (at most 1024 bytes)\n"
        "  -u, --user-data FILE     put the file's bytes into it (at most 1024)\n"
        "  -k, --public-key FILE    put this public key into it (PEM or DER)\n"
        "  -o, --output FILE        where to write the document; '-' is standard output\n"
        "  -i, --identity FILE      write the signed instance identity document there, from IMDS\n"
        "      --imds URL           IMDS instead of " IMDS_DEFAULT_URL "\n"
        "      --tcti TCTI          the TPM, as device:/dev/tpmrm0 or swtpm:host=H,port=N\n"
        "\n"
        "Example: muctl attest --nonce 00112233 -o document.cbor\n",
    .run = attest_run,
};
