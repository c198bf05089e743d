/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "boot/sequence.h"

#include <stdio.h>
#include <string.h>

#include "base/file.h"
#include "base/log.h"
#include "base/signals.h"
#include "base/signature.h"
#include "base/trace.h"
#include "boot/doors.h"
#include "boot/report.h"
#include "boot/state.h"
#include "tpm/fence.h"

#define MEASURED_PCRS 0xffffu /* all that only a reset of the machine clears */

static enum mu_status load_configuration(struct boot *boot, const char *path, struct mu_error *err)
{
    MU_TRY(config_load(path, &boot->config, err));
    MU_TRY(writable_restrict(&boot->config, err));
    boot->deadline = deadline_in(boot->config.timeout);
    boot->deadline.stop = signals_stop();
    MU_TRY(baseline_load(boot->config.baseline, &boot->baked, err));
    if (baseline_check_baked(&boot->baked, boot->config.fence_pcr, err) != MU_OK)
        return mu_context(err, "%s", boot->config.baseline);
    return signature_load_keys(boot->config.builder_key, &boot->builder, err);
}

static enum mu_status check_doors(const struct boot *boot, struct mu_error *err)
{
    if (boot->config.open[0] != '\0')
        log_line("left open by this image: %s", boot->config.open);
    return doors_check(&boot->config, err);
}

static enum mu_status read_pcrs(struct boot *boot, struct mu_error *err)
{
    MU_TRY(tpm_pcr_read(boot->tpm, boot->baked.bank, MEASURED_PCRS, &boot->found, err));
    return fence_check_open(boot->tpm, boot->config.fence_pcr, err);
}

static enum mu_status close_fence(struct boot *boot, struct mu_error *err)
{
    struct bytes identities[CONFIG_VOLUMES_MAX];

    for (size_t i = 0; i < boot->config.volumes; i++)
        identities[i] = (struct bytes){boot->volume[i].identity, VOLUME_IDENTITY_SIZE};
    /* MU_RETRY: nothing was extended yet. */
    MU_TRY(MU_AGAIN(
        &retry_machine, boot->deadline,
        fence_close(boot->tpm, boot->config.fence_pcr, identities, boot->config.volumes, err)));
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

/* docs/develop/design.md, "Invariants": nothing that could be had only after the fence is asked for
 * before it, and nothing is mapped before it. */
static enum mu_status boot_run(struct boot *boot, const char *config_path, bool activate,
                               struct mu_error *err)
{
    MU_TRY(MU_STEP("configuration", load_configuration(boot, config_path, err)));
    MU_TRY(MU_STEP("doors", check_doors(boot, err)));
    MU_TRY(sessions_start(boot, err));
    MU_TRY(volumes_start_loader(boot, err));
    MU_TRY(MU_STEP("tpm-open", tpm_open(boot->config.tcti, boot->deadline, &boot->tpm, err)));
    MU_TRY(MU_STEP("pcr-read", MU_AGAIN(&retry_machine, boot->deadline, read_pcrs(boot, err))));
    MU_TRY(pcrs_check_baked(boot, err));
    MU_TRY(sessions_attest(boot, err));
    MU_TRY(task_wait(&boot->loader, err));
    MU_TRY(MU_STEP("baseline", pcrs_check_signed(boot, err)));
    MU_TRY(doors_check(&boot->config, err)); /* once more: what came through since */
    MU_TRY(volumes_open(boot, err));
    MU_TRY(MU_STEP("fence", close_fence(boot, err)));
    MU_TRY(check_not_stopped(err));
    return activate ? volumes_activate(boot, err) : MU_OK;
}

static enum mu_status ensure_fence(struct boot *boot, const char *reason, struct mu_error *err)
{
    unsigned pcr = boot->config.fence_pcr;

    if (boot->tpm == NULL)
        MU_TRY(tpm_open(boot->config.tcti, deadline_in(2), &boot->tpm, err));
    /* 0: no configuration could be read, so any of these PCRs may be the one that policies name. */
    MU_TRY(pcr != 0 ? fence_ensure(boot->tpm, pcr, reason, err)
                    : fence_ensure_all(boot->tpm, reason, err));
    log_line("fence closed: no key can be had in this boot any more");
    return MU_OK;
}

static void write_report(const struct boot *boot, const struct mu_error *failure)
{
    struct report_volume volumes[CONFIG_VOLUMES_MAX];
    const char *path = boot->config.report ? boot->config.report : REPORT_DEFAULT_PATH;
    size_t count = boot->config.volumes;
    struct mu_error err = {0};

    for (size_t i = 0; i < count; i++)
        volumes[i] =
            (struct report_volume){boot->config.volume[i].name, boot->config.volume[i].mapping,
                                   &boot->volume[i].header,     &boot->volume[i].record,
                                   boot->volume[i].released_by, boot->volume[i].provisioned};
    if (report_write(path, failure, boot->config.open, volumes, count, &err) != MU_OK)
        log_line("no report: %s", err.text);
}

/* A refusal does not wait for a device that may never come. */
static void stop_waiting(struct boot *boot)
{
    struct mu_error ignored;

    atomic_store(signals_stop(), true);
    (void)task_wait(&boot->loader, &ignored);
    sessions_finish(boot);
}

static void wipe(struct boot *boot)
{
    for (size_t i = 0; i < CONFIG_VOLUMES_MAX; i++) {
        blank_free(&boot->volume[i].blank);
        secret_free(&boot->volume[i].volume_key);
        luks_header_free(&boot->volume[i].header);
        record_free(&boot->volume[i].record);
        string_free(&boot->volume[i].released_by);
    }
    tpm_close(&boot->tpm);
    public_keys_free(&boot->builder);
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
    status = boot_run(&boot, config_path, activate, err);
    if (status != MU_OK) {
        log_error(err);
        if (MU_STEP("fence", ensure_fence(&boot, err->text, &fence_error)) != MU_OK)
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
    enum mu_status status, usable;

    boot_init(&boot);
    usable = config_load(config_path, &boot.config, &config_error);
    if (usable == MU_OK)
        usable = writable_restrict(&boot.config, &config_error);
    status = ensure_fence(&boot, reason, err);
    if (status == MU_OK && usable != MU_OK) {
        *err = config_error;
        status = mu_context(err, "the fence is closed, but this image may go no further");
    }
    wipe(&boot);
    return status;
}
