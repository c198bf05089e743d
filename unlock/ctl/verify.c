/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "attest/verify.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#include "attest/chain.h"
#include "base/file.h"
#include "ctl/ctl.h"
#include "ctl/verify_report.h"
#include "measure/baseline.h"

#define ROOT_FILE_MAX 16384
#define FILE_MAX (1 << 20) /* so that one that is too large is refused like any other */
#define CERTIFICATES_MAX 65536
#define REGION_CERTIFICATES "/etc/measured-unlock/region-certificates"

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
    "  --require-all    what is not done is a failure too; the checks of --identity are left out\n"
    "  --json           {\"ok\", \"module_id\", \"timestamp_ms\", \"pcrs\", \"checks\", ...}\n"
    "\n"
    "Who the instance is:\n"
    "  --identity FILE  its identity document must be AWS's, and of the same instance: what\n"
    "                   'muctl attest --identity' writes, or what IMDS calls rsa2048\n"
    "  --identity-signature FILE\n"
    "                   then the identity document is JSON, and this what IMDS calls signature\n"
    "  --identity-certificate PEM\n"
    "                   AWS's certificates for the region, or a folder with REGION.pem for each;\n"
    "                   default: /etc/measured-unlock/region-certificates\n"
    "\n"
    "DOC is the CBOR that 'muctl attest' writes, '-' standard input.\n"
    "Example: muctl verify document.cbor --nonce 00112233 --max-age 300 --baseline golden.json\n";

struct arguments {
    const char *root, *at, *max_age, *nonce, *baseline;
    const char *identity, *identity_signature, *identity_certificate;
    bool require_all, json;
};

static enum mu_status parse_arguments(int argc, char **argv, struct arguments *ret,
                                      struct mu_error *err)
{
    const struct ctl_option options[] = {
        {"root", 'r', .text = &ret->root},
        {"at", 'a', .text = &ret->at},
        {"max-age", 'm', .text = &ret->max_age},
        {"nonce", 'n', .text = &ret->nonce},
        {"baseline", 'b', .text = &ret->baseline},
        {"identity", 'i', .text = &ret->identity},
        {"identity-signature", 0, .text = &ret->identity_signature},
        {"identity-certificate", 0, .text = &ret->identity_certificate},
        {"require-all", 0, .flag = &ret->require_all},
        {"json", 'j', .flag = &ret->json},
        {0},
    };

    MU_TRY(ctl_options(argc, argv, options, 1, 1, err));
    if (ret->identity == NULL &&
        (ret->identity_signature != NULL || ret->identity_certificate != NULL))
        return mu_fail(err, MU_USAGE, "%s means nothing without --identity",
                       ret->identity_signature != NULL ? "--identity-signature"
                                                       : "--identity-certificate");
    return MU_OK;
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

/* ---- who the instance is ---- */

struct identity_files {
    struct buffer document, signature, certificates;
    char *certificates_path;
};

static void identity_files_free(struct identity_files *files)
{
    buffer_free(&files->document);
    buffer_free(&files->signature);
    buffer_free(&files->certificates);
    string_free(&files->certificates_path);
}

/* A file, or in a folder the one of the region, which may be missing: what region a document claims
 * is not the configuration's fault. */
static enum mu_status load_certificates(const char *path, const char *region,
                                        struct identity_files *files, struct mu_error *err)
{
    struct stat st;

    if (stat(path, &st) != 0)
        return mu_fail(err, MU_CONFIG,
                       "%s: %s: put AWS's certificates there (muctl(8), IDENTITY), or say with "
                       "--identity-certificate where they are",
                       path, strerror(errno));
    if (!S_ISDIR(st.st_mode)) {
        files->certificates_path = strdup(path);
    } else if (asprintf(&files->certificates_path, "%s/%s.pem", path, region) < 0) {
        files->certificates_path = NULL;
    } else if (stat(files->certificates_path, &st) != 0 && errno == ENOENT) {
        return MU_OK;
    }
    if (files->certificates_path == NULL)
        return mu_oom(err);
    return file_read(files->certificates_path, CERTIFICATES_MAX, &files->certificates, err);
}

/* What cannot be read here is what the verification refuses. */
static enum mu_status load_identity(const struct arguments *arguments, struct identity_files *files,
                                    struct identity_evidence *ret, struct mu_error *err)
{
    const char *path = arguments->identity_certificate;
    struct identity_facts facts = {0};
    struct mu_error refused = {0};

    MU_TRY(file_read(arguments->identity, FILE_MAX, &files->document, err));
    if (arguments->identity_signature != NULL)
        MU_TRY(file_read(arguments->identity_signature, FILE_MAX, &files->signature, err));
    *ret = (struct identity_evidence){.document = buffer_view(&files->document),
                                      .signature = buffer_view(&files->signature)};
    if (identity_read(ret, &facts, &refused) == MU_OK)
        MU_TRY(
            load_certificates(path != NULL ? path : REGION_CERTIFICATES, facts.region, files, err));
    ret->certificates = buffer_view(&files->certificates);
    ret->certificates_name = files->certificates_path;
    return MU_OK;
}

/* Someone who checks evidence from an archive asks for its own time. */
static void hint_at_time(const struct arguments *arguments, const struct document *document,
                         const struct verify_report *report, struct mu_error *err)
{
    size_t len = strlen(err->text);
    char made[VERIFY_TIME_TEXT];

    if (arguments->at != NULL || report->check[CHECK_CHAIN].result != VERIFY_FAILED ||
        report->valid_until == 0 || report->at_ms / 1000 <= (uint64_t)report->valid_until)
        return;
    verify_format_ms(document->timestamp_ms, made);
    (void)snprintf(err->text + len, sizeof(err->text) - len,
                   "; '--at %s' verifies it at its own time", made);
}

static enum mu_status run(int argc, char **argv, struct mu_error *err)
{
    MU_CLEANUP(buffer_free) struct buffer raw = {0};
    MU_CLEANUP(buffer_free) struct buffer root = {0};
    MU_CLEANUP(buffer_free) struct buffer nonce = {0};
    MU_CLEANUP(identity_files_free) struct identity_files files = {0};
    MU_CLEANUP(document_free) struct document document = {0};
    struct identity_evidence identity;
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
    if (arguments.identity != NULL) {
        MU_TRY(load_identity(&arguments, &files, &identity, err));
        policy.identity = &identity;
    }
    MU_TRY(file_read(argv[optind], FILE_MAX, &raw, err));
    status = verify_bytes(buffer_view(&raw), &policy, &document, &report, err);
    if (status != MU_OK && status != MU_REFUSE)
        return status;
    if (!arguments.json)
        verify_print_text(&document, &report);
    else
        MU_TRY(verify_print_json(&document, &report, err));
    if (status == MU_REFUSE)
        hint_at_time(&arguments, &document, &report, err);
    return status;
}

const struct verb verb_verify = {
    .name = "verify",
    .synopsis = "DOC [--nonce HEX] [--max-age S] [--baseline FILE] [--identity FILE] [OPTION...]",
    .summary = "verify a NitroTPM attestation document, check by check",
    .help = help,
    .run = run,
};
