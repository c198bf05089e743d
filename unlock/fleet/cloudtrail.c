/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "fleet/cloudtrail.h"

#include <stdio.h>
#include <string.h>

#include "base/text.h"

#define TEXT_MAX 2048
#define PCR_MEMBER "attestationDocumentNitroTPMPCR"

typedef enum mu_status each_record(json_object *record, void *context, struct mu_error *err);

/* Text for a person: the caller of KMS chooses a part of it. */
static const char *shown_text(json_object *object, const char *name)
{
    const char *text = json_text_of(object, name);

    return text_is_printable(text_view(text)) ? text : "(not printable)";
}

/* ---- the records of a file ---- */

static enum mu_status each_of_list(json_object *list, const char *what, each_record *each,
                                   void *context, struct mu_error *err)
{
    for (size_t i = 0; i < json_object_array_length(list); i++) {
        if (each(json_object_array_get_idx(list, i), context, err) != MU_OK)
            return mu_context(err, "%s: record %zu", what, i + 1);
    }
    return MU_OK;
}

static enum mu_status each_of_events(json_object *events, const char *what, each_record *each,
                                     void *context, struct mu_error *err)
{
    for (size_t i = 0; i < json_object_array_length(events); i++) {
        MU_CLEANUP(json_free) json_object *record = NULL;
        const char *text = json_text_of(json_object_array_get_idx(events, i), "CloudTrailEvent");

        if (json_parse(text_view(text), "\"CloudTrailEvent\"", MU_CONFIG, &record, err) != MU_OK ||
            each(record, context, err) != MU_OK)
            return mu_context(err, "%s: event %zu", what, i + 1);
    }
    return MU_OK;
}

static enum mu_status each_of_object(json_object *object, const char *what, each_record *each,
                                     void *context, struct mu_error *err)
{
    json_object *records = json_object_object_get(object, "Records"),
                *events = json_object_object_get(object, "Events");

    if (json_object_is_type(records, json_type_array))
        return each_of_list(records, what, each, context, err);
    if (json_object_is_type(events, json_type_array))
        return each_of_events(events, what, each, context, err);
    if (json_object_object_get(object, "eventSource") != NULL)
        return each(object, context, err);
    return mu_fail(err, MU_CONFIG,
                   "%s: neither a log file of CloudTrail (\"Records\"), nor what 'aws cloudtrail "
                   "lookup-events' prints (\"Events\"), nor a record",
                   what);
}

static enum mu_status each_of_text(struct bytes text, const char *what, each_record *each,
                                   void *context, struct mu_error *err)
{
    MU_CLEANUP(json_free) json_object *object = NULL;

    MU_TRY(json_parse(text, what, MU_CONFIG, &object, err));
    return each_of_object(object, what, each, context, err);
}

/* How long the object is that the text begins with: all of it if it does not end. */
static size_t object_length(struct bytes text)
{
    size_t depth = 0;
    bool quoted = false;

    for (size_t i = 0; i < text.len; i++) {
        uint8_t c = text.data[i];

        if (quoted && c == '\\')
            i++;
        else if (c == '"')
            quoted = !quoted;
        else if (!quoted && (c == '{' || c == '['))
            depth++;
        else if (!quoted && (c == '}' || c == ']') && --depth == 0)
            return i + 1;
        if (depth == 0)
            break;
    }
    return text.len;
}

static struct bytes skip_space(struct bytes text)
{
    while (text.len > 0 && strchr(" \t\r\n", text.data[0]) != NULL && text.data[0] != '\0')
        text = (struct bytes){text.data + 1, text.len - 1};
    return text;
}

enum mu_status cloudtrail_read(struct bytes text, const char *what, each_record *each,
                               void *context, struct mu_error *err)
{
    if (text.len >= 2 && text.data[0] == 0x1f && text.data[1] == 0x8b)
        return mu_fail(err, MU_CONFIG, "%s: compressed; 'zcat %s | mu-verifier audit ... -'", what,
                       what);
    text = skip_space(text);
    do {
        size_t len = object_length(text);

        MU_TRY(each_of_text((struct bytes){text.data, len}, what, each, context, err));
        text = skip_space((struct bytes){text.data + len, text.len - len});
    } while (text.len > 0);
    return MU_OK;
}

/* ---- one record ---- */

static bool names_key(const char *name, const char *key)
{
    const char *id = strrchr(key, '/');

    return strcmp(name, key) == 0 || (id != NULL && strcmp(name, id + 1) == 0);
}

static bool is_about_key(json_object *record, const char *key)
{
    json_object *resources = json_object_object_get(record, "resources");
    const char *asked = json_text_of(json_object_object_get(record, "requestParameters"), "keyId");
    size_t named = 0;

    if (names_key(asked, key))
        return true;
    for (size_t i = 0;
         json_object_is_type(resources, json_type_array) && i < json_object_array_length(resources);
         i++) {
        const char *arn = json_text_of(json_object_array_get_idx(resources, i), "ARN");

        if (names_key(arn, key))
            return true;
        named += strstr(arn, ":key/") != NULL;
    }
    return named == 0 && (asked[0] == '\0' || strstr(asked, "alias/") != NULL);
}

static bool is_about(json_object *record, const struct kms_filter *filter)
{
    for (size_t i = 0; i < filter->count; i++)
        if (is_about_key(record, filter->key[i]))
            return true;
    return filter->count == 0;
}

/* The documentation does not say how CloudTrail writes a PCR: in hex, or in base64 as KMS's API has
 * binary. */
static bool read_pcr(const char *text, struct digest *ret)
{
    MU_CLEANUP(buffer_free) struct buffer value = {0};
    size_t size = hash_size(HASH_SHA384);
    struct mu_error ignored;

    if (strlen(text) == 2 * size)
        return hex_decode(text, ret->bytes, size);
    if (base64_decode(text, size, MU_CONFIG, &value, &ignored) != MU_OK || value.len != size)
        return false;
    memcpy(ret->bytes, value.data, size);
    return true;
}

static enum mu_status read_recipient(json_object *recipient, struct kms_call *ret,
                                     struct mu_error *err)
{
    char name[sizeof(PCR_MEMBER) + 2];

    ret->attested = true;
    ret->module_id = shown_text(recipient, "attestationDocumentModuleId");
    ret->shown.bank = HASH_SHA384;
    for (unsigned pcr = 0; pcr < PCR_COUNT; pcr++) {
        json_object *value;

        (void)snprintf(name, sizeof(name), PCR_MEMBER "%u", pcr);
        value = json_object_object_get(recipient, name);
        if (value == NULL)
            continue;
        if (!read_pcr(json_text_of(recipient, name), &ret->shown.value[pcr]))
            return mu_fail(err, MU_CONFIG, "\"%s\" is not a SHA-384 value", name);
        ret->shown.mask |= PCR_BIT(pcr);
    }
    return MU_OK;
}

static const char *principal_of(json_object *identity)
{
    static const char *const names[] = {"arn", "invokedBy", "principalId", "accountId"};
    const char *text = "";

    for (size_t i = 0; i < MU_COUNT(names) && text[0] == '\0'; i++)
        text = shown_text(identity, names[i]);
    return text;
}

enum mu_status cloudtrail_kms_call(json_object *record, const struct kms_filter *filter,
                                   bool *ret_is_kms, struct kms_call *ret, struct mu_error *err)
{
    json_object *recipient;
    const char *source;

    memset(ret, 0, sizeof(*ret));
    *ret_is_kms = false;
    if (!json_object_is_type(record, json_type_object))
        return mu_fail(err, MU_CONFIG, "not an object");
    MU_TRY(json_string(record, "eventSource", TEXT_MAX, MU_CONFIG, &source, err));
    if (strcmp(source, "kms.amazonaws.com") != 0 || !is_about(record, filter))
        return MU_OK;
    ret->name = shown_text(record, "eventName");
    ret->time = shown_text(record, "eventTime");
    if (ret->name[0] == '\0' || ret->time[0] == '\0')
        return mu_fail(err, MU_CONFIG, "\"eventName\" or \"eventTime\" is missing");
    ret->id = shown_text(record, "eventID");
    ret->error = shown_text(record, "errorCode");
    ret->principal = principal_of(json_object_object_get(record, "userIdentity"));
    ret->module_id = "";
    *ret_is_kms = true;
    recipient =
        json_object_object_get(json_object_object_get(record, "additionalEventData"), "recipient");
    return recipient != NULL ? read_recipient(recipient, ret, err) : MU_OK;
}
