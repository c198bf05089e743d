/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "ctl/secureboot.h"

#include <openssl/pem.h>
#include <string.h>
#include <uuid.h>

#include "appraise/chain.h"
#include "base/file.h"
#include "base/log.h"
#include "base/openssl.h"
#include "build/varstore.h"

/* The owner that vouches for the certificates: muctl, in 'secureboot list'. */
#define OWNER "812ed617-d55f-4346-a6d2-1510b6783949"

void secureboot_files_free(struct secureboot_files *files)
{
    for (size_t i = 0; i < MU_COUNT(files->file); i++)
        buffer_free(&files->file[i]);
}

enum mu_status secureboot_files_read(struct secureboot_files *files, struct mu_error *err)
{
    struct secure_boot *keys = &files->keys;
    const struct {
        const char *path;
        struct bytes *variable;
    } all[] = {{files->pk, &keys->pk},
               {files->kek, &keys->kek},
               {files->db, &keys->db},
               {files->dbx, &keys->dbx}};

    for (size_t i = 0; i < MU_COUNT(all); i++) {
        if (all[i].path == NULL)
            continue;
        MU_TRY(file_read(all[i].path, SECUREBOOT_VARIABLE_MAX_BYTES, &files->file[i], err));
        if (secureboot_variable(buffer_view(&files->file[i]), all[i].variable, err) != MU_OK)
            return mu_context(err, "%s", all[i].path);
    }
    if (keys->pk.len > 0 && keys->db.len == 0)
        return mu_fail(err, MU_USAGE,
                       "Secure Boot is on when --PK names a key, and starts what --db names: give "
                       "--db, too");
    return MU_OK;
}

/* UEFI 2.10, appendix A: three numbers, which are little-endian in memory, then eight bytes. */
static bool parse_guid(const char *text, uint8_t ret[static EFI_GUID_BYTES])
{
    static const uint8_t place[EFI_GUID_BYTES] = {3, 2, 1,  0,  5,  4,  7,  6,
                                                  8, 9, 10, 11, 12, 13, 14, 15};
    uuid_t bytes;

    if (uuid_parse(text, bytes) != 0)
        return false;
    for (size_t i = 0; i < sizeof(bytes); i++)
        ret[place[i]] = bytes[i];
    return true;
}

static enum mu_status write_list(const X509 *certificate, const uint8_t *owner, struct writer *to,
                                 struct mu_error *err)
{
    uint8_t *der = NULL;
    int len = i2d_X509(certificate, &der);

    if (len <= 0)
        return mu_oom(err);
    if (EVP_PKEY_get_base_id(X509_get0_pubkey(certificate)) != EVP_PKEY_RSA)
        log_line("warning: the key of the certificate is not RSA, and most firmware starts nothing "
                 "that another kind has signed");
    signature_list_write(to, (struct bytes){der, (size_t)len}, owner);
    OPENSSL_free(der);
    return to->failed ? mu_fail(err, MU_CONFIG, "too many certificates for one variable") : MU_OK;
}

/* One in DER, or any number in PEM. */
static enum mu_status add_certificates(struct bytes file, const uint8_t *owner, struct writer *to,
                                       struct mu_error *err)
{
    MU_CLEANUP(bio_free) BIO *bio = BIO_new_mem_buf(file.data, (int)file.len);
    const bool der = file.len > 0 && file.data[0] == 0x30;
    size_t count = 0;

    if (bio == NULL)
        return mu_oom(err);
    while (true) {
        MU_CLEANUP(certificate_free)
        X509 *certificate =
            der ? d2i_X509_bio(bio, NULL) : PEM_read_bio_X509(bio, NULL, NULL, NULL);

        if (certificate == NULL)
            break;
        MU_TRY(write_list(certificate, owner, to, err));
        count++;
    }
    return count > 0 ? MU_OK : mu_fail(err, MU_CONFIG, "no X.509 certificate, in PEM or DER");
}

static enum mu_status run_list(int argc, char **argv, struct mu_error *err)
{
    const char *owner_text = OWNER, *output = "-";
    const struct cli_option options[] = {
        {"owner", 0, .text = &owner_text},
        {"output", 'o', .text = &output},
        {0},
    };
    MU_CLEANUP(buffer_free) struct buffer lists = {0};
    uint8_t owner[EFI_GUID_BYTES];
    struct writer to;

    MU_TRY(cli_options(argc, argv, options, 1, INT_MAX, err));
    if (!parse_guid(owner_text, owner))
        return mu_fail(err, MU_USAGE, "--owner '%s': must be a GUID, as uuidgen prints one",
                       owner_text);
    MU_TRY(buffer_alloc(&lists, SECUREBOOT_VARIABLE_MAX_BYTES, err));
    to = writer_into(lists.data, lists.len);
    for (int i = optind; i < argc; i++) {
        MU_CLEANUP(buffer_free) struct buffer file = {0};

        MU_TRY(file_read(argv[i], SECUREBOOT_VARIABLE_MAX_BYTES, &file, err));
        if (add_certificates(buffer_view(&file), owner, &to, err) != MU_OK)
            return mu_context(err, "%s", argv[i]);
    }
    return file_write(output, (struct bytes){lists.data, to.len}, 0644, err);
}

static enum mu_status run_store(int argc, char **argv, struct mu_error *err)
{
    MU_CLEANUP(secureboot_files_free) struct secureboot_files files = {0};
    const char *output = "-";
    const struct cli_option options[] = {
        SECUREBOOT_OPTIONS(&files),
        {"output", 'o', .text = &output},
        {0},
    };
    MU_CLEANUP(string_free) char *text = NULL;

    MU_TRY(cli_options(argc, argv, options, 0, 0, err));
    MU_TRY(secureboot_files_read(&files, err));
    if (files.keys.pk.len == 0)
        return mu_fail(err, MU_USAGE, "--PK FILE and --db FILE are needed");
    MU_TRY(varstore_for_ec2(&files.keys, &text, err));
    return file_write(output, text_view(text), 0644, err);
}

const struct verb verb_secureboot_list = {
    .name = "secureboot list",
    .synopsis = "CERTIFICATE... [--owner GUID] [-o FILE]",
    .summary = "EFI signature lists of certificates, for PK, KEK, db or dbx",
    .help =
        "  CERTIFICATE   X.509, in PEM or DER; of an RSA key, since most firmware knows no other\n"
        "  --owner GUID  who vouches for them, which is measured too; default:\n"
        "                " OWNER "\n"
        "  -o FILE       default: standard output\n"
        "\n"
        "Example: muctl secureboot list secure-boot.pem -o db.esl\n",
    .run = run_list,
};

const struct verb verb_secureboot_store = {
    .name = "secureboot store",
    .synopsis = "--PK FILE [--KEK FILE] --db FILE [--dbx FILE] [-o FILE]",
    .summary = "the variable store with which EC2 registers an image (UefiData)",
    .help =
        "  --PK FILE     the variable's signature lists: as they are (.esl), from efivarfs, or\n"
        "  --KEK FILE    with their authentication (.auth); see 'muctl secureboot list'\n"
        "  --db FILE     whose signatures firmware starts\n"
        "  --dbx FILE    what it does not start, even if it is signed\n"
        "  -o FILE       default: standard output\n"
        "\n"
        "An instance of an image that was registered with it has Secure Boot on and these keys\n"
        "enrolled. The same keys give the same file, which has no newline at its end.\n"
        "\n"
        "'aws ec2 register-image' takes it as --uefi-data file://uefi-data, with UEFI as boot "
        "mode.\n"
        "\n"
        "Example: muctl secureboot store --PK PK.esl --KEK KEK.esl --db db.esl -o uefi-data\n",
    .run = run_store,
};
