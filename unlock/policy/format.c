/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "policy/format.h"

#include <string.h>

/* What a format puts around a policy: `hole` leads to the object in which `member` is missing. */
struct format {
    const char *name, *around, *hole[4], *member;
    json_object *(*value)(json_object *policy);
};

static json_object *as_object(json_object *policy)
{
    return json_object_get(policy);
}

/* As a string in Terraform's JSON syntax, in which ${ and %{ begin a template unless their first
 * character is doubled. */
static json_object *as_terraform_string(json_object *policy)
{
    MU_CLEANUP(buffer_free) struct buffer escaped = {0};
    const char *text = json_text(policy);
    struct mu_error ignored;
    size_t length = 0;

    if (text == NULL || buffer_alloc(&escaped, strlen(text) * 2, &ignored) != MU_OK)
        return NULL;
    for (; *text != '\0'; text++) {
        if ((*text == '$' || *text == '%') && text[1] == '{')
            escaped.data[length++] = (uint8_t)*text;
        escaped.data[length++] = (uint8_t)*text;
    }
    return json_object_new_string_len((const char *)escaped.data, (int)length);
}

static const struct format formats[] = {
    {
        .name = "cloudformation",
        .around = "{\"AWSTemplateFormatVersion\": \"2010-09-09\","
                  " \"Description\": \"A KMS key that is released to a measured boot alone\","
                  " \"Resources\": {\"MeasuredUnlockKey\": {\"Type\": \"AWS::KMS::Key\","
                  "  \"DeletionPolicy\": \"Retain\", \"UpdateReplacePolicy\": \"Retain\","
                  "  \"Properties\": {\"Description\": \"measured-unlock\","
                  "   \"EnableKeyRotation\": true}}},"
                  " \"Outputs\": {\"KeyArn\": {\"Value\":"
                  "  {\"Fn::GetAtt\": [\"MeasuredUnlockKey\", \"Arn\"]}}}}",
        .hole = {"Resources", "MeasuredUnlockKey", "Properties"},
        .member = "KeyPolicy",
        .value = as_object,
    },
    {
        .name = "terraform",
        .around = "{\"resource\": {\"aws_kms_key\": {\"measured_unlock\": {"
                  "  \"description\": \"measured-unlock\", \"enable_key_rotation\": true,"
                  "  \"lifecycle\": {\"prevent_destroy\": true}}}},"
                  " \"output\": {\"key_arn\":"
                  "  {\"value\": \"${aws_kms_key.measured_unlock.arn}\"}}}",
        .hole = {"resource", "aws_kms_key", "measured_unlock"},
        .member = "policy",
        .value = as_terraform_string,
    },
};

static enum mu_status put_into(const struct format *format, json_object **policy,
                               struct mu_error *err)
{
    MU_CLEANUP(json_free) json_object *whole = NULL;
    json_object *hole;

    MU_TRY(json_parse(text_view(format->around), format->name, MU_INTERNAL, &whole, err));
    hole = whole;
    for (size_t i = 0; format->hole[i] != NULL; i++)
        hole = json_object_object_get(hole, format->hole[i]);
    if (!json_add(hole, format->member, format->value(*policy)))
        return mu_oom(err);
    json_free(policy);
    *policy = MU_TAKE(whole);
    return MU_OK;
}

enum mu_status policy_format(const char *name, json_object **policy, struct mu_error *err)
{
    if (strcmp(name, "json") == 0)
        return MU_OK;
    for (size_t i = 0; i < MU_COUNT(formats); i++)
        if (strcmp(name, formats[i].name) == 0)
            return put_into(&formats[i], policy, err);
    return mu_fail(err, MU_USAGE, "--format '%.32s': json, cloudformation or terraform", name);
}
