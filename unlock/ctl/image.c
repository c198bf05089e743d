/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <stdio.h>
#include <string.h>

#include "appraise/authorities.h"
#include "base/defaults.h"
#include "base/file.h"
#include "base/ini.h"
#include "base/log.h"
#include "base/text.h"
#include "build/esp.h"
#include "build/manifest.h"
#include "build/pe.h"
#include "ctl/credentials.h"
#include "ctl/ctl.h"
#include "ctl/secureboot.h"
#include "measure/baseline.h"

#define SBOM_MAX_BYTES ((size_t)256 << 20)

struct arguments {
    const char *image[MANIFEST_IMAGES_MAX], *loader[MANIFEST_IMAGES_MAX];
    size_t images, loaders;
    const char *amis[MANIFEST_AMIS_MAX];
    const char *name, *version, *source, *built_by, *sbom, *without;
    uint64_t record_version;
    const char *sign_key, *builder_key, *credentials, *output;
    struct aws_options aws;
    struct manifest_request request;
};

/* The files that the request points into. */
struct inputs {
    struct buffer image[MANIFEST_IMAGES_MAX], sbom;
    struct manifest_file named[MANIFEST_IMAGES_MAX];
    struct secureboot_files variables;
};

static void inputs_free(struct inputs *inputs)
{
    for (size_t i = 0; i < MANIFEST_IMAGES_MAX; i++)
        buffer_free(&inputs->image[i]);
    buffer_free(&inputs->sbom);
    secureboot_files_free(&inputs->variables);
}

static enum mu_status check_text(const char *option, const char *text, size_t max,
                                 struct mu_error *err)
{
    if (text == NULL)
        return mu_fail(err, MU_USAGE, "%s is needed; see 'muctl image manifest --help'", option);
    if (text[0] == '\0' || strlen(text) > max || !text_is_printable(text_view(text)))
        return mu_fail(err, MU_USAGE, "%s is 1 to %zu printable characters", option, max);
    return MU_OK;
}

static enum mu_status check_arguments(struct arguments *a, struct mu_error *err)
{
    struct manifest_request *q = &a->request;

    if ((a->images == 0) == (a->loaders == 0))
        return mu_fail(err, MU_USAGE,
                       "--image FILE is needed, once for each image in load order; or "
                       "--boot-loader FILE for the manifest of a boot loader by itself");
    MU_TRY(check_text("--name", a->name, MANIFEST_NAME_MAX, err));
    MU_TRY(check_text("--version", a->version, MANIFEST_NAME_MAX, err));
    MU_TRY(check_text("--source", a->source, MANIFEST_TEXT_MAX, err));
    MU_TRY(check_text("--built-by", a->built_by, MANIFEST_TEXT_MAX, err));
    if (!ini_is_name(a->name) || !text_is_word(text_view(a->version)))
        return mu_fail(err, MU_USAGE,
                       "--name is of A-Z a-z 0-9 _ . -, and --version has no spaces");
    if (a->sign_key == NULL)
        return mu_fail(err, MU_USAGE, "--sign-key KEY is needed: the builder's private key");
    if (a->without == NULL)
        return MU_OK;
    MU_TRY(ctl_pcr_list(a->without, &q->without, err));
    if ((q->without & ~BASELINE_CLEAN_PCRS) != 0 || a->loaders > 0)
        return mu_fail(err, MU_USAGE, "--without-pcr leaves 2, 3, 13 or 14 of an image out: '%s'",
                       a->without);
    return MU_OK;
}

static void warn_of_companion(void *unused, enum esp_kind kind, const char *path)
{
    (void)unused;
    log_line("warning: %s lies beside the image and is given to it: %s; the manifest is of a boot "
             "without it",
             path, esp_describe(kind));
}

static enum mu_status read_inputs(struct arguments *a, struct inputs *inputs, struct mu_error *err)
{
    const char *const *path = a->loaders > 0 ? a->loader : a->image;
    struct manifest_request *q = &a->request;

    q->kind = a->loaders > 0 ? MANIFEST_BOOT_LOADER : MANIFEST_IMAGE;
    q->count = a->loaders + a->images;
    q->images = inputs->named;
    q->keys = &inputs->variables.keys;
    for (size_t i = 0; i < q->count; i++) {
        MU_TRY(file_read(path[i], PE_MAX_BYTES, &inputs->image[i], err));
        inputs->named[i] = (struct manifest_file){path[i], buffer_view(&inputs->image[i])};
    }
    if (a->sbom != NULL)
        MU_TRY(file_read(a->sbom, SBOM_MAX_BYTES, &inputs->sbom, err));
    q->sbom = (struct manifest_file){a->sbom, buffer_view(&inputs->sbom)};
    q->name = a->name;
    q->version = a->version;
    q->source = a->source;
    q->builder = a->built_by;
    q->record_version = (int64_t)a->record_version;
    q->amis = a->amis;
    if (a->images > 0)
        esp_companions(a->image[a->images - 1], warn_of_companion, NULL);
    return secureboot_files_read(&inputs->variables, err);
}

static enum mu_status sign(const struct arguments *a, struct bytes statement, json_object **ret,
                           struct mu_error *err)
{
    MU_CLEANUP(signer_free) struct signer signer = {0};
    MU_CLEANUP(aws_credentials_free) struct aws_credentials credentials = {0};
    struct signer_arguments arguments = {a->sign_key, a->builder_key, NULL, &a->aws};

    if (a->credentials != NULL && signer_is_kms(a->sign_key)) {
        MU_TRY(ctl_read_credentials(a->credentials, &credentials, err));
        arguments.credentials = &credentials;
    }
    MU_TRY(ctl_open_signer(&arguments, &signer, err));
    return manifest_sign(&signer, statement, ret, err);
}

static enum mu_status image_manifest_run(int argc, char **argv, struct mu_error *err)
{
    struct arguments a = {.output = "-",
                          .aws = {.imds = IMDS_DEFAULT_URL, .ca_file = authorities_file()}};
    MU_CLEANUP(inputs_free) struct inputs inputs = {0};
    MU_CLEANUP(buffer_free) struct buffer statement = {0};
    MU_CLEANUP(json_free) json_object *envelope = NULL;
    const struct cli_option options[] = {
        {"image", 'i', .text = a.image, .count = &a.images, .max = MANIFEST_IMAGES_MAX},
        {"boot-loader", 0, .text = a.loader, .count = &a.loaders, .max = MANIFEST_IMAGES_MAX},
        SECUREBOOT_OPTIONS(&inputs.variables),
        {"without-pcr", 0, .text = &a.without},
        {"name", 'n', .text = &a.name},
        {"version", 0, .text = &a.version},
        {"source", 0, .text = &a.source},
        {"built-by", 0, .text = &a.built_by},
        {"record-version", 0, .number = &a.record_version, .from = 1, .to = INT64_MAX - 1},
        {"sbom", 0, .text = &a.sbom},
        {"ami", 0, .text = a.amis, .count = &a.request.ami_count, .max = MANIFEST_AMIS_MAX},
        {"sign-key", 'k', .text = &a.sign_key},
        {"builder-key", 0, .text = &a.builder_key},
        {"credentials", 0, .text = &a.credentials},
        {"endpoint", 0, .text = &a.aws.kms_endpoint},
        {"ca-file", 0, .text = &a.aws.ca_file},
        {"output", 'o', .text = &a.output},
        {0},
    };

    MU_TRY(cli_options(argc, argv, options, 0, 0, err));
    MU_TRY(check_arguments(&a, err));
    MU_TRY(read_inputs(&a, &inputs, err));
    MU_TRY(manifest_make(&a.request, &statement, err));
    MU_TRY(sign(&a, buffer_view(&statement), &envelope, err));
    return cli_print_json(a.output, envelope, err);
}

const struct verb verb_image_manifest = {
    .name = "image manifest",
    .synopsis = "--image FILE... --name NAME --version V --source TEXT --built-by TEXT\n"
                "             --sign-key KEY [OPTION...]",
    .summary = "what an image is, signed by its builder, for its approval",
    .help =
        "  --image FILE     EFI image; once for each in load order, as for 'baseline predict'. A\n"
        "                   UKI alone may also be started by each boot loader that is approved\n"
        "  --boot-loader FILE\n"
        "                   instead: the manifest of a boot loader by itself, which may then "
        "start\n"
        "                   each approved UKI\n"
        "  --PK FILE, --KEK FILE, --db FILE, --dbx FILE\n"
        "                   the Secure Boot variables, as for 'baseline predict'\n"
        "  --without-pcr LIST\n"
        "                   these of 2, 3, 13 and 14 are left out knowingly\n"
        "  --name NAME      what the image is called, such as web\n"
        "  --version V      which one it is, such as 2026-11.3\n"
        "  --source TEXT    what it was built from, such as git+https://example.org/web@COMMIT\n"
        "  --built-by TEXT  who or what built it, such as a pipeline's URL\n"
        "  --record-version N\n"
        "                   the version of the records that are signed for it\n"
        "  --sbom FILE      its digest goes into the manifest\n"
        "  --ami REGION=AMI once for each region, when the ids are known\n"
        "  --sign-key KEY   the builder's private key: a PEM file, the ARN of a KMS key,\n"
        "                   pkcs11:URI or exec:COMMAND (see SIGNING KEYS in muctl(8))\n"
        "  --builder-key F  its public half, PEM; needed unless --sign-key is a file\n"
        "  --credentials F  what 'aws configure export-credentials' printed; - is standard\n"
        "                   input (KMS); default: the environment, else the instance's role\n"
        "  --endpoint URL   of KMS, instead of its region's\n"
        "  --ca-file F      trusted TLS roots of KMS; default: the system's\n"
        "  -o, --output FILE\n"
        "                   default: standard output\n"
        "\n"
        "An in-toto statement in a DSSE envelope: digests of the files, the predicted PCRs in\n"
        "SHA-256 and SHA-384, the events that lead to them, PCR 11 after each boot phase, Secure\n"
        "Boot keys. 'mu-verifier image approve' takes it.\n"
        "\n"
        "Example: muctl image manifest --image linux.efi --name web --version 7 \\\n"
        "             --source git+https://example.org/web@1f3a --built-by ci.example.org/4711 \\\n"
        "             --sign-key builder.key -o web-7.json\n",
    .run = image_manifest_run,
};
