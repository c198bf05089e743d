/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef MU_RELEASE_KMS_CLIENT_H
#define MU_RELEASE_KMS_CLIENT_H

#include "release/kms.h"

#define KMS_URL_MAX 256
#define KMS_CIPHERTEXT_MAX 6144 /* AWS KMS API, Decrypt, CiphertextBlob */

/* https://host/ for the key's region and partition, or the URL that the options have for the region
 * (MU_CONFIG unless each of them is https). */
enum mu_status kms_endpoint(const struct aws_options *options, const char *region,
                            const char *partition, char ret_url[static KMS_URL_MAX],
                            struct mu_error *err) MU_MUST_CHECK;

/* How long one attempt may take, and whether another one follows until the deadline. */
struct kms_patience {
    unsigned connect_ms, total_ms;
    bool again;
};
extern const struct kms_patience kms_patient; /* for the only key that there is */
extern const struct kms_patience kms_brief;   /* while others can be asked in its place */

/* One connection to the KMS of one region. options are borrowed. */
struct kms;
enum mu_status kms_open(const struct aws_options *options, const char *key_arn,
                        struct deadline deadline, struct kms **ret,
                        struct mu_error *err) MU_MUST_CHECK;
void kms_close(struct kms **kms);
/* Looks the name up and connects, so that the next call finds an open connection. */
enum mu_status kms_connect(struct kms *kms, const struct kms_patience *patience,
                           struct mu_error *err) MU_MUST_CHECK;

/* One operation of the API (target: "TrentService.<operation>"), sent again while that can help. */
enum mu_status kms_call(struct kms *kms, const char *target,
                        const struct aws_credentials *credentials, struct bytes body,
                        json_object **ret, struct mu_error *err) MU_MUST_CHECK;
/* MU_REFUSE unless the answer is of this key. */
enum mu_status kms_check_key(json_object *answer, const char *key_arn,
                             struct mu_error *err) MU_MUST_CHECK;

struct kms_decrypt_request {
    const char *key_arn;
    const char *ciphertext; /* base64; NULL: a key is to be generated */
    json_object *encryption_context;
    struct bytes document; /* attestation document with the RSA public key to encrypt to */
    const struct kms_patience *patience;
};
/* Decrypt with a recipient (AWS KMS API), or GenerateDataKey of 32 bytes, which sets
 * *ret_ciphertext, too; returns CiphertextForRecipient. An answer for another key, or one with a
 * plaintext, is MU_REFUSE. */
enum mu_status kms_decrypt(struct kms *kms, const struct aws_credentials *credentials,
                           const struct kms_decrypt_request *request, struct buffer *ret_ciphertext,
                           struct buffer *ret_wrapped, struct mu_error *err) MU_MUST_CHECK;
/* True if the last call failed because the credentials had expired: new ones may help. */
bool kms_credentials_expired(const struct kms *kms);

/* Internal, for tests: bodies and answers. */
enum mu_status kms_decrypt_body(const struct kms_decrypt_request *request, char **ret,
                                struct mu_error *err) MU_MUST_CHECK;
enum mu_status kms_decrypt_answer(json_object *answer, const char *key_arn,
                                  struct buffer *ret_wrapped, struct mu_error *err) MU_MUST_CHECK;

/* What an answer other than 200 means. */
struct kms_failure {
    bool credentials_expired;
    bool clock_wrong; /* the request's time was too far from the server's */
};
enum mu_status kms_explain(long http_status, struct bytes body, struct kms_failure *ret,
                           struct mu_error *err);

#endif
