/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "attest/verify.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "attest/chain.h"
#include "base/file.h"
#include "ctl/ctl.h"
#include "measure/baseline.h"

#define ROOT_FILE_MAX 16384
#define DOCUMENT_FILE_MAX (1 << 20) /* so that one that is too large is refused like any other */
#define NONCE_MAX 1024
#define TIME_TEXT 40
#define YEAR_9999_S INT64_C(253402300799)

static const char help[] =
    "Verifies a NitroTPM attestation document. Each check is reported as ok, failed or not done;\n"
    "exit code 2 when one failed.\n"
    "\n"
    "  --root PEM       trust this root certificate alone; default: the one of AWS, built in\n"
    "  --at TIME        verify it for this time: RFC 3339 such as 2026-02-02T07:30:00Z, now (the\n"
    "                   default), or document: its own timestamp, which says nothing of freshness\n"
    "  --max-age S      it may be this many seconds old at that time\n"
    "  --nonce HEX      it must carry this nonce\n"
    "  --baseline FILE  its PCRs must be those of this SHA-384 baseline\n"
    "  --require-all    a check that is not done is a failure too\n"
    "  --json           {\"ok\", \"module_id\", \"timestamp_ms\", \"pcrs\", \"checks\", ...}\n"
    "\n"
    "DOC is the CBOR that 'muctl attest' writes, '-' standard input.\n"
    "Example: muctl verify document.cbor --nonce 00112233 --max-age 300 --baseline golden.json\n";

struct arguments {
    const char *root, *at, *max_age, *nonce, *baseline;
    bool require_all, json;
};

static enum mu_status parse_arguments(int argc, char **argv, struct arguments *ret,
                                      struct mu_error *err)
{
    static const struct option options[] = {
        {"root", required_argument, NULL, 'r'},     {"at", required_argument, NULL, 'a'},
        {"max-age", required_argument, NULL, 'm'},  {"nonce", required_argument, NULL, 'n'},
        {"baseline", required_argument, NULL, 'b'}, {"require-all", no_argument, NULL, 256},
        {"json", no_argument, NULL, 'j'},           {0},
    };
    int option;

    for (;;) {
        MU_TRY(ctl_next_option(argc, argv, options, &option, err));
        if (option == -1)
            return ctl_operands(argc, 1, 1, err);
        switch (option) {
        case 'r':
            ret->root = optarg;
            break;
        case 'a':
            ret->at = optarg;
            break;
        case 'm':
            ret->max_age = optarg;
            break;
        case 'n':
            ret->nonce = optarg;
            break;
        case 'b':
            ret->baseline = optarg;
            break;
        case 'j':
            ret->json = true;
            break;
        default:
            ret->require_all = true;
            break;
        }
    }
}

/* Exactly `count` digits. */
static bool take_number(const char **pos, size_t count, int min, int max, int *ret)
{
    int value = 0;

    for (size_t i = 0; i < count; i++, (*pos)++) {
        if (**pos < '0' || **pos > '9')
            return false;
        value = 10 * value + (**pos - '0');
    }
    *ret = value;
    return value >= min && value <= max;
}

static bool take_char(const char **pos, const char *any)
{
    return **pos != '\0' && strchr(any, *(*pos)++) != NULL;
}

/* RFC 3339, 5.6, time-secfrac, to milliseconds; later digits are dropped. */
static bool take_fraction(const char **pos, int *ret_ms)
{
    int weight = 100, ms = 0;

    if (**pos != '.') {
        *ret_ms = 0;
        return true;
    }
    if ((*pos)[1] < '0' || (*pos)[1] > '9')
        return false;
    for ((*pos)++; **pos >= '0' && **pos <= '9'; (*pos)++, weight /= 10)
        ms += weight * (**pos - '0');
    *ret_ms = ms;
    return true;
}

/* "Z" or "+01:30". */
static bool take_offset(const char **pos, int *ret_s)
{
    int sign = **pos == '-' ? -1 : 1;
    int hours = 0, minutes = 0;

    if (!take_char(pos, "Zz+-"))
        return false;
    if (strchr("+-", (*pos)[-1]) != NULL &&
        !(take_number(pos, 2, 0, 23, &hours) && take_char(pos, ":") &&
          take_number(pos, 2, 0, 59, &minutes)))
        return false;
    *ret_s = sign * (3600 * hours + 60 * minutes);
    return true;
}

/* RFC 3339, 5.6, date-time from 1970 on; without leap seconds, which no certificate has either. */
static bool parse_time(const char *text, uint64_t *ret_ms)
{
    struct tm tm = {0};
    const char *pos = text;
    int ms, offset, day;
    int64_t seconds;

    if (!(take_number(&pos, 4, 1970, 9999, &tm.tm_year) && take_char(&pos, "-") &&
          take_number(&pos, 2, 1, 12, &tm.tm_mon) && take_char(&pos, "-") &&
          take_number(&pos, 2, 1, 31, &tm.tm_mday) && take_char(&pos, "Tt") &&
          take_number(&pos, 2, 0, 23, &tm.tm_hour) && take_char(&pos, ":") &&
          take_number(&pos, 2, 0, 59, &tm.tm_min) && take_char(&pos, ":") &&
          take_number(&pos, 2, 0, 59, &tm.tm_sec) && take_fraction(&pos, &ms) &&
          take_offset(&pos, &offset) && *pos == '\0'))
        return false;
    tm.tm_year -= 1900;
    tm.tm_mon -= 1;
    day = tm.tm_mday;
    seconds = (int64_t)timegm(&tm) - offset;
    if (tm.tm_mday != day || seconds < 0)
        return false;
    *ret_ms = (uint64_t)seconds * 1000 + (uint64_t)ms;
    return true;
}

static void format_time(int64_t seconds, int ms, char to[static TIME_TEXT])
{
    time_t clock = (time_t)seconds;
    struct tm tm;
    size_t len;

    (void)snprintf(to, TIME_TEXT, "%" PRId64 " s", seconds);
    if (seconds < 0 || seconds > YEAR_9999_S || gmtime_r(&clock, &tm) == NULL)
        return;
    len = strftime(to, TIME_TEXT, "%Y-%m-%dT%H:%M:%S", &tm);
    if (ms >= 0)
        (void)snprintf(to + len, TIME_TEXT - len, ".%03dZ", ms);
    else
        (void)snprintf(to + len, TIME_TEXT - len, "Z");
}

static void format_ms(uint64_t ms, char to[static TIME_TEXT])
{
    format_time((int64_t)(ms / 1000), (int)(ms % 1000), to);
}

static enum mu_status set_time(const char *text, struct verify_policy *policy, struct mu_error *err)
{
    struct timespec now;

    if (text == NULL || strcmp(text, "now") == 0) {
        if (clock_gettime(CLOCK_REALTIME, &now) != 0 || now.tv_sec < 0)
            return mu_fail(err, MU_CONFIG, "the clock cannot be read");
        policy->at_ms = (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
        return MU_OK;
    }
    policy->at_own_time = strcmp(text, "document") == 0;
    if (policy->at_own_time || parse_time(text, &policy->at_ms))
        return MU_OK;
    return mu_fail(err, MU_USAGE,
                   "--at '%.60s' is neither now, document, nor RFC 3339 such as "
                   "2026-02-02T07:30:00Z",
                   text);
}

static enum mu_status set_max_age(const char *text, struct verify_policy *policy,
                                  struct mu_error *err)
{
    size_t len = strlen(text);

    if (len == 0 || len > 9 || strspn(text, "0123456789") != len ||
        (policy->max_age_s = strtoull(text, NULL, 10)) == 0)
        return mu_fail(err, MU_USAGE, "--max-age '%.40s' is not a number of seconds from 1 on",
                       text);
    if (policy->at_own_time)
        return mu_fail(err, MU_USAGE, "--max-age means nothing with --at document");
    return MU_OK;
}

static enum mu_status decode_nonce(const char *hex, struct buffer *ret, struct mu_error *err)
{
    size_t len = strlen(hex) / 2;

    MU_TRY(buffer_alloc(ret, len, err));
    if (len == 0 || len > NONCE_MAX || strlen(hex) % 2 != 0 || !hex_decode(hex, ret->data, len))
        return mu_fail(err, MU_USAGE, "--nonce '%.40s' is not hex of 1 to %d bytes", hex,
                       NONCE_MAX);
    return MU_OK;
}

/* Parsed twice, so that a message about it can name the file. */
static enum mu_status load_root(const char *path, struct buffer *ret, struct mu_error *err)
{
    MU_CLEANUP(certificate_free) X509 *certificate = NULL;

    MU_TRY(file_read(path, ROOT_FILE_MAX, ret, err));
    return certificate_from_pem(buffer_view(ret), path, &certificate, err);
}

/* ---- the report ---- */

static bool add_string(json_object *object, const char *name, const char *value)
{
    return json_add(object, name, json_object_new_string(value));
}

/* A JSON null where there is nothing. */
static bool add_hex(json_object *object, const char *name, struct bytes value)
{
    char hex[2 * NONCE_MAX + 1];

    if (value.data == NULL || value.len > NONCE_MAX)
        return json_object_object_add(object, name, NULL) == 0;
    hex_encode(value, hex);
    return add_string(object, name, hex);
}

static bool add_times(json_object *object, const struct verify_report *report)
{
    char text[TIME_TEXT];

    format_ms(report->at_ms, text);
    if (report->at_ms != 0 && !add_string(object, "verified_at", text))
        return false;
    if (report->valid_until == 0)
        return true;
    format_time(report->valid_from, -1, text);
    if (!add_string(object, "valid_from", text))
        return false;
    format_time(report->valid_until, -1, text);
    return add_string(object, "valid_until", text);
}

static bool add_pcrs(json_object *object, const struct document *document)
{
    json_object *pcrs = json_object_new_object();

    if (!json_add(object, "pcrs", pcrs))
        return false;
    for (unsigned pcr = 0; pcr < DOCUMENT_PCRS_MAX; pcr++) {
        char name[12];

        (void)snprintf(name, sizeof(name), "%u", pcr);
        if ((document->pcr_mask & PCR_BIT(pcr)) != 0 && !add_hex(pcrs, name, document->pcr[pcr]))
            return false;
    }
    return true;
}

/* The fixed keys are there even if there is no document to take them from. */
static bool add_document(json_object *object, const struct document *document)
{
    bool readable = document->raw.data != NULL;
    char made[TIME_TEXT];

    format_ms(document->timestamp_ms, made);
    return json_object_object_add(object, "module_id",
                                  readable ? json_object_new_string(document->module_id) : NULL) ==
               0 &&
           json_add(object, "timestamp_ms", json_object_new_uint64(document->timestamp_ms)) &&
           (!readable || add_string(object, "timestamp", made)) && add_pcrs(object, document) &&
           add_hex(object, "nonce", document->nonce) &&
           add_hex(object, "user_data", document->user_data) &&
           add_hex(object, "public_key", document->public_key);
}

static bool add_checks(json_object *object, const struct verify_report *report)
{
    json_object *checks = json_object_new_array();

    if (!json_add(object, "checks", checks))
        return false;
    for (size_t i = 0; i < VERIFY_CHECKS; i++) {
        const struct verify_check *check = &report->check[i];
        json_object *item = json_object_new_object();

        if (item == NULL || json_object_array_add(checks, item) != 0) {
            json_free(&item);
            return false;
        }
        if (!add_string(item, "name", check->name) ||
            !add_string(item, "result", verify_result_name(check->result)) ||
            !add_string(item, "detail", check->detail))
            return false;
    }
    return true;
}

static enum mu_status print_json(const struct document *document,
                                 const struct verify_report *report, struct mu_error *err)
{
    MU_CLEANUP(json_free) json_object *object = json_object_new_object();

    if (object == NULL || !json_add(object, "ok", json_object_new_boolean(report->ok)) ||
        !add_document(object, document) ||
        (report->instance_id[0] != '\0' &&
         !add_string(object, "instance_id", report->instance_id)) ||
        !add_times(object, report) || !add_checks(object, report))
        return mu_oom(err);
    return ctl_print_json("-", object, err);
}

static void print_field(const char *name, struct bytes value)
{
    char hex[2 * NONCE_MAX + 1] = "none";

    if (value.data != NULL && value.len <= NONCE_MAX)
        hex_encode(value, hex);
    (void)printf("%-12s %s\n", name, hex);
}

static void print_document(const struct document *document, const struct verify_report *report)
{
    char made[TIME_TEXT], at[TIME_TEXT], from[TIME_TEXT], until[TIME_TEXT];

    format_ms(document->timestamp_ms, made);
    format_ms(report->at_ms, at);
    format_time(report->valid_from, -1, from);
    format_time(report->valid_until, -1, until);
    (void)printf("\n%s\n", report->ok ? "The document says:"
                                      : "The document says, but this is NOT VERIFIED:");
    (void)printf("%-12s %s\n", "module id", document->module_id);
    if (report->instance_id[0] != '\0')
        (void)printf("%-12s %s\n", "instance id", report->instance_id);
    (void)printf("%-12s %s, verified at %s\n", "made", made, at);
    if (report->valid_until != 0)
        (void)printf("%-12s %s to %s\n", "certificate", from, until);
    print_field("nonce", document->nonce);
    print_field("user data", document->user_data);
    print_field("public key", document->public_key);
    for (unsigned pcr = 0; pcr < DOCUMENT_PCRS_MAX; pcr++) {
        char name[16];

        (void)snprintf(name, sizeof(name), "PCR %u", pcr);
        if ((document->pcr_mask & PCR_BIT(pcr)) != 0)
            print_field(name, document->pcr[pcr]);
    }
}

static void print_text(const struct document *document, const struct verify_report *report)
{
    for (size_t i = 0; i < VERIFY_CHECKS; i++) {
        const struct verify_check *check = &report->check[i];

        if (check->result == VERIFY_NOT_DONE)
            (void)printf("-      %s: not done: %s\n", check->name, check->detail);
        else
            (void)printf("%s %s: %s\n", ctl_mark(check->result == VERIFY_OK), check->name,
                         check->detail);
    }
    if (document->raw.data != NULL)
        print_document(document, report);
}

/* Someone who checks evidence from an archive asks for its own time. */
static void hint_at_time(const struct arguments *arguments, const struct document *document,
                         const struct verify_report *report, struct mu_error *err)
{
    size_t len = strlen(err->text);
    char made[TIME_TEXT];

    if (arguments->at != NULL || report->check[CHECK_CHAIN].result != VERIFY_FAILED ||
        report->valid_until == 0 || report->at_ms / 1000 <= (uint64_t)report->valid_until)
        return;
    format_ms(document->timestamp_ms, made);
    (void)snprintf(err->text + len, sizeof(err->text) - len,
                   "; '--at %s' verifies it at its own time", made);
}

static enum mu_status run(int argc, char **argv, struct mu_error *err)
{
    MU_CLEANUP(buffer_free) struct buffer raw = {0};
    MU_CLEANUP(buffer_free) struct buffer root = {0};
    MU_CLEANUP(buffer_free) struct buffer nonce = {0};
    MU_CLEANUP(document_free) struct document document = {0};
    struct arguments arguments = {0};
    struct verify_policy policy = {0};
    struct verify_report report;
    struct pcr_values baseline;
    enum mu_status status;

    MU_TRY(parse_arguments(argc, argv, &arguments, err));
    policy.require_all = arguments.require_all;
    MU_TRY(set_time(arguments.at, &policy, err));
    if (arguments.max_age != NULL)
        MU_TRY(set_max_age(arguments.max_age, &policy, err));
    if (arguments.nonce != NULL)
        MU_TRY(decode_nonce(arguments.nonce, &nonce, err));
    policy.nonce = buffer_view(&nonce);
    if (arguments.root != NULL)
        MU_TRY(load_root(arguments.root, &root, err));
    policy.root = buffer_view(&root);
    if (arguments.baseline != NULL) {
        MU_TRY(baseline_load(arguments.baseline, &baseline, err));
        policy.baseline = &baseline;
    }
    MU_TRY(file_read(argv[optind], DOCUMENT_FILE_MAX, &raw, err));
    status = verify_bytes(buffer_view(&raw), &policy, &document, &report, err);
    if (status != MU_OK && status != MU_REFUSE)
        return status;
    if (!arguments.json)
        print_text(&document, &report);
    else
        MU_TRY(print_json(&document, &report, err));
    if (status == MU_REFUSE)
        hint_at_time(&arguments, &document, &report, err);
    return status;
}

const struct verb verb_verify = {
    .name = "verify",
    .synopsis = "DOC [--at TIME] [--max-age S] [--nonce HEX] [--baseline FILE] [OPTION...]",
    .summary = "verify a NitroTPM attestation document, check by check",
    .help = help,
    .run = run,
};
