/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "ctl/enroll.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/terminal.h"
#include "ctl/ctl.h"
#include "measure/signature.h"
#include "release/kms.h"
#include "volume/volume.h"

#define KEY_FILE_MAX 8192
#define AWS_KMS "aws-kms"
#define TPM2 "tpm2"
#define VAULT "vault"

static const char help[] =
    "Adds a key slot for a fresh random key to a LUKS2 volume, has the key encrypted by the\n"
    "provider, and writes the signed enrolment record into the LUKS2 header. A record that is\n"
    "there already is replaced, and its key slot removed last. Other key slots stay as they are.\n"
    "\n"
    "  --provider P            aws-kms (default), tpm2 or vault. tpm2: sealed to the TPM of this\n"
    "                          machine for the PCRs of the baselines, which need not be the "
    "present\n"
    "                          ones, and an open fence. vault: HashiCorp Vault or OpenBao, by a\n"
    "                          token of 'muctl verifier'\n"
    "  --key-arn ARN           the KMS key (aws-kms)\n"
    "  --authorize F           a private key, ECDSA with P-256 or P-384, that signs what the TPM\n"
    "                          accepts, so that --resign can change the baselines (tpm2)\n"
    "  --tcti TCTI             device:PATH or swtpm:host=H,port=N; default: $MU_TCTI, or as\n"
    "                          configured (tpm2)\n"
    "  --verifier URL          the verifier that will attest to the machine (vault)\n"
    "  --vault URL             the server (vault)\n"
    "  --vault-role R          the role of its JWT auth method that the machine will log in to\n"
    "  --vault-kv MOUNT/PATH[#FIELD]\n"
    "                          KV version 2: the key is written there, in FIELD (default: key); "
    "or\n"
    "  --vault-transit MOUNT/KEY\n"
    "                          the key is encrypted by that key of the transit engine\n"
    "  --vault-cas N           version N of the KV secret is there and gets a successor; default "
    "0:\n"
    "                          nothing may be there\n"
    "  --vault-namespace N     default: none\n"
    "  --vault-auth-mount M    where the JWT auth method is mounted; default: jwt\n"
    "  --vault-wrap-ttl S      the machine asks for the key by response wrapping, for S seconds\n"
    "  --baseline F            a complete baseline that may boot the volume; up to 8 times\n"
    "  --sign-key F            the image builder's private key, PEM\n"
    "  --key-file F            a passphrase of the volume, the whole file; - is standard input;\n"
    "                          without it the passphrase is asked for on the terminal\n"
    "  --volume-key-file F     the volume key itself instead\n"
    "  --resign                other baselines for the present record, and nothing else changes: "
    "no\n"
    "                          passphrase, no provider; with tpm2 if it was enrolled with "
    "--authorize\n"
    "  --record-version N      default: one more than the present record has\n"
    "  --volume NAME           the [volume NAME] of the configuration that this volume will be\n"
    "  --config F              default: /etc/measured-unlock/measured-unlock.conf if it is there\n"
    "  --endpoint URL          KMS endpoint instead of the configured one\n"
    "  --ca-file F             trusted TLS roots of KMS or Vault instead of the configured ones\n"
    "  --json                  report the new record's key data\n"
    "\n"
    "AWS credentials: AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and AWS_SESSION_TOKEN, or else the\n"
    "instance's role (IMDSv2). Vault: VAULT_TOKEN.\n"
    "\n"
    "Example: muctl enroll /dev/nvme1n1p2 --key-arn "
    "arn:aws:kms:eu-west-1:111122223333:key/1234...\n"
    "             --baseline golden.json --sign-key builder.key\n";

struct arguments {
    const char *device;
    const char *key_arn;
    const char *baseline[RECORD_BASELINES_MAX];
    size_t baselines;
    const char *sign_key;
    const char *key_file;
    const char *volume_key_file;
    const char *version;
    uint64_t record_version;
    const char *volume;
    const char *config;
    const char *endpoint;
    const char *ca_file;
    const char *provider;
    const char *tcti;
    const char *authorize;
    struct enroll_vault vault;
    bool resign;
    bool json;
};

/* Each option where it means something. */
static enum mu_status check_provider(const struct arguments *a, struct mu_error *err)
{
    bool kms = strcmp(a->provider, AWS_KMS) == 0;
    bool tpm2 = strcmp(a->provider, TPM2) == 0;
    bool vault = strcmp(a->provider, VAULT) == 0;

    if (!kms && !tpm2 && !vault)
        return mu_fail(err, MU_USAGE,
                       "provider '%s' is not known; " AWS_KMS ", " TPM2 " and " VAULT " are",
                       a->provider);
    if (a->baselines == 0 || a->sign_key == NULL || (kms && !a->resign && a->key_arn == NULL))
        return mu_fail(err, MU_USAGE,
                       "%s--baseline and --sign-key are needed; see 'muctl enroll --help'",
                       kms && !a->resign ? "--key-arn, " : "");
    if (a->key_arn != NULL && (!kms || a->resign))
        return mu_fail(err, MU_USAGE, "--key-arn has no meaning %s",
                       a->resign ? "with --resign" : "for this provider");
    MU_TRY(enroll_vault_check(&a->vault, vault, a->resign, err));
    if (a->authorize != NULL && !tpm2 && !a->resign)
        return mu_fail(err, MU_USAGE, "--authorize is for the provider " TPM2);
    if (a->resign && (a->key_file != NULL || a->volume_key_file != NULL))
        return mu_fail(err, MU_USAGE, "--resign needs no key of the volume");
    return MU_OK;
}

static enum mu_status parse_arguments(int argc, char **argv, struct arguments *ret,
                                      struct mu_error *err)
{
    struct arguments a = {.provider = AWS_KMS, .tcti = getenv("MU_TCTI")};
    const struct ctl_option options[] = {
        {"provider", 0, .text = &a.provider},
        {"key-arn", 0, .text = &a.key_arn},
        {"authorize", 0, .text = &a.authorize},
        {"tcti", 0, .text = &a.tcti},
        {"verifier", 0, .text = &a.vault.verifier},
        {"vault", 0, .text = &a.vault.address},
        {"vault-role", 0, .text = &a.vault.role},
        {"vault-kv", 0, .text = &a.vault.kv},
        {"vault-transit", 0, .text = &a.vault.transit},
        {"vault-cas", 0, .text = &a.vault.cas},
        {"vault-namespace", 0, .text = &a.vault.scope},
        {"vault-auth-mount", 0, .text = &a.vault.auth_mount},
        {"vault-wrap-ttl", 0, .text = &a.vault.wrap_ttl},
        {"baseline", 0, .text = a.baseline, .count = &a.baselines, .max = RECORD_BASELINES_MAX},
        {"sign-key", 0, .text = &a.sign_key},
        {"key-file", 0, .text = &a.key_file},
        {"volume-key-file", 0, .text = &a.volume_key_file},
        {"resign", 0, .flag = &a.resign},
        {"record-version", 0, .text = &a.version},
        {"volume", 0, .text = &a.volume},
        {"config", 0, .text = &a.config},
        {"endpoint", 0, .text = &a.endpoint},
        {"ca-file", 0, .text = &a.ca_file},
        {"json", 0, .flag = &a.json},
        {0},
    };

    MU_TRY(ctl_options(argc, argv, options, 1, 1, err));
    a.device = argv[optind];
    if (a.version != NULL && (!luks_number(a.version, &a.record_version) || a.record_version == 0 ||
                              a.record_version >= INT64_MAX))
        return mu_fail(err, MU_USAGE, "--record-version '%s' is not a number from 1 on", a.version);
    MU_TRY(check_provider(&a, err));
    if (a.key_file != NULL && a.volume_key_file != NULL)
        return mu_fail(err, MU_USAGE, "--key-file or --volume-key-file, not both");
    *ret = a;
    return MU_OK;
}

/* ---- configuration ---- */

static enum mu_status set_text(char **to, const char *text, struct mu_error *err)
{
    char *copy = strdup(text);

    if (copy == NULL)
        return mu_oom(err);
    free(*to);
    *to = copy;
    return MU_OK;
}

/* Where there is no configuration, as on a builder: what the system trusts. */
static enum mu_status default_config(struct config *config, struct mu_error *err)
{
    static const char *const bundles[] = {"/etc/ssl/certs/ca-certificates.crt",
                                          "/etc/pki/tls/certs/ca-bundle.crt"};

    config->fence_pcr = 15;
    config->minimum_record_version = 1;
    MU_TRY(set_text(&config->imds, "http://169.254.169.254", err));
    for (size_t i = 0; i < 2 && config->ca_file == NULL; i++)
        if (access(bundles[i], R_OK) == 0)
            MU_TRY(set_text(&config->ca_file, bundles[i], err));
    return config->ca_file != NULL ? set_text(&config->vault_ca_file, config->ca_file, err) : MU_OK;
}

static enum mu_status check_volume(const struct config *config, const char *name,
                                   const char *provider, struct mu_error *err)
{
    for (size_t i = 0; i < config->volumes; i++)
        if (strcmp(config->volume[i].name, name) == 0) {
            if (strcmp(config->volume[i].provider, provider) == 0)
                return MU_OK;
            return mu_fail(err, MU_CONFIG, "[volume %s] wants the provider %s", name,
                           config->volume[i].provider);
        }
    return mu_fail(err, MU_CONFIG, "the configuration has no [volume %s]", name);
}

static enum mu_status load_config(const struct arguments *a, struct config *ret,
                                  struct mu_error *err)
{
    MU_CLEANUP(config_free) struct config config = {0};

    if (a->config != NULL)
        MU_TRY(config_load(a->config, &config, err));
    else if (access(CONFIG_DEFAULT_PATH, F_OK) == 0)
        MU_TRY(config_load(CONFIG_DEFAULT_PATH, &config, err));
    else
        MU_TRY(default_config(&config, err));
    if (a->volume != NULL && !a->resign)
        MU_TRY(check_volume(&config, a->volume, a->provider, err));
    if (a->endpoint != NULL)
        MU_TRY(set_text(&config.kms_endpoint, a->endpoint, err));
    if (a->ca_file != NULL) {
        MU_TRY(set_text(&config.ca_file, a->ca_file, err));
        MU_TRY(set_text(&config.vault_ca_file, a->ca_file, err));
    }
    if (a->record_version != 0 && (int64_t)a->record_version < config.minimum_record_version)
        return mu_fail(err, MU_CONFIG,
                       "record version %" PRIu64 " is older than %" PRId64
                       ", the least that the image will accept",
                       a->record_version, config.minimum_record_version);
    *ret = config;
    config = (struct config){0};
    return MU_OK;
}

static enum mu_status load_baselines(const struct arguments *a, unsigned fence_pcr,
                                     struct pcr_values *ret, struct mu_error *err)
{
    for (size_t i = 0; i < a->baselines; i++) {
        MU_TRY(baseline_load(a->baseline[i], &ret[i], err));
        if (baseline_check_complete(&ret[i], fence_pcr, err) != MU_OK)
            return mu_context(err, "%s", a->baseline[i]);
    }
    return MU_OK;
}

/* ---- secrets ---- */

static enum mu_status get_secret(const struct arguments *a, struct secret *ret,
                                 struct mu_error *err)
{
    char prompt[256];

    if (a->volume_key_file != NULL)
        return ctl_read_secret(a->volume_key_file, KEY_FILE_MAX, ret, err);
    if (a->key_file != NULL)
        return ctl_read_secret(a->key_file, KEY_FILE_MAX, ret, err);
    (void)snprintf(prompt, sizeof(prompt), "Passphrase of %.200s: ", a->device);
    return terminal_ask(prompt, ret, err);
}

/* ---- the verb ---- */

static enum mu_status print_report(const struct arguments *a, const struct record *record,
                                   struct mu_error *err)
{
    MU_CLEANUP(json_free) json_object *object = NULL;

    if (!a->json) {
        (void)printf("%s: enrolled with key slot %d, record version %lld\n"
                     "Check with: muctl record show %s --key <builder's public key>\n"
                     "            muctl header check %s\n",
                     a->device, record->keyslot, (long long)record->version, a->device, a->device);
        return MU_OK;
    }
    MU_TRY(record_to_json(record, &object, err));
    if (json_object_object_add(object, "ok", json_object_new_boolean(true)) != 0 ||
        json_object_object_add(object, "device", json_object_new_string(a->device)) != 0)
        return mu_oom(err);
    return ctl_print_json("-", object, err);
}

static enroll_seal seal_of(const char *provider)
{
    if (strcmp(provider, VAULT) == 0)
        return enroll_with_vault;
    return strcmp(provider, TPM2) == 0 ? enroll_with_tpm2 : enroll_with_aws_kms;
}

static enum mu_status run(int argc, char **argv, struct mu_error *err)
{
    MU_CLEANUP(config_free) struct config config = {0};
    MU_CLEANUP(signature_key_free) EVP_PKEY *signing_key = NULL;
    MU_CLEANUP(signature_key_free) EVP_PKEY *authority = NULL;
    MU_CLEANUP(secret_free) struct secret secret = {0};
    MU_CLEANUP(string_free) char *device = NULL;
    MU_CLEANUP(record_free) struct record record = {0};
    struct pcr_values baselines[RECORD_BASELINES_MAX] = {0};
    struct arguments a = {0};
    char region[64];
    char partition[32];

    MU_TRY(parse_arguments(argc, argv, &a, err));
    MU_TRY(load_config(&a, &config, err));
    if (a.key_arn != NULL)
        MU_TRY(kms_parse_key_arn(a.key_arn, region, partition, err));
    MU_TRY(load_baselines(&a, config.fence_pcr, baselines, err));
    MU_TRY(signature_load_private_key(a.sign_key, &signing_key, err));
    if (a.authorize != NULL)
        MU_TRY(signature_load_private_key(a.authorize, &authority, err));
    MU_TRY(volume_find_device(a.device, deadline_in(0), &device, err));
    if (!a.resign)
        MU_TRY(get_secret(&a, &secret, err));

    struct enroll_context context = {.config = &config,
                                     .key_arn = a.key_arn,
                                     .tcti = a.tcti,
                                     .authority = authority,
                                     .vault = &a.vault};
    struct enroll_request request = {
        .device = device,
        .passphrase = a.volume_key_file == NULL ? &secret : NULL,
        .volume_key = a.volume_key_file != NULL ? &secret : NULL,
        .record_version = (int64_t)a.record_version,
        .minimum_version = config.minimum_record_version,
        .baseline = baselines,
        .baselines = a.baselines,
        .signing_key = signing_key,
        .seal = seal_of(a.provider),
        .seal_context = &context,
    };

    if (a.resign) {
        request.seal = enroll_resigned;
        MU_TRY(enroll_resign(&request, &record, err));
    } else {
        MU_TRY(enroll(&request, &record, err));
    }
    return print_report(&a, &record, err);
}

const struct verb verb_enroll = {
    .name = "enroll",
    .synopsis = "DEVICE [--provider P] --baseline F... --sign-key F [OPTION...]",
    .summary = "add a key slot to a volume and write its enrolment record",
    .help = help,
    .run = run,
};
