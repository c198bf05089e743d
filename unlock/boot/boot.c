/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "boot/boot.h"

#include <stdio.h>
#include <string.h>

#include "base/file.h"
#include "base/log.h"
#include "base/signals.h"
#include "base/trace.h"
#include "boot/report.h"
#include "boot/state.h"
#include "measure/changes.h"
#include "measure/signature.h"
#include "tpm/fence.h"

#define DEFAULT_FENCE_PCR 15
#define DEFAULT_REPORT "/run/measured-unlock/report.json"
#define MEASURED_PCRS 0xffffu /* all that only a reset of the machine clears */

bool again(const struct boot *boot, enum mu_status status, unsigned *attempt)
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
    MU_TRY(task_wait(&boot->loader, err));
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
    (void)task_wait(&boot->loader, &ignored);
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
