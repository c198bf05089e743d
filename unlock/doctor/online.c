/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "ctl/credentials.h"
#include "doctor/doctor.h"
#include "net/http.h"
#include "net/imds.h"
#include "release/kms_client.h"
#include "release/provider.h"
#include "tpm/fence.h"

#define PATIENCE_S 10
#define CONNECT_MS 5000
#define TOTAL_MS 10000
/* AWS refuses requests that are five minutes off. */
#define CLOCK_WARN_S 60
#define CLOCK_FAIL_S 300

/* The configured options, with the CA files' paths below the root that was given. */
struct reachable {
    struct provider_options options;
    char ca[DOCTOR_PATH_MAX], vault_ca[DOCTOR_PATH_MAX], verifier_ca[DOCTOR_PATH_MAX];
};

static const struct provider_options *reachable(const struct doctor *doctor, struct reachable *ret)
{
    const struct config *config = &doctor->config;

    doctor_path(doctor, config->aws.ca_file, ret->ca);
    if (access(ret->ca, R_OK) != 0)
        doctor_path(doctor, DOCTOR_ROOTS, ret->ca);
    doctor_path(doctor, config->vault.ca_file, ret->vault_ca);
    doctor_path(doctor, config->vault.verifier_ca_file, ret->verifier_ca);
    ret->options = config_provider_options(config);
    ret->options.aws.ca_file = ret->ca;
    ret->options.vault = (struct vault_options){ret->vault_ca, ret->verifier_ca};
    return &ret->options;
}

void doctor_check_credentials(struct doctor *doctor)
{
    MU_CLEANUP(aws_credentials_free) struct aws_credentials credentials = {0};
    struct mu_error err = {0};
    const char *from = "the environment (the builder's)";
    enum mu_status status = MU_CONFIG;

    if (!doctor_uses_kms(doctor)) {
        doctor->credentials = true;
        doctor_ok(doctor, "credentials", "none are needed: no volume's key comes from KMS");
        return;
    }
    if (doctor->role == ROLE_BUILD && doctor->credentials_file != NULL) {
        from = doctor->credentials_file;
        status = ctl_read_credentials(from, &credentials, &err);
    } else if (doctor->role == ROLE_BUILD) {
        status = aws_credentials_from_environment(&credentials, &err);
    }
    if (status != MU_OK && doctor->credentials_file == NULL) {
        from = "the instance's role";
        err = (struct mu_error){0};
        status = aws_credentials_from_imds(doctor->config.aws.imds, deadline_in(PATIENCE_S),
                                           &credentials, &err);
    }
    doctor->credentials = status == MU_OK;
    if (status == MU_OK)
        doctor_ok(doctor, "credentials", "of %s", from);
    else if (doctor->credentials_file != NULL)
        doctor_fail(doctor, status, "credentials",
                    "aws configure export-credentials, as the builder", "%s", err.text);
    else if (doctor->role == ROLE_BUILD)
        doctor_warn(doctor, "credentials",
                    "export AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY for muctl enroll, or give "
                    "--credentials",
                    "%s", err.text);
    else
        doctor_fail(doctor, status, "credentials",
                    "attach an instance profile whose role the key policy names; allow IMDSv2",
                    "%s", err.text);
}

static enum mu_status key_arn(const struct record *record, const char **ret, struct mu_error *err)
{
    if (strcmp(record->provider, PROVIDER_AWS_KMS) != 0)
        return mu_fail(err, MU_CONFIG, "its provider is '%s', not aws-kms", record->provider);
    return json_string(record->provider_data, "key_arn", 2048, MU_REFUSE, ret, err);
}

/* Any answer will do: KMS answers GET /ping without credentials. */
static enum mu_status ping(struct doctor *doctor, const struct record *record,
                           char url[static KMS_URL_MAX + 8], time_t *ret_date, struct mu_error *err)
{
    MU_CLEANUP(http_close) struct http *http = NULL;
    char base[KMS_URL_MAX], region[64], partition[32];
    struct reachable r;
    const struct provider_options *options = reachable(doctor, &r);
    struct http_response response = {0};
    struct http_request request = {.method = "GET",
                                   .url = url,
                                   .connect_ms = CONNECT_MS,
                                   .total_ms = TOTAL_MS,
                                   .deadline = deadline_in(PATIENCE_S)};
    const char *arn = NULL;

    MU_TRY(key_arn(record, &arn, err));
    MU_TRY(kms_parse_key_arn(arn, region, partition, err));
    MU_TRY(kms_endpoint(&options->aws, region, partition, base, err));
    (void)snprintf(url, KMS_URL_MAX + 8, "%sping", base);
    MU_TRY(http_open(r.ca, &http, err));
    MU_TRY(http_perform(http, &request, &response, err));
    *ret_date = response.date;
    return MU_OK;
}

static void check_clock(struct doctor *doctor, time_t server)
{
    static const char fix[] = "switch time synchronisation on: chronyc makestep, timedatectl";
    long long ahead = (long long)time(NULL) - (long long)server;

    if (server == 0)
        doctor_warn(doctor, "clock", fix, "not done: the server sent no date");
    else if (llabs(ahead) >= CLOCK_FAIL_S)
        doctor_fail(doctor, MU_CONFIG, "clock", fix,
                    "%lld s %s of KMS: its requests and certificates depend on the time",
                    llabs(ahead), ahead > 0 ? "ahead" : "behind");
    else if (llabs(ahead) >= CLOCK_WARN_S)
        doctor_warn(doctor, "clock", fix, "%lld s %s of KMS; five minutes are too much",
                    llabs(ahead), ahead > 0 ? "ahead" : "behind");
    else
        doctor_ok(doctor, "clock", "within %lld s of KMS's", llabs(ahead) + 1);
}

void doctor_check_connection(struct doctor *doctor, struct doctor_volume *volume)
{
    static const char fix[] = "security groups, routes and DNS must let HTTPS through to KMS; or a "
                              "VPC endpoint (kms_endpoint in [aws])";
    char url[KMS_URL_MAX + 8] = "";
    struct mu_error err = {0};
    time_t date = 0;
    enum mu_status status;

    if (!volume->verified)
        return;
    if (strcmp(volume->record.provider, "vault") == 0) {
        doctor_ask_vault(doctor, &volume->record);
        return;
    }
    if (strcmp(volume->record.provider, PROVIDER_AWS_KMS) != 0) {
        doctor_ok(doctor, "kms", "not asked: its provider is %s", volume->record.provider);
        return;
    }
    status = ping(doctor, &volume->record, url, &date, &err);
    if (status == MU_OK) {
        doctor_ok(doctor, "kms", "%s answers, its certificate is valid", url);
        doctor->volume_now = NULL; /* it is the machine's clock */
        check_clock(doctor, date);
    } else {
        doctor_fail(doctor, status, "kms", fix, "%s", err.text);
    }
}

void doctor_check_kms(struct doctor *doctor)
{
    for (size_t i = 0; i < doctor->config.volumes; i++)
        if (doctor->volume[i].verified)
            return;
    doctor_warn(doctor, "kms", "fix the record first",
                "not done: the record says which key and region");
}

static enum mu_status open_with(const struct doctor_volume *volume, const struct secret *key,
                                struct mu_error *err)
{
    MU_CLEANUP(secret_free) struct secret volume_key = {0};
    uint8_t identity[VOLUME_IDENTITY_SIZE];

    MU_TRY(volume_open_keyslot(&volume->header, volume->record.keyslot, key, &volume_key, err));
    MU_TRY(volume_identity(&volume_key, volume->header.uuid, identity, err));
    if (!bytes_equal((struct bytes){identity, sizeof(identity)},
                     (struct bytes){volume->record.volume_identity, VOLUME_IDENTITY_SIZE}))
        return mu_fail(err, MU_REFUSE, "volume identity differs from the record");
    return MU_OK;
}

/* As one boot does it, by the same code. */
static enum mu_status release(struct doctor *doctor, const struct record *record,
                              struct secret *ret_key, struct mu_error *err)
{
    struct reachable r;
    const struct provider_options *options = reachable(doctor, &r);
    struct provider_volume *volume = NULL;
    struct provider_session *session = NULL;
    const struct provider *provider;
    enum mu_status status;

    MU_TRY(provider_find(record->provider, &provider, err));
    MU_TRY(provider->start(options, deadline_in(PATIENCE_S), &session, err));
    status = provider->volume(session, record, &volume, err);
    if (status == MU_OK && provider->attest != NULL)
        status = provider->attest(session, doctor->tpm, err);
    if (status == MU_OK)
        status = provider->release(volume, doctor->tpm, ret_key, err);
    provider->finish(&session);
    return status;
}

static void check_open(struct doctor *doctor, const struct doctor_volume *volume)
{
    MU_CLEANUP(secret_free) struct secret key = {0};
    struct mu_error err = {0};

    if (release(doctor, &volume->record, &key, &err) != MU_OK)
        doctor_fail(doctor, err.status, "key",
                    "muctl policy lint; the policy must admit this role, these PCRs, this context",
                    "the fence is open, but the key was not released: %s", err.text);
    else if ((volume->record.by_instance &&
              record_check_mac(&volume->record, &key, &err) != MU_OK) ||
             open_with(volume, &key, &err) != MU_OK)
        doctor_fail(doctor, err.status, "key", "muctl enroll DEVICE adds the key slot again",
                    "the key was released, but %s", err.text);
    else
        doctor_ok(doctor, "key", "released, and opens key slot %d; the fence is open",
                  volume->record.keyslot);
}

/* The words of KMS, the TPM, a verifier and Vault. */
static bool denied(const struct mu_error *err)
{
    return err->status == MU_REFUSE && (strstr(err->text, "AccessDenied") != NULL ||
                                        strstr(err->text, "the policy does not hold") != NULL ||
                                        strstr(err->text, "verifier answered HTTP 403") != NULL ||
                                        strstr(err->text, "does not admit this machine") != NULL);
}

/* The fence at work: what is now refused would have been granted before. */
static void check_closed(struct doctor *doctor, const struct doctor_volume *volume)
{
    MU_CLEANUP(secret_free) struct secret key = {0};
    struct mu_error err = {0};
    unsigned pcr = doctor->config.fence_pcr;

    if (release(doctor, &volume->record, &key, &err) == MU_OK)
        doctor_fail(doctor, MU_REFUSE, "key",
                    "muctl policy kms: the policy must demand the fence PCR's initial value",
                    "the fence (PCR %u) is closed and the key was released anyway: "
                    "root on this machine can get it",
                    pcr);
    else if (denied(&err))
        doctor_ok(doctor, "key",
                  "denied, as it must be on a running instance: the fence (PCR %u) is "
                  "closed. Only a boot can show that the key slot opens",
                  pcr);
    else
        doctor_fail(doctor, err.status, "key",
                    "the fence is closed, so a denial was expected, but not this", "%s", err.text);
}

void doctor_check_key(struct doctor *doctor, struct doctor_volume *volume)
{
    struct mu_error err = {0};
    enum mu_status fence = fence_check_open(doctor->tpm, doctor->config.fence_pcr, &err);

    if (volume->is_blank)
        return;
    if (!volume->verified || !doctor->credentials)
        doctor_warn(doctor, "key", "fix what the lines above say", "not done: there %s",
                    volume->verified ? "are no credentials" : "is no valid record");
    else if (fence == MU_OK)
        check_open(doctor, volume);
    else if (fence == MU_REFUSE)
        check_closed(doctor, volume);
    else
        doctor_fail(doctor, fence, "key", "see the line 'tpm'", "%s", err.text);
}
