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
#include "volume/open.h"

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

/* Any answer will do: KMS answers GET /ping without credentials. */
static enum mu_status ping(struct doctor *doctor, const struct kms_key *key,
                           char url[static KMS_URL_MAX + 8], time_t *ret_date, struct mu_error *err)
{
    MU_CLEANUP(http_close) struct http *http = NULL;
    char base[KMS_URL_MAX], region[KMS_REGION_MAX], partition[KMS_PARTITION_MAX];
    struct reachable r;
    const struct provider_options *options = reachable(doctor, &r);
    struct http_response response = {0};
    struct http_request request = {.method = "GET",
                                   .url = url,
                                   .connect_ms = CONNECT_MS,
                                   .total_ms = TOTAL_MS,
                                   .deadline = deadline_in(PATIENCE_S)};

    MU_TRY(kms_parse_key_arn(key->arn, region, partition, err));
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

/* The first key of that region. */
static bool region_is_new(const struct kms_keys *keys, size_t i)
{
    for (size_t k = 0; k < i; k++)
        if (strcmp(keys->key[k].region, keys->key[i].region) == 0)
            return false;
    return true;
}

/* One region that does not answer is no reason for a boot to fail as long as others do. */
static void ping_regions(struct doctor *doctor, const struct kms_keys *keys)
{
    static const char fix[] = "security groups, routes and DNS must let HTTPS through to KMS; or a "
                              "VPC endpoint (kms_endpoint in [aws])";
    struct mu_error failure[KMS_KEYS_MAX] = {0};
    unsigned answers = 0;
    time_t date = 0;

    for (size_t i = 0; i < keys->count; i++) {
        char url[KMS_URL_MAX + 8] = "";

        if (!region_is_new(keys, i) ||
            ping(doctor, &keys->key[i], url, &date, &failure[i]) != MU_OK)
            continue;
        answers++;
        doctor_ok(doctor, "kms", "%s answers, its certificate is valid", url);
    }
    for (size_t i = 0; i < keys->count; i++) {
        if (failure[i].status == MU_OK)
            continue;
        if (answers > 0)
            doctor_warn(doctor, "kms", fix, "%s (the boot takes another key, %u region%s answer%s)",
                        failure[i].text, answers, answers == 1 ? "" : "s", answers == 1 ? "s" : "");
        else
            doctor_fail(doctor, failure[i].status, "kms", fix, "%s", failure[i].text);
    }
    if (answers > 0) {
        doctor->volume_now = NULL; /* it is the machine's clock */
        check_clock(doctor, date);
    }
}

void doctor_check_connection(struct doctor *doctor, struct doctor_volume *volume)
{
    struct kms_keys keys = {0};
    struct mu_error err = {0};

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
    if (kms_keys_parse(&volume->record, &keys, &err) != MU_OK)
        doctor_fail(doctor, err.status, "kms", "muctl enroll DEVICE writes another record", "%s",
                    err.text);
    else
        ping_regions(doctor, &keys);
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
    return volume_check_identity(&volume_key, volume->header.uuid, volume->record.volume_identity,
                                 identity, err);
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

static enum mu_status try_open(struct doctor *doctor, const struct doctor_volume *volume,
                               const struct record *record, const char **ret_fix,
                               struct mu_error *err)
{
    MU_CLEANUP(secret_free) struct secret key = {0};

    *ret_fix = "muctl policy lint; the policy must admit this role, these PCRs, this context";
    if (release(doctor, record, &key, err) != MU_OK)
        return mu_context(err, "the fence is open, but the key was not released");
    *ret_fix = "muctl enroll DEVICE adds the key slot again";
    if ((record->by_instance && record_check_mac(&volume->record, &key, err) != MU_OK) ||
        open_with(volume, &key, err) != MU_OK)
        return mu_context(err, "the key was released, but");
    return MU_OK;
}

static void check_open(struct doctor *doctor, const struct doctor_volume *volume,
                       const struct record *record, const char *of)
{
    struct mu_error err = {0};
    const char *fix;

    if (try_open(doctor, volume, record, &fix, &err) != MU_OK)
        doctor_fail(doctor, err.status, "key", fix, "%s%s", of, err.text);
    else
        doctor_ok(doctor, "key", "%sreleased, and opens key slot %d; the fence is open", of,
                  record->keyslot);
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
static void check_closed(struct doctor *doctor, const struct record *record, const char *of)
{
    MU_CLEANUP(secret_free) struct secret key = {0};
    struct mu_error err = {0};
    unsigned pcr = doctor->config.fence_pcr;

    if (release(doctor, record, &key, &err) == MU_OK)
        doctor_fail(doctor, MU_REFUSE, "key",
                    "muctl policy kms: the policy must demand the fence PCR's initial value",
                    "%sthe fence (PCR %u) is closed and the key was released anyway: "
                    "root on this machine can get it",
                    of, pcr);
    else if (denied(&err))
        doctor_ok(doctor, "key",
                  "%sdenied, as it must be on a running instance: the fence (PCR %u) is "
                  "closed. Only a boot can show that the key slot opens",
                  of, pcr);
    else
        doctor_fail(doctor, err.status, "key",
                    "the fence is closed, so a denial was expected, but not this", "%s%s", of,
                    err.text);
}

/* The record with one of its keys alone: a boot would not tell about the others. */
static enum mu_status with_one_key(const struct record *record, const struct kms_keys *keys,
                                   size_t i, struct record *ret, struct mu_error *err)
{
    struct kms_keys one = {.count = 1, .encryption_context = keys->encryption_context};

    one.key[0] = keys->key[i];
    *ret = *record;
    ret->provider_data = NULL;
    return kms_keys_describe(&one, ret, err);
}

static void check_record(struct doctor *doctor, const struct doctor_volume *volume, bool open,
                         const struct record *record, const char *of)
{
    if (open)
        check_open(doctor, volume, record, of);
    else
        check_closed(doctor, record, of);
}

static void check_each_key(struct doctor *doctor, const struct doctor_volume *volume, bool open,
                           const struct kms_keys *keys)
{
    for (size_t i = 0; i < keys->count; i++) {
        struct mu_error err = {0};
        struct record record;
        char of[KMS_ARN_MAX + 3];

        (void)snprintf(of, sizeof(of), "%s: ", keys->key[i].arn);
        if (with_one_key(&volume->record, keys, i, &record, &err) == MU_OK)
            check_record(doctor, volume, open, &record, of);
        else
            doctor_fail(doctor, err.status, "key", "free some memory", "%s%s", of, err.text);
        json_free(&record.provider_data);
    }
}

static void check_keys(struct doctor *doctor, const struct doctor_volume *volume, bool open)
{
    struct kms_keys keys = {0};
    struct mu_error unsaid;

    if (strcmp(volume->record.provider, PROVIDER_AWS_KMS) == 0 &&
        kms_keys_parse(&volume->record, &keys, &unsaid) == MU_OK && keys.count > 1)
        check_each_key(doctor, volume, open, &keys);
    else
        check_record(doctor, volume, open, &volume->record, "");
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
    else if (fence == MU_OK || fence == MU_REFUSE)
        check_keys(doctor, volume, fence == MU_OK);
    else
        doctor_fail(doctor, fence, "key", "see the line 'tpm'", "%s", err.text);
}
