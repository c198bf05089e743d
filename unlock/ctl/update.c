/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/bytes.h"
#include "base/file.h"
#include "base/log.h"
#include "build/esp.h"
#include "ctl/report.h"
#include "ctl/update.h"
#include "tpm/tpm.h"

#define TPM_WAIT_S 2
#define KEEP_MAX 16

/* The images on an EFI system partition, and the one that runs: the one of PCR 4. No EFI variable
 * is asked, which nothing measures, and which images with efi=noruntime do not see. */
struct overview {
    const char *esp_path, *config, *eventlog, *tcti;
    bool dry_run, json;
    uint64_t keep;
    struct update_esp esp;
    struct update_machine machine;
    struct pcr_values running; /* PCR 4; mask 0: there is no TPM */
    bool booted[UPDATE_ENTRIES_MAX];
    bool admitted[UPDATE_ENTRIES_MAX];
    char why[UPDATE_ENTRIES_MAX][256]; /* not admitted */
    bool removed[UPDATE_ENTRIES_MAX];
};

static void overview_free(struct overview *o)
{
    update_machine_free(&o->machine);
    update_esp_close(&o->esp);
}

#define OVERVIEW_OPTIONS(o)                                                                        \
    {"esp", 'e', .text = &(o)->esp_path}, {"config", 'c', .text = &(o)->config},                   \
        {"eventlog", 0, .text = &(o)->eventlog}, {"tcti", 't', .text = &(o)->tcti},                \
    {                                                                                              \
        "json", 'j', .flag = &(o)->json                                                            \
    }

static enum mu_status overview_load(struct overview *o, struct mu_error *err)
{
    MU_TRY(update_machine_load(o->config, o->eventlog, &o->machine, err));
    return update_esp_open(o->esp_path, &o->esp, err);
}

static enum mu_status read_pcr4(struct overview *o, struct mu_error *err)
{
    MU_CLEANUP(tpm_close) struct tpm *tpm = NULL;
    const char *tcti = o->tcti != NULL ? o->tcti : o->machine.config.tcti;

    MU_TRY(tpm_open(tcti, deadline_in(TPM_WAIT_S), &tpm, err));
    if (tpm_pcr_read(tpm, HASH_SHA384, PCR_BIT(4), &o->running, err) == MU_OK)
        return MU_OK;
    *err = (struct mu_error){0};
    return tpm_pcr_read(tpm, HASH_SHA256, PCR_BIT(4), &o->running, err);
}

/* What Secure Boot would not start did not boot. */
static enum mu_status is_running(const struct overview *o, struct update_forecast *image, bool *ret,
                                 struct mu_error *err)
{
    const struct pcr_values *predicted = NULL;
    enum mu_status status =
        update_predict(&o->machine, &o->esp, image, o->running.bank, &predicted, err);

    *ret = status == MU_OK &&
           bytes_equal((struct bytes){predicted->value[4].bytes, hash_size(predicted->bank)},
                       (struct bytes){o->running.value[4].bytes, hash_size(predicted->bank)});
    return status == MU_REFUSE ? MU_OK : status;
}

static enum mu_status look_at(struct overview *o, size_t i, bool records, struct mu_error *err)
{
    MU_CLEANUP(update_forecast_free) struct update_forecast image = {0};
    struct mu_error why = {0};

    MU_TRY(update_forecast_load(o->esp.entry[i].path, &image, err));
    if (o->running.mask != 0)
        MU_TRY(is_running(o, &image, &o->booted[i], err));
    if (!records)
        return MU_OK;
    o->admitted[i] = update_records_admit(&o->machine, &o->esp, &image, &why) == MU_OK;
    (void)snprintf(o->why[i], sizeof(o->why[i]), "%.250s", why.text);
    return MU_OK;
}

/* After read_pcr4(), if there is a TPM. records: whether they allow it, too. */
static enum mu_status look_at_all(struct overview *o, bool records, struct mu_error *err)
{
    if (records)
        MU_TRY(update_machine_records(&o->machine, err));
    for (size_t i = 0; i < o->esp.count; i++)
        if (look_at(o, i, records, err) != MU_OK)
            return mu_context(err, "%s", o->esp.entry[i].path);
    return MU_OK;
}

static const struct update_entry *booted_entry(const struct overview *o)
{
    for (size_t i = 0; i < o->esp.count; i++)
        if (o->booted[i])
            return &o->esp.entry[i];
    return NULL;
}

/* ---- update list ---- */

static bool add_tries(json_object *object, const struct boot_name *name)
{
    if (name->left < 0)
        return json_add_null(object, "tries_left") && json_add_null(object, "tries_done");
    return json_add(object, "tries_left", json_object_new_int64(name->left)) &&
           json_add(object, "tries_done", json_object_new_int64(name->done));
}

static json_object *entry_json(const struct overview *o, size_t i)
{
    MU_CLEANUP(json_free) json_object *object = json_object_new_object();
    const struct update_entry *entry = &o->esp.entry[i];

    if (!json_add_text(object, "name", entry->entry.name.stem) ||
        !json_add_text(object, "path", entry->path) ||
        !json_add_text(object, "version", entry->entry.version) ||
        !add_tries(object, &entry->entry.name) ||
        !(o->running.mask != 0 ? json_add(object, "booted", json_object_new_boolean(o->booted[i]))
                               : json_add_null(object, "booted")) ||
        !json_add(object, "admitted", json_object_new_boolean(o->admitted[i])) ||
        !json_add_text(object, "detail", o->why[i]))
        return NULL;
    return MU_TAKE(object);
}

static enum mu_status list_json(const struct overview *o, struct mu_error *err)
{
    MU_CLEANUP(json_free) json_object *report = json_object_new_object();
    json_object *entries = json_object_new_array();

    if (!json_add_text(report, "loader", o->esp.loader_path) ||
        !json_add(report, "images", entries))
        return mu_oom(err);
    for (size_t i = 0; i < o->esp.count; i++)
        if (!json_append(entries, entry_json(o, i)))
            return mu_oom(err);
    return cli_print_json("-", report, err);
}

static void tries_text(const struct boot_name *name, char ret[static 48])
{
    if (name->left < 0)
        (void)snprintf(ret, 48, "good");
    else
        (void)snprintf(ret, 48, "on trial, %" PRId64 " of %" PRId64 " tries left", name->left,
                       name->left + name->done);
}

static void list_text(const struct overview *o)
{
    for (size_t i = 0; i < o->esp.count; i++) {
        const struct update_entry *entry = &o->esp.entry[i];
        char tries[48];

        tries_text(&entry->entry.name, tries);
        (void)printf("%s %s: %s%s%s\n", cli_mark(o->admitted[i]), entry->path, tries,
                     i == 0 ? ", boots next" : "", o->booted[i] ? ", runs now" : "");
        if (!o->admitted[i])
            (void)printf("       %s\n", o->why[i]);
    }
    if (o->running.mask == 0)
        (void)printf("(which one runs is not known without a TPM)\n");
}

static enum mu_status list_run(int argc, char **argv, struct mu_error *err)
{
    MU_CLEANUP(overview_free)
    struct overview o = {.config = CONFIG_DEFAULT_PATH, .tcti = getenv("MU_TCTI")};
    const struct cli_option options[] = {OVERVIEW_OPTIONS(&o), {0}};
    struct mu_error no_tpm = {0};

    MU_TRY(cli_options(argc, argv, options, 0, 0, err));
    MU_TRY(overview_load(&o, err));
    if (read_pcr4(&o, &no_tpm) != MU_OK)
        log_line("%s", no_tpm.text);
    MU_TRY(look_at_all(&o, true, err));
    if (o.json)
        return list_json(&o, err);
    list_text(&o);
    return MU_OK;
}

/* ---- update good ---- */

static enum mu_status check_unlocked(const struct overview *o, struct mu_error *err)
{
    MU_CLEANUP(json_free) json_object *report = NULL;
    const char *path = o->machine.config.report;

    if (ctl_report_load(path, &report, err) != MU_OK)
        return mu_fail(err, MU_REFUSE,
                       "%s: no report of this boot, so nothing shows that it "
                       "unlocked",
                       path);
    if (!ctl_report_unlocked(report))
        return mu_fail(err, MU_REFUSE, "%s: this boot did not unlock", path);
    return MU_OK;
}

static enum mu_status sync_folder(const char *folder, struct mu_error *err)
{
    MU_CLEANUP(fd_close) int fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

    if (fd < 0 || fsync(fd) != 0)
        return mu_fail(err, MU_CONFIG, "%s: cannot sync: %s", folder, strerror(errno));
    return MU_OK;
}

static enum mu_status mark_good(const struct overview *o, const struct update_entry *entry,
                                char ret_path[static ESP_PATH_MAX], struct mu_error *err)
{
    int written =
        snprintf(ret_path, ESP_PATH_MAX, "%s/%s.efi", o->esp.images, entry->entry.name.stem);

    if (written < 0 || written >= ESP_PATH_MAX)
        return mu_fail(err, MU_CONFIG, "%s: too long", entry->path);
    if (renameat2(AT_FDCWD, entry->path, AT_FDCWD, ret_path, RENAME_NOREPLACE) != 0)
        return mu_fail(err, MU_CONFIG, "%s: cannot be renamed to %s: %s", entry->path, ret_path,
                       strerror(errno));
    return sync_folder(o->esp.images, err);
}

/* What failed before: somebody should know. */
static void warn_of_failed(const struct overview *o)
{
    for (size_t i = 0; i < o->esp.count; i++)
        if (o->esp.entry[i].entry.name.left == 0 && !o->booted[i])
            log_line("warning: %s has no tries left: it was refused, or did not come up; 'muctl "
                     "update list' says whether the record allows it",
                     o->esp.entry[i].path);
}

static enum mu_status good_say(const struct overview *o, const struct update_entry *booted,
                               const char *good_path, struct mu_error *err)
{
    const bool marked = good_path[0] != '\0';
    MU_CLEANUP(json_free) json_object *report = NULL;

    if (!o->json) {
        (void)printf("%s %s %s\n", cli_mark(true), marked ? good_path : booted->path,
                     marked ? "is good now: it unlocked" : "is good, and was before");
        return MU_OK;
    }
    report = json_object_new_object();
    if (!json_add_text(report, "booted", booted->path) ||
        !json_add_text(report, "good", marked ? good_path : booted->path) ||
        !json_add(report, "marked", json_object_new_boolean(marked)))
        return mu_oom(err);
    return cli_print_json("-", report, err);
}

static enum mu_status good(struct overview *o, struct mu_error *err)
{
    const struct update_entry *booted;
    char path[ESP_PATH_MAX] = "";

    MU_TRY(check_unlocked(o, err));
    MU_TRY(read_pcr4(o, err));
    MU_TRY(look_at_all(o, false, err));
    booted = booted_entry(o);
    if (booted == NULL)
        return mu_fail(err, MU_REFUSE,
                       "PCR 4 is that of no image on %s behind %s: another one booted, or the "
                       "partition was changed since",
                       o->esp.path, o->esp.loader_path);
    warn_of_failed(o);
    if (booted->entry.name.left >= 0)
        MU_TRY(mark_good(o, booted, path, err));
    return good_say(o, booted, path, err);
}

static enum mu_status good_run(int argc, char **argv, struct mu_error *err)
{
    MU_CLEANUP(overview_free)
    struct overview o = {.config = CONFIG_DEFAULT_PATH, .tcti = getenv("MU_TCTI")};
    const struct cli_option options[] = {OVERVIEW_OPTIONS(&o), {0}};

    MU_TRY(cli_options(argc, argv, options, 0, 0, err));
    MU_TRY(overview_load(&o, err));
    return good(&o, err);
}

/* ---- update prune ---- */

/* What runs stays, and so do the first `keep` good ones; what is on trial and has tries left does,
 * too. */
static void choose(struct overview *o)
{
    uint64_t kept = 0;

    for (size_t i = 0; i < o->esp.count; i++) {
        const int64_t left = o->esp.entry[i].entry.name.left;
        const bool keep = o->booted[i] || left > 0 || (left < 0 && kept < o->keep);

        kept += left < 0 && keep;
        o->removed[i] = !keep;
    }
}

static enum mu_status remove_chosen(const struct overview *o, struct mu_error *err)
{
    for (size_t i = 0; i < o->esp.count; i++)
        if (o->removed[i] && !o->dry_run && unlink(o->esp.entry[i].path) != 0)
            return mu_fail(err, MU_CONFIG, "%s: cannot be removed: %s", o->esp.entry[i].path,
                           strerror(errno));
    return sync_folder(o->esp.images, err);
}

static enum mu_status prune_say(const struct overview *o, struct mu_error *err)
{
    MU_CLEANUP(json_free) json_object *report = json_object_new_object();
    json_object *lists[2] = {json_object_new_array(), json_object_new_array()};

    if (!json_add(report, "kept", lists[0]) || !json_add(report, "removed", lists[1]))
        return mu_oom(err);
    for (size_t i = 0; i < o->esp.count; i++) {
        const char *path = o->esp.entry[i].path;

        if (!json_append(lists[o->removed[i]], json_object_new_string(path)))
            return mu_oom(err);
        if (!o->json)
            (void)printf("%s %s %s\n", cli_mark(true), path,
                         !o->removed[i] ? "stays"
                         : o->dry_run   ? "would be removed"
                                        : "is removed");
    }
    return o->json ? cli_print_json("-", report, err) : MU_OK;
}

static enum mu_status prune_run(int argc, char **argv, struct mu_error *err)
{
    MU_CLEANUP(overview_free)
    struct overview o = {.config = CONFIG_DEFAULT_PATH, .tcti = getenv("MU_TCTI")};
    const struct cli_option options[] = {
        OVERVIEW_OPTIONS(&o),
        {"keep", 'k', .number = &o.keep, .from = 1, .to = KEEP_MAX},
        {"dry-run", 'n', .flag = &o.dry_run},
        {0}};

    MU_TRY(cli_options(argc, argv, options, 0, 0, err));
    if (o.keep == 0)
        return mu_fail(err, MU_USAGE, "--keep N is needed: how many good images are to stay");
    MU_TRY(overview_load(&o, err));
    MU_TRY(read_pcr4(&o, err));
    MU_TRY(look_at_all(&o, false, err));
    if (booted_entry(&o) == NULL)
        return mu_fail(err, MU_REFUSE,
                       "PCR 4 is that of no image on %s: nothing is removed while it is not known "
                       "which one runs",
                       o.esp.path);
    choose(&o);
    MU_TRY(remove_chosen(&o, err));
    return prune_say(&o, err);
}

#define COMMON_HELP                                                                                \
    "  --esp PLACE     folder or device of the EFI system partition; default: what is mounted "    \
    "at\n"                                                                                         \
    "                  /boot, /efi or /boot/efi, else the partition with the label esp\n"          \
    "  --config FILE   default " CONFIG_DEFAULT_PATH "\n"                                          \
    "  --eventlog FILE of the present boot; default: as configured\n"                              \
    "  --tcti TCTI     device:PATH or swtpm:host=H,port=N; default: $MU_TCTI, or as configured\n"

const struct verb verb_update_list = {
    .name = "update list",
    .synopsis = "[--esp PLACE] [--json] [OPTION...]",
    .summary = "the images on the EFI system partition, in the order in which they boot",
    .help = "Of each: tries left, whether it runs now (by PCR 4), and whether the record of each\n"
            "volume allows it.\n"
            "\n" COMMON_HELP
            "  --json          {\"loader\", \"images\": [{\"name\", \"path\", \"version\", "
            "\"tries_left\",\n"
            "                  \"tries_done\", \"booted\", \"admitted\", \"detail\"}]}; tries are "
            "null if it is good,\n"
            "                  booted is null without a TPM\n"
            "\n"
            "Example: muctl update list\n",
    .run = list_run,
};

const struct verb verb_update_good = {
    .name = "update good",
    .synopsis = "[--esp PLACE] [--json] [OPTION...]",
    .summary = "the image that runs unlocked: it is no longer on trial",
    .help = "To be run once the system is up; measured-unlock-good.service does it. The image is\n"
            "found by PCR 4, and the report of this boot must say that it unlocked; else the exit\n"
            "code is 2. If it is good already, nothing is done.\n"
            "\n" COMMON_HELP
            "  --json          {\"booted\", \"good\", \"marked\"}: path before, path now, whether "
            "it was renamed\n"
            "\n"
            "Example: muctl update good\n",
    .run = good_run,
};

const struct verb verb_update_prune = {
    .name = "update prune",
    .synopsis = "--keep N [--esp PLACE] [--dry-run] [--json] [OPTION...]",
    .summary = "remove images beyond a number, never the one that runs",
    .help = "Removes good images beyond the first N, in the order in which they boot, and those "
            "whose\n"
            "tries are used up. The image that runs stays, and so do those on trial.\n"
            "\n"
            "  --keep N        how many good images are to stay, 1 to 16\n" COMMON_HELP
            "  --dry-run       remove nothing\n"
            "  --json          {\"kept\": [path], \"removed\": [path]}\n"
            "\n"
            "Example: muctl update prune --keep 2\n",
    .run = prune_run,
};
