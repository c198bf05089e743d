/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <stdio.h>
#include <string.h>

#include "doctor/doctor.h"
#include "measure/baseline.h"
#include "volume/device.h"
#include "volume/record_admission.h"

static bool loaded(const struct doctor_volume *volume)
{
    return volume->header.device != NULL;
}

static enum mu_status volume_load(const struct volume_config *config, struct luks_header *header,
                                  struct header_report *report, struct mu_error *err)
{
    MU_CLEANUP(string_free) char *device = NULL;

    MU_TRY(volume_find_device(config->device, deadline_in(0), &device, err));
    MU_TRY(luks_header_load(device, header, err));
    return luks_header_check(header, report, err);
}

void doctor_check_header(struct doctor *doctor, struct doctor_volume *volume)
{
    struct luks_header *header = &volume->header;
    struct header_report report = {0};
    struct mu_error err = {0};
    enum mu_status status;

    if (volume->is_blank)
        return;
    status = volume_load(volume->config, header, &report, &err);
    if (status == MU_OK) {
        doctor_ok(doctor, "volume-header", "%s, all %zu rules hold", header->device, report.count);
        return;
    }
    luks_header_free(header);
    if (status == MU_RETRY && doctor->role == ROLE_BUILD)
        doctor_warn(doctor, "volume-header",
                    "attach the volume; 'device' may be the path of an image file",
                    "not done: %s is not here", volume->config->device);
    else
        doctor_fail(doctor, status, "volume-header",
                    status == MU_RETRY ? "attach the volume, or correct 'device'"
                                       : "muctl header check DEVICE shows each rule; restore a "
                                         "header backup, or format again",
                    "%s", err.text);
}

static enum mu_status load_record(struct doctor *doctor, struct doctor_volume *volume,
                                  struct mu_error *err)
{
    MU_TRY(volume_admit(&doctor->config, volume->config, &doctor->builder, &volume->header,
                        &volume->record, err));
    return luks_header_load_keyslot(&volume->header, volume->record.keyslot, err);
}

void doctor_check_record(struct doctor *doctor, struct doctor_volume *volume)
{
    struct mu_error err = {0};

    if (volume->is_blank)
        return;
    if (!loaded(volume) || doctor->builder.count == 0) {
        doctor_warn(doctor, "volume-record", "fix what the lines above say", "not done: %s",
                    loaded(volume) ? "the builder's key is missing" : "no header was read");
        return;
    }
    volume->verified = load_record(doctor, volume, &err) == MU_OK;
    if (volume->verified)
        doctor_ok(doctor, "volume-record", "version %lld of %s, %s, key slot %d",
                  (long long)volume->record.version, volume->record.created,
                  volume->record.by_instance ? "made by the instance (its key alone can tell)"
                                             : "signed by the builder",
                  volume->record.keyslot);
    else
        doctor_fail(doctor, err.status, "volume-record",
                    "muctl enroll DEVICE --volume NAME --baseline FILE --sign-key KEY, as at first",
                    "%s", err.text);
}

static bool complete(struct doctor *doctor, const struct record *record, size_t number)
{
    struct mu_error err = {0};

    if (baseline_check_complete(&record->baseline[number], doctor->config.fence_pcr, &err) == MU_OK)
        return true;
    doctor_fail(doctor, err.status, "volume-baseline",
                "muctl baseline predict --image FILE -o FILE, then enroll again",
                "baseline %zu of the record: %s", number + 1, err.text);
    return false;
}

void doctor_check_signed(struct doctor *doctor, struct doctor_volume *volume)
{
    const struct record *record = &volume->record;
    bool good = true;

    if (volume->is_blank || record->by_instance) {
        doctor_ok(doctor, "volume-baseline",
                  "no baseline is needed: the key policy says what opens it");
        return;
    }
    if (!volume->verified) {
        doctor_warn(doctor, "volume-baseline", "fix the record first",
                    "not done: there is no valid record");
        return;
    }
    for (size_t k = 0; k < record->baselines; k++)
        good &= complete(doctor, record, k);
    if (good && record->baselines > 0)
        doctor_ok(doctor, "volume-baseline", "%zu complete baseline%s", record->baselines,
                  record->baselines == 1 ? "" : "s");
    else if (good)
        doctor_fail(doctor, MU_REFUSE, "volume-baseline", "enroll again with --baseline",
                    "the record holds no baseline");
}

static bool has_pcr4(const struct pcr_values *baseline, const struct pcr_values *predicted)
{
    return memcmp(baseline->value[4].bytes, predicted->value[4].bytes, hash_size(baseline->bank)) ==
           0;
}

static bool admits(const struct record *record, const struct doctor_uki *uki)
{
    for (size_t k = 0; k < record->baselines; k++) {
        const struct pcr_values *baseline = &record->baseline[k];

        if (baseline->bank != uki->pcr4.bank || (baseline->mask & PCR_BIT(4)) == 0 ||
            has_pcr4(baseline, &uki->pcr4) || has_pcr4(baseline, &uki->pcr4_secure_boot))
            return true;
    }
    return false;
}

void doctor_check_enrolled(struct doctor *doctor, struct doctor_volume *volume)
{
    static const char fix[] = "muctl baseline predict --image FILE -o F (a boot loader's --image "
                              "before it), then muctl enroll";

    for (size_t k = 0; volume->verified && !volume->record.by_instance && k < doctor->ukis; k++) {
        const struct doctor_uki *uki = &doctor->uki[k];

        if (!uki->predicted)
            continue;
        doctor->compared++;
        if (admits(&volume->record, uki))
            doctor_ok(doctor, "volume-image", "the record admits %s", uki->path);
        else
            doctor_warn(doctor, "volume-image", fix, "no baseline has PCR 4 of %s, started by %s",
                        uki->path, uki->loader[0] != '\0' ? uki->loader : "firmware");
    }
}

void doctor_check_compared(struct doctor *doctor)
{
    if (doctor->compared == 0)
        doctor_warn(doctor, "volume-image",
                    doctor->ukis == 0 ? "give the UKI with --image" : "fix the record first",
                    "not done: needs a valid record and a unified kernel image");
}
