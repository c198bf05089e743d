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
#define IMAGES_MAX 8
#define SIGNATURE_MAX_BYTES 1024
#define DEFAULT_PCRS (PCR_BIT(4) | PCR_BIT(7) | PCR_BIT(12))

struct options {
    enum hash_alg bank;
    uint32_t mask;
    const char *tcti;
    const char *output;
    const char *image[IMAGES_MAX];
    size_t images;
    const char *key;
    const char *signature;
};

static enum mu_status set_option(struct options *o, int option, struct mu_error *err)
{
    switch (option) {
    case 'p':
        return ctl_pcr_list(optarg, &o->mask, err);
    case 'b':
        o->bank = hash_from_name(optarg);
        if (o->bank != HASH_SHA384 && o->bank != HASH_SHA256)
            return mu_fail(err, MU_USAGE, "--bank '%s': must be sha384 or sha256", optarg);
        return MU_OK;
    case 'i':
        if (o->images == IMAGES_MAX)
            return mu_fail(err, MU_USAGE, "--image: at most %d", IMAGES_MAX);
        o->image[o->images++] = optarg;
        return MU_OK;
    case 't':
        o->tcti = optarg;
        return MU_OK;
    case 'o':
        o->output = optarg;
        return MU_OK;
    case 'k':
        o->key = optarg;
        return MU_OK;
    default:
        o->signature = optarg;
        return MU_OK;
    }
}

static enum mu_status parse_options(int argc, char **argv, const struct option *long_options,
                                    int operands, struct options *ret, struct mu_error *err)
{
    struct options o = {.bank = HASH_SHA384, .mask = DEFAULT_PCRS, .tcti = getenv("MU_TCTI")};
    int option;

    for (;;) {
        MU_TRY(ctl_next_option(argc, argv, long_options, &option, err));
        if (option == -1)
            break;
        MU_TRY(set_option(&o, option, err));
    }
    MU_TRY(ctl_operands(argc, operands, operands, err));
    *ret = o;
    return MU_OK;
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
    static const struct option long_options[] = {
        {"pcr", required_argument, NULL, 'p'},
        {"bank", required_argument, NULL, 'b'},
        {"output", required_argument, NULL, 'o'},
        {"tcti", required_argument, NULL, 't'},
        {NULL, 0, NULL, 0},
    };
    MU_CLEANUP(tpm_close) struct tpm *tpm = NULL;
    MU_CLEANUP(json_free) json_object *object = NULL;
    struct pcr_values values;
    struct options o;

    MU_TRY(parse_options(argc, argv, long_options, 0, &o, err));
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

struct images {
    struct buffer file[IMAGES_MAX];
    struct bytes view[IMAGES_MAX];
};

static void images_free(struct images *images)
{
    for (size_t i = 0; i < IMAGES_MAX; i++)
        buffer_free(&images->file[i]);
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
static enum mu_status run_predict(int argc, char **argv, struct mu_error *err)
{
    static const struct option long_options[] = {
        {"image", required_argument, NULL, 'i'},
        {"pcr", required_argument, NULL, 'p'},
        {"bank", required_argument, NULL, 'b'},
        {"output", required_argument, NULL, 'o'},
        {NULL, 0, NULL, 0},
    };
    MU_CLEANUP(images_free) struct images images = {0};
    MU_CLEANUP(json_free) json_object *object = NULL;
    struct pcr_values values;
    struct options o;

    MU_TRY(parse_options(argc, argv, long_options, 0, &o, err));
    if (o.images == 0)
        return mu_fail(err, MU_USAGE, "--image FILE is needed, once for each image in load order");
    for (size_t i = 0; i < o.images; i++) {
        MU_TRY(file_read(o.image[i], PE_MAX_BYTES, &images.file[i], err));
        images.view[i] = buffer_view(&images.file[i]);
    }
    MU_TRY(predict(images.view, o.images, o.bank, o.mask, &values, err));
    MU_TRY(baseline_to_json(&values, &object, err));
    MU_TRY(add_note(object, "Source", "predicted by muctl " MU_VERSION, err));
    MU_TRY(add_images(object, &o, err));
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
    static const struct option long_options[] = {
        {"key", required_argument, NULL, 'k'},
        {"output", required_argument, NULL, 'o'},
        {NULL, 0, NULL, 0},
    };
    MU_CLEANUP(signature_key_free) EVP_PKEY *key = NULL;
    MU_CLEANUP(buffer_free) struct buffer text = {0};
    MU_CLEANUP(buffer_free) struct buffer signature = {0};
    char path[4096];
    struct options o;

    MU_TRY(parse_options(argc, argv, long_options, 1, &o, err));
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
    static const struct option long_options[] = {
        {"key", required_argument, NULL, 'k'},
        {"signature", required_argument, NULL, 's'},
        {NULL, 0, NULL, 0},
    };
    MU_CLEANUP(signature_key_free) EVP_PKEY *key = NULL;
    MU_CLEANUP(buffer_free) struct buffer text = {0};
    MU_CLEANUP(buffer_free) struct buffer signature = {0};
    char path[4096];
    struct options o;

    MU_TRY(parse_options(argc, argv, long_options, 1, &o, err));
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
    .synopsis = "--image FILE... [--pcr LIST] [--bank BANK] [-o FILE]",
    .summary = "the same, computed from the boot binaries, without booting",
    .help = "  --image FILE  EFI image; once for each image in load order (boot loader, kernel),\n"
            "                or the unified kernel image alone\n"
            "  --pcr LIST    of 4, 7 and 12; default: 4,7,12\n"
            "  --bank BANK   sha384 (default) or sha256\n"
            "  -o FILE       default: standard output\n"
            "\n"
            "The prediction is for a machine without Secure Boot and without enrolled keys.\n"
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
