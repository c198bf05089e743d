/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "base/log.h"
#include "boot/state.h"
#include "measure/changes.h"
#include "measure/userlog.h"

static void log_change(const char *text, void *context)
{
    (void)context;
    log_line("%s", text);
}

/* The log only explains; that the PCRs differ is decided already. */
static void explain_mismatch(const struct boot *boot, const struct pcr_values *expected,
                             uint32_t differ)
{
    MU_CLEANUP(eventlog_free) struct eventlog log = {0};
    struct mu_error err = {0};

    if (eventlog_load(boot->config.eventlog, &log, &err) != MU_OK) {
        log_line("no event log to say what changed: %s", err.text);
        return;
    }
    userlog_append_running(&log);
    changes_describe(&log, NULL, expected, &boot->found, differ, log_change, NULL);
}

enum mu_status pcrs_check_baked(const struct boot *boot, struct mu_error *err)
{
    uint32_t differ = 0;
    enum mu_status status = baseline_compare(&boot->baked, &boot->found, &differ, err);

    if (status == MU_REFUSE)
        explain_mismatch(boot, &boot->baked, differ);
    MU_TRY(status);
    log_line("PCRs match the baseline that is part of this image (%s)",
             hash_name(boot->baked.bank));
    return MU_OK;
}

/* The signed part: one of the record's baselines must match whole. The closest one is reported. */
static enum mu_status compare_signed(const struct boot *boot, const struct record *record,
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

enum mu_status pcrs_check_signed(const struct boot *boot, struct mu_error *err)
{
    size_t compared = 0;

    for (size_t i = 0; i < boot->config.volumes; i++) {
        const struct volume *volume = &boot->volume[i];

        if (blank_is_open(&volume->blank) || volume->record.by_instance)
            continue;
        if (compare_signed(boot, &volume->record, err) != MU_OK)
            return mu_context(err, "volume '%s'", boot->config.volume[i].name);
        compared++;
    }
    log_line(compared > 0 ? "PCRs match the baseline signed by the image builder"
                          : "no volume has a baseline signed by the image builder: only KMS "
                            "compares the PCRs that this image does not");
    return MU_OK;
}
