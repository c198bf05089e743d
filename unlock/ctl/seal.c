/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <openssl/crypto.h>

#include "base/file.h"
#include "base/log.h"
#include "base/terminal.h"
#include "ctl/ctl.h"
#include "measure/baseline.h"
#include "measure/signature.h"
#include "release/tpm2.h"

#define TPM_SECONDS 2
#define SEALED_FILE_MAX 65536
#define DEFAULT_PCRS (PCR_BIT(4) | PCR_BIT(7) | PCR_BIT(12))

#define TCTI_HELP                                                                                  \
    "  --tcti TCTI      device:PATH or swtpm:host=H,port=N; default: $MU_TCTI, then the devices\n"

static const char seal_help[] =
    "Seals a secret of 1 to 128 bytes to this machine's TPM: it is given back on this machine "
    "only,\n"
    "and only while the PCRs have the values that are sealed in.\n"
    "\n"
    "  FILE             the secret, the whole file; default: standard input, or asked for\n"
    "  --pcr LIST       for the present values of these PCRs; default: 4,7,12\n"
    "  --bank BANK      sha256 or sha384; default: sha384 if the TPM has it\n"
    "  --baseline F     for the values of a baseline instead, whatever they are now; up to 8 "
    "times\n"
    "  --fence-pcr N    and while that PCR is zero, so only before the volumes are unlocked\n"
    "  --authorize F    for whatever this private key signs: ECDSA with P-256 or P-384\n"
    "  -o, --output F   the sealed object as JSON; default: standard output\n"
    "  --public F       the two parts for tpm2_load -u and ...\n"
    "  --private F      ... -r, instead of JSON\n" TCTI_HELP "\n"
    "Example: muctl seal token -o token.sealed\n";

static const char unseal_help[] =
    "Gives back what 'muctl seal' or tpm2_create sealed. Exit code 2 when the TPM refuses.\n"
    "\n"
    "  FILE             the JSON of 'muctl seal'; default: standard input\n"
    "  --public F       the two parts of an object with a PCR policy ...\n"
    "  --private F      ... instead of FILE; its parent must be the key of muctl(8)\n"
    "  --pcr LIST       with these: the PCRs of the policy; default: 4,7,12\n"
    "  --bank BANK      with these: sha256 or sha384; default: sha384 if the TPM has it\n"
    "  -o, --output F   the secret; default: standard output, unless that is a terminal\n"
    "  --force          even then\n" TCTI_HELP "\n"
    "Example: muctl unseal token.sealed | openssl enc -d -aes-256-cbc -pbkdf2 -pass stdin -in "
    "data\n";

enum {
    OPT_PCR = 256,
    OPT_BANK,
    OPT_BASELINE,
    OPT_FENCE_PCR,
    OPT_AUTHORIZE,
    OPT_PUBLIC,
    OPT_PRIVATE,
    OPT_FORCE,
    OPT_TCTI,
};

struct arguments {
    const char *file;
    uint32_t pcrs;
    enum hash_alg bank; /* HASH_NONE: what the TPM has */
    struct pcr_values baseline[SEAL_STATES_MAX];
    size_t baselines;
    int fence_pcr;
    const char *authorize;
    const char *output;
    const char *public_file;
    const char *private_file;
    bool force;
    const char *tcti;
};

static void wipe(struct buffer *buffer)
{
    if (buffer->data != NULL)
        OPENSSL_cleanse(buffer->data, buffer->len);
    buffer_free(buffer);
}

enum mu_status ctl_read_secret(const char *path, size_t max, struct secret *ret,
                               struct mu_error *err)
{
    MU_CLEANUP(wipe) struct buffer file = {0};
    MU_CLEANUP(secret_free) struct secret secret = {0};
    struct stat st;

    if (strcmp(path, "-") != 0 && stat(path, &st) == 0 && S_ISREG(st.st_mode) &&
        (st.st_mode & S_IROTH) != 0)
        log_line("%s: everybody on this machine can read it", path);
    MU_TRY(file_read(path, max, &file, err));
    if (file.len == 0)
        return mu_fail(err, MU_CONFIG, "%s: empty", path);
    MU_TRY(secret_alloc(&secret, file.len, err));
    memcpy(secret.data, file.data, file.len);
    *ret = secret;
    secret = (struct secret){0};
    return MU_OK;
}

/* ---- arguments ---- */

static enum mu_status take_bank(struct arguments *a, struct mu_error *err)
{
    a->bank = hash_from_name(optarg);
    if (a->bank != HASH_SHA256 && a->bank != HASH_SHA384)
        return mu_fail(err, MU_USAGE, "--bank \"%s\": must be sha256 or sha384", optarg);
    return MU_OK;
}

static enum mu_status take_fence(struct arguments *a, struct mu_error *err)
{
    uint32_t mask;

    MU_TRY(ctl_pcr_list(optarg, &mask, err));
    for (int pcr = 8; pcr <= 15; pcr++)
        if (mask == PCR_BIT(pcr)) {
            a->fence_pcr = pcr;
            return MU_OK;
        }
    return mu_fail(err, MU_USAGE, "--fence-pcr %s: must be one of 8 to 15", optarg);
}

static enum mu_status take_baseline(struct arguments *a, struct mu_error *err)
{
    if (a->baselines == SEAL_STATES_MAX)
        return mu_fail(err, MU_USAGE, "at most %d baselines", SEAL_STATES_MAX);
    return baseline_load(optarg, &a->baseline[a->baselines++], err);
}

static enum mu_status take_option(struct arguments *a, int option, struct mu_error *err)
{
    const char **text = NULL;

    switch (option) {
    case OPT_PCR:
        return ctl_pcr_list(optarg, &a->pcrs, err);
    case OPT_BANK:
        return take_bank(a, err);
    case OPT_BASELINE:
        return take_baseline(a, err);
    case OPT_FENCE_PCR:
        return take_fence(a, err);
    case OPT_FORCE:
        a->force = true;
        return MU_OK;
    case OPT_AUTHORIZE:
        text = &a->authorize;
        break;
    case OPT_PUBLIC:
        text = &a->public_file;
        break;
    case OPT_PRIVATE:
        text = &a->private_file;
        break;
    case OPT_TCTI:
        text = &a->tcti;
        break;
    default:
        text = &a->output;
        break;
    }
    *text = optarg;
    return MU_OK;
}

static enum mu_status parse_arguments(int argc, char **argv, const struct option *options,
                                      struct arguments *ret, struct mu_error *err)
{
    *ret = (struct arguments){
        .fence_pcr = TPM2_NO_FENCE, .output = "-", .tcti = getenv("MU_TCTI"), .file = NULL};
    for (;;) {
        int option;

        MU_TRY(ctl_next_option(argc, argv, options, &option, err));
        if (option < 0)
            break;
        MU_TRY(take_option(ret, option, err));
    }
    MU_TRY(ctl_operands(argc, 0, 1, err));
    if (optind < argc)
        ret->file = argv[optind];
    if ((ret->public_file == NULL) != (ret->private_file == NULL))
        return mu_fail(err, MU_USAGE, "--public and --private go together");
    if (ret->baselines > 0 && (ret->pcrs != 0 || ret->bank != HASH_NONE))
        return mu_fail(err, MU_USAGE, "--baseline says which PCRs: no --pcr or --bank with it");
    return MU_OK;
}

/* ---- the policy ---- */

/* The PCRs as they are now. */
static enum mu_status present_state(struct arguments *a, struct tpm *tpm, struct mu_error *err)
{
    struct tpm_banks banks;

    MU_TRY(tpm_banks(tpm, &banks, err));
    for (size_t i = 0; i < banks.count && a->bank == HASH_NONE; i++)
        if (banks.bank[i].alg == HASH_SHA384 && banks.bank[i].mask != 0)
            a->bank = HASH_SHA384;
    a->baselines = 1;
    return tpm_pcr_read(tpm, a->bank != HASH_NONE ? a->bank : HASH_SHA256,
                        a->pcrs != 0 ? a->pcrs : DEFAULT_PCRS, &a->baseline[0], err);
}

static enum mu_status sign(const char *path, struct seal_policy *policy, struct mu_error *err)
{
    MU_CLEANUP(signature_key_free) EVP_PKEY *key = NULL;

    if (path == NULL)
        return MU_OK;
    MU_TRY(signature_load_private_key(path, &key, err));
    return seal_authorize(policy, key, err);
}

/* ---- seal ---- */

static enum mu_status add_baseline(json_object *list, const struct pcr_values *values,
                                   struct mu_error *err)
{
    json_object *item = NULL;

    MU_TRY(baseline_to_json(values, &item, err));
    if (json_object_array_add(list, item) == 0)
        return MU_OK;
    json_free(&item);
    return mu_oom(err);
}

static enum mu_status print_sealed(const struct arguments *a, const struct sealed *sealed,
                                   const struct seal_policy *policy, struct mu_error *err)
{
    MU_CLEANUP(json_free) json_object *object = json_object_new_object();
    json_object *list = json_object_new_array();
    json_object *data = NULL;

    if (object == NULL || list == NULL || json_object_object_add(object, "baselines", list) != 0) {
        json_free(&list);
        return mu_oom(err);
    }
    for (size_t i = 0; i < a->baselines; i++)
        MU_TRY(add_baseline(list, &a->baseline[i], err));
    MU_TRY(tpm2_to_json(sealed, policy, a->fence_pcr, &data, err));
    if (json_object_object_add(object, "tpm2", data) != 0) {
        json_free(&data);
        return mu_oom(err);
    }
    return ctl_print_json(a->output, object, err);
}

static enum mu_status run_seal(int argc, char **argv, struct mu_error *err)
{
    static const struct option options[] = {{"pcr", required_argument, NULL, OPT_PCR},
                                            {"bank", required_argument, NULL, OPT_BANK},
                                            {"baseline", required_argument, NULL, OPT_BASELINE},
                                            {"fence-pcr", required_argument, NULL, OPT_FENCE_PCR},
                                            {"authorize", required_argument, NULL, OPT_AUTHORIZE},
                                            {"output", required_argument, NULL, 'o'},
                                            {"public", required_argument, NULL, OPT_PUBLIC},
                                            {"private", required_argument, NULL, OPT_PRIVATE},
                                            {"tcti", required_argument, NULL, OPT_TCTI},
                                            {0}};
    MU_CLEANUP(secret_free) struct secret secret = {0};
    MU_CLEANUP(tpm_close) struct tpm *tpm = NULL;
    MU_CLEANUP(sealed_free) struct sealed sealed = {0};
    MU_CLEANUP(seal_policy_free) struct seal_policy policy = {0};
    struct arguments a;

    MU_TRY(parse_arguments(argc, argv, options, &a, err));
    if (a.file == NULL && isatty(STDIN_FILENO))
        MU_TRY(terminal_ask("Secret: ", &secret, err));
    else
        MU_TRY(ctl_read_secret(a.file != NULL ? a.file : "-", SEAL_MAX, &secret, err));
    MU_TRY(tpm_open(a.tcti, deadline_in(TPM_SECONDS), &tpm, err));
    if (a.baselines == 0)
        MU_TRY(present_state(&a, tpm, err));
    MU_TRY(tpm2_policy(a.baseline, a.baselines, a.fence_pcr, &policy, err));
    MU_TRY(sign(a.authorize, &policy, err));
    MU_TRY(tpm_seal(tpm, secret_view(&secret), &policy, &sealed, err));
    if (a.public_file == NULL)
        return print_sealed(&a, &sealed, &policy, err);
    MU_TRY(file_write(a.public_file, buffer_view(&sealed.public_area), 0644, err));
    return file_write(a.private_file, buffer_view(&sealed.private_area), 0600, err);
}

/* ---- unseal ---- */

static enum mu_status parse_sealed(json_object *object, struct sealed *ret,
                                   struct seal_policy *ret_policy, struct mu_error *err)
{
    static const char *const names[] = {"baselines", "tpm2", NULL};
    struct pcr_values baseline[SEAL_STATES_MAX];
    json_object *list, *data;
    size_t count;
    int fence_pcr;

    MU_TRY(json_only(object, "sealed object", names, MU_CONFIG, err));
    MU_TRY(json_member(object, "baselines", json_type_array, MU_CONFIG, &list, err));
    MU_TRY(json_member(object, "tpm2", json_type_object, MU_CONFIG, &data, err));
    count = json_object_array_length(list);
    if (count < 1 || count > SEAL_STATES_MAX)
        return mu_fail(err, MU_CONFIG, "%zu baselines, not 1 to %d", count, SEAL_STATES_MAX);
    for (size_t i = 0; i < count; i++)
        MU_TRY(baseline_parse_object(json_object_array_get_idx(list, i), "baseline", &baseline[i],
                                     err));
    return tpm2_from_json(data, baseline, count, ret, ret_policy, &fence_pcr, err);
}

static enum mu_status load_json(const char *path, struct sealed *ret,
                                struct seal_policy *ret_policy, struct mu_error *err)
{
    MU_CLEANUP(buffer_free) struct buffer text = {0};
    MU_CLEANUP(json_free) json_object *object = NULL;

    MU_TRY(file_read(path, SEALED_FILE_MAX, &text, err));
    MU_TRY(json_parse(buffer_view(&text), path, MU_CONFIG, &object, err));
    if (parse_sealed(object, ret, ret_policy, err) != MU_OK)
        return mu_context(err, "%s", path);
    return MU_OK;
}

static enum mu_status load_pair(struct arguments *a, struct tpm *tpm, struct sealed *ret,
                                struct seal_policy *ret_policy, struct mu_error *err)
{
    MU_TRY(file_read(a->public_file, SEAL_PART_MAX, &ret->public_area, err));
    MU_TRY(file_read(a->private_file, SEAL_PART_MAX, &ret->private_area, err));
    MU_TRY(present_state(a, tpm, err));
    return tpm2_policy(a->baseline, a->baselines, TPM2_NO_FENCE, ret_policy, err);
}

static enum mu_status check_output(const struct arguments *a, struct mu_error *err)
{
    if (strcmp(a->output, "-") == 0 && isatty(STDOUT_FILENO) && !a->force)
        return mu_fail(
            err, MU_USAGE,
            "the secret is not shown on a terminal: give --output F, a pipe, or --force");
    return MU_OK;
}

static enum mu_status run_unseal(int argc, char **argv, struct mu_error *err)
{
    static const struct option options[] = {{"public", required_argument, NULL, OPT_PUBLIC},
                                            {"private", required_argument, NULL, OPT_PRIVATE},
                                            {"pcr", required_argument, NULL, OPT_PCR},
                                            {"bank", required_argument, NULL, OPT_BANK},
                                            {"output", required_argument, NULL, 'o'},
                                            {"force", no_argument, NULL, OPT_FORCE},
                                            {"tcti", required_argument, NULL, OPT_TCTI},
                                            {0}};
    MU_CLEANUP(secret_free) struct secret secret = {0};
    MU_CLEANUP(tpm_close) struct tpm *tpm = NULL;
    MU_CLEANUP(sealed_free) struct sealed sealed = {0};
    MU_CLEANUP(seal_policy_free) struct seal_policy policy = {0};
    struct arguments a;

    MU_TRY(parse_arguments(argc, argv, options, &a, err));
    if (a.file != NULL && a.public_file != NULL)
        return mu_fail(err, MU_USAGE, "FILE, or --public and --private, not both");
    if (a.public_file == NULL && (a.pcrs != 0 || a.bank != HASH_NONE))
        return mu_fail(err, MU_USAGE, "--pcr and --bank are for --public and --private");
    MU_TRY(check_output(&a, err));
    if (a.public_file == NULL)
        MU_TRY(load_json(a.file != NULL ? a.file : "-", &sealed, &policy, err));
    MU_TRY(tpm_open(a.tcti, deadline_in(TPM_SECONDS), &tpm, err));
    if (a.public_file != NULL)
        MU_TRY(load_pair(&a, tpm, &sealed, &policy, err));
    MU_TRY(tpm_unseal(tpm, &sealed, &policy, &secret, err));
    return file_write(a.output, secret_view(&secret), 0600, err);
}

const struct verb verb_seal = {
    .name = "seal",
    .synopsis = "[FILE] [OPTION...]",
    .summary = "seal a small secret to this machine's TPM and its PCRs",
    .help = seal_help,
    .run = run_seal,
};

const struct verb verb_unseal = {
    .name = "unseal",
    .synopsis = "[FILE] [OPTION...]",
    .summary = "give a sealed secret back, if the TPM agrees",
    .help = unseal_help,
    .run = run_unseal,
};
