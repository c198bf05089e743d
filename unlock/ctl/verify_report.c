/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "ctl/verify_report.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "appraise/verify_json.h"
#include "base/time.h"
#include "ctl/ctl.h"

static void format_time(int64_t seconds, char to[static VERIFY_TIME_TEXT])
{
    if (!time_text(seconds, to))
        (void)snprintf(to, VERIFY_TIME_TEXT, "%" PRId64 " s", seconds);
}

void verify_format_ms(uint64_t ms, char to[static VERIFY_TIME_TEXT])
{
    if (!time_text_ms(ms, to))
        (void)snprintf(to, VERIFY_TIME_TEXT, "%" PRIu64 " s", ms / 1000);
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
    char text[VERIFY_TIME_TEXT];

    verify_format_ms(report->at_ms, text);
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
    char made[VERIFY_TIME_TEXT];

    verify_format_ms(document->timestamp_ms, made);
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

enum mu_status verify_print_json(const struct document *document,
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
    char made[VERIFY_TIME_TEXT], at[VERIFY_TIME_TEXT], from[VERIFY_TIME_TEXT],
        until[VERIFY_TIME_TEXT];

    verify_format_ms(document->timestamp_ms, made);
    verify_format_ms(report->at_ms, at);
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

void verify_print_text(const struct document *document, const struct verify_report *report)
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
