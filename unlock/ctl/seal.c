/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "base/log.h"
#include "build/signing.h"
#include "build/terminal.h"
#include "ctl/ctl.h"
#include "measure/baseline.h"
#include "release/tpm2.h"

#define TPM_SECONDS 2
#define SEALED_FILE_MAX 65536

#define TCTI_HELP                                                                                  \
    "  --tcti TCTI      device:PATH or swtpm:host=H,port=N; default: $MU_TCTI, then the devices\n"

static const char seal_help[] =
    "Seals a secret of 1 to 128 bytes to this machine's TPM: it is given back on this machine "
    "only,\n"
    "and only while the PCRs have the values that are sealed in.\n"
    "\n"
    "  FILE             the secret, the whole file; default: standard input, or asked for\n"
    "  --pcr LIST       for the present values of these PCRs; default: 2,3,4,7,12,13,14\n"
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
    "  FILE             the JSON of 'muctl seal', or of 'muctl record show' for a volume with the\n"
    "                   provider tpm2 and an open fence; default: standard input\n"
    "  --public F       the two parts of an object with a PCR policy ...\n"
    "  --private F      ... instead of FILE; its parent must be the key of muctl(8)\n"
    "  --pcr LIST       with these: the PCRs of the policy; default: 2,3,4,7,12,13,14\n"
    "  --bank BANK      with these: sha256 or sha384; default: sha384 if the TPM has it\n"
    "  -o, --output F   the secret; default: standard output, unless that is a terminal\n"
    "  --force          even then\n" TCTI_HELP "\n"
    "Example: muctl unseal token.sealed | openssl enc -d -aes-256-cbc -pbkdf2 -pass stdin -in "
    "data\n";

struct arguments {
    const char *file, *pcr, *bank, *fence, *authorize, *output, *public_file, *private_file, *tcti;
    const char *path[SEAL_STATES_MAX]; /* --baseline */
    size_t baselines;
    bool force;
};

/* What they mean. */
struct request {
    uint32_t pcrs;
    enum hash_alg bank; /* HASH_NONE: what the TPM has */
    struct pcr_values baseline[SEAL_STATES_MAX];
    size_t baselines;
    int fence_pcr;
};

enum mu_status ctl_read_secret(const char *path, size_t max, struct secret *ret,
                               struct mu_error *err)
{
    MU_CLEANUP(buffer_wipe) struct buffer file = {0};
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
    *ret = MU_TAKE(secret);
    return MU_OK;
}

/* ---- arguments ---- */

static enum mu_status understand(const struct arguments *a, struct request *ret,
                                 struct mu_error *err)
{
    unsigned fence_pcr = 0;

    *ret = (struct request){.fence_pcr = TPM2_NO_FENCE, .pcrs = BASELINE_PCRS};
    if ((a->public_file == NULL) != (a->private_file == NULL))
        return mu_fail(err, MU_USAGE, "--public and --private go together");
    if (a->baselines > 0 && (a->pcr != NULL || a->bank != NULL))
        return mu_fail(err, MU_USAGE, "--baseline says which PCRs: no --pcr or --bank with it");
    if (a->authorize != NULL && a->public_file != NULL)
        return mu_fail(err, MU_USAGE, "--authorize: the signed policies have a place in JSON only");
    if (a->pcr != NULL)
        MU_TRY(ctl_pcr_list(a->pcr, &ret->pcrs, err));
    MU_TRY(ctl_fence_pcr(a->fence, &fence_pcr, err));
    if (a->fence != NULL)
        ret->fence_pcr = (int)fence_pcr;
    ret->bank = a->bank != NULL ? hash_from_name(a->bank) : HASH_NONE;
    if (a->bank != NULL && ret->bank != HASH_SHA256 && ret->bank != HASH_SHA384)
        return mu_fail(err, MU_USAGE, "--bank \"%s\": must be sha256 or sha384", a->bank);
    for (; ret->baselines < a->baselines; ret->baselines++)
        MU_TRY(baseline_load(a->path[ret->baselines], &ret->baseline[ret->baselines], err));
    return MU_OK;
}

/* ---- the policy ---- */

/* The PCRs as they are now. */
static enum mu_status present_state(struct request *q, struct tpm *tpm, struct mu_error *err)
{
    struct tpm_banks banks;

    MU_TRY(tpm_banks(tpm, &banks, err));
    for (size_t i = 0; i < banks.count && q->bank == HASH_NONE; i++)
        if (banks.bank[i].alg == HASH_SHA384 && banks.bank[i].mask != 0)
            q->bank = HASH_SHA384;
    q->baselines = 1;
    return tpm_pcr_read(tpm, q->bank != HASH_NONE ? q->bank : HASH_SHA256, q->pcrs, &q->baseline[0],
                        err);
}

static enum mu_status sign(const char *path, struct seal_policy *policy, struct mu_error *err)
{
    MU_CLEANUP(key_free) EVP_PKEY *key = NULL;

    if (path == NULL)
        return MU_OK;
    MU_TRY(signing_load_key(path, &key, err));
    return seal_authorize(policy, key, err);
}

/* ---- seal ---- */

static enum mu_status add_baseline(json_object *list, const struct pcr_values *values,
                                   struct mu_error *err)
{
    json_object *item = NULL;

    MU_TRY(baseline_to_json(values, &item, err));
    return json_append(list, item) ? MU_OK : mu_oom(err);
}

static enum mu_status print_sealed(const char *path, const struct request *q,
                                   const struct sealed *sealed, const struct seal_policy *policy,
                                   struct mu_error *err)
{
    MU_CLEANUP(json_free) json_object *object = json_object_new_object();
    json_object *list = json_object_new_array();
    json_object *data = NULL;

    if (!json_add(object, "baselines", list))
        return mu_oom(err);
    for (size_t i = 0; i < q->baselines; i++)
        MU_TRY(add_baseline(list, &q->baseline[i], err));
    MU_TRY(tpm2_to_json(sealed, policy, q->fence_pcr, &data, err));
    if (!json_add(object, "tpm2", data))
        return mu_oom(err);
    return cli_print_json(path, object, err);
}

static enum mu_status run_seal(int argc, char **argv, struct mu_error *err)
{
    MU_CLEANUP(secret_free) struct secret secret = {0};
    MU_CLEANUP(tpm_close) struct tpm *tpm = NULL;
    MU_CLEANUP(sealed_free) struct sealed sealed = {0};
    MU_CLEANUP(seal_policy_free) struct seal_policy policy = {0};
    struct arguments a = {.output = "-", .tcti = getenv("MU_TCTI")};
    const struct cli_option options[] = {
        {"pcr", 0, .text = &a.pcr},
        {"bank", 0, .text = &a.bank},
        {"baseline", 0, .text = a.path, .count = &a.baselines, .max = SEAL_STATES_MAX},
        {"fence-pcr", 0, .text = &a.fence},
        {"authorize", 0, .text = &a.authorize},
        {"output", 'o', .text = &a.output},
        {"public", 0, .text = &a.public_file},
        {"private", 0, .text = &a.private_file},
        {"tcti", 0, .text = &a.tcti},
        {0},
    };
    struct request q;

    MU_TRY(cli_options(argc, argv, options, 0, 1, err));
    MU_TRY(understand(&a, &q, err));
    if (optind == argc && isatty(STDIN_FILENO))
        MU_TRY(terminal_ask("Secret: ", &secret, err));
    else
        MU_TRY(ctl_read_secret(optind < argc ? argv[optind] : "-", SEAL_MAX, &secret, err));
    MU_TRY(tpm_open(a.tcti, deadline_in(TPM_SECONDS), &tpm, err));
    if (q.baselines == 0)
        MU_TRY(present_state(&q, tpm, err));
    MU_TRY(tpm2_policy(q.baseline, q.baselines, q.fence_pcr, &policy, err));
    MU_TRY(sign(a.authorize, &policy, err));
    MU_TRY(tpm_seal(tpm, secret_view(&secret), &policy, &sealed, err));
    if (a.public_file == NULL)
        return print_sealed(a.output, &q, &sealed, &policy, err);
    MU_TRY(file_write(a.public_file, buffer_view(&sealed.public_area), 0644, err));
    return file_write(a.private_file, buffer_view(&sealed.private_area), 0600, err);
}

/* ---- unseal ---- */

static enum mu_status parse_sealed(json_object *object, struct sealed *ret,
                                   struct seal_policy *ret_policy, struct mu_error *err)
{
    struct pcr_values baseline[SEAL_STATES_MAX];
    json_object *list, *data;
    size_t count;
    int fence_pcr;

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

static enum mu_status load_pair(const struct arguments *a, struct request *q, struct tpm *tpm,
                                struct sealed *ret, struct seal_policy *ret_policy,
                                struct mu_error *err)
{
    MU_TRY(file_read(a->public_file, SEAL_PART_MAX, &ret->public_area, err));
    MU_TRY(file_read(a->private_file, SEAL_PART_MAX, &ret->private_area, err));
    MU_TRY(present_state(q, tpm, err));
    return tpm2_policy(q->baseline, q->baselines, TPM2_NO_FENCE, ret_policy, err);
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
    MU_CLEANUP(secret_free) struct secret secret = {0};
    MU_CLEANUP(tpm_close) struct tpm *tpm = NULL;
    MU_CLEANUP(sealed_free) struct sealed sealed = {0};
    MU_CLEANUP(seal_policy_free) struct seal_policy policy = {0};
    struct arguments a = {.file = "-", .output = "-", .tcti = getenv("MU_TCTI")};
    const struct cli_option options[] = {
        {"public", 0, .text = &a.public_file},
        {"private", 0, .text = &a.private_file},
        {"pcr", 0, .text = &a.pcr},
        {"bank", 0, .text = &a.bank},
        {"output", 'o', .text = &a.output},
        {"force", 0, .flag = &a.force},
        {"tcti", 0, .text = &a.tcti},
        {0},
    };
    struct request q;

    MU_TRY(cli_options(argc, argv, options, 0, 1, err));
    if (optind < argc)
        a.file = argv[optind];
    if (optind < argc && a.public_file != NULL)
        return mu_fail(err, MU_USAGE, "FILE, or --public and --private, not both");
    if (a.public_file == NULL && (a.pcr != NULL || a.bank != NULL))
        return mu_fail(err, MU_USAGE, "--pcr and --bank are for --public and --private");
    MU_TRY(understand(&a, &q, err));
    MU_TRY(check_output(&a, err));
    if (a.public_file == NULL)
        MU_TRY(load_json(a.file, &sealed, &policy, err));
    MU_TRY(tpm_open(a.tcti, deadline_in(TPM_SECONDS), &tpm, err));
    if (a.public_file != NULL)
        MU_TRY(load_pair(&a, &q, tpm, &sealed, &policy, err));
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
