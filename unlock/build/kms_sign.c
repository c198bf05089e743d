/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "build/kms_sign.h"

#include "base/json.h"
#include "build/signing.h"
#include "release/kms_client.h"

static enum mu_status sign_body(const char *key_arn, struct bytes digest, json_object **ret,
                                struct mu_error *err)
{
    MU_CLEANUP(json_free) json_object *body = json_object_new_object();
    MU_CLEANUP(string_free) char *message = NULL;

    MU_TRY(base64_encode(digest, &message, err));
    if (body == NULL || !json_add_text(body, "KeyId", key_arn) ||
        !json_add_text(body, "Message", message) || !json_add_text(body, "MessageType", "DIGEST") ||
        !json_add_text(body, "SigningAlgorithm", "ECDSA_SHA_384"))
        return mu_oom(err);
    *ret = MU_TAKE(body);
    return MU_OK;
}

enum mu_status kms_sign(const struct aws_options *options,
                        const struct aws_credentials *credentials, const char *key_arn,
                        struct bytes digest, struct deadline deadline, struct buffer *ret,
                        struct mu_error *err)
{
    MU_CLEANUP(kms_close) struct kms *kms = NULL;
    MU_CLEANUP(json_free) json_object *body = NULL;
    MU_CLEANUP(json_free) json_object *answer = NULL;
    const char *text;

    MU_TRY(sign_body(key_arn, digest, &body, err));
    text = json_text(body);
    if (text == NULL)
        return mu_oom(err);
    MU_TRY(kms_open(options, key_arn, deadline, &kms, err));
    MU_TRY(kms_call(kms, "TrentService.Sign", credentials, text_view(text), &answer, err));
    MU_TRY(kms_check_key(answer, key_arn, err));
    return json_base64(answer, "Signature", SIGNATURE_MAX, MU_REFUSE, ret, err);
}
