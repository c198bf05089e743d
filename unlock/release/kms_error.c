/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <stdio.h>
#include <string.h>

#include "release/kms_client.h"

/* AWS KMS API, "Common Errors" and the errors of Decrypt and Encrypt. */
static const struct kms_error {
    const char *name;
    enum mu_status status;
    const char *hint; /* NULL: KMS's own words say enough */
} errors[] = {
    {"KMSInternalException", MU_RETRY, NULL},
    {"DependencyTimeoutException", MU_RETRY, NULL},
    {"KeyUnavailableException", MU_RETRY, NULL},
    {"ThrottlingException", MU_RETRY, NULL},
    {"Throttling", MU_RETRY, NULL},
    {"ThrottledException", MU_RETRY, NULL},
    {"RequestThrottled", MU_RETRY, NULL},
    {"RequestThrottledException", MU_RETRY, NULL},
    {"RequestLimitExceeded", MU_RETRY, NULL},
    {"LimitExceededException", MU_RETRY, NULL},
    {"TooManyRequestsException", MU_RETRY, NULL},
    {"SlowDown", MU_RETRY, NULL},
    {"PriorRequestNotComplete", MU_RETRY, NULL},
    {"RequestTimeout", MU_RETRY, NULL},
    {"RequestTimeoutException", MU_RETRY, NULL},
    {"InternalFailure", MU_RETRY, NULL},
    {"InternalServerError", MU_RETRY, NULL},
    {"ServiceUnavailable", MU_RETRY, NULL},
    {"ServiceUnavailableException", MU_RETRY, NULL},
    {"AccessDeniedException", MU_REFUSE,
     "the key policy does not allow this: compare its PCR values, role and encryption context with "
     "this boot's"},
    {"InvalidCiphertextException", MU_REFUSE,
     "the record's ciphertext was made under another key or encryption context, or is damaged"},
    {"IncorrectKeyException", MU_REFUSE, "the record's ciphertext was made under another key"},
    {"DisabledException", MU_REFUSE, "enable the key"},
    {"KMSInvalidStateException", MU_REFUSE, "the key is being deleted or has no key material"},
    {"NotFoundException", MU_REFUSE, "the key does not exist in this region and account"},
    {"InvalidKeyUsageException", MU_REFUSE, "the key must be a symmetric encryption key"},
    {"InvalidGrantTokenException", MU_REFUSE, NULL},
    {"DryRunOperationException", MU_REFUSE, NULL},
    {"ValidationException", MU_REFUSE, "the attestation document or the request was not accepted"},
    {"UnrecognizedClientException", MU_REFUSE, "the credentials are not known in this partition"},
    {"InvalidClientTokenId", MU_REFUSE, "the credentials are not known in this partition"},
    {"ExpiredTokenException", MU_RETRY, "the credentials have expired"},
    {"ExpiredToken", MU_RETRY, "the credentials have expired"},
    {"RequestExpired", MU_REFUSE, "this machine's clock is wrong"},
    {"InvalidSignatureException", MU_REFUSE, NULL},
    {"IncompleteSignature", MU_REFUSE, NULL},
    {"IncompleteSignatureException", MU_REFUSE, NULL},
};

#define NAME_MAX_BYTES 128
#define MESSAGE_MAX_BYTES 400

/* An error that is not in the list is as final as its HTTP status says. */
static const struct kms_error *find(const char *name, long http_status)
{
    static const struct kms_error passing = {"", MU_RETRY, NULL};
    static const struct kms_error unknown = {"", MU_REFUSE, NULL};

    for (size_t i = 0; i < MU_COUNT(errors); i++) {
        if (strcmp(errors[i].name, name) == 0)
            return &errors[i];
    }
    return http_status == 429 || http_status >= 500 ? &passing : &unknown;
}

static const char *text_member(json_object *object, const char *name)
{
    json_object *member;

    return json_object_object_get_ex(object, name, &member) &&
                   json_object_is_type(member, json_type_string)
               ? json_object_get_string(member)
               : NULL;
}

enum mu_status kms_explain(long http_status, struct bytes body, struct kms_failure *ret,
                           struct mu_error *err)
{
    MU_CLEANUP(json_free) json_object *object = NULL;
    struct mu_error ignored;
    const struct kms_error *error;
    const char *name = NULL, *message = NULL, *prefix_end;

    if (json_parse(body, "KMS", MU_REFUSE, &object, &ignored) == MU_OK &&
        json_object_is_type(object, json_type_object)) {
        name = text_member(object, "__type");
        message = text_member(object, "message");
        message = message != NULL ? message : text_member(object, "Message");
    }
    prefix_end = name != NULL ? strrchr(name, '#') : NULL;
    name = prefix_end != NULL ? prefix_end + 1 : name;
    name = name != NULL ? name : "an error without a name";
    message = message != NULL ? message : "";
    error = find(name, http_status);
    *ret = (struct kms_failure){
        .credentials_expired = strncmp(name, "ExpiredToken", 12) == 0,
        .clock_wrong = strcmp(name, "RequestExpired") == 0 ||
                       (strcmp(name, "InvalidSignatureException") == 0 &&
                        (strstr(message, "expired") || strstr(message, "not yet current"))),
    };
    return mu_fail(err, error->status, "KMS answered %.*s (HTTP %ld)%s%.*s%s%s", NAME_MAX_BYTES,
                   name, http_status, message[0] != '\0' ? ": " : "", MESSAGE_MAX_BYTES, message,
                   error->hint != NULL ? "; " : "", error->hint != NULL ? error->hint : "");
}
