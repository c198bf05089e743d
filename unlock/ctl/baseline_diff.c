/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/defaults.h"
#include "base/file.h"
#include "build/pe.h"
#include "build/predict.h"
#include "ctl/ctl.h"
#include "measure/baseline.h"
#include "measure/changes.h"
#include "measure/userlog.h"

#define TPM_WAIT_S 2
#define RUNNING "running"

struct options {
    const char *tcti;
    const char *eventlog;
    const char *reference[PREDICT_IMAGES_MAX];
    size_t references;
    bool json;
};

/* Both sides. What the event log is about is the running machine, else the second side. */
struct sides {
    struct pcr_values a, b;
    const struct pcr_values *expected, *found;
    uint32_t differ;
};

static enum mu_status parse_options(int argc, char **argv, struct options *o, struct mu_error *err)
{
    const struct cli_option options[] = {
        {"eventlog", 'e', .text = &o->eventlog},
        {"reference", 'r', .text = o->reference, .count = &o->references,
         .max = PREDICT_IMAGES_MAX},
        {"tcti", 't', .text = &o->tcti},
        {"json", 'j', .flag = &o->json},
        {0},
    };

    return cli_options(argc, argv, options, 2, 2, err);
}

/* The machine's values of the PCRs that the other side names. */
static enum mu_status read_running(const struct options *o, const struct pcr_values *other,
                                   struct pcr_values *ret, struct mu_error *err)
{
    MU_CLEANUP(tpm_close) struct tpm *tpm = NULL;

    MU_TRY(tpm_open(o->tcti, deadline_in(TPM_WAIT_S), &tpm, err));
    return tpm_pcr_read(tpm, other->bank, other->mask, ret, err);
}

static enum mu_status load_sides(const char *a, const char *b, struct options *o,
                                 struct sides *sides, struct mu_error *err)
{
    bool a_runs = strcmp(a, RUNNING) == 0;
    bool b_runs = strcmp(b, RUNNING) == 0;

    if (a_runs && b_runs)
        return mu_fail(err, MU_USAGE, "one of the two must be a baseline file");
    if (!a_runs)
        MU_TRY(baseline_load(a, &sides->a, err));
    if (!b_runs)
        MU_TRY(baseline_load(b, &sides->b, err));
    if (a_runs)
        MU_TRY(read_running(o, &sides->b, &sides->a, err));
    if (b_runs)
        MU_TRY(read_running(o, &sides->a, &sides->b, err));
    if (sides->a.bank != sides->b.bank)
        return mu_fail(err, MU_CONFIG, "%s has %s values, %s has %s values", a,
                       hash_name(sides->a.bank), b, hash_name(sides->b.bank));
    sides->expected = a_runs ? &sides->b : &sides->a;
    sides->found = a_runs ? &sides->a : &sides->b;
    if ((a_runs || b_runs) && o->tcti == NULL && o->eventlog == NULL &&
        access(EVENTLOG_DEFAULT_PATH, R_OK) == 0)
        o->eventlog = EVENTLOG_DEFAULT_PATH;
    return MU_OK;
}

static void collect_line(const char *text, void *context)
{
    (void)json_object_array_add(context, json_object_new_string(text));
}

struct references {
    struct buffer file[PREDICT_IMAGES_MAX];
    struct bytes view[PREDICT_IMAGES_MAX];
};

static void references_free(struct references *references)
{
    for (size_t i = 0; i < PREDICT_IMAGES_MAX; i++)
        buffer_free(&references->file[i]);
}

static bool is_pe(struct bytes file)
{
    return file.len >= 2 && memcmp(file.data, "MZ", 2) == 0;
}

/* The log that a boot of these images would have. Whether it was with Secure Boot shows in the
 * expected value of PCR 4; what PCR 7 then has, the images alone do not say. */
static enum mu_status log_of_images(const struct bytes *images, size_t count,
                                    const struct sides *sides, struct eventlog *ret,
                                    struct mu_error *err)
{
    static const struct secure_boot on = {0};
    struct predict_request request = {.bank = sides->a.bank,
                                      .mask = PCR_BIT(4),
                                      .images = images,
                                      .count = count,
                                      .keys = &on,
                                      .phases = ""};
    struct pcr_values values;
    uint32_t mask;

    MU_TRY(predict_values(&request, &values, err));
    request.mask |= sides->differ & PCR_BIT(11);
    if (memcmp(values.value[4].bytes, sides->expected->value[4].bytes, hash_size(values.bank)) != 0)
        request.keys = NULL;
    return predict_log(&request, ret, &mask, err);
}

/* One event log, or the images in load order. */
static enum mu_status load_reference(const struct options *o, const struct sides *sides,
                                     struct eventlog *ret, struct mu_error *err)
{
    MU_CLEANUP(references_free) struct references files = {0};
    bool images = false;

    for (size_t i = 0; i < o->references; i++) {
        MU_TRY(file_read(o->reference[i], PE_MAX_BYTES, &files.file[i], err));
        files.view[i] = buffer_view(&files.file[i]);
        images = is_pe(files.view[i]);
        if (!images && o->references > 1)
            return mu_fail(err, MU_USAGE,
                           "--reference %s: not an EFI image; if several files are given, all must "
                           "be EFI images",
                           o->reference[i]);
    }
    if (images)
        return log_of_images(files.view, o->references, sides, ret, err);
    if (eventlog_parse(files.view[0], ret, err) != MU_OK)
        return mu_context(err, "%s", o->reference[0]);
    return MU_OK;
}

static enum mu_status explain(const struct options *o, const struct sides *sides,
                              json_object *lines, struct mu_error *err)
{
    MU_CLEANUP(eventlog_free) struct eventlog log = {0};
    MU_CLEANUP(eventlog_free) struct eventlog reference = {0};
    uint32_t both = sides->differ & sides->a.mask & sides->b.mask;

    if (o->eventlog == NULL)
        return MU_OK;
    MU_TRY(eventlog_load(o->eventlog, &log, err));
    if (strcmp(o->eventlog, EVENTLOG_DEFAULT_PATH) == 0)
        userlog_append_running(&log);
    if (o->references > 0)
        MU_TRY(load_reference(o, sides, &reference, err));
    changes_describe(&log, o->references > 0 ? &reference : NULL, sides->expected, sides->found,
                     both, collect_line, lines);
    return MU_OK;
}

static json_object *difference_json(const struct sides *sides, unsigned pcr)
{
    MU_CLEANUP(json_free) json_object *entry = json_object_new_object();
    char a[PCR_HEX_SIZE], b[PCR_HEX_SIZE];

    pcr_hex(&sides->a, pcr, a);
    pcr_hex(&sides->b, pcr, b);
    if (!json_add(entry, "pcr", json_object_new_int((int)pcr)) ||
        !(a[0] != '\0' ? json_add_text(entry, "a", a) : json_add_null(entry, "a")) ||
        !(b[0] != '\0' ? json_add_text(entry, "b", b) : json_add_null(entry, "b")))
        return NULL;
    return MU_TAKE(entry);
}

static enum mu_status print_json(const struct sides *sides, json_object *lines,
                                 struct mu_error *err)
{
    MU_CLEANUP(json_free) json_object *report = json_object_new_object();
    json_object *pcrs = json_object_new_array();

    if (!json_add(report, "same", json_object_new_boolean(sides->differ == 0)) ||
        !json_add_text(report, "bank", hash_name(sides->a.bank)) ||
        !json_add(report, "differ", pcrs) ||
        !json_add(report, "explanation", json_object_get(lines)))
        return mu_oom(err);
    for (unsigned pcr = 0; pcr < PCR_COUNT; pcr++)
        if ((sides->differ & PCR_BIT(pcr)) != 0 && !json_append(pcrs, difference_json(sides, pcr)))
            return mu_oom(err);
    return cli_print_json("-", report, err);
}

static void print_text(const struct sides *sides, const char *a_name, const char *b_name,
                       json_object *lines)
{
    for (unsigned pcr = 0; pcr < PCR_COUNT; pcr++) {
        char a[PCR_HEX_SIZE], b[PCR_HEX_SIZE];

        if (((sides->a.mask | sides->b.mask) & PCR_BIT(pcr)) == 0)
            continue;
        if ((sides->differ & PCR_BIT(pcr)) == 0) {
            (void)printf("%s PCR %u\n", cli_mark(true), pcr);
            continue;
        }
        pcr_hex(&sides->a, pcr, a);
        pcr_hex(&sides->b, pcr, b);
        (void)printf("%s PCR %u differs\n    %s\n      in %s\n    %s\n      in %s\n",
                     cli_mark(false), pcr, a[0] != '\0' ? a : "(nothing)", a_name,
                     b[0] != '\0' ? b : "(nothing)", b_name);
    }
    for (size_t i = 0; i < json_object_array_length(lines); i++)
        (void)printf("%s\n", json_object_get_string(json_object_array_get_idx(lines, i)));
}

static enum mu_status run_diff(int argc, char **argv, struct mu_error *err)
{
    struct options o = {.tcti = getenv("MU_TCTI")};
    MU_CLEANUP(json_free) json_object *lines = json_object_new_array();
    struct sides sides = {0};

    if (lines == NULL)
        return mu_oom(err);
    MU_TRY(parse_options(argc, argv, &o, err));
    MU_TRY(load_sides(argv[optind], argv[optind + 1], &o, &sides, err));
    sides.differ = pcr_differing(&sides.a, &sides.b);
    MU_TRY(explain(&o, &sides, lines, err));
    if (o.json)
        MU_TRY(print_json(&sides, lines, err));
    else
        print_text(&sides, argv[optind], argv[optind + 1], lines);
    if (sides.differ != 0)
        return mu_fail(err, MU_REFUSE, "%s and %s differ in %d PCRs", argv[optind],
                       argv[optind + 1], __builtin_popcount(sides.differ));
    return MU_OK;
}

const struct verb verb_baseline_diff = {
    .name = "baseline diff",
    .synopsis = "A B [--eventlog FILE] [--reference FILE...] [--json] [--tcti TCTI]",
    .summary = "what changed, event by event; exit code 2 when something did",
    .help =
        "  A, B              a baseline file, or the word 'running'\n"
        "  --eventlog FILE   the event log of the running machine, or of the boot that B is\n"
        "                    about; default with 'running': the system's\n"
        "  --reference FILE  the event log of the expected boot, or its EFI images in load order\n"
        "  --json            {\"same\": ..., \"differ\": [{\"pcr\": 4, \"a\": ..., \"b\": "
        "...}], ...}\n"
        "  --tcti TCTI       device:PATH or swtpm:host=H,port=N; default: $MU_TCTI, then the\n"
        "                    devices\n"
        "\n"
        "Example: muctl baseline diff baseline.json running --reference linux.efi\n",
    .run = run_diff,
};
