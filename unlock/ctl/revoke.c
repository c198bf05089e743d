/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "ctl/ctl.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/signature.h"
#include "ctl/report.h"
#include "release/tpm2.h"
#include "tpm/counter.h"
#include "volume/record_admission.h"
#include "volume/device.h"

#define TPM_SECONDS 2

static const char help[] =
    "Takes the older records of this machine's volumes out of use for good (provider tpm2, "
    "enrolled\n"
    "with --counter): raises the counter in the TPM as far as the records in force allow. An "
    "older\n"
    "header that somebody writes back, with the image that it was made for, is then refused by "
    "the\n"
    "TPM. To be run when an update has booted, as root: the report of this boot must show that "
    "the\n"
    "records in force are those that opened the volumes.\n"
    "\n"
    "  --config F   default: /etc/measured-unlock/measured-unlock.conf\n"
    "  --tcti TCTI  device:PATH or swtpm:host=H,port=N; default: $MU_TCTI, or as configured\n"
    "  --dry-run    say what would be done\n"
    "  --json       report: \"counters\", each with \"index\", \"before\", \"after\", \"volumes\"\n"
    "\n"
    "Example: muctl revoke\n";

/* One counter and what the records in force allow it. */
struct raise {
    uint32_t index;
    uint64_t before, limit;
    uint32_t volumes; /* bit i: of volume i of the configuration */
};

struct revocation {
    struct config config;
    struct public_keys builder;
    json_object *report;
    struct raise raise[CONFIG_VOLUMES_MAX];
    size_t count;
};

static void revocation_free(struct revocation *r)
{
    config_free(&r->config);
    public_keys_free(&r->builder);
    json_free(&r->report);
}

/* The version of the record that opened this volume in the present boot; 0: it did not. */
static int64_t booted_version(json_object *report, const char *name, const char *uuid)
{
    json_object *volumes = NULL;
    const char *found = NULL;
    struct mu_error ignored;
    int64_t version = 0;

    if (!ctl_report_unlocked(report) ||
        json_member(report, "volumes", json_type_array, MU_CONFIG, &volumes, &ignored) != MU_OK)
        return 0;
    for (size_t i = 0; i < json_object_array_length(volumes); i++) {
        json_object *volume = json_object_array_get_idx(volumes, i);

        if (json_string(volume, "name", INI_NAME_MAX, MU_CONFIG, &found, &ignored) == MU_OK &&
            strcmp(found, name) == 0 &&
            json_string(volume, "uuid", UUID_TEXT_SIZE - 1, MU_CONFIG, &found, &ignored) == MU_OK &&
            strcmp(found, uuid) == 0 &&
            json_integer(volume, "record_version", 1, INT64_MAX, MU_CONFIG, &version, &ignored) ==
                MU_OK)
            return version;
    }
    return 0;
}

static enum mu_status read_record(const struct revocation *r, const struct volume_config *volume,
                                  struct record *ret, struct mu_error *err)
{
    MU_CLEANUP(luks_header_free) struct luks_header header = {.memfd = -1};
    MU_CLEANUP(string_free) char *device = NULL;
    int64_t booted;

    MU_TRY(volume_find_device(volume->device, deadline_in(0), &device, err));
    MU_TRY(luks_header_load(device, &header, err));
    MU_TRY(luks_header_check(&header, NULL, err));
    MU_TRY(volume_admit(&r->config, volume, &r->builder, &header, ret, err));
    booted = booted_version(r->report, volume->name, ret->volume_uuid);
    if (booted == ret->version)
        return MU_OK;
    return mu_fail(err, MU_REFUSE,
                   "its record in force has version %" PRId64
                   ", and this boot was opened by %" PRId64
                   ": a record that has not booted yet must not lock out the one that has; reboot "
                   "first",
                   ret->version, booted);
}

static void add(struct revocation *r, size_t volume, const struct seal_counter *counter)
{
    struct raise *raise = r->raise;

    while (raise < r->raise + r->count && raise->index != counter->index)
        raise++;
    if (raise == r->raise + r->count)
        r->raise[r->count++] = (struct raise){.index = counter->index, .limit = counter->limit};
    if (counter->limit < raise->limit)
        raise->limit = counter->limit;
    raise->volumes |= 1u << volume;
}

static enum mu_status collect(struct revocation *r, struct mu_error *err)
{
    for (size_t i = 0; i < r->config.volumes; i++) {
        const struct volume_config *volume = &r->config.volume[i];
        MU_CLEANUP(record_free) struct record record = {0};
        struct seal_counter counter;

        if (strcmp(volume->provider, "tpm2") != 0)
            continue;
        if (read_record(r, volume, &record, err) != MU_OK ||
            tpm2_counter(&record, &counter, err) != MU_OK)
            return mu_context(err, "volume '%s'", volume->name);
        if (counter.index != 0)
            add(r, i, &counter);
    }
    if (r->count == 0)
        return mu_fail(err, MU_CONFIG,
                       "no volume has a counter: 'muctl enroll --provider tpm2 --counter NV-INDEX' "
                       "gives it one");
    return MU_OK;
}

static enum mu_status raise_all(struct revocation *r, const char *tcti, bool dry_run,
                                struct mu_error *err)
{
    MU_CLEANUP(tpm_close) struct tpm *tpm = NULL;

    MU_TRY(tpm_open(tcti != NULL ? tcti : r->config.tcti, deadline_in(TPM_SECONDS), &tpm, err));
    for (size_t i = 0; i < r->count; i++) {
        struct raise *raise = &r->raise[i];

        MU_TRY(tpm_counter_read(tpm, raise->index, &raise->before, err));
        if (raise->before > raise->limit)
            return mu_fail(err, MU_REFUSE,
                           "the counter 0x%08x is at %" PRIu64
                           ", and a record in force allows %" PRIu64
                           ": it will not open again; enroll again",
                           raise->index, raise->before, raise->limit);
        if (!dry_run)
            MU_TRY(tpm_counter_raise(tpm, raise->index, raise->limit, err));
    }
    return MU_OK;
}

static void print_text(const struct revocation *r, bool dry_run)
{
    for (size_t i = 0; i < r->count; i++) {
        const struct raise *raise = &r->raise[i];

        (void)printf("counter 0x%08x: %s %" PRIu64 ", before %" PRIu64 "; volumes", raise->index,
                     dry_run ? "would be" : "is", raise->limit, raise->before);
        for (size_t v = 0; v < r->config.volumes; v++)
            if ((raise->volumes & 1u << v) != 0)
                (void)printf(" %s", r->config.volume[v].name);
        (void)printf("\n");
    }
}

static json_object *raise_json(const struct revocation *r, const struct raise *raise)
{
    json_object *object = json_object_new_object();
    json_object *names = json_object_new_array();
    char index[11];

    (void)snprintf(index, sizeof(index), "0x%08x", raise->index);
    for (size_t v = 0; names != NULL && v < r->config.volumes; v++)
        if ((raise->volumes & 1u << v) != 0 &&
            !json_append(names, json_object_new_string(r->config.volume[v].name)))
            json_free(&names);
    if (!json_add_text(object, "index", index) ||
        !json_add(object, "before", json_object_new_int64((int64_t)raise->before)) ||
        !json_add(object, "after", json_object_new_int64((int64_t)raise->limit)) ||
        !json_add(object, "volumes", names))
        json_free(&object);
    return object;
}

static enum mu_status print_json(const struct revocation *r, struct mu_error *err)
{
    MU_CLEANUP(json_free) json_object *object = json_object_new_object();
    json_object *list = json_object_new_array();

    if (!json_add(object, "counters", list))
        return mu_oom(err);
    for (size_t i = 0; i < r->count; i++) {
        if (!json_append(list, raise_json(r, &r->raise[i])))
            return mu_oom(err);
    }
    return cli_print_json("-", object, err);
}

static enum mu_status revoke_run(int argc, char **argv, struct mu_error *err)
{
    MU_CLEANUP(revocation_free) struct revocation r = {0};
    const char *config = CONFIG_DEFAULT_PATH;
    const char *tcti = getenv("MU_TCTI");
    bool dry_run = false, json = false;
    const struct cli_option options[] = {{"config", 'c', .text = &config},
                                         {"tcti", 0, .text = &tcti},
                                         {"dry-run", 'n', .flag = &dry_run},
                                         {"json", 'j', .flag = &json},
                                         {0}};

    MU_TRY(cli_options(argc, argv, options, 0, 0, err));
    MU_TRY(config_load(config, &r.config, err));
    MU_TRY(signature_load_keys(r.config.builder_key, &r.builder, err));
    MU_TRY(ctl_report_load(r.config.report, &r.report, err));
    MU_TRY(collect(&r, err));
    MU_TRY(raise_all(&r, tcti, dry_run, err));
    if (json)
        return print_json(&r, err);
    print_text(&r, dry_run);
    return MU_OK;
}

const struct verb verb_revoke = {
    .name = "revoke",
    .synopsis = "[--config FILE] [--dry-run] [--json]",
    .summary = "take older records of this machine out of use for good (tpm2)",
    .help = help,
    .run = revoke_run,
};
