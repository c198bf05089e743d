/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "attest/attest.h"
#include "test.h"

#define BYTES(text) ((struct bytes){(const uint8_t *)(text), sizeof(text) - 1})

/* aws-nitro-enclaves-nsm-api, Request::Attestation as serde_cbor writes it. */
TEST(test_request)
{
    static const uint8_t expected[] = "\xa1\x6b"
                                      "Attestation"
                                      "\xa3\x69"
                                      "user_data"
                                      "\xf6\x65"
                                      "nonce"
                                      "\x40\x6a"
                                      "public_key"
                                      "\x43"
                                      "abc";
    struct nsm_fields fields = {.nonce = BYTES(""), .public_key = BYTES("abc")};
    struct buffer request;

    assert_int_equal(nsm_encode_request(&fields, &request, &err), MU_OK);
    assert_int_equal(request.len, sizeof(expected) - 1);
    assert_memory_equal(request.data, expected, request.len);
    buffer_free(&request);
}

TEST(test_request_limits)
{
    static const uint8_t big[NSM_FIELD_MAX + 1];
    struct bytes most = {big, NSM_FIELD_MAX};
    struct nsm_fields fields = {most, most, most};
    struct buffer request;

    assert_int_equal(nsm_encode_request(&fields, &request, &err), MU_OK);
    assert_in_range(request.len, 3 * NSM_FIELD_MAX, 3 * NSM_FIELD_MAX + 64);
    buffer_free(&request);
    for (size_t i = 0; i < 3; i++) {
        struct bytes *const all[] = {&fields.user_data, &fields.nonce, &fields.public_key};

        all[i]->len = sizeof(big);
        assert_int_equal(nsm_encode_request(&fields, &request, &err), MU_USAGE);
        all[i]->len = NSM_FIELD_MAX;
    }
}

struct answer {
    struct bytes bytes;
    enum mu_status status;
};

static void check_answers(const struct answer *answers, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        struct buffer document = {0};
        enum mu_status status = nsm_decode_response(answers[i].bytes, &document, &err);

        if (status != answers[i].status)
            fail_msg("answer %zu: status %d, %s", i, status, err.text);
        if (status == MU_OK) {
            assert_int_equal(document.len, 3);
            assert_memory_equal(document.data, "abc", 3);
        } else {
            assert_null(document.data);
        }
        buffer_free(&document);
    }
}

#define ATTESTATION                                                                                \
    "\x6b"                                                                                         \
    "Attestation"
#define DOCUMENT                                                                                   \
    "\x68"                                                                                         \
    "document"
#define ERROR_CODE                                                                                 \
    "\x65"                                                                                         \
    "Error"

TEST(test_documents)
{
    static const struct answer answers[] = {
        {BYTES("\xa1" ATTESTATION "\xa1" DOCUMENT "\x43"
               "abc"),
         MU_OK},
        {BYTES("\xbf" ATTESTATION "\xbf" DOCUMENT "\x43"
               "abc\xff\xff"),
         MU_OK},
        {BYTES("\xa1" ATTESTATION "\xa1" DOCUMENT "\x43"
               "abc\xff\xff\xff rest of the index"),
         MU_OK},
        {BYTES("\xa1" ATTESTATION "\xa1" DOCUMENT "\x40"), MU_REFUSE},
        {BYTES("\xa1" ATTESTATION "\xa1" DOCUMENT "\x63"
               "abc"),
         MU_REFUSE},
        {BYTES("\xa1" ATTESTATION "\xa1" DOCUMENT "\xf6"), MU_REFUSE},
        {BYTES("\xa1" ATTESTATION "\xa1" ERROR_CODE "\x43"
               "abc"),
         MU_REFUSE},
        {BYTES("\xa1" ATTESTATION "\xa2" DOCUMENT "\x43"
               "abc" DOCUMENT "\x43"
               "abc"),
         MU_REFUSE},
        {BYTES("\xa2" ATTESTATION "\xa1" DOCUMENT "\x43"
               "abc" ERROR_CODE "\x61"
               "x"),
         MU_REFUSE},
        {BYTES("\xa1" DOCUMENT "\xa1" DOCUMENT "\x43"
               "abc"),
         MU_REFUSE},
        {BYTES("\xa1" ATTESTATION "\x43"
               "abc"),
         MU_REFUSE},
        {BYTES("\xa1" ATTESTATION "\xa0"), MU_REFUSE},
        {BYTES("\xa0"), MU_REFUSE},
        {BYTES("\x82\x01\x02"), MU_REFUSE},
        {BYTES("\xff\xff\xff\xff"), MU_REFUSE},
        {BYTES(""), MU_REFUSE},
        {BYTES("\xa1" ATTESTATION "\xa1" DOCUMENT "\x5b\x7f\xff\xff\xff\xff\xff\xff\xff"),
         MU_REFUSE},
    };

    check_answers(answers, sizeof(answers) / sizeof(answers[0]));
}

TEST(test_errors)
{
    static const struct answer answers[] = {
        {BYTES("\xa1" ERROR_CODE "\x6d"
               "InternalError"),
         MU_RETRY},
        {BYTES("\xbf" ERROR_CODE "\x6d"
               "InternalError\xff"),
         MU_RETRY},
        {BYTES("\xa1" ERROR_CODE "\x6f"
               "InvalidArgument"),
         MU_INTERNAL},
        {BYTES("\xa1" ERROR_CODE "\x6d"
               "InputTooLarge"),
         MU_INTERNAL},
        {BYTES("\xa1" ERROR_CODE "\x6e"
               "BufferTooSmall"),
         MU_INTERNAL},
        {BYTES("\xa1" ERROR_CODE "\x70"
               "InvalidOperation"),
         MU_CONFIG},
        {BYTES("\xa1" ERROR_CODE "\x67"
               "Success"),
         MU_REFUSE},
        {BYTES("\xa1" ERROR_CODE "\x63"
               "New"),
         MU_REFUSE},
        {BYTES("\xa1" ERROR_CODE "\x03"), MU_REFUSE},
        {BYTES("\xa1" ERROR_CODE "\x4d"
               "InternalError"),
         MU_REFUSE},
        {BYTES("\xa2" ERROR_CODE "\x6d"
               "InternalError" ERROR_CODE "\x61"
               "x"),
         MU_REFUSE},
    };

    check_answers(answers, sizeof(answers) / sizeof(answers[0]));
}

TEST(test_truncation)
{
    const struct bytes whole = BYTES("\xbf" ATTESTATION "\xbf" DOCUMENT "\x43"
                                     "abc\xff\xff");

    for (size_t n = 0; n < whole.len; n++) {
        struct buffer document = {0};
        uint8_t *exact = malloc(n ? n : 1);

        memcpy(exact, whole.data, n);
        assert_int_equal(nsm_decode_response((struct bytes){exact, n}, &document, &err), MU_REFUSE);
        assert_null(document.data);
        free(exact);
    }
}
