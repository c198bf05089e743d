/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/config.h"
#include "base/file.h"
#include "ctl/ctl.h"
#include "measure/baseline.h"
#include "measure/eventlog.h"
#include "measure/signature.h"
#include "tpm/tpm.h"
#include "volume/volume.h"

#define DRACUT_MODULE "/usr/lib/dracut/modules.d/55measured-unlock/module-setup.sh"
#define TPM_PATIENCE_S 2

enum verdict { VERDICT_OK, VERDICT_WARNING, VERDICT_FAILURE };

struct doctor {
    const char *config_path;
    const char *tcti;
    bool json;
    struct config config;
    bool configured;
    EVP_PKEY *builder_key;
    json_object *findings;
    unsigned failures;
};

static void report(struct doctor *doctor, enum verdict verdict, const char *name,
                   const char *detail, const char *fix)
{
    static const char *const words[] = {"ok", "warning", "failure"};
    json_object *finding = json_object_new_object();

    doctor->failures += verdict == VERDICT_FAILURE;
    json_object_object_add(finding, "name", json_object_new_string(name));
    json_object_object_add(finding, "result", json_object_new_string(words[verdict]));
    json_object_object_add(finding, "detail", json_object_new_string(detail));
    if (verdict != VERDICT_OK)
        json_object_object_add(finding, "fix", json_object_new_string(fix));
    json_object_array_add(doctor->findings, finding);
    if (doctor->json)
        return;
    (void)printf("%s %-14s %s\n",
                 verdict == VERDICT_WARNING ? "warn  " : ctl_mark(verdict == VERDICT_OK), name,
                 detail);
    if (verdict != VERDICT_OK)
        (void)printf("       %-14s -> %s\n", "", fix);
}

static void check_firmware(struct doctor *doctor)
{
    if (access("/sys/firmware/efi", F_OK) == 0)
        report(doctor, VERDICT_OK, "firmware", "booted by UEFI", "");
    else
        report(doctor, VERDICT_WARNING, "firmware", "this machine was not booted by UEFI",
               "register the AMI with --boot-mode uefi --tpm-support v2.0");
}

static void check_tpm(struct doctor *doctor)
{
    MU_CLEANUP(tpm_close) struct tpm *tpm = NULL;
    struct pcr_values values = {0};
    struct mu_error err = {0};
    char maker[5] = "";
    char detail[96];

    if (tpm_open(doctor->tcti, deadline_in(TPM_PATIENCE_S), &tpm, &err) != MU_OK ||
        tpm_manufacturer(tpm, maker, &err) != MU_OK) {
        report(doctor, VERDICT_FAILURE, "tpm", err.text,
               "run this on the instance itself, as root, with NitroTPM enabled in the AMI");
        return;
    }
    (void)snprintf(detail, sizeof(detail), "manufacturer '%s'", maker);
    if (strncmp(maker, "AMZN", 4) == 0)
        report(doctor, VERDICT_OK, "tpm", detail, "");
    else
        report(doctor, VERDICT_WARNING, "tpm", detail,
               "only NitroTPM (AMZN) makes attestation documents that AWS KMS accepts");
    if (tpm_pcr_read(tpm, HASH_SHA384, PCR_BIT(4), &values, &err) == MU_OK)
        report(doctor, VERDICT_OK, "sha384-bank", "allocated", "");
    else
        report(doctor, VERDICT_FAILURE, "sha384-bank", err.text,
               "allocate the SHA-384 bank (tpm2_pcrallocate) and reboot");
}

static void check_eventlog(struct doctor *doctor)
{
    const char *path = doctor->configured ? doctor->config.eventlog
                                          : "/sys/kernel/security/tpm0/binary_bios_measurements";
    MU_CLEANUP(buffer_free) struct buffer raw = {0};
    MU_CLEANUP(eventlog_free) struct eventlog log = {0};
    struct mu_error err = {0};
    char detail[64];

    if (file_read(path, EVENTLOG_MAX_BYTES, &raw, &err) != MU_OK ||
        eventlog_parse(buffer_view(&raw), &log, &err) != MU_OK) {
        report(doctor, VERDICT_WARNING, "event-log", err.text,
               "refusals will name the PCR, but not what changed");
        return;
    }
    (void)snprintf(detail, sizeof(detail), "%zu events", log.count);
    report(doctor, VERDICT_OK, "event-log", detail, "");
}

static void check_config(struct doctor *doctor)
{
    struct mu_error err = {0};
    char detail[64];

    if (config_load(doctor->config_path, &doctor->config, &err) != MU_OK) {
        report(doctor, VERDICT_FAILURE, "configuration", err.text,
               "write it as measured-unlock.conf(5) says");
        return;
    }
    doctor->configured = true;
    (void)snprintf(detail, sizeof(detail), "%zu volume%s", doctor->config.volumes,
                   doctor->config.volumes == 1 ? "" : "s");
    report(doctor, VERDICT_OK, "configuration", detail, "");
    if (doctor->config.fallback == FALLBACK_NONE)
        report(doctor, VERDICT_OK, "fallback", "none: a refusal ends the boot", "");
    else
        report(doctor, VERDICT_WARNING, "fallback", "a refusal leads to a prompt or a shell",
               "set 'fallback = none' in [boot] before the image leaves the laboratory");
}

static void check_builder_key(struct doctor *doctor)
{
    struct mu_error err = {0};

    if (signature_load_public_key(doctor->config.builder_key, &doctor->builder_key, &err) == MU_OK)
        report(doctor, VERDICT_OK, "builder-key", doctor->config.builder_key, "");
    else
        report(doctor, VERDICT_FAILURE, "builder-key", err.text,
               "openssl pkey -in KEY -pubout -out FILE");
}

static void check_baseline(struct doctor *doctor)
{
    struct pcr_values baked = {0};
    struct mu_error err = {0};

    if (baseline_load(doctor->config.baseline, &baked, &err) != MU_OK) {
        report(doctor, VERDICT_FAILURE, "baseline", err.text,
               "muctl baseline predict --pcr 7,12 -o FILE, before the image is built");
        return;
    }
    if (baked.mask & (PCR_BIT(9) | PCR_BIT(11)))
        report(doctor, VERDICT_FAILURE, "baseline",
               "it names PCR 9 or 11, which measure the image that holds it",
               "keep PCR 9 and 11 out of the baked part; the signed part may have them");
    else if (baked.mask & PCR_BIT(4))
        report(doctor, VERDICT_WARNING, "baseline",
               "it names PCR 4: circular if the image is a UKI",
               "keep PCR 4 for the signed part, unless a boot loader is what PCR 4 measures");
    else
        report(doctor, VERDICT_OK, "baseline", doctor->config.baseline, "");
}

static enum mu_status read_record(struct doctor *doctor, const struct volume_config *volume,
                                  struct mu_error *err)
{
    MU_CLEANUP(string_free) char *device = NULL;
    MU_CLEANUP(luks_header_free) struct luks_header header = {.memfd = -1};
    MU_CLEANUP(record_free) struct record record = {0};
    json_object *token;

    MU_TRY(volume_find_device(volume->device, deadline_in(0), &device, err));
    MU_TRY(luks_header_load(device, &header, err));
    MU_TRY(luks_header_check(&header, NULL, err));
    MU_TRY(luks_header_record_token(&header, &token, err));
    MU_TRY(record_parse_token(token, doctor->builder_key, &record, err));
    return record_check(&record, header.uuid, doctor->config.minimum_record_version, err);
}

static void check_volumes(struct doctor *doctor)
{
    for (size_t i = 0; i < doctor->config.volumes; i++) {
        struct mu_error err = {0};
        char name[96];

        (void)snprintf(name, sizeof(name), "volume %.64s", doctor->config.volume[i].name);
        if (read_record(doctor, &doctor->config.volume[i], &err) == MU_OK)
            report(doctor, VERDICT_OK, name, "header good, record signed", "");
        else
            report(doctor, VERDICT_FAILURE, name, err.text, "muctl header check; muctl enroll");
    }
}

static void check_dracut_module(struct doctor *doctor)
{
    if (access(DRACUT_MODULE, R_OK) == 0)
        report(doctor, VERDICT_OK, "dracut-module", "installed", "");
    else
        report(doctor, VERDICT_FAILURE, "dracut-module", DRACUT_MODULE " is missing",
               "make install, then run dracut again");
}

static enum mu_status parse(int argc, char **argv, struct doctor *doctor, struct mu_error *err)
{
    static const struct option options[] = {{"config", required_argument, NULL, 'c'},
                                            {"tcti", required_argument, NULL, 't'},
                                            {"json", no_argument, NULL, 'j'},
                                            {0}};
    int option;

    while (true) {
        MU_TRY(ctl_next_option(argc, argv, options, &option, err));
        switch (option) {
        case 'c':
            doctor->config_path = optarg;
            break;
        case 't':
            doctor->tcti = optarg;
            break;
        case 'j':
            doctor->json = true;
            break;
        default:
            return ctl_operands(argc, 0, 0, err);
        }
    }
}

static enum mu_status examine(struct doctor *doctor, struct mu_error *err)
{
    doctor->findings = json_object_new_array();
    check_firmware(doctor);
    check_tpm(doctor);
    check_config(doctor);
    check_eventlog(doctor);
    if (doctor->configured) {
        check_baseline(doctor);
        check_builder_key(doctor);
    }
    if (doctor->builder_key != NULL)
        check_volumes(doctor);
    check_dracut_module(doctor);
    if (doctor->json) {
        MU_CLEANUP(json_free) json_object *object = json_object_new_object();

        json_object_object_add(object, "ok", json_object_new_boolean(doctor->failures == 0));
        json_object_object_add(object, "findings", json_object_get(doctor->findings));
        MU_TRY(ctl_print_json("-", object, err));
    }
    if (doctor->failures > 0)
        return mu_fail(err, MU_CONFIG, "%u of the checks failed: the next boot would not unlock",
                       doctor->failures);
    return MU_OK;
}

static enum mu_status run(int argc, char **argv, struct mu_error *err)
{
    struct doctor doctor = {.config_path = CONFIG_DEFAULT_PATH, .tcti = getenv("MU_TCTI")};
    enum mu_status status;

    MU_TRY(parse(argc, argv, &doctor, err));
    status = examine(&doctor, err);
    json_free(&doctor.findings);
    signature_key_free(&doctor.builder_key);
    config_free(&doctor.config);
    return status;
}

const struct verb verb_doctor = {
    .name = "doctor",
    .synopsis = "[--config FILE] [--tcti TCTI] [--json]",
    .summary = "everything that must hold before the next boot, and how to mend what does not",
    .help = "  --config FILE   default " CONFIG_DEFAULT_PATH "\n"
            "  --tcti TCTI     device:PATH or swtpm:host=H,port=N (environment: MU_TCTI)\n"
            "  --json          the findings as JSON\n"
            "\n"
            "Exit code 4 if a check fails.",
    .run = run,
};
