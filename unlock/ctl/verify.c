/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "appraise/verify.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "appraise/chain.h"
#include "base/defaults.h"
#include "base/file.h"
#include "base/time.h"
#include "ctl/ctl.h"
#include "measure/baseline.h"

#define NONCE_MAX 1024
#define MAX_AGE_MAX 999999999
#define TIME_MAX 40
#define FILE_MAX (1 << 20) /* so that one that is too large is refused like any other */

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
    "Identity of the instance:\n"
    "  --identity FILE  its identity document must be AWS's, and of the same instance: what\n"
    "                   'muctl attest --identity' writes, or what IMDS calls rsa2048\n"
    "  --identity-signature FILE\n"
    "                   then the identity document is JSON, and this what IMDS calls signature\n"
    "  --identity-certificate PEM\n"
    "                   AWS's certificates for the region, or a folder with REGION.pem for each;\n"
    "                   default: " REGION_CERTIFICATES_DEFAULT_PATH "\n"
    "\n"
    "DOC is the CBOR that 'muctl attest' writes, '-' standard input.\n"
    "Example: muctl verify document.cbor --nonce 00112233 --max-age 300 --baseline golden.json\n";

struct arguments {
    const char *root, *at, *nonce, *baseline;
    uint64_t max_age; /* seconds; 0: not given */
    const char *identity, *identity_signature, *identity_certificate;
    bool require_all, json;
};

static enum mu_status parse_arguments(int argc, char **argv, struct arguments *ret,
                                      struct mu_error *err)
{
    const struct cli_option options[] = {
        {"root", 'r', .text = &ret->root},
        {"at", 'a', .text = &ret->at},
        {"max-age", 'm', .number = &ret->max_age, .from = 1, .to = MAX_AGE_MAX},
        {"nonce", 'n', .text = &ret->nonce},
        {"baseline", 'b', .text = &ret->baseline},
        {"identity", 'i', .text = &ret->identity},
        {"identity-signature", 0, .text = &ret->identity_signature},
        {"identity-certificate", 0, .text = &ret->identity_certificate},
        {"require-all", 0, .flag = &ret->require_all},
        {"json", 'j', .flag = &ret->json},
        {0},
    };

    MU_TRY(cli_options(argc, argv, options, 1, 1, err));
    if (ret->identity == NULL &&
        (ret->identity_signature != NULL || ret->identity_certificate != NULL))
        return mu_fail(err, MU_USAGE, "%s means nothing without --identity",
                       ret->identity_signature != NULL ? "--identity-signature"
                                                       : "--identity-certificate");
    return MU_OK;
}

static enum mu_status set_time(const char *text, struct verify_policy *policy, struct mu_error *err)
{
    if (text == NULL || strcmp(text, "now") == 0) {
        policy->at_ms = time_now_ms();
        return policy->at_ms != 0 ? MU_OK : mu_fail(err, MU_CONFIG, "the clock cannot be read");
    }
    policy->at_own_time = strcmp(text, "document") == 0;
    if (policy->at_own_time || time_parse(text, &policy->at_ms))
        return MU_OK;
    return mu_fail(err, MU_USAGE,
                   "--at '%.60s' is neither now, document, nor RFC 3339 such as "
                   "2026-02-02T07:30:00Z",
                   text);
}

static enum mu_status load_identity(const struct arguments *arguments, struct identity_files *files,
                                    struct identity_evidence *ret, struct mu_error *err)
{
    const char *path = arguments->identity_certificate != NULL ? arguments->identity_certificate
                                                               : REGION_CERTIFICATES_DEFAULT_PATH;
    struct stat st;

    MU_TRY(file_read(arguments->identity, FILE_MAX, &files->document, err));
    if (arguments->identity_signature != NULL)
        MU_TRY(file_read(arguments->identity_signature, FILE_MAX, &files->signature, err));
    MU_TRY(identity_load(files, path, ret, err));
    if (ret->certificates_name != NULL && stat(path, &st) != 0)
        return mu_fail(err, MU_CONFIG,
                       "%s: %s: put AWS's certificates there (muctl(8), IDENTITY), or say with "
                       "--identity-certificate where they are",
                       path, strerror(errno));
    return MU_OK;
}

/* ---- the report ---- */

static void format_time(int64_t seconds, char to[static TIME_MAX])
{
    if (!time_text(seconds, to))
        (void)snprintf(to, TIME_MAX, "%" PRId64 " s", seconds);
}

/* RFC 3339 with milliseconds. */
static void format_ms(uint64_t ms, char to[static TIME_MAX])
{
    if (!time_text_ms(ms, to))
        (void)snprintf(to, TIME_MAX, "%" PRIu64 " s", ms / 1000);
}

/* JSON null if there is nothing. */
static bool add_hex(json_object *object, const char *name, struct bytes value)
{
    char hex[2 * NONCE_MAX + 1];

    if (value.data == NULL || value.len > NONCE_MAX)
        return json_add_null(object, name);
    hex_encode(value, hex);
    return json_add_text(object, name, hex);
}

static bool add_times(json_object *object, const struct verify_report *report)
{
    char text[TIME_MAX];

    format_ms(report->at_ms, text);
    if (report->at_ms != 0 && !json_add_text(object, "verified_at", text))
        return false;
    if (report->valid_until == 0)
        return true;
    format_time(report->valid_from, text);
    if (!json_add_text(object, "valid_from", text))
        return false;
    format_time(report->valid_until, text);
    return json_add_text(object, "valid_until", text);
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
    char made[TIME_MAX];

    format_ms(document->timestamp_ms, made);
    return (readable ? json_add_text(object, "module_id", document->module_id)
                     : json_add_null(object, "module_id")) &&
           json_add(object, "timestamp_ms", json_object_new_uint64(document->timestamp_ms)) &&
           (!readable || json_add_text(object, "timestamp", made)) && add_pcrs(object, document) &&
           add_hex(object, "nonce", document->nonce) &&
           add_hex(object, "user_data", document->user_data) &&
           add_hex(object, "public_key", document->public_key);
}

/* JSON null if it was not asked for, or cannot be read. */
static bool add_identity(json_object *object, const struct identity_facts *facts)
{
    json_object *identity;

    if (facts->instance_id[0] == '\0')
        return json_add_null(object, "identity");
    identity = json_object_new_object();
    return json_add(object, "identity", identity) &&
           json_add_text(identity, "instance_id", facts->instance_id) &&
           json_add_text(identity, "account", facts->account) &&
           json_add_text(identity, "region", facts->region) &&
           json_add_text(identity, "instance_type", facts->instance_type) &&
           json_add_text(identity, "image_id", facts->image_id) &&
           json_add_text(identity, "pending_time", facts->pending_time);
}

static enum mu_status print_json(const struct document *document,
                                 const struct verify_report *report, struct mu_error *err)
{
    MU_CLEANUP(json_free) json_object *object = json_object_new_object();

    if (object == NULL || !json_add(object, "ok", json_object_new_boolean(report->ok)) ||
        !add_document(object, document) ||
        (report->instance_id[0] != '\0' &&
         !json_add_text(object, "instance_id", report->instance_id)) ||
        !add_times(object, report) || !add_identity(object, &report->identity) ||
        !verify_add_checks(object, report))
        return mu_oom(err);
    return cli_print_json("-", object, err);
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
    char made[TIME_MAX], at[TIME_MAX], from[TIME_MAX], until[TIME_MAX];

    format_ms(document->timestamp_ms, made);
    format_ms(report->at_ms, at);
    format_time(report->valid_from, from);
    format_time(report->valid_until, until);
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

static void print_identity(const struct verify_report *report)
{
    const struct identity_facts *facts = &report->identity;

    (void)printf("\n%s\n"
                 "%-12s %s\n%-12s %s\n%-12s %s\n%-12s %s\n%-12s %s\n%-12s %s\n",
                 report->ok ? "The identity document says:"
                            : "The identity document says, but this is NOT VERIFIED:",
                 "instance id", facts->instance_id, "account", facts->account, "region",
                 facts->region, "type", facts->instance_type, "image", facts->image_id, "started",
                 facts->pending_time);
}

static void print_text(const struct document *document, const struct verify_report *report)
{
    for (size_t i = 0; i < VERIFY_CHECKS; i++) {
        const struct verify_check *check = &report->check[i];

        if (check->result == VERIFY_NOT_DONE)
            (void)printf("-      %s: not done: %s\n", check->name, check->detail);
        else
            (void)printf("%s %s: %s\n", cli_mark(check->result == VERIFY_OK), check->name,
                         check->detail);
    }
    if (document->raw.data != NULL)
        print_document(document, report);
    if (report->identity.instance_id[0] != '\0')
        print_identity(report);
}

/* ---- the verb ---- */

/* What is base64 and nothing else, in lines or not: as it travels in JSON, e-mail and consoles. A
 * document never is: its first byte is not one of these characters. */
static enum mu_status decode_if_text(struct buffer *raw, struct mu_error *err)
{
    static const char alphabet[] =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/=";
    MU_CLEANUP(buffer_free) struct buffer text = {0};
    size_t len = 0;

    MU_TRY(buffer_alloc(&text, raw->len + 1, err));
    for (size_t i = 0; i < raw->len; i++) {
        char c = (char)raw->data[i];

        if (c == ' ' || c == '\t' || c == '\r' || c == '\n')
            continue;
        if (c == '\0' || strchr(alphabet, c) == NULL)
            return MU_OK;
        text.data[len++] = (uint8_t)c;
    }
    text.data[len] = '\0';
    if (len == 0)
        return MU_OK;
    buffer_free(raw);
    return base64_decode((const char *)text.data, FILE_MAX, MU_CONFIG, raw, err);
}

/* A file of another kind was named. */
static void hint_at_kind(struct bytes raw, const struct verify_report *report, struct mu_error *err)
{
    size_t len = strlen(err->text);

    if (report->check[CHECK_STRUCTURE].result == VERIFY_FAILED && raw.len > 0 &&
        raw.data[0] >= ' ' && raw.data[0] < 0x7f)
        (void)snprintf(err->text + len, sizeof(err->text) - len,
                       "; this is not what 'muctl attest' writes");
}

/* To check evidence from an archive, ask for its own time. */
static void hint_at_time(const struct arguments *arguments, const struct document *document,
                         const struct verify_report *report, struct mu_error *err)
{
    size_t len = strlen(err->text);
    char made[TIME_MAX];

    if (arguments->at != NULL || report->check[CHECK_CHAIN].result != VERIFY_FAILED ||
        report->valid_until == 0 || report->at_ms / 1000 <= (uint64_t)report->valid_until)
        return;
    format_ms(document->timestamp_ms, made);
    (void)snprintf(err->text + len, sizeof(err->text) - len,
                   "; '--at %s' verifies it at its own time", made);
}

static enum mu_status verify_run(int argc, char **argv, struct mu_error *err)
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
    policy.max_age_s = arguments.max_age;
    if (policy.max_age_s != 0 && policy.at_own_time)
        return mu_fail(err, MU_USAGE, "--max-age means nothing with --at document");
    if (arguments.nonce != NULL)
        MU_TRY(ctl_nonce(arguments.nonce, &nonce, err));
    policy.nonce = buffer_view(&nonce);
    if (arguments.root != NULL)
        MU_TRY(certificate_file(arguments.root, &root, err));
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
    if (decode_if_text(&raw, err) != MU_OK)
        return mu_context(err, "%s", argv[optind]);
    status = verify_bytes(buffer_view(&raw), &policy, &document, &report, err);
    if (status != MU_OK && status != MU_REFUSE)
        return status;
    if (!arguments.json)
        print_text(&document, &report);
    else
        MU_TRY(print_json(&document, &report, err));
    if (status == MU_REFUSE)
        hint_at_kind(buffer_view(&raw), &report, err);
    if (status == MU_REFUSE)
        hint_at_time(&arguments, &document, &report, err);
    return status;
}

const struct verb verb_verify = {
    .name = "verify",
    .synopsis = "DOC [--nonce HEX] [--max-age S] [--baseline FILE] [--identity FILE] [OPTION...]",
    .summary = "verify a NitroTPM attestation document, check by check",
    .help = help,
    .run = verify_run,
};
