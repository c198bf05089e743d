/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "measure/eventlog.h"
#include "base/defaults.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "base/log.h"
#include "ctl/ctl.h"
#include "measure/baseline.h"

#define TPM_WAIT_S 2
#define DESCRIPTION_MAX 8192

/* PFP 3.3.4: firmware alone extends PCR 0 to 7; the operating system extends the others later on,
 * which is not in this log. */
#define FIRMWARE_PCRS 0xffu

static const enum hash_alg banks[] = {HASH_SHA1, HASH_SHA256, HASH_SHA384, HASH_SHA512};

struct options {
    const char *file;
    const char *tcti;
    bool no_tpm;
    bool json;
};

struct replay {
    struct eventlog log;
    struct pcr_values values[MU_COUNT(banks)]; /* mask 0: the log has no such digests */
    /* Against the TPM, in the strongest bank of both. */
    enum hash_alg compared;
    uint32_t explained, unexplained;
};

static void replay_free(struct replay *replay)
{
    eventlog_free(&replay->log);
}

static enum mu_status parse_options(int argc, char **argv, struct options *o, struct mu_error *err)
{
    const struct cli_option options[] = {
        {"tcti", 't', .text = &o->tcti},
        {"no-tpm", 'n', .flag = &o->no_tpm},
        {"json", 'j', .flag = &o->json},
        {0},
    };

    MU_TRY(cli_options(argc, argv, options, 0, 1, err));
    /* A log from elsewhere says nothing about this machine's TPM. */
    if (optind < argc && o->tcti == NULL)
        o->no_tpm = true;
    o->file = optind < argc ? argv[optind] : EVENTLOG_DEFAULT_PATH;
    return MU_OK;
}

static bool log_has_bank(const struct eventlog *log, enum hash_alg bank)
{
    for (size_t i = 0; i < log->count; i++)
        if (log->event[i].type != EV_NO_ACTION && event_digest_of(&log->event[i], bank) != NULL)
            return true;
    return false;
}

static enum mu_status load(const char *file, struct replay *replay, struct mu_error *err)
{
    MU_TRY(eventlog_load(file, &replay->log, err));
    for (size_t i = 0; i < MU_COUNT(banks); i++)
        if (log_has_bank(&replay->log, banks[i]))
            MU_TRY(eventlog_replay(&replay->log, banks[i], &replay->values[i], err));
    return MU_OK;
}

/* The strongest bank that both the log and the TPM have; *ret_mask: what the TPM has of it. */
static const struct pcr_values *common_bank(const struct replay *replay,
                                            const struct tpm_banks *allocated, uint32_t *ret_mask)
{
    for (size_t i = MU_COUNT(banks); i-- > 0;)
        for (size_t k = 0; k < allocated->count; k++)
            if (replay->values[i].mask != 0 && allocated->bank[k].alg == banks[i] &&
                (allocated->bank[k].mask & replay->values[i].mask) == replay->values[i].mask) {
                *ret_mask = allocated->bank[k].mask;
                return &replay->values[i];
            }
    return NULL;
}

/* PCRs hold zero, or ones from 17 to 22, until something is measured (PFP 3.3.3, table 1). */
static bool is_untouched(const struct digest *pcr, size_t size)
{
    static const struct digest zero = {{0}};
    struct digest ones;

    memset(ones.bytes, 0xff, sizeof(ones.bytes));
    return memcmp(pcr->bytes, zero.bytes, size) == 0 || memcmp(pcr->bytes, ones.bytes, size) == 0;
}

/* A PCR that the log does not lead to counts, too, if something was measured into it. */
static enum mu_status compare(const char *tcti, struct replay *replay, struct mu_error *err)
{
    MU_CLEANUP(tpm_close) struct tpm *tpm = NULL;
    const struct pcr_values *values;
    struct tpm_banks allocated;
    struct pcr_values found;
    uint32_t mask, differ;

    MU_TRY(tpm_open(tcti, deadline_in(TPM_WAIT_S), &tpm, err));
    MU_TRY(tpm_banks(tpm, &allocated, err));
    values = common_bank(replay, &allocated, &mask);
    if (values == NULL)
        return mu_fail(err, MU_CONFIG, "the TPM has no bank that the event log has digests of");
    MU_TRY(tpm_pcr_read(tpm, values->bank, mask, &found, err));
    replay->compared = values->bank;
    differ = pcr_differing(values, &found);
    for (unsigned pcr = 0; pcr < PCR_COUNT; pcr++) {
        const uint32_t bit = PCR_BIT(pcr) & mask;

        if ((bit & ~differ) != 0)
            replay->explained |= bit;
        else if ((bit & values->mask) != 0 ||
                 !is_untouched(&found.value[pcr], hash_size(values->bank)))
            replay->unexplained |= bit;
    }
    return MU_OK;
}

/* These return NULL if out of memory. */
static json_object *digests_json(const struct event *event)
{
    MU_CLEANUP(json_free) json_object *object = json_object_new_object();

    for (size_t i = 0; i < event->digests; i++) {
        char hex[2 * HASH_MAX_SIZE + 1];
        char number[8];
        const char *name = hash_name((enum hash_alg)event->digest[i].alg);

        if (hash_size((enum hash_alg)event->digest[i].alg) == 0) {
            (void)snprintf(number, sizeof(number), "0x%04x", event->digest[i].alg);
            name = number;
        }
        hex_encode(event->digest[i].value, hex);
        if (!json_add_text(object, name, hex))
            return NULL;
    }
    return MU_TAKE(object);
}

static json_object *event_json(const struct eventlog *log, size_t i)
{
    const struct event *event = &log->event[i];
    MU_CLEANUP(json_free) json_object *object = json_object_new_object();
    char description[DESCRIPTION_MAX];
    char unknown[16];

    event_describe(event, description, sizeof(description));
    if (!json_add(object, "index", json_object_new_int64((int64_t)i)) ||
        !json_add(object, "pcr", json_object_new_int64(event->pcr)) ||
        !json_add_text(object, "type", event_type_name(event->type, unknown)) ||
        !json_add(object, "digests", digests_json(event)) ||
        !json_add_text(object, "description", description))
        return NULL;
    return MU_TAKE(object);
}

static json_object *values_json(const struct pcr_values *values)
{
    MU_CLEANUP(json_free) json_object *object = json_object_new_object();

    return baseline_add_values(object, "", values) ? MU_TAKE(object) : NULL;
}

static json_object *mask_json(uint32_t mask)
{
    MU_CLEANUP(json_free) json_object *array = json_object_new_array();

    for (unsigned pcr = 0; pcr < PCR_COUNT; pcr++)
        if ((mask & PCR_BIT(pcr)) != 0 && !json_append(array, json_object_new_int((int)pcr)))
            return NULL;
    return MU_TAKE(array);
}

static json_object *events_json(const struct eventlog *log)
{
    MU_CLEANUP(json_free) json_object *events = json_object_new_array();

    for (size_t i = 0; i < log->count; i++)
        if (!json_append(events, event_json(log, i)))
            return NULL;
    return MU_TAKE(events);
}

static json_object *banks_json(const struct replay *replay)
{
    MU_CLEANUP(json_free) json_object *pcrs = json_object_new_object();

    for (size_t i = 0; i < MU_COUNT(banks); i++)
        if (replay->values[i].mask != 0 &&
            !json_add(pcrs, hash_name(banks[i]), values_json(&replay->values[i])))
            return NULL;
    return MU_TAKE(pcrs);
}

static json_object *compared_json(const struct replay *replay)
{
    MU_CLEANUP(json_free) json_object *tpm = json_object_new_object();

    if (!json_add_text(tpm, "bank", hash_name(replay->compared)) ||
        !json_add(tpm, "explained", mask_json(replay->explained)) ||
        !json_add(tpm, "unexplained", mask_json(replay->unexplained)))
        return NULL;
    return MU_TAKE(tpm);
}

static enum mu_status print_json(const struct replay *replay, struct mu_error *err)
{
    MU_CLEANUP(json_free) json_object *report = json_object_new_object();

    if (!json_add_text(report, "format", replay->log.crypto_agile ? "crypto-agile" : "sha1") ||
        !json_add(report, "events", events_json(&replay->log)) ||
        !json_add(report, "pcrs", banks_json(replay)) ||
        (replay->compared != HASH_NONE && !json_add(report, "tpm", compared_json(replay))))
        return mu_oom(err);
    return cli_print_json("-", report, err);
}

static void print_text(const struct replay *replay)
{
    for (size_t i = 0; i < replay->log.count; i++) {
        const struct event *event = &replay->log.event[i];
        char description[DESCRIPTION_MAX];
        char unknown[16];

        event_describe(event, description, sizeof(description));
        (void)printf("%3zu  PCR %-2u  %-33s %s\n", i, event->pcr,
                     event_type_name(event->type, unknown), description);
    }
    for (size_t i = 0; i < MU_COUNT(banks); i++) {
        for (unsigned pcr = 0; pcr < PCR_COUNT; pcr++) {
            char hex[PCR_HEX_SIZE];

            pcr_hex(&replay->values[i], pcr, hex);
            if (hex[0] != '\0')
                (void)printf("%s PCR %u: %s\n", hash_name(banks[i]), pcr, hex);
        }
    }
    for (unsigned pcr = 0; pcr < PCR_COUNT; pcr++) {
        if ((replay->explained & PCR_BIT(pcr)) != 0)
            (void)printf("%s the log explains PCR %u of the TPM\n", cli_mark(true), pcr);
        if ((replay->unexplained & PCR_BIT(pcr)) != 0)
            (void)printf("%s the log does not explain PCR %u of the TPM%s\n", cli_mark(false), pcr,
                         (PCR_BIT(pcr) & FIRMWARE_PCRS) == 0 ? " (extended by the OS since?)" : "");
    }
}

static enum mu_status eventlog_run(int argc, char **argv, struct mu_error *err)
{
    struct options o = {.tcti = getenv("MU_TCTI")};
    MU_CLEANUP(replay_free) struct replay replay = {0};

    MU_TRY(parse_options(argc, argv, &o, err));
    if (strcmp(o.file, EVENTLOG_DEFAULT_PATH) == 0 && access(o.file, F_OK) != 0)
        return mu_fail(err, MU_CONFIG,
                       "%s is not there: this machine has no TPM, its firmware handed no log over, "
                       "or securityfs is not mounted; give a FILE to examine another machine's",
                       o.file);
    MU_TRY(load(o.file, &replay, err));
    if (!o.no_tpm && compare(o.tcti, &replay, err) != MU_OK) {
        if (o.tcti != NULL)
            return err->status;
        log_line("not compared with a TPM: %s", err->text);
    }
    if (o.json)
        MU_TRY(print_json(&replay, err));
    else
        print_text(&replay);
    if ((replay.unexplained & FIRMWARE_PCRS) != 0)
        return mu_fail(err, MU_REFUSE, "the event log does not lead to the PCRs of the TPM");
    return MU_OK;
}

const struct verb verb_eventlog = {
    .name = "eventlog",
    .synopsis = "[FILE] [--json] [--tcti TCTI | --no-tpm]",
    .summary = "parse and replay a TCG event log; say whether it explains the PCRs",
    .help = "  FILE         default: the log of this machine, as the kernel shows it\n"
            "  --json       {\"format\": ..., \"events\": [...], \"pcrs\": {\"sha384\": {...}}}\n"
            "  --tcti TCTI  compare with this TPM; default with FILE: $MU_TCTI or none, without\n"
            "               FILE: the devices. Exit code 2 if the log does not explain PCR 0 to 7\n"
            "  --no-tpm     do not compare\n"
            "\n"
            "Example: muctl eventlog --json | jq '.events[] | select(.pcr == 4)'\n",
    .run = eventlog_run,
};
