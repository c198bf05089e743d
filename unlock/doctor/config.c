/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <openssl/pem.h>

#include "base/file.h"
#include "base/signature.h"
#include "doctor/doctor.h"
#include "measure/baseline.h"
#include "policy/policy.h"

/* As text, BASELINE_BAKED_PCRS. */
#define BAKED_PCRS "2,3,7,12,13,14"
#define PREDICT "muctl baseline predict --image FILE --pcr " BAKED_PCRS " -o FILE"

#define PEM_MAX_BYTES (1u << 20)
#define IMAGE_PCRS (PCR_BIT(9) | PCR_BIT(11))

void doctor_check_configuration(struct doctor *doctor)
{
    static char path[DOCTOR_PATH_MAX];
    struct mu_error err = {0};

    if (doctor->config_path == NULL) {
        doctor_path(doctor, CONFIG_DEFAULT_PATH, path);
        doctor->config_path = path;
    }
    if (config_load(doctor->config_path, &doctor->config, &err) != MU_OK) {
        doctor_fail(doctor, err.status, "configuration",
                    "write it as measured-unlock.conf(5) says; its example is a beginning", "%s",
                    err.text);
        return;
    }
    doctor->configured = true;
    doctor_ok(doctor, "configuration", "%s: %zu volume%s", doctor->config_path,
              doctor->config.volumes, doctor->config.volumes == 1 ? "" : "s");
}

void doctor_check_fallback(struct doctor *doctor)
{
    static const char fix[] = "set 'fallback = none' in [boot] before the image leaves the "
                              "laboratory";

    switch (doctor->config.fallback) {
    case FALLBACK_NONE:
        doctor_ok(doctor, "fallback", "none: a refusal ends the boot");
        return;
    case FALLBACK_PASSPHRASE:
        doctor_warn(doctor, "fallback", fix, "a refusal leads to a passphrase prompt");
        return;
    case FALLBACK_SHELL:
        doctor_warn(doctor, "fallback", fix, "a refusal leads to a shell, after the fence");
        return;
    }
}

void doctor_check_builder_key(struct doctor *doctor)
{
    MU_CLEANUP(buffer_free) struct buffer text = {0};
    struct mu_error err = {0};
    char path[DOCTOR_PATH_MAX];

    doctor_path(doctor, doctor->config.builder_key, path);
    if (file_read(path, PEM_MAX_BYTES, &text, &err) != MU_OK ||
        signature_load_keys(path, &doctor->builder, &err) != MU_OK)
        doctor_fail(doctor, err.status, "builder-key",
                    "openssl pkey -in builder.key -pubout -out builder.pem", "%s", err.text);
    else if (memmem(text.data, text.len, "PRIVATE KEY", 11) != NULL)
        doctor_fail(doctor, MU_CONFIG, "builder-key",
                    "keep only the public key in it, and make a new key pair if the private key "
                    "was in an image",
                    "%s: holds a private key, which must not be in an image", path);
    else
        doctor_ok(doctor, "builder-key", "%s%s", path,
                  doctor->builder.count > 1 ? ": two keys are trusted" : "");
}

static unsigned count_certificates(struct bytes pem)
{
    BIO *bio = BIO_new_mem_buf(pem.data, (int)pem.len);
    unsigned count = 0;
    X509 *certificate;

    while (bio != NULL && (certificate = PEM_read_bio_X509(bio, NULL, NULL, NULL)) != NULL) {
        X509_free(certificate);
        count++;
    }
    BIO_free(bio);
    return count;
}

static void check_roots(struct doctor *doctor, const char *path, const char *fix)
{
    MU_CLEANUP(buffer_free) struct buffer pem = {0};
    struct mu_error err = {0};
    unsigned count;

    if (file_read(path, PEM_MAX_BYTES, &pem, &err) != MU_OK) {
        doctor_fail(doctor, err.status, "ca-file", fix, "%s", err.text);
        return;
    }
    count = count_certificates(buffer_view(&pem));
    if (count > 0)
        doctor_ok(doctor, "ca-file", "%s: %u certificate%s", path, count, count == 1 ? "" : "s");
    else
        doctor_fail(doctor, MU_CONFIG, "ca-file", "put the root certificates there, in PEM",
                    "%s: no certificate in it: no TLS connection can be made with it", path);
}

void doctor_check_ca(struct doctor *doctor)
{
    static const char fix[] = "name the roots with 'ca_file' and 'verifier_ca_file' in [vault]";
    const char *const ours[] = {doctor->config.vault.ca_file,
                                doctor->config.vault.verifier_ca_file};
    char path[DOCTOR_PATH_MAX];
    bool vault = false;

    doctor_path(doctor, doctor->config.aws.ca_file, path);
    if (access(path, F_OK) != 0)
        doctor_path(doctor, DOCTOR_ROOTS, path);
    check_roots(doctor, path, "install measured-unlock, or name the roots with 'ca_file' in [aws]");
    for (size_t i = 0; i < doctor->config.volumes; i++)
        vault = vault || strcmp(doctor->config.volume[i].provider, "vault") == 0;
    for (size_t i = 0; vault && i < 2; i++) {
        if (strcmp(ours[i], doctor->config.aws.ca_file) == 0)
            continue;
        doctor_path(doctor, ours[i], path);
        check_roots(doctor, path, fix);
    }
}

/* docs/develop/design.md, "Two baselines". Whether PCR 4 measures the image that holds the baseline
 * is known once an image was examined. */
static bool circular(struct doctor *doctor, const char *path)
{
    uint32_t image = doctor->baked.mask & IMAGE_PCRS;
    char pcrs[96];

    if (doctor->ukis > 0)
        image |= doctor->baked.mask & PCR_BIT(4);
    doctor_pcrs(image, pcrs);
    if (image != 0)
        doctor_fail(doctor, MU_CONFIG, "baseline",
                    PREDICT "; the signed part in "
                            "the record holds the rest",
                    "%s: circular: it names PCR %s, which measure%s the image that holds it", path,
                    pcrs, strchr(pcrs, ',') == NULL ? "s" : "");
    else if ((doctor->baked.mask & PCR_BIT(4)) != 0 && doctor->initramfs == 0)
        doctor_warn(doctor, "baseline", "give the image with --image, or leave PCR 4 out",
                    "%s: it names PCR 4: circular if the image is a UKI", path);
    return image != 0;
}

static bool useless(struct doctor *doctor, const char *path)
{
    static const char fix[] = "leave it out: muctl baseline predict --pcr " BAKED_PCRS " ...";
    uint32_t fence = PCR_BIT(doctor->config.fence_pcr);
    uint32_t useless = doctor->baked.mask & (PCR_BIT(0) | PCR_BIT(6));
    char pcrs[96];

    doctor_pcrs(useless, pcrs);
    if (useless != 0)
        doctor_warn(doctor, "baseline", fix,
                    "%s: PCR %s: equal on every instance, so that they prove nothing", path, pcrs);
    if ((doctor->baked.mask & PCR_BIT(1)) != 0)
        doctor_fail(doctor, MU_CONFIG, "baseline", fix,
                    "%s: PCR 1 is not constant on EC2: a later boot would be refused", path);
    if ((doctor->baked.mask & fence) != 0)
        doctor_fail(doctor, MU_CONFIG, "baseline", fix,
                    "%s: PCR %u is the fence, which changes in each boot", path,
                    doctor->config.fence_pcr);
    return (doctor->baked.mask & (fence | PCR_BIT(1))) != 0;
}

static bool incomplete(struct doctor *doctor, const char *path)
{
    static const char fix[] = PREDICT;
    char names[BASELINE_NAMES_MAX];
    struct mu_error err = {0};

    if ((doctor->baked.mask & PCR_BIT(7)) == 0)
        doctor_warn(doctor, "baseline", fix, "%s: it lacks PCR 7 (Secure Boot's keys and state)",
                    path);
    baseline_pcr_names(doctor->baked.without, names);
    if (doctor->baked.without != 0)
        doctor_warn(doctor, "baseline", "predict it without --without-pcr if that is not wanted",
                    "%s: PCR %s is left out knowingly", path, names);
    if (baseline_check_baked(&doctor->baked, PCR_COUNT, &err) == MU_OK)
        return false;
    if ((doctor->baked.mask & PCR_BIT(1)) == 0)
        doctor_fail(doctor, MU_CONFIG, "baseline", fix, "%s: %s", path, err.text);
    return true;
}

void doctor_check_baseline(struct doctor *doctor)
{
    struct mu_error err = {0};
    char path[DOCTOR_PATH_MAX], pcrs[96];
    unsigned warnings = doctor->warnings;
    bool bad;

    doctor_path(doctor, doctor->config.baseline, path);
    if (baseline_load(path, &doctor->baked, &err) != MU_OK) {
        doctor->baked.mask = 0;
        doctor_fail(doctor, err.status, "baseline",
                    PREDICT ", before the image is "
                            "built",
                    "%s", err.text);
        return;
    }
    bad = circular(doctor, path);
    bad |= useless(doctor, path);
    bad |= incomplete(doctor, path);
    doctor_pcrs(doctor->baked.mask, pcrs);
    if (!bad && doctor->warnings == warnings)
        doctor_ok(doctor, "baseline", "%s: PCR %s (%s)", path, pcrs, hash_name(doctor->baked.bank));
}

static bool print_findings(struct doctor *doctor, const struct policy_report *report)
{
    for (size_t i = 0; i < report->count; i++) {
        const struct policy_finding *f = &report->finding[i];
        const char *where = f->statement[0] != '\0' ? ", statement " : "";

        if (f->warning)
            doctor_warn(doctor, "policy", f->fix, "%s%s%s: %s", f->rule, where, f->statement,
                        f->detail);
        else
            doctor_fail(doctor, MU_REFUSE, "policy", f->fix, "%s%s%s: %s", f->rule, where,
                        f->statement, f->detail);
    }
    return report->findings > 0;
}

static bool makes_volumes(const struct doctor *doctor)
{
    for (size_t i = 0; doctor->configured && i < doctor->config.volumes; i++)
        if (doctor->config.volume[i].create == CREATE_BLANK)
            return true;
    return false;
}

void doctor_check_policy(struct doctor *doctor)
{
    static const char fix[] = "muctl policy kms writes one that is safe as it stands";
    MU_CLEANUP(memory_free) struct policy_report *report = calloc(1, sizeof(*report));
    MU_CLEANUP(json_free) json_object *policy = NULL;
    unsigned fence_pcr = doctor->configured ? doctor->config.fence_pcr : FENCE_DEFAULT;
    struct mu_error err = {0};
    enum mu_status status;

    if (report == NULL) {
        doctor_fail(doctor, mu_oom(&err), "policy", fix, "%s", err.text);
        return;
    }
    status = policy_load(doctor->policy, &policy, &err);
    if (status == MU_OK)
        status = policy_lint(policy, fence_pcr, doctor->baked.without, report, &err);
    if (status != MU_OK && status != MU_REFUSE)
        doctor_fail(doctor, status, "policy", fix, "%s", err.text);
    else if (!print_findings(doctor, report))
        doctor_ok(doctor, "policy", "%s: no statement defeats attestation", doctor->policy);
    if ((status == MU_OK || status == MU_REFUSE) && makes_volumes(doctor) && !report->data_volumes)
        doctor_fail(doctor, MU_REFUSE, "policy", "muctl policy kms --data-volumes",
                    "it allows kms:GenerateDataKey to nobody: no data volume can be made");
}
