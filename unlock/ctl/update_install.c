/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <ctype.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/statvfs.h>

#include "base/file.h"
#include "build/esp.h"
#include "build/pe.h"
#include "ctl/credentials.h"
#include "ctl/update.h"
#include "measure/baseline.h"
#include "policy/fetch.h"
#include "policy/policy.h"

#define TRIES_DEFAULT 3
#define TRIES_MAX 9
#define PATIENCE_S 10
/* Of a file system's own blocks. */
#define SPARE_BYTES (1u << 20)
#define CANDIDATE_DIGITS 18

static const char help[] =
    "Puts a unified kernel image beside those on the EFI system partition, to be booted next, on\n"
    "trial: systemd-boot takes it N times at most, and then the old one again, unless 'muctl "
    "update\n"
    "good' has said in between that it unlocked. Before that it makes sure that the record of "
    "each\n"
    "volume allows what the image will be measured as. Nothing is overwritten or removed.\n"
    "\n"
    "  --esp PLACE     folder or device of the EFI system partition; default: what is mounted at\n"
    "                  /boot, /efi or /boot/efi, else the partition with the label esp\n"
    "  --name NAME     of the image there, without .efi; default: that of UKI\n"
    "  --tries N       how often it may fail to come up (1 to 9, default 3)\n"
    "  --policy FILE   the key policy must allow it, too ('-': standard input)\n"
    "  --online        the same with the key policies that KMS has (kms:GetKeyPolicy)\n"
    "  --credentials FILE\n"
    "                  with --online: whose may read them, as 'aws configure export-credentials'\n"
    "                  prints them ('-': standard input); default: the environment, or the "
    "instance's\n"
    "  --config FILE   default " CONFIG_DEFAULT_PATH "\n"
    "  --eventlog FILE of a boot of this machine; default: as configured, of the present one\n"
    "  --dry-run       make the checks, write nothing\n"
    "  --json          report: \"image\", \"path\", \"tries\", \"falls_back_to\", \"volumes\"\n"
    "\n"
    "Exit code 2 if a record or a key policy does not allow the image, 4 if it cannot be booted\n"
    "here.\n"
    "\n"
    "Example: muctl update install linux-2.efi\n";

struct install {
    const char *uki_path, *esp_path, *name, *policy, *credentials, *config, *eventlog;
    uint64_t tries;
    bool online, dry_run, json;
    struct update_esp esp;
    struct update_machine machine;
    struct update_forecast image;
    struct boot_entry entry;          /* as it will be put there */
    const struct update_entry *other; /* what remains if it fails */
    char path[ESP_PATH_MAX];
    const char *volume_said[CONFIG_VOLUMES_MAX];
};

static void install_free(struct install *in)
{
    update_machine_free(&in->machine);
    update_esp_close(&in->esp);
    update_forecast_free(&in->image);
}

static const char *base_name(const char *path)
{
    const char *slash = strrchr(path, '/');

    return slash != NULL ? slash + 1 : path;
}

static enum mu_status choose_name(const struct install *in, struct mu_error *err,
                                  char ret[static BOOT_FILE_MAX])
{
    struct boot_name name;

    if (in->name != NULL)
        return boot_name_make(in->name, (int64_t)in->tries, ret, err);
    if (!boot_name_parse(base_name(in->uki_path), &name))
        return mu_fail(err, MU_USAGE,
                       "the file's name does not end in .efi: give it one with "
                       "--name");
    return boot_name_make(name.stem, (int64_t)in->tries, ret, err);
}

static enum mu_status read_image(struct install *in, struct mu_error *err)
{
    char file[BOOT_FILE_MAX];
    struct pe pe;

    MU_TRY(choose_name(in, err, file));
    MU_TRY(update_forecast_load(in->uki_path, &in->image, err));
    MU_TRY(pe_parse(buffer_view(&in->image.uki), &pe, err));
    if (pe.machine != in->esp.machine)
        return mu_fail(err, MU_CONFIG,
                       "it is for %s (0x%04x), and %s starts images for %s: build it with ARCH= of "
                       "this machine",
                       update_machine_name(pe.machine), pe.machine, in->esp.loader_path,
                       update_machine_name(in->esp.machine));
    return boot_entry_read(file, buffer_view(&in->image.uki), &in->entry, err);
}

/* ---- its place among the others ---- */

/* The next name after `stem`: the number at its end plus one. */
static void next_name(const char *stem, char ret[static BOOT_FILE_MAX])
{
    size_t len = strlen(stem), from = len;

    while (from > 0 && len - from < CANDIDATE_DIGITS && isdigit((unsigned char)stem[from - 1]))
        from--;
    (void)snprintf(ret, BOOT_FILE_MAX, "%.*s%llu", (int)(from < 200 ? from : 200), stem,
                   from < len ? strtoull(stem + from, NULL, 10) + 1 : 2);
}

/* Before the other one under each name that it has in its life: on trial, and good. */
static bool comes_before(const struct boot_entry *entry, const struct boot_entry *other)
{
    struct boot_entry at = *entry;

    for (int64_t left = entry->name.left; left >= 0; left--) {
        at.name.left = left > 0 ? left : -1;
        at.name.done = entry->name.left - left;
        if (left == 0)
            (void)snprintf(at.file, sizeof(at.file), "%.200s.efi", entry->name.stem);
        else if (at.name.done > 0)
            (void)snprintf(at.file, sizeof(at.file), "%.200s+%" PRId64 "-%" PRId64 ".efi",
                           entry->name.stem, left, at.name.done);
        if (boot_entry_compare(&at, other) >= 0)
            return false;
    }
    return true;
}

static enum mu_status refuse_order(const struct install *in, const struct boot_entry *first,
                                   struct mu_error *err)
{
    struct boot_entry renamed = in->entry;
    char name[BOOT_FILE_MAX];

    next_name(first->name.stem, name);
    (void)snprintf(renamed.name.stem, sizeof(renamed.name.stem), "%s", name);
    (void)snprintf(renamed.file, sizeof(renamed.file), "%.200s+%" PRId64 ".efi", name,
                   renamed.name.left);
    if (comes_before(&renamed, first))
        return mu_fail(err, MU_CONFIG,
                       "systemd-boot would take %s before %s, by its name: --name %s", first->file,
                       in->entry.file, name);
    return mu_fail(err, MU_CONFIG,
                   "systemd-boot would take %s before %s, since its os-release says '%s' version "
                   "'%s' and this one's '%s' version '%s': build it with a higher IMAGE_VERSION",
                   first->file, in->entry.file, first->sort_key, first->version, in->entry.sort_key,
                   in->entry.version);
}

static enum mu_status check_place(const struct install *in, struct mu_error *err)
{
    const struct boot_entry *highest = NULL;

    for (size_t i = 0; i < in->esp.count; i++) {
        const struct boot_entry *other = &in->esp.entry[i].entry;

        if (strcasecmp(other->name.stem, in->entry.name.stem) == 0) {
            char name[BOOT_FILE_MAX];

            next_name(in->entry.name.stem, name);
            return mu_fail(err, MU_CONFIG, "%s is there already: --name %s", in->esp.entry[i].path,
                           name);
        }
        if (highest == NULL && other->name.left != 0 && !comes_before(&in->entry, other))
            highest = other;
    }
    return highest != NULL ? refuse_order(in, highest, err) : update_esp_counts(&in->esp, err);
}

static enum mu_status check_room(const struct install *in, struct mu_error *err)
{
    struct statvfs st;
    uint64_t free_bytes, wanted = (uint64_t)in->image.uki.len + SPARE_BYTES;

    if (in->esp.images == NULL || statvfs(in->esp.images, &st) != 0)
        return mu_fail(err, MU_CONFIG, "%s/EFI/Linux is missing", in->esp.path);
    free_bytes = (uint64_t)st.f_bavail * st.f_frsize;
    if (free_bytes >= wanted)
        return MU_OK;
    return mu_fail(err, MU_CONFIG,
                   "%s has %" PRIu64 " bytes left, and %" PRIu64
                   " are needed: 'muctl update prune --keep 1' removes what neither booted nor is "
                   "needed to fall back to",
                   in->esp.images, free_bytes, wanted);
}

/* ---- who allows it ---- */

static enum mu_status check_records(struct install *in, struct mu_error *err)
{
    enum mu_status status = update_records_admit(&in->machine, &in->esp, &in->image, err);
    struct mu_error why = *err;

    if (status != MU_REFUSE)
        return status;
    return mu_fail(err, MU_REFUSE,
                   "%.300s. It would not boot. Where images are built: 'muctl baseline predict "
                   "--image %s --image %s -o new.json', 'muctl enroll DEVICE --resign --baseline "
                   "OLD.json --baseline new.json --sign-key KEY'",
                   why.text, base_name(in->esp.loader_path), base_name(in->uki_path));
}

/* One that is not on trial itself, and that the records allow. */
static enum mu_status find_other(struct install *in, struct mu_error *err)
{
    for (size_t i = 0; i < in->esp.count; i++) {
        const struct update_entry *entry = &in->esp.entry[i];
        MU_CLEANUP(update_forecast_free) struct update_forecast image = {0};
        struct mu_error ignored = {0};

        if (entry->entry.name.left >= 0)
            continue;
        MU_TRY(update_forecast_load(entry->path, &image, err));
        if (update_records_admit(&in->machine, &in->esp, &image, &ignored) == MU_OK) {
            in->other = entry;
            return MU_OK;
        }
    }
    return mu_fail(
        err, MU_REFUSE,
        "no image on %s is good and allowed by the records: there would be nothing to "
        "fall back to. 'muctl update list' shows them, 'muctl update good' marks the one "
        "that runs",
        in->esp.path);
}

static enum mu_status read_credentials(const struct install *in, struct aws_credentials *ret,
                                       struct mu_error *err)
{
    if (in->credentials != NULL)
        return ctl_read_credentials(in->credentials, ret, err);
    return ctl_find_credentials(in->machine.config.aws.imds, deadline_in(PATIENCE_S), ret, err);
}

static enum mu_status load_policy(const struct install *in, const char *arn,
                                  const struct aws_credentials *credentials, json_object **ret,
                                  struct mu_error *err)
{
    if (in->policy != NULL)
        return policy_load(in->policy, ret, err);
    if (policy_fetch(&in->machine.config.aws, credentials, arn, deadline_in(PATIENCE_S), ret,
                     err) == MU_OK)
        return MU_OK;
    return mu_context(err,
                      "the key policy of %.160s (who administers the key may read it: "
                      "--credentials, or --policy with what 'aws kms get-key-policy' prints)",
                      arn);
}

static enum mu_status ask_policy(struct install *in, const char *arn,
                                 const struct aws_credentials *credentials, struct mu_error *err)
{
    MU_CLEANUP(json_free) json_object *policy = NULL;
    const struct pcr_values *values;

    MU_TRY(load_policy(in, arn, credentials, &policy, err));
    MU_TRY(update_predict(&in->machine, &in->esp, &in->image, HASH_SHA384, &values, err));
    if (policy_admits(policy, values, in->machine.config.fence_pcr, err) == MU_OK)
        return MU_OK;
    return mu_context(err,
                      "the key policy of %.160s does not release the key to this image ('muctl "
                      "policy kms' with the old baseline and the new one makes one that does)",
                      arn);
}

/* Each key must release it, since a machine may have to do with any one of them. */
static enum mu_status ask_policies(struct install *in, const struct record *record,
                                   const struct aws_credentials *credentials, struct mu_error *err)
{
    struct kms_keys keys = {0};

    MU_TRY(kms_keys_parse(record, &keys, err));
    for (size_t i = 0; i < keys.count; i++)
        MU_TRY(ask_policy(in, keys.key[i].arn, credentials, err));
    return MU_OK;
}

static enum mu_status check_policies(struct install *in, struct mu_error *err)
{
    MU_CLEANUP(aws_credentials_free) struct aws_credentials credentials = {0};

    if (in->policy == NULL && in->online)
        MU_TRY(read_credentials(in, &credentials, err));
    for (size_t i = 0; i < in->machine.config.volumes; i++) {
        const struct record *record = &in->machine.volume[i].record;

        in->volume_said[i] = record->by_instance ? "the key policy alone decides" : "allowed";
        if ((in->policy == NULL && !in->online) || strcmp(record->provider, PROVIDER_AWS_KMS) != 0)
            continue;
        if (ask_policies(in, record, &credentials, err) != MU_OK)
            return mu_context(err, "volume '%s'", in->machine.config.volume[i].name);
        in->volume_said[i] = "allowed, by the key policy, too";
    }
    return MU_OK;
}

/* ---- what is said ---- */

static void print_text(const struct install *in)
{
    for (size_t i = 0; i < in->machine.config.volumes; i++)
        (void)printf("%s volume '%s': %s\n", cli_mark(true), in->machine.config.volume[i].name,
                     in->volume_said[i]);
    (void)printf("%s %s %s, for %" PRIu64 " tr%s; then %s again\n", cli_mark(true),
                 in->dry_run ? "would be put at" : "boots next:", in->path, in->tries,
                 in->tries == 1 ? "y" : "ies", in->other->entry.file);
}

static enum mu_status print_json(const struct install *in, struct mu_error *err)
{
    MU_CLEANUP(json_free) json_object *report = json_object_new_object();
    json_object *volumes = json_object_new_array();

    if (!json_add_text(report, "image", in->uki_path) || !json_add_text(report, "path", in->path) ||
        !json_add(report, "tries", json_object_new_int64((int64_t)in->tries)) ||
        !json_add_text(report, "falls_back_to", in->other->entry.file) ||
        !json_add(report, "installed", json_object_new_boolean(!in->dry_run)) ||
        !json_add(report, "volumes", volumes))
        return mu_oom(err);
    for (size_t i = 0; i < in->machine.config.volumes; i++) {
        json_object *volume = json_object_new_object();

        if (!json_append(volumes, volume) ||
            !json_add_text(volume, "name", in->machine.config.volume[i].name) ||
            !json_add_text(volume, "detail", in->volume_said[i]))
            return mu_oom(err);
    }
    return cli_print_json("-", report, err);
}

static enum mu_status check(struct install *in, struct mu_error *err)
{
    if (read_image(in, err) != MU_OK)
        return mu_context(err, "%s", in->uki_path);
    MU_TRY(check_place(in, err));
    MU_TRY(check_room(in, err));
    if (check_records(in, err) != MU_OK || check_policies(in, err) != MU_OK)
        return mu_context(err, "%s", in->uki_path);
    return find_other(in, err);
}

static enum mu_status parse(int argc, char **argv, struct install *in, struct mu_error *err)
{
    const struct cli_option options[] = {
        {"esp", 'e', .text = &in->esp_path},
        {"name", 'n', .text = &in->name},
        {"tries", 0, .number = &in->tries, .from = 1, .to = TRIES_MAX},
        {"policy", 'p', .text = &in->policy},
        {"online", 0, .flag = &in->online},
        {"credentials", 0, .text = &in->credentials},
        {"config", 'c', .text = &in->config},
        {"eventlog", 0, .text = &in->eventlog},
        {"dry-run", 0, .flag = &in->dry_run},
        {"json", 'j', .flag = &in->json},
        {0},
    };

    MU_TRY(cli_options(argc, argv, options, 1, 1, err));
    in->uki_path = argv[optind];
    if (in->policy != NULL && in->online)
        return mu_fail(err, MU_USAGE, "--policy and --online exclude each other");
    if (in->credentials != NULL && !in->online)
        return mu_fail(err, MU_USAGE, "--credentials is for --online");
    return MU_OK;
}

static enum mu_status install_run(int argc, char **argv, struct mu_error *err)
{
    MU_CLEANUP(install_free)
    struct install in = {.config = CONFIG_DEFAULT_PATH, .tries = TRIES_DEFAULT};

    MU_TRY(parse(argc, argv, &in, err));
    MU_TRY(update_machine_load(in.config, in.eventlog, &in.machine, err));
    MU_TRY(update_machine_records(&in.machine, err));
    MU_TRY(update_esp_open(in.esp_path, &in.esp, err));
    MU_TRY(check(&in, err));
    (void)snprintf(in.path, sizeof(in.path), "%s/%s", in.esp.images, in.entry.file);
    if (!in.dry_run)
        MU_TRY(file_write(in.path, buffer_view(&in.image.uki), 0600, err));
    if (in.json)
        return print_json(&in, err);
    print_text(&in);
    return MU_OK;
}

const struct verb verb_update_install = {
    .name = "update install",
    .synopsis = "UKI [--name NAME] [--tries N] [--policy FILE|--online] [OPTION...]",
    .summary = "a new image beside the old one, on trial, if the record allows it",
    .help = help,
    .run = install_run,
};
