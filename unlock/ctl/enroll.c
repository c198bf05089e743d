/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "ctl/enroll.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "appraise/authorities.h"
#include "base/config.h"
#include "base/log.h"
#include "build/signing.h"
#include "build/terminal.h"
#include "ctl/credentials.h"
#include "ctl/ctl.h"
#include "release/kms.h"
#include "volume/luks_header.h"

#define KEY_FILE_MAX 8192
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
    "                          token of 'mu-verifier serve'\n"
    "  --key-arn ARN           a KMS key (aws-kms); up to 16 times: the boot asks that of its own\n"
    "                          region first, then the others in this order. Replicas of one\n"
    "                          multi-Region key share what is encrypted\n"
    "  --credentials F         what 'aws configure export-credentials' printed; - is standard "
    "input\n"
    "                          (aws-kms)\n"
    "  --authorize F           a private key, ECDSA with P-256 or P-384, that signs what the TPM\n"
    "                          accepts, so that --resign can change the baselines (tpm2)\n"
    "  --counter NV-INDEX      of a counter in the TPM, such as 0x01804d55, which is made if it is "
    "not\n"
    "                          there: 'muctl revoke' then takes older records out of use for "
    "good;\n"
    "                          'none': no counter; default: as in the present record (tpm2)\n"
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
    "  --sign-key KEY          the image builder's private key: a PEM file, the ARN of a KMS key,\n"
    "                          pkcs11:URI or exec:COMMAND (see SIGNING KEYS in muctl(8))\n"
    "  --builder-key F         its public half, PEM; needed unless --sign-key is a file\n"
    "  --present-key F         the public half of the builder's key that signed the present "
    "record,\n"
    "                          if it is another: the record moves to the new one\n"
    "  --key-file F            a passphrase of the volume, the whole file; - is standard input;\n"
    "                          without it the passphrase is asked for on the terminal\n"
    "  --volume-key-file F     the volume key itself instead\n"
    "  --resign                other baselines for the present record, and nothing else changes: "
    "no\n"
    "                          passphrase, no provider; with tpm2 if it was enrolled with "
    "--authorize.\n"
    "                          With --key-arn another list of keys: those of the record and their\n"
    "                          replicas, in any order; the baselines may then stay as they are\n"
    "  --record-version N      default: one more than the present record has, if this key signed "
    "it,\n"
    "                          and at least the configuration's minimum_record_version\n"
    "  --volume NAME           the [volume NAME] that this volume will be, and no other; default: "
    "the\n"
    "                          only one of the configuration; without a configuration: root\n"
    "  --device-size BYTES     of the device, if DEVICE is a copy of its header without a record\n"
    "  --config F              default: /etc/measured-unlock/measured-unlock.conf if it is there\n"
    "  --endpoint URL          KMS endpoint instead of the configured one, or several as the\n"
    "                          configuration has them: REGION=URL,REGION=URL\n"
    "  --ca-file F             trusted TLS roots of KMS or Vault instead of the configured ones\n"
    "  --json                  report the new record's key data\n"
    "\n"
    "AWS credentials: of --credentials, or AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and\n"
    "AWS_SESSION_TOKEN, or else the instance's role (IMDSv2). Vault: VAULT_TOKEN.\n"
    "\n"
    "Example: muctl enroll /dev/nvme1n1p2 --key-arn "
    "arn:aws:kms:eu-west-1:111122223333:key/1234...\n"
    "             --baseline golden.json --sign-key builder.key\n";

struct arguments {
    const char *device;
    const char *key_arn[KMS_KEYS_MAX];
    size_t key_arns;
    const char *baseline[RECORD_BASELINES_MAX];
    size_t baselines;
    const char *sign_key, *builder_key, *present_key;
    const char *key_file;
    const char *volume_key_file;
    uint64_t record_version, device_size; /* 0: not given */
    const char *volume;
    const char *config;
    const char *endpoint;
    const char *ca_file;
    const char *provider;
    const char *tcti;
    const char *authorize;
    const char *counter;
    const char *credentials;
    struct enroll_vault vault;
    bool resign;
    bool json;
};

static enum mu_status check_kms(const struct arguments *a, bool kms, struct mu_error *err)
{
    bool keys_alone = a->resign && a->key_arns > 0;

    if ((a->baselines == 0 && !keys_alone) || a->sign_key == NULL ||
        (kms && !a->resign && a->key_arns == 0))
        return mu_fail(err, MU_USAGE,
                       "%s--baseline and --sign-key are needed; see 'muctl enroll --help'",
                       kms && !a->resign ? "--key-arn, " : "");
    if (a->key_arns > 0 && !kms)
        return mu_fail(err, MU_USAGE, "--key-arn has no meaning for this provider");
    if (a->credentials != NULL && !signer_is_kms(a->sign_key) && (!kms || a->resign))
        return mu_fail(err, MU_USAGE, "--credentials has no meaning %s",
                       a->resign ? "with --resign" : "for this provider");
    return MU_OK;
}

/* MU_USAGE if an option is missing, or has no meaning with this provider. */
static enum mu_status check_provider(const struct arguments *a, struct mu_error *err)
{
    bool kms = strcmp(a->provider, PROVIDER_AWS_KMS) == 0;
    bool tpm2 = strcmp(a->provider, TPM2) == 0;
    bool vault = strcmp(a->provider, VAULT) == 0;

    if (!kms && !tpm2 && !vault)
        return mu_fail(err, MU_USAGE,
                       "provider '%s' is not known; " PROVIDER_AWS_KMS ", " TPM2 " and " VAULT
                       " are",
                       a->provider);
    MU_TRY(check_kms(a, kms, err));
    MU_TRY(enroll_vault_check(&a->vault, vault, a->resign, err));
    if (a->authorize != NULL && !tpm2 && !a->resign)
        return mu_fail(err, MU_USAGE, "--authorize is for the provider " TPM2);
    if (a->counter != NULL && (!tpm2 || a->resign))
        return mu_fail(err, MU_USAGE, "--counter %s",
                       a->resign ? "has no meaning with --resign: the counter stays the same"
                                 : "is for the provider " TPM2);
    if (a->resign && (a->key_file != NULL || a->volume_key_file != NULL))
        return mu_fail(err, MU_USAGE, "--resign needs no key of the volume");
    return MU_OK;
}

static bool is_standard_input(const char *path)
{
    return path != NULL && strcmp(path, "-") == 0;
}

static enum mu_status parse_arguments(int argc, char **argv, struct arguments *ret,
                                      struct mu_error *err)
{
    struct arguments a = {.provider = PROVIDER_AWS_KMS, .tcti = getenv("MU_TCTI")};
    const struct cli_option options[] = {
        {"provider", 0, .text = &a.provider},
        {"key-arn", 0, .text = a.key_arn, .count = &a.key_arns, .max = KMS_KEYS_MAX},
        {"credentials", 0, .text = &a.credentials},
        {"authorize", 0, .text = &a.authorize},
        {"counter", 0, .text = &a.counter},
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
        {"builder-key", 0, .text = &a.builder_key},
        {"present-key", 0, .text = &a.present_key},
        {"key-file", 0, .text = &a.key_file},
        {"volume-key-file", 0, .text = &a.volume_key_file},
        {"resign", 0, .flag = &a.resign},
        {"record-version", 0, .number = &a.record_version, .from = 1, .to = INT64_MAX - 1},
        {"volume", 0, .text = &a.volume},
        {"device-size", 0, .number = &a.device_size, .from = 1, .to = INT64_MAX},
        {"config", 0, .text = &a.config},
        {"endpoint", 0, .text = &a.endpoint},
        {"ca-file", 0, .text = &a.ca_file},
        {"json", 0, .flag = &a.json},
        {0},
    };

    MU_TRY(cli_options(argc, argv, options, 1, 1, err));
    a.device = argv[optind];
    MU_TRY(check_provider(&a, err));
    if (a.key_file != NULL && a.volume_key_file != NULL)
        return mu_fail(err, MU_USAGE, "--key-file or --volume-key-file, not both");
    if (is_standard_input(a.credentials) &&
        (is_standard_input(a.key_file) || is_standard_input(a.volume_key_file)))
        return mu_fail(err, MU_USAGE, "standard input holds one thing: the credentials or the key");
    *ret = a;
    return MU_OK;
}

/* ---- configuration ---- */

/* If there is no configuration, as on a builder: what the system trusts. */
static struct provider_options choose_options(const struct arguments *a,
                                              const struct config *config)
{
    struct provider_options options = config_provider_options(config);

    if (config->volumes == 0)
        options = (struct provider_options){
            .fence_pcr = FENCE_DEFAULT,
            .aws = {.imds = IMDS_DEFAULT_URL, .ca_file = authorities_file()},
            .vault = {.ca_file = authorities_file()}};
    if (a->endpoint != NULL)
        options.aws.kms_endpoint = a->endpoint;
    if (a->ca_file != NULL)
        options.aws.ca_file = options.vault.ca_file = a->ca_file;
    return options;
}

/* Which volume it is goes into the record. Without a configuration it is the root, which every
 * image has: a data volume of that name does not open as one, which the first boot shows. */
static enum mu_status choose_volume(const struct config *config, const char **name,
                                    struct mu_error *err)
{
    if (*name == NULL && config->volumes > 1)
        return mu_fail(err, MU_USAGE,
                       "--volume NAME is needed: the record says under which [volume NAME] of "
                       "measured-unlock.conf this volume opens, and there are several");
    if (*name == NULL) {
        *name = config->volumes == 1 ? config->volume[0].name : "root";
        log_line("to be opened as [volume %s] and no other; --volume names another", *name);
    }
    if (!ini_is_name(*name))
        return mu_fail(err, MU_USAGE, "--volume '%.80s': not a valid name of a [volume NAME]",
                       *name);
    return MU_OK;
}

static enum mu_status check_volume(const struct config *config, const char *name,
                                   const char *provider, struct mu_error *err)
{
    if (config->volumes == 0)
        return MU_OK; /* no configuration */
    for (size_t i = 0; i < config->volumes; i++)
        if (strcmp(config->volume[i].name, name) == 0) {
            if (strcmp(config->volume[i].provider, provider) == 0)
                return MU_OK;
            return mu_fail(err, MU_CONFIG, "[volume %s] wants the provider %s", name,
                           config->volume[i].provider);
        }
    return mu_fail(err, MU_CONFIG, "the configuration has no [volume %s]", name);
}

static enum mu_status load_config(struct arguments *a, struct config *ret, struct mu_error *err)
{
    MU_CLEANUP(config_free) struct config config = {0};

    if (a->config != NULL)
        MU_TRY(config_load(a->config, &config, err));
    else if (access(CONFIG_DEFAULT_PATH, F_OK) == 0)
        MU_TRY(config_load(CONFIG_DEFAULT_PATH, &config, err));
    if (!a->resign) {
        MU_TRY(choose_volume(&config, &a->volume, err));
        MU_TRY(check_volume(&config, a->volume, a->provider, err));
    }
    if (a->record_version != 0 && (int64_t)a->record_version < config.minimum_record_version)
        return mu_fail(err, MU_CONFIG,
                       "record version %" PRIu64 " is older than %" PRId64
                       ", the least that the image will accept",
                       a->record_version, config.minimum_record_version);
    *ret = MU_TAKE(config);
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
    if (a->key_file != NULL) {
        MU_TRY(ctl_read_secret(a->key_file, KEY_FILE_MAX, ret, err));
        if (ret->data[ret->len - 1] == '\n')
            log_line("--key-file %s ends with a newline, which is part of the passphrase and "
                     "cannot be typed at a prompt; make the file with printf, not echo",
                     a->key_file);
        return MU_OK;
    }
    (void)snprintf(prompt, sizeof(prompt), "Passphrase of %.200s: ", a->device);
    return terminal_ask(prompt, ret, err);
}

/* ---- the verb ---- */

static enum mu_status print_report(const struct arguments *a, const struct record *record,
                                   struct mu_error *err)
{
    MU_CLEANUP(json_free) json_object *object = NULL;

    if (!a->json) {
        (void)printf("%s: enrolled as volume '%s' with key slot %d, record version %lld\n"
                     "Check with: muctl record show %s --key <builder's public key>\n"
                     "            muctl header check %s\n",
                     a->device, record->volume_name, record->keyslot, (long long)record->version,
                     a->device, a->device);
        return MU_OK;
    }
    MU_TRY(record_to_json(record, &object, err));
    if (!json_add(object, "ok", json_object_new_boolean(true)) ||
        !json_add_text(object, "device", a->device))
        return mu_oom(err);
    return cli_print_json("-", object, err);
}

static enroll_seal seal_of(const char *provider)
{
    if (strcmp(provider, VAULT) == 0)
        return enroll_with_vault;
    return strcmp(provider, TPM2) == 0 ? enroll_with_tpm2 : enroll_with_aws_kms;
}

static enum mu_status enroll_run(int argc, char **argv, struct mu_error *err)
{
    MU_CLEANUP(config_free) struct config config = {0};
    MU_CLEANUP(signer_free) struct signer signer = {0};
    MU_CLEANUP(key_free) EVP_PKEY *present_key = NULL;
    MU_CLEANUP(key_free) EVP_PKEY *authority = NULL;
    MU_CLEANUP(secret_free) struct secret secret = {0};
    MU_CLEANUP(aws_credentials_free) struct aws_credentials credentials = {0};
    MU_CLEANUP(string_free) char *device = NULL;
    MU_CLEANUP(record_free) struct record record = {0};
    struct pcr_values baselines[RECORD_BASELINES_MAX] = {0};
    struct provider_options options;
    struct arguments a = {0};
    struct enroll_context context = {.options = &options, .vault = &a.vault};

    MU_TRY(parse_arguments(argc, argv, &a, err));
    MU_TRY(load_config(&a, &config, err));
    context.key_arn = a.key_arn;
    context.key_arns = a.key_arns;
    MU_TRY(enroll_check_keys(&context, err));
    options = choose_options(&a, &config);
    MU_TRY(load_baselines(&a, options.fence_pcr, baselines, err));
    if (a.credentials != NULL) {
        MU_TRY(ctl_read_credentials(a.credentials, &credentials, err));
        context.credentials = &credentials;
    }
    MU_TRY(ctl_open_signer(
        &(struct signer_arguments){a.sign_key, a.builder_key, context.credentials, &options.aws},
        &signer, err));
    if (context.credentials == NULL && signer_is_kms(a.sign_key))
        context.credentials = &signer.found;
    if (a.present_key != NULL)
        MU_TRY(signature_load_key(a.present_key, NULL, &present_key, err));
    if (a.authorize != NULL)
        MU_TRY(signing_load_key(a.authorize, &authority, err));
    MU_TRY(ctl_device(a.device, &device, err));
    if (!a.resign)
        MU_TRY(get_secret(&a, &secret, err));

    context.tcti = a.tcti != NULL ? a.tcti : config.tcti;
    context.authority = authority;
    context.counter = a.counter;

    struct enroll_request request = {
        .device = device,
        .volume = a.volume,
        .device_size = a.device_size,
        .passphrase = a.volume_key_file == NULL ? &secret : NULL,
        .volume_key = a.volume_key_file != NULL ? &secret : NULL,
        .record_version = (int64_t)a.record_version,
        .minimum_version = config.minimum_record_version,
        .baseline = baselines,
        .baselines = a.baselines,
        .signer = &signer,
        .present_key = present_key,
        .seal = seal_of(a.provider),
        .seal_context = &context,
    };

    if (a.resign) {
        request.seal = enroll_resigned;
        MU_TRY(enroll_resign(&request, &record, err));
    } else {
        MU_TRY(enroll_volume(&request, &record, err));
    }
    return print_report(&a, &record, err);
}

const struct verb verb_enroll = {
    .name = "enroll",
    .synopsis = "DEVICE [--provider P] --baseline F... --sign-key KEY [OPTION...]",
    .summary = "add a key slot to a volume and write its enrolment record",
    .help = help,
    .run = enroll_run,
};
