/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "policy/fetch.h"

#include "policy/policy.h"
#include "release/kms_client.h"

enum mu_status policy_fetch(const struct aws_options *options,
                            const struct aws_credentials *credentials, const char *key_arn,
                            struct deadline deadline, json_object **ret, struct mu_error *err)
{
    MU_CLEANUP(kms_close) struct kms *kms = NULL;
    MU_CLEANUP(json_free) json_object *body = json_object_new_object();
    MU_CLEANUP(json_free) json_object *answer = NULL;
    const char *text;

    if (body == NULL || !json_add_text(body, "KeyId", key_arn) ||
        !json_add_text(body, "PolicyName", "default") || (text = json_text(body)) == NULL)
        return mu_oom(err);
    MU_TRY(kms_open(options, key_arn, deadline, &kms, err));
    MU_TRY(kms_call(kms, "TrentService.GetKeyPolicy", credentials, text_view(text), &answer, err));
    MU_TRY(json_string(answer, "Policy", POLICY_MAX_BYTES, MU_REFUSE, &text, err));
    return json_parse(text_view(text), "the key policy", MU_REFUSE, ret, err);
}
