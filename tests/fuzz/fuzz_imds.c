/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Answers of the instance metadata service, see answers.h. */
#include "net/imds.h"

#include "answers.h"
#include "fuzz.h"

static bool sendable(const struct secret *s, size_t max)
{
    return http_token_ok((struct bytes){s->data, s->len}, 1, max);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct reader r = reader_of((struct bytes){data, size});
    MU_CLEANUP(aws_credentials_free) struct aws_credentials got = {0};
    MU_CLEANUP(aws_credentials_free) struct aws_credentials parsed = {0};
    MU_CLEANUP(buffer_free) struct buffer identity = {0};
    char region[IMDS_REGION_MAX] = "";
    struct mu_error err = {0};
    enum mu_status status;

    answers_begin(&r);
    status = aws_credentials_from_imds("http://169.254.169.254", deadline_in(60), &got, &err);
    fuzz_outcome(status, &err, 1u << MU_RETRY | 1u << MU_CONFIG | 1u << MU_REFUSE);
    if (status == MU_OK)
        fuzz_require(sendable(&got.access_key_id, 128) && sendable(&got.secret_access_key, 256) &&
                         sendable(&got.session_token, 8192),
                     "credentials that fit a header");
    r = reader_of((struct bytes){data, size});
    answers_begin(&r);
    status = imds_identity("http://169.254.169.254", deadline_in(60), &identity, &err);
    fuzz_outcome(status, &err, 1u << MU_RETRY | 1u << MU_CONFIG | 1u << MU_REFUSE);
    r = reader_of((struct bytes){data, size});
    answers_begin(&r);
    status = imds_region("http://169.254.169.254", deadline_in(60), region, &err);
    fuzz_outcome(status, &err, 1u << MU_RETRY | 1u << MU_CONFIG | 1u << MU_REFUSE);
    fuzz_require((status == MU_OK) == (region[0] != '\0'), "a region or none");
    status = imds_parse_credentials((struct bytes){data, size}, &parsed, &err);
    fuzz_outcome(status, &err, 1u << MU_RETRY);
    return 0;
}
