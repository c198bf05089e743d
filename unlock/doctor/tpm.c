/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "doctor/doctor.h"
#include "measure/baseline.h"
#include "measure/eventlog.h"

#define PATIENCE_S 2
#define FIRMWARE_PCRS 0xffu /* the system extends the others without adding to this log */
/* Extended once more by each boot phase after the one in which the unlock happens. */
#define PHASE_PCR 11

void doctor_check_firmware(struct doctor *doctor)
{
    if (access("/sys/firmware/efi", F_OK) == 0)
        doctor_ok(doctor, "firmware", "booted by UEFI");
    else
        doctor_warn(doctor, "firmware",
                    "aws ec2 register-image --boot-mode uefi --tpm-support v2.0 ...",
                    "this machine was not booted by UEFI, without which NitroTPM measures nothing");
}

void doctor_check_tpm(struct doctor *doctor)
{
    const char *tcti = doctor->tcti;
    struct mu_error err = {0};
    char maker[5] = "";

    if (tcti == NULL && doctor->configured)
        tcti = doctor->config.tcti;
    if (tpm_open(tcti, deadline_in(PATIENCE_S), &doctor->tpm, &err) != MU_OK ||
        tpm_manufacturer(doctor->tpm, maker, &err) != MU_OK) {
        tpm_close(&doctor->tpm);
        doctor_fail(doctor, MU_CONFIG, "tpm",
                    "run this as root; aws ec2 register-image --tpm-support v2.0 --boot-mode uefi",
                    "%s", err.text);
        return;
    }
    if (strncmp(maker, "AMZN", 4) == 0)
        doctor_ok(doctor, "tpm", "made by '%s'", maker);
    else
        doctor_warn(doctor, "tpm",
                    "only NitroTPM (AMZN) makes attestation documents that AWS KMS accepts",
                    "made by '%s'", maker);
}

void doctor_check_banks(struct doctor *doctor)
{
    static const char fix[] = "allocate the SHA-384 bank (tpm2_pcrallocate) and reboot";
    struct mu_error err = {0};
    struct tpm_banks banks = {0};
    char names[TPM_BANKS_MAX * 12] = "";
    size_t len = 0;

    if (tpm_banks(doctor->tpm, &banks, &err) != MU_OK) {
        doctor_fail(doctor, err.status, "sha384-bank", fix, "%s", err.text);
        return;
    }
    for (size_t i = 0; i < banks.count; i++) {
        enum hash_alg alg = (enum hash_alg)banks.bank[i].alg;

        if (banks.bank[i].mask == 0)
            continue;
        len +=
            hash_size(alg) > 0
                ? (size_t)snprintf(names + len, sizeof(names) - len, " %s", hash_name(alg))
                : (size_t)snprintf(names + len, sizeof(names) - len, " 0x%04x", banks.bank[i].alg);
    }
    if (tpm_pcr_read(doctor->tpm, HASH_SHA384, 0xffffff, &doctor->found, &err) == MU_OK) {
        doctor_ok(doctor, "sha384-bank", "allocated banks:%s", names);
        return;
    }
    doctor->found.mask = 0;
    if (doctor_uses_kms(doctor))
        doctor_fail(doctor, err.status, "sha384-bank", fix, "%s", err.text);
    else
        doctor_warn(doctor, "sha384-bank", "SHA-256 baselines are enough for the provider tpm2",
                    "%s", err.text);
}

void doctor_check_nitrotpm(struct doctor *doctor)
{
    struct mu_error err = {0};
    bool listed = false;

    if (tpm_nsm_listed(doctor->tpm, &listed, &err) != MU_OK)
        doctor_fail(doctor, err.status, "nitrotpm", "see the line 'tpm'", "%s", err.text);
    else if (listed)
        doctor_ok(doctor, "nitrotpm", "the TPM lists the attestation command (0x20000001)");
    else
        doctor_warn(doctor, "nitrotpm",
                    "'muctl attest -o /dev/null' shows whether it can; else the AMI needs NitroTPM",
                    "the TPM does not list the attestation command (0x20000001)");
}

void doctor_check_eventlog(struct doctor *doctor)
{
    static const char fix[] = "refusals will name the PCR, but not what changed; no boot depends "
                              "on it";
    const char *path = doctor->configured ? doctor->config.eventlog : EVENTLOG_DEFAULT_PATH;
    MU_CLEANUP(eventlog_free) struct eventlog log = {0};
    struct pcr_values replayed = {0};
    struct mu_error err = {0};
    uint32_t differ;
    char pcrs[96];

    if (eventlog_load(path, &log, &err) != MU_OK ||
        eventlog_replay(&log, HASH_SHA384, &replayed, &err) != MU_OK) {
        doctor_warn(doctor, "event-log", fix, "%s", err.text);
        return;
    }
    if (doctor->found.mask == 0) {
        doctor_warn(doctor, "event-log", fix, "%zu events; there are no PCRs to compare with",
                    log.count);
        return;
    }
    differ = pcr_differing(&replayed, &doctor->found) & replayed.mask & FIRMWARE_PCRS;
    doctor_pcrs(differ, pcrs);
    if (differ != 0)
        doctor_warn(doctor, "event-log", "muctl eventlog shows it; a false log explains nothing",
                    "%zu events, which do not lead to PCR %s", log.count, pcrs);
    else
        doctor_ok(doctor, "event-log", "%zu events, which explain the PCRs", log.count);
}

void doctor_check_measured(struct doctor *doctor)
{
    struct mu_error err = {0};
    struct pcr_values found = {0};
    uint32_t differ = 0;

    if (doctor->baked.mask == 0)
        doctor_warn(doctor, "running-baseline", "fix the baseline first",
                    "not done: there is no baseline");
    else if (tpm_pcr_read(doctor->tpm, doctor->baked.bank, doctor->baked.mask, &found, &err) !=
                 MU_OK ||
             baseline_compare(&doctor->baked, &found, &differ, &err) != MU_OK)
        doctor_fail(doctor, err.status, "running-baseline",
                    "muctl baseline diff FILE running, or record it again on a machine you trust",
                    "%s", err.text);
    else
        doctor_ok(doctor, "running-baseline", "this machine's PCRs are those of the baseline");
}

static bool matches(struct doctor *doctor, const struct pcr_values *baseline, struct mu_error *err)
{
    struct pcr_values expected = *baseline;
    struct pcr_values found = {0};
    uint32_t differ = 0;

    expected.mask &= ~PCR_BIT(PHASE_PCR);
    return tpm_pcr_read(doctor->tpm, expected.bank, expected.mask, &found, err) == MU_OK &&
           baseline_compare(&expected, &found, &differ, err) == MU_OK;
}

void doctor_check_running(struct doctor *doctor, struct doctor_volume *volume)
{
    struct mu_error err = {0};
    size_t k = 0;

    if (volume->is_blank || volume->record.by_instance)
        return;
    if (!volume->verified) {
        doctor_warn(doctor, "running-record", "fix the record first",
                    "not done: there is no valid record");
        return;
    }
    while (k < volume->record.baselines && !matches(doctor, &volume->record.baseline[k], &err))
        k++;
    if (k < volume->record.baselines)
        doctor_ok(doctor, "running-record", "baseline %zu of %zu is this machine's, as it runs now",
                  k + 1, volume->record.baselines);
    else
        doctor_fail(doctor, err.status == MU_OK ? MU_REFUSE : err.status, "running-record",
                    "muctl enroll DEVICE --baseline FILE of the image that runs",
                    "none of the record's baselines is this machine's: %s", err.text);
}
