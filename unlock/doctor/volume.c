/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <stdio.h>
#include <string.h>

#include "doctor/doctor.h"
#include "measure/baseline.h"
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

void doctor_check_headers(struct doctor *doctor)
{
    for (size_t i = 0; i < doctor->config.volumes; i++) {
        const struct volume_config *config = &doctor->config.volume[i];
        struct luks_header *header = &doctor->volume[i].header;
        struct header_report report = {0};
        struct mu_error err = {0};
        enum mu_status status;

        if (doctor->volume[i].is_blank)
            continue;
        status = volume_load(config, header, &report, &err);
        if (status == MU_OK) {
            doctor_ok(doctor, "volume-header", "volume '%s': %s, all %zu rules hold", config->name,
                      header->device, report.count);
            continue;
        }
        luks_header_free(header);
        if (status == MU_RETRY && doctor->role == ROLE_BUILD)
            doctor_warn(doctor, "volume-header",
                        "attach the volume; 'device' may be the path of an image file",
                        "volume '%s': not done: %s is not here", config->name, config->device);
        else
            doctor_fail(doctor, status, "volume-header",
                        status == MU_RETRY ? "attach the volume, or correct 'device'"
                                           : "muctl header check DEVICE shows each rule; restore a "
                                             "header backup, or format again",
                        "volume '%s': %s", config->name, err.text);
    }
}

static enum mu_status load_record(struct doctor *doctor, const struct volume_config *config,
                                  struct doctor_volume *volume, struct mu_error *err)
{
    MU_TRY(volume_admit(&doctor->config, config, doctor->builder_key, &volume->header,
                        &volume->record, err));
    return luks_header_load_keyslot(&volume->header, volume->record.keyslot, err);
}

void doctor_check_records(struct doctor *doctor)
{
    for (size_t i = 0; i < doctor->config.volumes; i++) {
        const struct volume_config *config = &doctor->config.volume[i];
        struct doctor_volume *volume = &doctor->volume[i];
        struct mu_error err = {0};

        if (volume->is_blank)
            continue;
        if (!loaded(volume) || doctor->builder_key == NULL) {
            doctor_warn(doctor, "volume-record", "fix what the lines above say",
                        "volume '%s': not done: %s", config->name,
                        loaded(volume) ? "the builder's key is missing" : "no header was read");
            continue;
        }
        volume->verified = load_record(doctor, config, volume, &err) == MU_OK;
        if (volume->verified)
            doctor_ok(doctor, "volume-record", "volume '%s': version %lld of %s, %s, key slot %d",
                      config->name, (long long)volume->record.version, volume->record.created,
                      volume->record.by_instance ? "made by the instance (its key alone can tell)"
                                                 : "signed by the builder",
                      volume->record.keyslot);
        else
            doctor_fail(
                doctor, err.status, "volume-record",
                "muctl enroll DEVICE --volume NAME --baseline FILE --sign-key KEY, as at first",
                "volume '%s': %s", config->name, err.text);
    }
}

static bool complete(struct doctor *doctor, const char *name, const struct record *record,
                     size_t number)
{
    struct mu_error err = {0};

    if (baseline_check_complete(&record->baseline[number], doctor->config.fence_pcr, &err) == MU_OK)
        return true;
    doctor_fail(doctor, err.status, "volume-baseline",
                "muctl baseline predict --image FILE -o FILE, then enroll again",
                "volume '%s': baseline %zu of the record: %s", name, number + 1, err.text);
    return false;
}

/* A part that the record needs: without it nothing else is worth reporting. */
static bool skipped(struct doctor *doctor, size_t i, const char *finding)
{
    if (doctor->volume[i].is_blank || doctor->volume[i].record.by_instance) {
        doctor_ok(doctor, finding,
                  "volume '%s': no baseline is needed: the key policy says what opens it",
                  doctor->config.volume[i].name);
        return true;
    }
    if (doctor->volume[i].verified)
        return false;
    doctor_warn(doctor, finding, "fix the record first",
                "volume '%s': not done: there is no valid record", doctor->config.volume[i].name);
    return true;
}

void doctor_check_signed(struct doctor *doctor)
{
    for (size_t i = 0; i < doctor->config.volumes; i++) {
        const struct record *record = &doctor->volume[i].record;
        const char *name = doctor->config.volume[i].name;
        bool good = true;

        if (skipped(doctor, i, "volume-baseline"))
            continue;
        for (size_t k = 0; k < record->baselines; k++)
            good &= complete(doctor, name, record, k);
        if (good && record->baselines > 0)
            doctor_ok(doctor, "volume-baseline", "volume '%s': %zu complete baseline%s", name,
                      record->baselines, record->baselines == 1 ? "" : "s");
        else if (good)
            doctor_fail(doctor, MU_REFUSE, "volume-baseline", "enroll again with --baseline",
                        "volume '%s': the record holds no baseline", name);
    }
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

/* What is measured before a UKI when a boot loader starts it is not known here. */
void doctor_check_enrolled(struct doctor *doctor)
{
    static const char fix[] = "muctl baseline predict --image FILE -o F (a boot loader's --image "
                              "before it), then muctl enroll";
    unsigned compared = 0;

    for (size_t i = 0; i < doctor->config.volumes; i++) {
        const struct doctor_volume *volume = &doctor->volume[i];

        for (size_t k = 0; volume->verified && !volume->record.by_instance && k < doctor->ukis;
             k++) {
            const struct doctor_uki *uki = &doctor->uki[k];

            if (!uki->predicted)
                continue;
            compared++;
            if (admits(&volume->record, uki))
                doctor_ok(doctor, "volume-image", "volume '%s': the record admits %s",
                          doctor->config.volume[i].name, uki->path);
            else
                doctor_warn(doctor, "volume-image", fix,
                            "volume '%s': no baseline has PCR 4 of %s, started by firmware",
                            doctor->config.volume[i].name, uki->path);
        }
    }
    if (compared == 0)
        doctor_warn(doctor, "volume-image",
                    doctor->ukis == 0 ? "give the UKI with --image" : "fix the record first",
                    "not done: needs a valid record and a unified kernel image");
}
