/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/file.h"
#include "base/log.h"
#include "ctl/ctl.h"
#include "measure/authenticode.h"
#include "measure/baseline.h"
#include "measure/predict.h"
#include "measure/signature.h"

#define TPM_WAIT_S 2
#define SIGNATURE_MAX_BYTES 1024
#define DEFAULT_PCRS (PCR_BIT(4) | PCR_BIT(7) | PCR_BIT(12))

enum { PK, KEK, DB, DBX, VARIABLES };

struct options {
    enum hash_alg bank;
    uint32_t mask;
    bool default_pcrs; /* nobody named any */
    const char *pcrs, *bank_name;
    const char *tcti;
    const char *output;
    const char *image[PREDICT_IMAGES_MAX];
    size_t images;
    const char *variable[VARIABLES]; /* PK, KEK, db, dbx */
    const char *phases;
    const char *key;
    const char *signature;
};

static enum mu_status set_pcrs(struct options *o, struct mu_error *err)
{
    if (o->bank_name != NULL)
        o->bank = hash_from_name(o->bank_name);
    if (o->bank != HASH_SHA384 && o->bank != HASH_SHA256)
        return mu_fail(err, MU_USAGE, "--bank '%s': must be sha384 or sha256", o->bank_name);
    o->default_pcrs = o->pcrs == NULL;
    o->mask = DEFAULT_PCRS;
    return o->default_pcrs ? MU_OK : ctl_pcr_list(o->pcrs, &o->mask, err);
}

/* What stands beside Measurements is for people; nothing reads it. */
static enum mu_status add_note(json_object *object, const char *name, const char *text,
                               struct mu_error *err)
{
    json_object *value = json_object_new_string(text);

    if (value == NULL || json_object_object_add(object, name, value) != 0)
        return mu_oom(err);
    return MU_OK;
}

static enum mu_status add_created(json_object *object, struct mu_error *err)
{
    char text[32];
    time_t now = time(NULL);
    struct tm utc;

    if (gmtime_r(&now, &utc) == NULL ||
        strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%SZ", &utc) == 0)
        return mu_fail(err, MU_INTERNAL, "the clock shows no date");
    return add_note(object, "Created", text, err);
}

static enum mu_status run_record(int argc, char **argv, struct mu_error *err)
{
    struct options o = {.bank = HASH_SHA384, .tcti = getenv("MU_TCTI")};
    const struct ctl_option options[] = {
        {"pcr", 'p', .text = &o.pcrs},
        {"bank", 'b', .text = &o.bank_name},
        {"output", 'o', .text = &o.output},
        {"tcti", 't', .text = &o.tcti},
        {0},
    };
    MU_CLEANUP(tpm_close) struct tpm *tpm = NULL;
    MU_CLEANUP(json_free) json_object *object = NULL;
    struct pcr_values values;

    MU_TRY(ctl_options(argc, argv, options, 0, 0, err));
    MU_TRY(set_pcrs(&o, err));
    if ((o.mask & PCR_BIT(1)) != 0)
        log_line("warning: PCR 1 is not constant on EC2; measured-unlock refuses a baseline with "
                 "it");
    MU_TRY(tpm_open(o.tcti, deadline_in(TPM_WAIT_S), &tpm, err));
    MU_TRY(tpm_pcr_read(tpm, o.bank, o.mask, &values, err));
    MU_TRY(baseline_to_json(&values, &object, err));
    MU_TRY(add_note(object, "Source", "recorded by muctl " MU_VERSION, err));
    MU_TRY(add_created(object, err));
    return ctl_print_json(o.output != NULL ? o.output : "-", object, err);
}

/* What a prediction is made from, and the files that it points into. */
struct inputs {
    struct buffer file[PREDICT_IMAGES_MAX + VARIABLES];
    size_t files;
    struct bytes image[PREDICT_IMAGES_MAX];
    struct secure_boot keys;
};

static void inputs_free(struct inputs *inputs)
{
    for (size_t i = 0; i < inputs->files; i++)
        buffer_free(&inputs->file[i]);
}

static enum mu_status read_input(const char *path, size_t max, struct inputs *inputs,
                                 struct bytes *ret, struct mu_error *err)
{
    struct buffer *file = &inputs->file[inputs->files];

    MU_TRY(file_read(path, max, file, err));
    inputs->files++;
    *ret = buffer_view(file);
    return MU_OK;
}

static enum mu_status read_variables(const struct options *o, struct inputs *inputs,
                                     struct mu_error *err)
{
    struct bytes *const variable[VARIABLES] = {&inputs->keys.pk, &inputs->keys.kek,
                                               &inputs->keys.db, &inputs->keys.dbx};

    for (size_t i = 0; i < VARIABLES; i++) {
        struct bytes file;

        if (o->variable[i] == NULL)
            continue;
        MU_TRY(read_input(o->variable[i], SECUREBOOT_VARIABLE_MAX_BYTES, inputs, &file, err));
        if (secureboot_variable(file, variable[i], err) != MU_OK)
            return mu_context(err, "%s", o->variable[i]);
    }
    if ((inputs->keys.pk.len == 0) != (inputs->keys.db.len == 0) ||
        (inputs->keys.pk.len == 0 && inputs->keys.kek.len + inputs->keys.dbx.len > 0))
        return mu_fail(err, MU_USAGE,
                       "Secure Boot is on when --PK names a key, and starts what --db names: both "
                       "are needed, or none");
    return MU_OK;
}

static enum mu_status read_inputs(const struct options *o, struct inputs *inputs,
                                  struct mu_error *err)
{
    for (size_t i = 0; i < o->images; i++)
        MU_TRY(read_input(o->image[i], PE_MAX_BYTES, inputs, &inputs->image[i], err));
    return read_variables(o, inputs, err);
}

static enum mu_status add_images(json_object *object, const struct options *o, struct mu_error *err)
{
    json_object *names = json_object_new_array();

    if (names == NULL || json_object_object_add(object, "Images", names) != 0)
        return mu_oom(err);
    for (size_t i = 0; i < o->images; i++) {
        const char *slash = strrchr(o->image[i], '/');
        const char *name = slash != NULL ? slash + 1 : o->image[i];

        if (json_object_array_add(names, json_object_new_string(name)) != 0)
            return mu_oom(err);
    }
    return MU_OK;
}

/* Carries no date: the same images give the same file. */
static enum mu_status predict_to_json(const struct options *o, const struct inputs *inputs,
                                      json_object **ret, struct mu_error *err)
{
    const bool secure_boot = inputs->keys.pk.len > 0;
    const struct predict_request request = {.bank = o->bank,
                                            .mask = o->mask,
                                            .optional = o->default_pcrs ? ~PCR_BIT(4) : 0,
                                            .images = inputs->image,
                                            .count = o->images,
                                            .keys = secure_boot ? &inputs->keys : NULL,
                                            .phases = o->phases};
    struct pcr_values values;

    MU_TRY(predict(&request, &values, err));
    MU_TRY(baseline_to_json(&values, ret, err));
    MU_TRY(add_note(*ret, "Source", "predicted by muctl " MU_VERSION, err));
    MU_TRY(add_note(*ret, "SecureBoot", secure_boot ? "on" : "off", err));
    if ((o->mask & PCR_BIT(11)) != 0)
        MU_TRY(add_note(*ret, "Phase", o->phases, err));
    return add_images(*ret, o, err);
}

static enum mu_status run_predict(int argc, char **argv, struct mu_error *err)
{
    struct options o = {.bank = HASH_SHA384, .phases = PREDICT_PHASES};
    const struct ctl_option options[] = {
        {"image", 'i', .text = o.image, .count = &o.images, .max = PREDICT_IMAGES_MAX},
        {"PK", 0, .text = &o.variable[PK]},
        {"KEK", 0, .text = &o.variable[KEK]},
        {"db", 0, .text = &o.variable[DB]},
        {"dbx", 0, .text = &o.variable[DBX]},
        {"phase", 0, .text = &o.phases},
        {"pcr", 'p', .text = &o.pcrs},
        {"bank", 'b', .text = &o.bank_name},
        {"output", 'o', .text = &o.output},
        {0},
    };
    MU_CLEANUP(inputs_free) struct inputs inputs = {0};
    MU_CLEANUP(json_free) json_object *object = NULL;

    MU_TRY(ctl_options(argc, argv, options, 0, 0, err));
    MU_TRY(set_pcrs(&o, err));
    if (o.images == 0)
        return mu_fail(err, MU_USAGE, "--image FILE is needed, once for each image in load order");
    MU_TRY(read_inputs(&o, &inputs, err));
    MU_TRY(predict_to_json(&o, &inputs, &object, err));
    return ctl_print_json(o.output != NULL ? o.output : "-", object, err);
}

/* FILE.sig, unless it was named or FILE is standard input. */
static enum mu_status signature_path(const char *file, const char *named, const char *option,
                                     char *to, size_t size, struct mu_error *err)
{
    int len;

    if (named == NULL && strcmp(file, "-") == 0)
        return mu_fail(err, MU_USAGE, "%s FILE is needed with standard input", option);
    len = named != NULL ? snprintf(to, size, "%s", named) : snprintf(to, size, "%s.sig", file);
    if (len < 0 || (size_t)len >= size)
        return mu_fail(err, MU_USAGE, "the name of the signature file is too long");
    return MU_OK;
}

static enum mu_status load_checked(const char *path, struct buffer *ret, struct mu_error *err)
{
    struct pcr_values values;

    MU_TRY(file_read(path, BASELINE_MAX_BYTES, ret, err));
    return baseline_parse(buffer_view(ret), path, &values, err);
}

static enum mu_status run_sign(int argc, char **argv, struct mu_error *err)
{
    struct options o = {0};
    const struct ctl_option options[] = {
        {"key", 'k', .text = &o.key},
        {"output", 'o', .text = &o.output},
        {0},
    };
    MU_CLEANUP(signature_key_free) EVP_PKEY *key = NULL;
    MU_CLEANUP(buffer_free) struct buffer text = {0};
    MU_CLEANUP(buffer_free) struct buffer signature = {0};
    char path[4096];

    MU_TRY(ctl_options(argc, argv, options, 1, 1, err));
    if (o.key == NULL)
        return mu_fail(err, MU_USAGE, "--key FILE is needed: the builder's private key (PEM)");
    MU_TRY(signature_path(argv[optind], o.output, "-o", path, sizeof(path), err));
    MU_TRY(load_checked(argv[optind], &text, err));
    MU_TRY(signature_load_private_key(o.key, &key, err));
    MU_TRY(signature_make(key, NULL, buffer_view(&text), &signature, err));
    return file_write(path, buffer_view(&signature), 0644, err);
}

static enum mu_status run_verify(int argc, char **argv, struct mu_error *err)
{
    struct options o = {0};
    const struct ctl_option options[] = {
        {"key", 'k', .text = &o.key},
        {"signature", 's', .text = &o.signature},
        {0},
    };
    MU_CLEANUP(signature_key_free) EVP_PKEY *key = NULL;
    MU_CLEANUP(buffer_free) struct buffer text = {0};
    MU_CLEANUP(buffer_free) struct buffer signature = {0};
    char path[4096];

    MU_TRY(ctl_options(argc, argv, options, 1, 1, err));
    if (o.key == NULL)
        return mu_fail(err, MU_USAGE, "--key FILE is needed: the builder's public key (PEM)");
    MU_TRY(signature_path(argv[optind], o.signature, "--signature", path, sizeof(path), err));
    MU_TRY(signature_load_public_key(o.key, &key, err));
    MU_TRY(file_read(argv[optind], BASELINE_MAX_BYTES, &text, err));
    MU_TRY(file_read(path, SIGNATURE_MAX_BYTES, &signature, err));
    if (signature_verify(key, NULL, buffer_view(&text), buffer_view(&signature), err) != MU_OK)
        return mu_context(err, "%s", argv[optind]);
    (void)printf("%s the signature holds\n", ctl_mark(true));
    return MU_OK;
}

const struct verb verb_baseline_record = {
    .name = "baseline record",
    .synopsis = "[--pcr LIST] [--bank BANK] [-o FILE] [--tcti TCTI]",
    .summary = "golden measurement from the running (clean-room) machine",
    .help = "  --pcr LIST    default: 4,7,12\n"
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
    .synopsis = "--image FILE... [--PK FILE --KEK FILE --db FILE --dbx FILE]\n"
                "             [--phase PHASES] [--pcr LIST] [--bank BANK] [-o FILE]",
    .summary = "the same, computed from the boot binaries, without booting",
    .help =
        "  --image FILE  EFI image; once for each image in load order (boot loader, kernel),\n"
        "                or the unified kernel image (UKI) alone, or after its boot loader\n"
        "  --PK FILE     the variable's signature lists: as they are (.esl), from efivarfs, or\n"
        "  --KEK FILE    with their authentication (.auth). With --PK and --db Secure Boot is\n"
        "  --db FILE     on, and images must have a signature that db knows. Without, it is off\n"
        "  --dbx FILE    and no key is enrolled\n"
        "  --phase P     PCR 11 after these boot phases; default: enter-initrd, which is where\n"
        "                measured-unlock runs; '' in an initramfs without systemd-pcrphase\n"
        "  --pcr LIST    of 4, 7, 11 and 12; one that cannot be known is an error. Default: "
        "4,7,12,\n"
        "                and what cannot be known of these is left out, with the reason on stderr\n"
        "  --bank BANK   sha384 (default) or sha256\n"
        "  -o FILE       default: standard output\n"
        "\n"
        "What cannot be predicted: with shim, PCR 7 (it measures variables that it changes by\n"
        "itself); with GRUB, PCR 8 and 9 (each command and each file that it reads). GRUB loads\n"
        "the kernel without measuring it into PCR 4 unless Secure Boot is on, and some builds\n"
        "measure it twice: name it as often as 'muctl eventlog' shows it. PCR 12 is predicted\n"
        "for a boot in which nothing is handed in from outside.\n"
        "\n"
        "Example: muctl baseline predict --image linux.efi -o baseline.json\n",
    .run = run_predict,
};

const struct verb verb_baseline_sign = {
    .name = "baseline sign",
    .synopsis = "FILE --key KEY [-o SIGNATURE]",
    .summary = "detached signature over a baseline",
    .help = "  --key KEY     the builder's private key (PEM): ECDSA P-256 or P-384, or Ed25519\n"
            "  -o SIGNATURE  default: FILE.sig\n"
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
