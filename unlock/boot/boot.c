/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "boot/boot.h"

#include <pthread.h>
#include <stdio.h>
#include <string.h>

#include "base/file.h"
#include "base/log.h"
#include "base/signals.h"
#include "base/trace.h"
#include "boot/make.h"
#include "boot/report.h"
#include "measure/changes.h"
#include "measure/signature.h"
#include "release/provider.h"
#include "tpm/fence.h"
#include "volume/volume.h"

#define DEFAULT_FENCE_PCR 15
#define DEFAULT_REPORT "/run/measured-unlock/report.json"
#define MEASURED_PCRS 0xffffu /* all that only a reset of the machine clears */
#define PROVIDERS_MAX 4

struct volume {
    struct blank blank; /* open: the volume is to be made */
    bool created;
    struct luks_header header;
    struct record record;
    struct secret volume_key;
    uint8_t identity[VOLUME_IDENTITY_SIZE];
};

struct session {
    const struct provider *provider;
    struct provider_session *state;
};

struct boot {
    struct config config;
    struct deadline deadline;
    EVP_PKEY *builder_key;
    struct pcr_values baked;
    struct pcr_values found;
    struct tpm *tpm;
    struct volume volume[CONFIG_VOLUMES_MAX];
    struct session session[PROVIDERS_MAX];
    size_t sessions;
    pthread_t loader; /* finds the volumes while the TPM works */
    bool loader_runs;
    enum mu_status loader_status;
    struct mu_error loader_error;
};

/* DESIGN, 3: transient trouble is waited out until the deadline. `do status = ...; while
 * (again(boot, status, &attempt));` with attempt = 0 before. */
static bool again(const struct boot *boot, enum mu_status status, unsigned *attempt)
{
    return status == MU_RETRY && backoff_sleep((*attempt)++, 20, 1000, boot->deadline);
}

static enum mu_status load_configuration(struct boot *boot, const char *path, struct mu_error *err)
{
    uint64_t start = now_us();

    MU_TRY(config_load(path, &boot->config, err));
    boot->deadline = deadline_in(boot->config.timeout);
    boot->deadline.stop = signals_stop();
    MU_TRY(baseline_load(boot->config.baseline, &boot->baked, err));
    MU_TRY(signature_load_public_key(boot->config.builder_key, &boot->builder_key, err));
    trace_step("configuration", start);
    return MU_OK;
}

static enum mu_status session_of(struct boot *boot, const char *name, struct session **ret,
                                 struct mu_error *err)
{
    const struct provider *provider;

    MU_TRY(provider_find(name, &provider, err));
    for (size_t i = 0; i < boot->sessions; i++) {
        if (boot->session[i].provider == provider) {
            *ret = &boot->session[i];
            return MU_OK;
        }
    }
    if (boot->sessions == PROVIDERS_MAX)
        return mu_fail(err, MU_CONFIG, "more than %d providers are configured", PROVIDERS_MAX);
    *ret = &boot->session[boot->sessions];
    MU_TRY(provider->start(&boot->config, boot->deadline, &(*ret)->state, err));
    (*ret)->provider = provider;
    boot->sessions++;
    return MU_OK;
}

static enum mu_status start_sessions(struct boot *boot, struct mu_error *err)
{
    struct session *session;

    for (size_t i = 0; i < boot->config.volumes; i++)
        MU_TRY(session_of(boot, boot->config.volume[i].provider, &session, err));
    return MU_OK;
}

static bool to_be_made(const struct volume *volume)
{
    return volume->blank.fd >= 0;
}

static enum mu_status read_header(struct boot *boot, const struct volume_config *config,
                                  struct volume *volume, struct mu_error *err)
{
    MU_CLEANUP(string_free) char *device = NULL;

    MU_TRY(volume_find_device(config->device, boot->deadline, &device, err));
    if (config->create == CREATE_BLANK)
        MU_TRY(blank_open(device, boot->deadline, &volume->blank, err));
    if (!to_be_made(volume))
        return luks_header_load(device, &volume->header, err);
    volume->header.device = device; /* the only member that is known */
    device = NULL;
    return MU_OK;
}

/* Who signed it, or may have made it; that it is this volume's. */
static enum mu_status read_record(const struct boot *boot, const struct volume_config *config,
                                  struct volume *volume, struct mu_error *err)
{
    int64_t minimum = boot->config.minimum_record_version;
    json_object *token;

    MU_TRY(luks_header_record_token(&volume->header, &token, err));
    if (config->create == CREATE_BLANK && record_token_by_instance(token)) {
        MU_TRY(make_parse_record(config, token, &volume->record, err));
        minimum = volume->record.version; /* it counts the builder's records */
    } else {
        MU_TRY(record_parse_token(token, boot->builder_key, &volume->record, err));
    }
    MU_TRY(record_check(&volume->record, volume->header.uuid, minimum, err));
    if (strcmp(volume->record.provider, config->provider) != 0)
        return mu_fail(err, MU_REFUSE, "the record's provider is '%s', this image allows '%s'",
                       volume->record.provider, config->provider);
    return MU_OK;
}

static enum mu_status load_volume(struct boot *boot, const struct volume_config *config,
                                  struct volume *volume, struct mu_error *err)
{
    struct session *session;
    enum mu_status status;
    unsigned attempt = 0;
    uint64_t start = now_us();

    do
        status = read_header(boot, config, volume, err);
    while (again(boot, status, &attempt));
    MU_TRY(status);
    trace_step("device", start);
    if (to_be_made(volume))
        return MU_OK;

    start = now_us();
    MU_TRY(luks_header_check(&volume->header, NULL, err));
    trace_step("header", start);

    start = now_us();
    MU_TRY(read_record(boot, config, volume, err));
    trace_step("record", start);

    MU_TRY(session_of(boot, config->provider, &session, err));
    MU_TRY(session->provider->prepare(session->state, &volume->record, err));
    attempt = 0;
    do
        status = luks_header_load_keyslot(&volume->header, volume->record.keyslot, err);
    while (again(boot, status, &attempt));
    return status;
}

static void *loader_main(void *argument)
{
    struct boot *boot = argument;
    enum mu_status status = MU_OK;

    for (size_t i = 0; status == MU_OK && i < boot->config.volumes; i++) {
        const struct volume_config *config = &boot->config.volume[i];

        status = load_volume(boot, config, &boot->volume[i], &boot->loader_error);
        if (status != MU_OK)
            mu_context(&boot->loader_error, "volume '%s'", config->name);
    }
    boot->loader_status = status;
    return NULL;
}

static enum mu_status loader_start(struct boot *boot, struct mu_error *err)
{
    if (pthread_create(&boot->loader, NULL, loader_main, boot) != 0)
        return mu_fail(err, MU_INTERNAL, "cannot start a thread");
    boot->loader_runs = true;
    return MU_OK;
}

static enum mu_status loader_join(struct boot *boot, struct mu_error *err)
{
    if (boot->loader_runs)
        pthread_join(boot->loader, NULL);
    boot->loader_runs = false;
    if (boot->loader_status != MU_OK)
        *err = boot->loader_error;
    return boot->loader_status;
}

static void log_change(const char *text, void *context)
{
    (void)context;
    log_line("%s", text);
}

/* The log only explains; that the PCRs differ is decided already. */
static void explain_mismatch(const struct boot *boot, const struct pcr_values *expected,
                             uint32_t differ)
{
    MU_CLEANUP(buffer_free) struct buffer raw = {0};
    MU_CLEANUP(eventlog_free) struct eventlog log = {0};
    struct mu_error err = {0};

    if (file_read(boot->config.eventlog, EVENTLOG_MAX_BYTES, &raw, &err) != MU_OK ||
        eventlog_parse(buffer_view(&raw), &log, &err) != MU_OK) {
        log_line("no event log to say what changed: %s", err.text);
        return;
    }
    changes_describe(&log, NULL, expected, &boot->found, differ, log_change, NULL);
}

static enum mu_status read_pcrs(struct boot *boot, struct mu_error *err)
{
    MU_TRY(tpm_pcr_read(boot->tpm, boot->baked.bank, MEASURED_PCRS, &boot->found, err));
    return fence_check_open(boot->tpm, boot->config.fence_pcr, err);
}

static enum mu_status measure(struct boot *boot, struct mu_error *err)
{
    uint64_t start = now_us();
    uint32_t differ = 0;
    enum mu_status status;
    unsigned attempt = 0;

    MU_TRY(tpm_open(boot->config.tcti, boot->deadline, &boot->tpm, err));
    trace_step("tpm-open", start);

    start = now_us();
    do
        status = read_pcrs(boot, err);
    while (again(boot, status, &attempt));
    MU_TRY(status);
    trace_step("pcr-read", start);

    status = baseline_compare(&boot->baked, &boot->found, &differ, err);
    if (status == MU_REFUSE)
        explain_mismatch(boot, &boot->baked, differ);
    MU_TRY(status);
    log_line("PCRs match the baseline that is part of this image (%s)",
             hash_name(boot->baked.bank));
    return MU_OK;
}

/* The signed part: one of the record's baselines must match whole. What is reported is the one that
 * comes closest. */
static enum mu_status compare_signed(struct boot *boot, const struct record *record,
                                     struct mu_error *err)
{
    const struct pcr_values *closest = NULL;
    uint32_t fewest = 0;

    for (size_t i = 0; i < record->baselines; i++) {
        struct mu_error this_error = {0};
        uint32_t differ = 0;

        MU_TRY(baseline_check_complete(&record->baseline[i], boot->config.fence_pcr, err));
        if (baseline_compare(&record->baseline[i], &boot->found, &differ, &this_error) == MU_OK)
            return MU_OK;
        if (closest == NULL || __builtin_popcount(differ) < __builtin_popcount(fewest)) {
            closest = &record->baseline[i];
            fewest = differ;
            *err = this_error;
        }
    }
    if (closest == NULL)
        return mu_fail(err, MU_REFUSE, "the record holds no signed baseline");
    explain_mismatch(boot, closest, fewest);
    return err->status;
}

static enum mu_status check_signed_baselines(struct boot *boot, struct mu_error *err)
{
    uint64_t start = now_us();
    size_t compared = 0;

    for (size_t i = 0; i < boot->config.volumes; i++) {
        const struct volume *volume = &boot->volume[i];

        if (to_be_made(volume) || volume->record.by_instance)
            continue;
        if (compare_signed(boot, &volume->record, err) != MU_OK)
            return mu_context(err, "volume '%s'", boot->config.volume[i].name);
        compared++;
    }
    trace_step("baseline", start);
    log_line(compared > 0 ? "PCRs match the baseline signed by the image builder"
                          : "no volume has a baseline signed by the image builder: KMS alone "
                            "compares what this image does not");
    return MU_OK;
}

static enum mu_status attest(struct boot *boot, struct mu_error *err)
{
    for (size_t i = 0; i < boot->sessions; i++)
        MU_TRY(boot->session[i].provider->attest(boot->session[i].state, boot->tpm, err));
    return MU_OK;
}

static enum mu_status make_volume(struct boot *boot, const struct volume_config *config,
                                  struct volume *volume, struct secret *ret_key,
                                  struct mu_error *err)
{
    MU_CLEANUP(string_free) char *device = volume->header.device;
    struct session *session;

    volume->header = (struct luks_header){.memfd = -1};
    MU_TRY(session_of(boot, config->provider, &session, err));
    MU_TRY(make_blank_volume(config, session->provider, session->state, device, &volume->blank,
                             &volume->record, ret_key, err));
    volume->created = true;
    MU_TRY(luks_header_load(device, &volume->header, err));
    MU_TRY(luks_header_check(&volume->header, NULL, err));
    return luks_header_load_keyslot(&volume->header, volume->record.keyslot, err);
}

static enum mu_status get_key(struct boot *boot, const struct volume_config *config,
                              struct volume *volume, struct secret *ret_key, struct mu_error *err)
{
    struct session *session;

    if (to_be_made(volume))
        return make_volume(boot, config, volume, ret_key, err);
    MU_TRY(session_of(boot, config->provider, &session, err));
    MU_TRY(session->provider->release(session->state, &volume->record, ret_key, err));
    log_line("key of volume '%s' released by %s", config->name, config->provider);
    return volume->record.by_instance ? record_check_mac(&volume->record, ret_key, err) : MU_OK;
}

static enum mu_status open_volume(struct boot *boot, const struct volume_config *config,
                                  struct volume *volume, struct mu_error *err)
{
    MU_CLEANUP(secret_free) struct secret key = {0};
    uint64_t start;

    MU_TRY(get_key(boot, config, volume, &key, err));
    start = now_us();
    MU_TRY(volume_open_keyslot(&volume->header, volume->record.keyslot, &key, &volume->volume_key,
                               err));
    trace_step("keyslot", start);

    start = now_us();
    MU_TRY(volume_identity(&volume->volume_key, volume->header.uuid, volume->identity, err));
    if (!bytes_equal((struct bytes){volume->identity, sizeof(volume->identity)},
                     (struct bytes){volume->record.volume_identity, VOLUME_IDENTITY_SIZE}))
        return mu_fail(err, MU_REFUSE,
                       "volume identity differs from the record: this is not the enrolled volume");
    trace_step("identity", start);
    log_line("identity of volume '%s' is the enrolled one", config->name);
    return MU_OK;
}

static enum mu_status open_those(struct boot *boot, bool made, struct mu_error *err)
{
    for (size_t i = 0; i < boot->config.volumes; i++) {
        if (to_be_made(&boot->volume[i]) == made && boot->volume[i].volume_key.data == NULL &&
            open_volume(boot, &boot->config.volume[i], &boot->volume[i], err) != MU_OK)
            return mu_context(err, "volume '%s'", boot->config.volume[i].name);
    }
    return MU_OK;
}

/* Nothing is written before all that is there has opened. */
static enum mu_status open_volumes(struct boot *boot, struct mu_error *err)
{
    MU_TRY(open_those(boot, false, err));
    return open_those(boot, true, err);
}

static enum mu_status close_fence(struct boot *boot, struct mu_error *err)
{
    struct bytes identities[CONFIG_VOLUMES_MAX];
    enum mu_status status;
    unsigned attempt = 0;
    uint64_t start = now_us();

    for (size_t i = 0; i < boot->config.volumes; i++)
        identities[i] = (struct bytes){boot->volume[i].identity, VOLUME_IDENTITY_SIZE};
    /* MU_RETRY: nothing was extended yet. */
    do
        status =
            fence_close(boot->tpm, boot->config.fence_pcr, identities, boot->config.volumes, err);
    while (again(boot, status, &attempt));
    MU_TRY(status);
    trace_step("fence", start);
    log_line("fence closed: PCR %u extended in every bank", boot->config.fence_pcr);
    return MU_OK;
}

static enum mu_status activate_volumes(struct boot *boot, struct mu_error *err)
{
    for (size_t i = 0; i < boot->config.volumes; i++) {
        const struct volume_config *config = &boot->config.volume[i];
        uint64_t start = now_us();

        if (volume_activate(&boot->volume[i].header, config->mapping, config->discard,
                            &boot->volume[i].volume_key, err) != MU_OK)
            return mu_context(err, "volume '%s'", config->name);
        trace_step("activate", start);
        log_line("volume '%s' mapped as /dev/mapper/%s", config->name, config->mapping);
    }
    return MU_OK;
}

/* A volume is not mapped for a supervisor that has given up. */
static enum mu_status check_not_stopped(struct mu_error *err)
{
    if (atomic_load(signals_stop()))
        return mu_fail(err, MU_RETRY, "stopped by a signal");
    return MU_OK;
}

/* DESIGN: nothing that could be had only after the fence is asked for before it, and nothing is
 * mapped before it. */
static enum mu_status run(struct boot *boot, const char *config_path, bool activate,
                          struct mu_error *err)
{
    MU_TRY(load_configuration(boot, config_path, err));
    MU_TRY(start_sessions(boot, err));
    MU_TRY(loader_start(boot, err));
    MU_TRY(measure(boot, err));
    MU_TRY(attest(boot, err));
    MU_TRY(loader_join(boot, err));
    MU_TRY(check_signed_baselines(boot, err));
    MU_TRY(open_volumes(boot, err));
    MU_TRY(close_fence(boot, err));
    MU_TRY(check_not_stopped(err));
    return activate ? activate_volumes(boot, err) : MU_OK;
}

static enum mu_status ensure_fence(struct boot *boot, const char *reason, struct mu_error *err)
{
    unsigned pcr = boot->config.fence_pcr ? boot->config.fence_pcr : DEFAULT_FENCE_PCR;
    uint64_t start = now_us();

    if (boot->tpm == NULL)
        MU_TRY(tpm_open(boot->config.tcti, deadline_in(2), &boot->tpm, err));
    MU_TRY(fence_ensure(boot->tpm, pcr, reason, err));
    trace_step("fence", start);
    log_line("fence closed: no key can be had in this boot any more");
    return MU_OK;
}

static void write_report(const struct boot *boot, const struct mu_error *failure)
{
    struct report_volume volumes[CONFIG_VOLUMES_MAX];
    const char *path = boot->config.report ? boot->config.report : DEFAULT_REPORT;
    size_t count = boot->config.volumes;
    struct mu_error err = {0};

    for (size_t i = 0; i < count; i++)
        volumes[i] = (struct report_volume){boot->config.volume[i].name,
                                            boot->config.volume[i].mapping, &boot->volume[i].header,
                                            &boot->volume[i].record, boot->volume[i].created};
    if (report_write(path, failure, volumes, count, &err) != MU_OK)
        log_line("no report: %s", err.text);
}

/* A refusal does not wait for a device that may never come. */
static void stop_waiting(struct boot *boot)
{
    struct mu_error ignored;

    atomic_store(signals_stop(), true);
    (void)loader_join(boot, &ignored);
    for (size_t i = 0; i < boot->sessions; i++)
        boot->session[i].provider->finish(&boot->session[i].state);
}

static void wipe(struct boot *boot)
{
    for (size_t i = 0; i < CONFIG_VOLUMES_MAX; i++) {
        blank_close(&boot->volume[i].blank);
        secret_free(&boot->volume[i].volume_key);
        luks_header_free(&boot->volume[i].header);
        record_free(&boot->volume[i].record);
    }
    tpm_close(&boot->tpm);
    signature_key_free(&boot->builder_key);
    config_free(&boot->config);
}

static void boot_init(struct boot *boot)
{
    memset(boot, 0, sizeof(*boot));
    for (size_t i = 0; i < CONFIG_VOLUMES_MAX; i++)
        boot->volume[i].header.memfd = boot->volume[i].blank.fd = -1;
}

enum mu_status boot_unlock(const char *config_path, bool activate, struct mu_error *err)
{
    static struct boot boot;
    struct mu_error fence_error = {0};
    enum mu_status status;

    boot_init(&boot);
    status = run(&boot, config_path, activate, err);
    if (status != MU_OK) {
        log_error(err);
        if (ensure_fence(&boot, err->text, &fence_error) != MU_OK)
            log_line("THE FENCE IS OPEN: %s", fence_error.text);
    }
    stop_waiting(&boot);
    write_report(&boot, status == MU_OK ? NULL : err);
    wipe(&boot);
    return status;
}

enum mu_status boot_fence(const char *config_path, const char *reason, struct mu_error *err)
{
    static struct boot boot;
    struct mu_error config_error = {0};
    enum mu_status status;

    boot_init(&boot);
    if (config_load(config_path, &boot.config, &config_error) != MU_OK)
        log_line("closing the default fence PCR %d: %s", DEFAULT_FENCE_PCR, config_error.text);
    status = ensure_fence(&boot, reason, err);
    wipe(&boot);
    return status;
}
