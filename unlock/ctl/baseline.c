/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "appraise/authorities.h"
#include "base/defaults.h"
#include "base/file.h"
#include "base/log.h"
#include "base/time.h"
#include "build/esp.h"
#include "build/pe.h"
#include "build/predict.h"
#include "ctl/credentials.h"
#include "ctl/ctl.h"
#include "ctl/secureboot.h"
#include "measure/baseline.h"

#define TPM_WAIT_S 2
#define SIGNATURE_MAX_BYTES 1024

struct options {
    enum hash_alg bank;
    uint32_t mask;
    bool default_pcrs; /* none were named */
    uint32_t without;
    const char *pcrs, *without_pcrs, *bank_name;
    const char *tcti;
    const char *output;
    const char *image[PREDICT_IMAGES_MAX];
    size_t images;
    const char *phases;
};

static enum mu_status set_pcrs(struct options *o, struct mu_error *err)
{
    if (o->bank_name != NULL)
        o->bank = hash_from_name(o->bank_name);
    if (o->bank != HASH_SHA384 && o->bank != HASH_SHA256)
        return mu_fail(err, MU_USAGE, "--bank '%s': must be sha384 or sha256", o->bank_name);
    o->default_pcrs = o->pcrs == NULL;
    o->mask = BASELINE_PCRS;
    if (!o->default_pcrs)
        MU_TRY(ctl_pcr_list(o->pcrs, &o->mask, err));
    if (o->without_pcrs == NULL)
        return MU_OK;
    MU_TRY(ctl_pcr_list(o->without_pcrs, &o->without, err));
    if ((o->without & ~BASELINE_CLEAN_PCRS) != 0 || !o->default_pcrs)
        return mu_fail(err, MU_USAGE,
                       "--without-pcr leaves 2, 3, 13 or 14 out of the default set: '%s'%s",
                       o->without_pcrs, o->default_pcrs ? "" : " with --pcr");
    o->mask &= ~o->without;
    return MU_OK;
}

/* A note beside Measurements is for people; no program reads it. */
static enum mu_status add_note(json_object *object, const char *name, const char *text,
                               struct mu_error *err)
{
    return json_add_text(object, name, text) ? MU_OK : mu_oom(err);
}

static enum mu_status add_created(json_object *object, struct mu_error *err)
{
    char text[TIME_TEXT];

    if (!time_text_now(text))
        return mu_fail(err, MU_INTERNAL, "the clock shows no valid date");
    return add_note(object, "Created", text, err);
}

static enum mu_status run_record(int argc, char **argv, struct mu_error *err)
{
    struct options o = {.bank = HASH_SHA384, .tcti = getenv("MU_TCTI")};
    const struct cli_option options[] = {
        {"pcr", 'p', .text = &o.pcrs},       {"without-pcr", 0, .text = &o.without_pcrs},
        {"bank", 'b', .text = &o.bank_name}, {"output", 'o', .text = &o.output},
        {"tcti", 't', .text = &o.tcti},      {0},
    };
    MU_CLEANUP(tpm_close) struct tpm *tpm = NULL;
    MU_CLEANUP(json_free) json_object *object = NULL;
    struct pcr_values values;

    MU_TRY(cli_options(argc, argv, options, 0, 0, err));
    MU_TRY(set_pcrs(&o, err));
    if ((o.mask & PCR_BIT(1)) != 0)
        log_line("warning: PCR 1 is not constant on EC2; measured-unlock refuses a baseline with "
                 "it");
    MU_TRY(tpm_open(o.tcti, deadline_in(TPM_WAIT_S), &tpm, err));
    MU_TRY(tpm_pcr_read(tpm, o.bank, o.mask, &values, err));
    values.without = o.without;
    MU_TRY(baseline_to_json(&values, &object, err));
    MU_TRY(add_note(object, "Source", "recorded by muctl " MU_VERSION, err));
    MU_TRY(add_created(object, err));
    return cli_print_json(o.output != NULL ? o.output : "-", object, err);
}

/* What a prediction is made from, and the files that it points into. */
struct inputs {
    struct buffer file[PREDICT_IMAGES_MAX];
    struct bytes image[PREDICT_IMAGES_MAX];
    struct secureboot_files variables;
};

static void inputs_free(struct inputs *inputs)
{
    for (size_t i = 0; i < PREDICT_IMAGES_MAX; i++)
        buffer_free(&inputs->file[i]);
    secureboot_files_free(&inputs->variables);
}

static enum mu_status read_inputs(const struct options *o, struct inputs *inputs,
                                  struct mu_error *err)
{
    for (size_t i = 0; i < o->images; i++) {
        MU_TRY(file_read(o->image[i], PE_MAX_BYTES, &inputs->file[i], err));
        inputs->image[i] = buffer_view(&inputs->file[i]);
    }
    return secureboot_files_read(&inputs->variables, err);
}

static void warn_of_companion(void *unused, enum esp_kind kind, const char *path)
{
    (void)unused;
    log_line("warning: %s lies beside the image and is given to it: %s; this prediction is of a "
             "boot without it",
             path, esp_describe(kind));
}

static enum mu_status add_images(json_object *object, const struct options *o, struct mu_error *err)
{
    json_object *names = json_object_new_array();

    if (!json_add(object, "Images", names))
        return mu_oom(err);
    for (size_t i = 0; i < o->images; i++) {
        const char *slash = strrchr(o->image[i], '/');
        const char *name = slash != NULL ? slash + 1 : o->image[i];

        if (!json_append(names, json_object_new_string(name)))
            return mu_oom(err);
    }
    return MU_OK;
}

/* Carries no date: the same images give the same file. */
static enum mu_status predict_to_json(const struct options *o, const struct inputs *inputs,
                                      json_object **ret, struct mu_error *err)
{
    const struct secure_boot *keys = &inputs->variables.keys;
    const bool secure_boot = keys->pk.len > 0;
    const struct predict_request request = {.bank = o->bank,
                                            .mask = o->mask,
                                            .optional = o->default_pcrs ? ~PCR_BIT(4) : 0,
                                            .images = inputs->image,
                                            .count = o->images,
                                            .keys = keys,
                                            .setup_mode = !secure_boot,
                                            .phases = o->phases};
    struct pcr_values values;

    MU_TRY(predict_values(&request, &values, err));
    values.without = o->without;
    MU_TRY(baseline_to_json(&values, ret, err));
    MU_TRY(add_note(*ret, "Source", "predicted by muctl " MU_VERSION, err));
    MU_TRY(add_note(*ret, "SecureBoot", secure_boot ? "on" : "off", err));
    if ((o->mask & PCR_BIT(11)) != 0)
        MU_TRY(add_note(*ret, "Phase", o->phases, err));
    return add_images(*ret, o, err);
}

static enum mu_status run_predict(int argc, char **argv, struct mu_error *err)
{
    MU_CLEANUP(inputs_free) struct inputs inputs = {0};
    struct options o = {.bank = HASH_SHA384};
    const struct cli_option options[] = {
        {"image", 'i', .text = o.image, .count = &o.images, .max = PREDICT_IMAGES_MAX},
        SECUREBOOT_OPTIONS(&inputs.variables),
        {"phase", 0, .text = &o.phases},
        {"pcr", 'p', .text = &o.pcrs},
        {"without-pcr", 0, .text = &o.without_pcrs},
        {"bank", 'b', .text = &o.bank_name},
        {"output", 'o', .text = &o.output},
        {0},
    };
    MU_CLEANUP(json_free) json_object *object = NULL;

    MU_TRY(cli_options(argc, argv, options, 0, 0, err));
    MU_TRY(set_pcrs(&o, err));
    if (o.images == 0)
        return mu_fail(err, MU_USAGE, "--image FILE is needed, once for each image in load order");
    MU_TRY(read_inputs(&o, &inputs, err));
    esp_companions(o.image[o.images - 1], warn_of_companion, NULL);
    if (o.phases == NULL)
        MU_TRY(predict_phases(inputs.image[o.images - 1], &o.phases, err));
    MU_TRY(predict_to_json(&o, &inputs, &object, err));
    return cli_print_json(o.output != NULL ? o.output : "-", object, err);
}

/* A baseline and its signature: FILE.sig, unless it was named or FILE is standard input. */
struct signing {
    const char *file, *key, *builder_key, *credentials;
    struct aws_options aws;
    char *path;
    struct buffer text, signature;
};

static void signing_free(struct signing *s)
{
    string_free(&s->path);
    buffer_free(&s->text);
    buffer_free(&s->signature);
}

static enum mu_status signing_begin(int argc, char **argv, bool sign, struct signing *s,
                                    struct mu_error *err)
{
    const char *named = NULL;
    const struct cli_option to_sign[] = {
        {"key", 'k', .text = &s->key},
        {"output", 'o', .text = &named},
        {"builder-key", 0, .text = &s->builder_key},
        {"credentials", 0, .text = &s->credentials},
        {"endpoint", 0, .text = &s->aws.kms_endpoint},
        {"ca-file", 0, .text = &s->aws.ca_file},
        {0},
    };
    const struct cli_option to_verify[] = {
        {"key", 'k', .text = &s->key},
        {"signature", 's', .text = &named},
        {0},
    };

    s->aws = (struct aws_options){.imds = IMDS_DEFAULT_URL, .ca_file = authorities_file()};
    MU_TRY(cli_options(argc, argv, sign ? to_sign : to_verify, 1, 1, err));
    s->file = argv[optind];
    if (s->key == NULL)
        return mu_fail(err, MU_USAGE, "--key %s is needed: the builder's %s key",
                       sign ? "KEY" : "FILE", sign ? "private" : "public");
    if (named == NULL && strcmp(s->file, "-") == 0)
        return mu_fail(err, MU_USAGE, "%s FILE is needed with standard input",
                       sign ? "-o" : "--signature");
    MU_TRY(string_print(&s->path, err, "%s%s", named != NULL ? named : s->file,
                        named != NULL ? "" : ".sig"));
    return file_read(s->file, BASELINE_MAX_BYTES, &s->text, err);
}

static enum mu_status run_sign(int argc, char **argv, struct mu_error *err)
{
    MU_CLEANUP(signing_free) struct signing s = {0};
    MU_CLEANUP(signer_free) struct signer signer = {0};
    MU_CLEANUP(aws_credentials_free) struct aws_credentials credentials = {0};
    struct signer_arguments arguments;
    struct pcr_values values;

    MU_TRY(signing_begin(argc, argv, true, &s, err));
    MU_TRY(baseline_parse(buffer_view(&s.text), s.file, &values, err));
    arguments = (struct signer_arguments){s.key, s.builder_key, NULL, &s.aws};
    if (s.credentials != NULL && signer_is_kms(s.key)) {
        MU_TRY(ctl_read_credentials(s.credentials, &credentials, err));
        arguments.credentials = &credentials;
    }
    MU_TRY(ctl_open_signer(&arguments, &signer, err));
    MU_TRY(signer_sign(&signer, NULL, buffer_view(&s.text), &s.signature, err));
    return file_write(s.path, buffer_view(&s.signature), 0644, err);
}

static enum mu_status run_verify(int argc, char **argv, struct mu_error *err)
{
    MU_CLEANUP(signing_free) struct signing s = {0};
    MU_CLEANUP(key_free) EVP_PKEY *key = NULL;

    MU_TRY(signing_begin(argc, argv, false, &s, err));
    MU_TRY(signature_load_key(s.key, NULL, &key, err));
    if (file_read(s.path, SIGNATURE_MAX_BYTES, &s.signature, err) != MU_OK)
        return mu_context(err, "no signature ('muctl baseline sign' makes it)");
    if (signature_verify(key, NULL, buffer_view(&s.text), buffer_view(&s.signature), err) != MU_OK)
        return mu_context(err, "%s", s.file);
    (void)printf("%s the signature holds\n", cli_mark(true));
    return MU_OK;
}

const struct verb verb_baseline_record = {
    .name = "baseline record",
    .synopsis = "[--pcr LIST | --without-pcr LIST] [--bank BANK] [-o FILE] [--tcti TCTI]",
    .summary = "golden measurement from the running (clean-room) machine",
    .help =
        "  --pcr LIST    default: 2,3,4,7,12,13,14\n"
        "  --without-pcr LIST\n"
        "                these of 2, 3, 13 and 14 are left out knowingly, and the file says so;\n"
        "                else a baseline without them is refused, unless Secure Boot is on\n"
        "  --bank BANK   sha384 (default) or sha256\n"
        "  -o FILE       default: standard output\n"
        "  --tcti TCTI   device:PATH or swtpm:host=H,port=N; default: $MU_TCTI, then the\n"
        "                devices\n"
        "\n"
        "Example: muctl baseline record -o baseline.json\n",
    .run = run_record,
};

const struct verb verb_baseline_predict = {
    .name = "baseline predict",
    .synopsis =
        "--image FILE... [--PK FILE --KEK FILE --db FILE --dbx FILE]\n"
        "             [--phase PHASES] [--pcr LIST | --without-pcr LIST] [--bank BANK] [-o FILE]",
    .summary = "the same, computed from the boot binaries, without booting",
    .help =
        "  --image FILE  EFI image; once for each image in load order (boot loader, kernel),\n"
        "                or the unified kernel image (UKI) alone, or after its boot loader\n"
        "  --PK FILE     the variable's signature lists: as they are (.esl), from efivarfs, or\n"
        "  --KEK FILE    with their authentication (.auth). With --PK and --db Secure Boot is\n"
        "  --db FILE     on, and images must have a signature that db knows. Without --PK it is\n"
        "  --dbx FILE    off (setup mode), and what is named of the others is measured\n"
        "  --phase P     PCR 11 after these boot phases; default: enter-initrd, which is where\n"
        "                measured-unlock runs, but none ('') for an image with efi=noruntime on\n"
        "                its command line; '' in an initramfs without systemd-pcrphase\n"
        "  --pcr LIST    of 2, 3, 4, 7, 11, 12, 13 and 14; one that cannot be known is an error.\n"
        "                Default: all but 11, and what cannot be known of these is left out, with\n"
        "                the reason on stderr\n"
        "  --without-pcr LIST\n"
        "                these of 2, 3, 13 and 14 are left out knowingly, and the file says so;\n"
        "                else a baseline without them is refused, unless Secure Boot is on\n"
        "  --bank BANK   sha384 (default) or sha256\n"
        "  -o FILE       default: standard output\n"
        "\n"
        "What cannot be predicted: with shim, PCR 7 (it measures variables that it changes by\n"
        "itself) and 14; with GRUB, PCR 8 and 9 (each command and each file that it reads). GRUB "
        "loads\n"
        "the kernel without measuring it into PCR 4 unless Secure Boot is on, and some builds\n"
        "measure it twice: name it as often as 'muctl eventlog' shows it. PCR 2, 3, 12, 13\n"
        "and 14 are predicted for a boot in which nothing is loaded or handed in from outside; "
        "what\n"
        "lies beside the last image (FILE.extra.d, loader/addons) is named on stderr.\n"
        "\n"
        "Example: muctl baseline predict --image linux.efi -o baseline.json\n",
    .run = run_predict,
};

const struct verb verb_baseline_sign = {
    .name = "baseline sign",
    .synopsis = "FILE --key KEY [--builder-key F] [-o SIGNATURE]",
    .summary = "detached signature over a baseline",
    .help = "  --key KEY        the builder's private key: a PEM file (ECDSA P-256 or P-384, or\n"
            "                   Ed25519), the ARN of a KMS key, pkcs11:URI or exec:COMMAND (see\n"
            "                   SIGNING KEYS in muctl(8))\n"
            "  --builder-key F  its public half, PEM; needed unless --key is a file\n"
            "  -o SIGNATURE     default: FILE.sig\n"
            "  --credentials F  what 'aws configure export-credentials' printed; - is standard\n"
            "                   input (KMS); default: the environment, else the instance's role\n"
            "  --endpoint URL   of KMS, instead of its region's\n"
            "  --ca-file F      trusted TLS roots of KMS; default: the system's\n"
            "\n"
            "Example: muctl baseline sign baseline.json --key builder.key\n",
    .run = run_sign,
};

const struct verb verb_baseline_verify = {
    .name = "baseline verify",
    .synopsis = "FILE --key KEY [--signature SIGNATURE]",
    .summary = "check the signature of a baseline",
    .help = "  --key KEY             the builder's public key (PEM)\n"
            "  --signature SIGNATURE default: FILE.sig\n"
            "\n"
            "Example: muctl baseline verify baseline.json --key builder.pem\n",
    .run = run_verify,
};
