/* SPDX-License-Identifier: GPL-2.0-or-later */
/* KMS's answers to Decrypt and Encrypt. First byte: which; bit 7: the input first names a key (u8
 * length, ARN). Then answers, see answers.h. */
#include <string.h>

#include "answers.h"
#include "fuzz.h"
#include "release/kms_client.h"

#define KEY "arn:aws:kms:us-east-1:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab"

enum asked { DECRYPT, ENCRYPT, CONNECT, ASKED };

static enum mu_status decrypt(struct kms *kms, const struct aws_credentials *credentials,
                              const char *arn, const struct kms_patience *patience,
                              struct mu_error *err)
{
    MU_CLEANUP(buffer_free) struct buffer wrapped = {0};
    MU_CLEANUP(json_free) json_object *context = json_object_new_object();
    struct kms_decrypt_request request = {
        arn, "AAAA", context, {(const uint8_t *)"document", 8}, patience};
    enum mu_status status = kms_decrypt(kms, credentials, &request, NULL, &wrapped, err);

    fuzz_require(status == MU_OK ? wrapped.data != NULL : wrapped.data == NULL, "wrapped or not");
    fuzz_require(status != MU_OK || !kms_credentials_expired(kms), "credentials that were good");
    return status;
}

static enum mu_status ask(unsigned which, const struct aws_options *options, const char *arn,
                          struct mu_error *err)
{
    static uint8_t id[] = "AKIAEXAMPLE", secret[] = "secret";
    const struct aws_credentials credentials = {{id, 11, 0}, {secret, 6, 0}, {0}};
    MU_CLEANUP(buffer_free) struct buffer ciphertext = {0};
    MU_CLEANUP(json_free) json_object *context = json_object_new_object();
    MU_CLEANUP(kms_close) struct kms *kms = NULL;
    const struct bytes plaintext = {(const uint8_t *)"key", 3};
    const struct kms_patience *patience = options->fips ? &kms_brief : &kms_patient;

    if (which % ASKED == ENCRYPT)
        return kms_encrypt(options, &credentials, arn, context, plaintext, deadline_in(60),
                           &ciphertext, err);
    MU_TRY(kms_open(options, arn, deadline_in(60), &kms, err));
    return which % ASKED == CONNECT ? kms_connect(kms, patience, err)
                                    : decrypt(kms, &credentials, arn, patience, err);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct reader r = reader_of((struct bytes){data, size});
    uint8_t which = reader_u8(&r);
    struct aws_options options = {
        .ca_file = "/nonexistent", .fips = (which & 0x40) != 0, .dual_stack = (which & 0x20) != 0};
    char arn[256] = KEY, endpoint[256] = "";
    struct mu_error err = {0};
    enum mu_status status;
    struct bytes text;

    if ((which & 0x80) != 0) {
        text = fuzz_take(&r, reader_u8(&r));
        memcpy(arn, text.data, text.len);
        arn[text.len] = '\0';
    }
    if ((which & 0x10) != 0) {
        text = fuzz_take(&r, reader_u8(&r));
        memcpy(endpoint, text.data, text.len);
        options.kms_endpoint = endpoint;
    }
    answers_begin(&r);
    status = ask(which & 0x0f, &options, arn, &err);
    fuzz_outcome(status, &err, 1u << MU_REFUSE | 1u << MU_RETRY | 1u << MU_CONFIG);
    fuzz_require(status != MU_OK || answers_requests() > 0, "nothing comes from nowhere");
    return 0;
}
