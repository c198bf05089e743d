/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "doctor/doctor.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"
#include "base/signature.h"
#include "base/text.h"

#define COLUMNS 99
#define INDENT 27 /* mark and name */

enum { NEEDS_CONFIG = 1, NEEDS_INSTANCE = 2, NEEDS_TPM = 4, NEEDS_POLICY = 8, NEEDS_ONLINE = 16 };

/* In the order in which they are made: a check may use what those before it found. */
static const struct check {
    const char *name;
    unsigned needs;
    void (*run)(struct doctor *doctor); /* after `each`; either may be NULL */
    doctor_each *each;
} checks[] = {
    {"fallback", NEEDS_CONFIG, doctor_check_fallback, NULL},
    {"builder-key", NEEDS_CONFIG, doctor_check_builder_key, NULL},
    {"ca-file", NEEDS_CONFIG, doctor_check_ca, NULL},
    {"dracut-module", 0, doctor_check_module, NULL},
    {"image", NEEDS_CONFIG, doctor_check_images, NULL},
    {"baseline", NEEDS_CONFIG, doctor_check_baseline, NULL},
    {"data-volume", NEEDS_CONFIG, doctor_check_blanks, doctor_check_blank},
    {"volume-header", NEEDS_CONFIG, NULL, doctor_check_header},
    {"volume-record", NEEDS_CONFIG, NULL, doctor_check_record},
    {"volume-baseline", NEEDS_CONFIG, NULL, doctor_check_signed},
    {"volume-image", NEEDS_CONFIG, doctor_check_compared, doctor_check_enrolled},
    {"firmware", NEEDS_INSTANCE, doctor_check_firmware, NULL},
    {"tpm", NEEDS_INSTANCE, doctor_check_tpm, NULL},
    {"sha384-bank", NEEDS_INSTANCE | NEEDS_TPM, doctor_check_banks, NULL},
    {"nitrotpm", NEEDS_INSTANCE | NEEDS_TPM, doctor_check_nitrotpm, NULL},
    {"event-log", NEEDS_INSTANCE | NEEDS_TPM, doctor_check_eventlog, NULL},
    {"running-cmdline", NEEDS_INSTANCE, doctor_check_cmdline, NULL},
    {"running-doors", NEEDS_INSTANCE | NEEDS_CONFIG, doctor_check_running_doors, NULL},
    {"running-baseline", NEEDS_INSTANCE | NEEDS_TPM | NEEDS_CONFIG, doctor_check_measured, NULL},
    {"running-record", NEEDS_INSTANCE | NEEDS_TPM | NEEDS_CONFIG, NULL, doctor_check_running},
    {"monitoring", NEEDS_INSTANCE, doctor_check_monitor, NULL},
    {"policy", NEEDS_POLICY, doctor_check_policy, NULL},
    {"credentials", NEEDS_ONLINE | NEEDS_CONFIG, doctor_check_credentials, NULL},
    {"kms", NEEDS_ONLINE | NEEDS_CONFIG, doctor_check_kms, doctor_check_connection},
    {"key", NEEDS_ONLINE | NEEDS_INSTANCE | NEEDS_TPM | NEEDS_CONFIG, NULL, doctor_check_key},
};

/* Why a check cannot be made, the first that holds. */
static const struct obstacle {
    unsigned needs;
    const char *why, *fix;
} obstacles[] = {
    {NEEDS_CONFIG, "there is no valid configuration", "fix the configuration first"},
    {NEEDS_INSTANCE, "only the instance can tell", "run 'muctl doctor --instance' there, as root"},
    {NEEDS_TPM, "the TPM cannot be used", "fix what the line 'tpm' says"},
    {NEEDS_ONLINE, "asks the network", "add --online"},
    {NEEDS_POLICY, "no key policy was given",
     "aws kms get-key-policy --key-id ID --policy-name default --query Policy --output text | "
     "muctl doctor --policy -"},
};

/* The first line goes on from where `lead` ends; the others begin below its end. */
static void print_folded(int lead, const char *text)
{
    for (bool first = true; first || *text != '\0'; first = false) {
        size_t len = log_fold(text, (size_t)(COLUMNS - lead));

        (void)printf("%*s%.*s\n", first ? 0 : lead, "", (int)len, text);
        text += len;
        text += strspn(text, " ");
    }
}

static void print_line(const char *mark, const char *name, const char *detail, const char *fix)
{
    (void)printf("%s %-*s ", mark, INDENT - 8, name);
    print_folded(INDENT, detail);
    if (fix == NULL)
        return;
    (void)printf("%*s-> ", INDENT, "");
    print_folded(INDENT + 3, fix);
}

static void record_finding(struct doctor *doctor, const char *result, const char *name,
                           const char *detail, const char *fix)
{
    MU_CLEANUP(json_free) json_object *finding = json_object_new_object();

    if (!json_add_text(finding, "name", name) || !json_add_text(finding, "result", result) ||
        !json_add_text(finding, "detail", detail) ||
        (fix != NULL && !json_add_text(finding, "fix", fix)) ||
        (doctor->image_now != NULL && !json_add_text(finding, "image", doctor->image_now)) ||
        !json_append(doctor->findings, MU_TAKE(finding)))
        doctor->incomplete = true;
}

/* The problem to fix first decides: a bug, an unusable machine, a mismatch, something that is not
 * ready. */
static int rank(enum mu_status status)
{
    static const int ranks[] = {[MU_OK] = 0,     [MU_RETRY] = 1, [MU_REFUSE] = 2,
                                [MU_CONFIG] = 3, [MU_USAGE] = 3, [MU_INTERNAL] = 4};

    return ranks[status];
}

void doctor_find(struct doctor *doctor, int result, const char *name, const char *fix,
                 const char *format, ...)
{
    const bool warning = result == DOCTOR_WARNING, ok = result == MU_OK;
    char detail[1024] = "";
    size_t len = 0;
    va_list args;

    if (doctor->volume_now != NULL)
        len = (size_t)snprintf(detail, sizeof(detail), "volume '%s': ", doctor->volume_now);
    va_start(args, format);
    (void)vsnprintf(detail + len, sizeof(detail) - len, format, args);
    va_end(args);
    text_make_printable(detail); /* names in headers and images are anybody's */
    doctor->warnings += warning;
    doctor->failures += !warning && !ok;
    if (!warning && rank((enum mu_status)result) > rank(doctor->worst))
        doctor->worst = (enum mu_status)result;
    record_finding(doctor, warning ? "warning" : ok ? "ok" : "failure", name, detail, fix);
    if (!doctor->json)
        print_line(warning ? "warn  " : cli_mark(ok), name, detail, fix);
}

void doctor_path(const struct doctor *doctor, const char *path, char ret[static DOCTOR_PATH_MAX])
{
    if ((size_t)snprintf(ret, DOCTOR_PATH_MAX, "%s%s", doctor->root, path) >= DOCTOR_PATH_MAX)
        ret[0] = '\0'; /* no file has that name */
}

bool doctor_uses_kms(const struct doctor *doctor)
{
    for (size_t i = 0; doctor->configured && i < doctor->config.volumes; i++)
        if (strcmp(doctor->config.volume[i].provider, PROVIDER_AWS_KMS) == 0)
            return true;
    return !doctor->configured;
}

void doctor_pcrs(uint32_t mask, char ret[static 96])
{
    size_t len = 0;

    ret[0] = '\0';
    for (unsigned pcr = 0; pcr < PCR_COUNT; pcr++)
        if ((mask & PCR_BIT(pcr)) != 0)
            len += (size_t)snprintf(ret + len, 96 - len, "%s%u", len > 0 ? ", " : "", pcr);
}

/* NULL if the check can be made. */
static const struct obstacle *obstacle_of(const struct doctor *doctor, unsigned needs)
{
    unsigned lacking = 0;

    lacking |= doctor->configured ? 0 : NEEDS_CONFIG;
    lacking |= doctor->role == ROLE_INSTANCE ? 0 : NEEDS_INSTANCE;
    lacking |= doctor->tpm != NULL ? 0 : NEEDS_TPM;
    lacking |= doctor->policy != NULL ? 0 : NEEDS_POLICY;
    lacking |= doctor->online ? 0 : NEEDS_ONLINE;
    for (size_t i = 0; i < MU_COUNT(obstacles); i++)
        if ((needs & lacking & obstacles[i].needs) != 0)
            return &obstacles[i];
    return NULL;
}

/* For a person, those of one reason share a line. */
static void print_not_done(const struct doctor *doctor, const struct obstacle *const *obstacle)
{
    for (size_t i = 0; i < MU_COUNT(obstacles); i++) {
        char detail[512] = "";
        size_t len = 0;

        for (size_t k = 0; k < MU_COUNT(checks); k++)
            if (obstacle[k] == &obstacles[i])
                len += (size_t)snprintf(detail + len, sizeof(detail) - len, "%s%s",
                                        len > 0 ? ", " : "", checks[k].name);
        if (len == 0 || doctor->json)
            continue;
        (void)snprintf(detail + len, sizeof(detail) - len, ": %s", obstacles[i].why);
        print_line("warn  ", "not done", detail, obstacles[i].fix);
    }
}

/* Finds out where doctor runs, so that no option is needed: only an instance has a TPM, or traces
 * of a boot with measured-unlock; a root file system that is not this machine's is being built. */
static const char *guess_role(struct doctor *doctor)
{
    static const char *const marks[] = {"/dev/tpmrm0", "/dev/tpm0", "/run/measured-unlock"};

    if (doctor->role != ROLE_GUESS)
        return "as asked";
    doctor->role = ROLE_BUILD;
    if (doctor->root[0] != '\0')
        return "since --root is given";
    doctor->role = ROLE_INSTANCE;
    if (doctor->tcti != NULL || (doctor->configured && doctor->config.tcti != NULL))
        return "since a TPM is configured";
    for (size_t i = 0; i < MU_COUNT(marks); i++)
        if (access(marks[i], F_OK) == 0)
            return marks[i];
    doctor->role = ROLE_BUILD;
    return "since it has no TPM; --instance if it is one";
}

static void make(struct doctor *doctor, const struct check *check)
{
    for (size_t i = 0; check->each != NULL && i < doctor->config.volumes; i++) {
        struct doctor_volume *volume = &doctor->volume[i];

        volume->config = &doctor->config.volume[i];
        doctor->volume_now = volume->config->name;
        check->each(doctor, volume);
    }
    doctor->volume_now = NULL;
    if (check->run != NULL)
        check->run(doctor);
}

static void examine(struct doctor *doctor)
{
    const struct obstacle *obstacle[MU_COUNT(checks)];
    const char *why;

    doctor_check_configuration(doctor);
    why = guess_role(doctor);
    doctor_ok(doctor, "role", "%s (%s)",
              doctor->role == ROLE_BUILD ? "build machine" : "running instance", why);
    for (size_t i = 0; i < MU_COUNT(checks); i++) {
        obstacle[i] = obstacle_of(doctor, checks[i].needs);
        if (obstacle[i] == NULL) {
            make(doctor, &checks[i]);
            continue;
        }
        if (doctor->json) {
            char detail[128];

            (void)snprintf(detail, sizeof(detail), "not done: %s", obstacle[i]->why);
            record_finding(doctor, "warning", checks[i].name, detail, obstacle[i]->fix);
        }
        doctor->warnings++;
    }
    print_not_done(doctor, obstacle);
}

static enum mu_status conclude(struct doctor *doctor, struct mu_error *err)
{
    if (doctor->json) {
        MU_CLEANUP(json_free) json_object *object = json_object_new_object();

        if (doctor->incomplete ||
            !json_add(object, "ok", json_object_new_boolean(doctor->failures == 0)) ||
            !json_add_text(object, "role", doctor->role == ROLE_BUILD ? "build" : "instance") ||
            !json_add(object, "findings", json_object_get(doctor->findings)))
            return mu_oom(err);
        MU_TRY(cli_print_json("-", object, err));
    }
    if (doctor->failures > 0)
        return mu_fail(err, doctor->worst, "%u check%s failed: the next boot would not unlock",
                       doctor->failures, doctor->failures == 1 ? "" : "s");
    if (!doctor->json)
        (void)printf("\nNothing was found that would keep the next boot from unlocking"
                     " (%u warning%s).\n",
                     doctor->warnings, doctor->warnings == 1 ? "" : "s");
    return MU_OK;
}

static enum mu_status doctor_parse(int argc, char **argv, struct doctor *doctor,
                                   struct mu_error *err)
{
    bool build = false, instance = false;
    const struct cli_option options[] = {
        {"build", 0, .flag = &build},
        {"instance", 0, .flag = &instance},
        {"config", 'c', .text = &doctor->config_path},
        {"image", 'i', .text = doctor->image, .count = &doctor->images, .max = DOCTOR_IMAGES_MAX},
        {"root", 0, .text = &doctor->root},
        {"policy", 'p', .text = &doctor->policy},
        {"credentials", 0, .text = &doctor->credentials_file},
        {"online", 0, .flag = &doctor->online},
        {"tcti", 't', .text = &doctor->tcti},
        {"json", 'j', .flag = &doctor->json},
        {0},
    };

    MU_TRY(cli_options(argc, argv, options, 0, 0, err));
    if (build && instance)
        return mu_fail(err, MU_USAGE, "--build and --instance exclude each other");
    if (build || instance)
        doctor->role = build ? ROLE_BUILD : ROLE_INSTANCE;
    if (doctor->credentials_file != NULL && (instance || !doctor->online))
        return mu_fail(
            err, MU_USAGE,
            "--credentials is for --build with --online: a boot has the instance's role");
    if (doctor->credentials_file != NULL)
        doctor->role = ROLE_BUILD;
    if (strcmp(doctor->root, "/") == 0)
        doctor->root = "";
    return MU_OK;
}

static void doctor_done(struct doctor **at)
{
    struct doctor *doctor = *at;

    for (size_t i = 0; i < CONFIG_VOLUMES_MAX; i++) {
        luks_header_free(&doctor->volume[i].header);
        record_free(&doctor->volume[i].record);
    }
    json_free(&doctor->findings);
    public_keys_free(&doctor->builder);
    tpm_close(&doctor->tpm);
    config_free(&doctor->config);
}

static enum mu_status doctor_run(int argc, char **argv, struct mu_error *err)
{
    static struct doctor storage;
    MU_CLEANUP(doctor_done) struct doctor *doctor = &storage;

    doctor->root = "";
    doctor->tcti = getenv("MU_TCTI");
    for (size_t i = 0; i < CONFIG_VOLUMES_MAX; i++)
        doctor->volume[i].header.memfd = -1;
    MU_TRY(doctor_parse(argc, argv, doctor, err));
    doctor->findings = json_object_new_array();
    if (doctor->findings == NULL)
        return mu_oom(err);
    examine(doctor);
    return conclude(doctor, err);
}

const struct verb verb_doctor = {
    .name = "doctor",
    .synopsis = "[--build|--instance] [--image FILE]... [--policy FILE] [--online] [OPTION...]",
    .summary = "everything that must hold before the next boot, and how to fix what does not",
    .help =
        "Each line says ok, warn or FAILED; below it, how to fix it. What cannot be examined "
        "here\n"
        "is a warning that says so.\n"
        "\n"
        "  --build         this machine builds the image\n"
        "  --instance      this machine boots it; the default is guessed (a TPM: an instance)\n"
        "  --config FILE   default " CONFIG_DEFAULT_PATH "\n"
        "  --image FILE    examine this UKI or initramfs (repeatable); default: all in /boot\n"
        "                  and on the EFI system partition in /boot, /efi, /boot/efi\n"
        "  --root DIR      the image is built in this directory, not in /: where the paths of\n"
        "                  the configuration, the dracut module and the images are\n"
        "  --policy FILE   lint this key policy ('-': standard input)\n"
        "  --online        ask IMDS and KMS too: credentials, clock, and whether the released key\n"
        "                  opens the key slot; on a running instance, whose fence is closed,\n"
        "                  that KMS denies it\n"
        "  --credentials FILE\n"
        "                  the builder's, as 'aws configure export-credentials' prints them ('-':\n"
        "                  standard input), for --build with --online\n"
        "  --tcti TCTI     device:PATH or swtpm:host=H,port=N (environment: MU_TCTI)\n"
        "  --json          {\"ok\", \"role\", \"findings\": [{\"name\", \"result\", \"detail\", "
        "\"fix\"}]};\n"
        "                  result is \"ok\", \"warning\" or \"failure\"\n"
        "\n"
        "Exit code 0 if nothing failed; else 4 if something is unusable as it is, else 2 if\n"
        "something does not match, else 3 if only the network or a device was not ready.\n"
        "\n"
        "Example: muctl doctor --build --image image.efi --policy policy.json\n",
    .run = doctor_run,
};
