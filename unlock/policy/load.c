/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "base/file.h"
#include "policy/policy.h"

/* A policy as a text in JSON: each quote and line end takes two bytes, other control characters
 * six. */
#define WRAPPED_MAX_BYTES ((size_t)6 * POLICY_MAX_BYTES)

static enum mu_status unwrap(json_object **policy, const char *path, struct mu_error *err)
{
    json_object *inner = NULL, *text = NULL;

    if (!json_object_is_type(*policy, json_type_object) ||
        json_object_object_get_ex(*policy, "Statement", NULL) ||
        !json_object_object_get_ex(*policy, "Policy", &text) ||
        !json_object_is_type(text, json_type_string))
        return MU_OK;
    MU_TRY(json_parse((struct bytes){(const uint8_t *)json_object_get_string(text),
                                     (size_t)json_object_get_string_len(text)},
                      path, MU_CONFIG, &inner, err));
    json_free(policy);
    *policy = inner;
    return MU_OK;
}

enum mu_status policy_load(const char *path, json_object **ret, struct mu_error *err)
{
    MU_CLEANUP(buffer_free) struct buffer text = {0};
    MU_CLEANUP(json_free) json_object *policy = NULL;

    MU_TRY(file_read(path, WRAPPED_MAX_BYTES, &text, err));
    MU_TRY(json_parse(buffer_view(&text), path, MU_CONFIG, &policy, err));
    MU_TRY(unwrap(&policy, path, err));
    *ret = MU_TAKE(policy);
    return MU_OK;
}
