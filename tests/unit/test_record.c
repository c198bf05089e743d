/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <openssl/ec.h>

#include "measure/signature.h"
#include "volume/record.h"

#define UUID "0b3a1c5e-7c1d-4d0f-9a52-5f0c8e6d1a77"
#define HEX_16 "00112233445566778899aabbccddeeff"
#define HEX_48 HEX_16 HEX_16 HEX_16
#define BASELINE                                                                                   \
    "{\"Measurements\":{\"HashAlgorithm\":\"SHA384\",\"PCR4\":\"" HEX_48 "\",\"PCR12\":\"" HEX_48  \
    "\"}}"
#define PAYLOAD                                                                                    \
    "{\"format\":1,\"created\":\"2026-01-02T03:04:05Z\",\"record_version\":7,"                     \
    "\"volume_uuid\":\"" UUID "\",\"volume_identity\":\"" HEX_48 "\",\"keyslot\":1,"               \
    "\"provider\":\"aws-kms\",\"aws-kms\":{\"key_arn\":\"arn\"},\"baselines\":[" BASELINE "]}"

static EVP_PKEY *builder, *stranger;

/* A token around any payload, soundly signed. */
static char *make_token(const char *payload, const char *keyslots, EVP_PKEY *key)
{
    struct mu_error err = {0};
    struct bytes text = {(const uint8_t *)payload, strlen(payload)};
    MU_CLEANUP(buffer_free) struct buffer signature = {0};
    MU_CLEANUP(string_free) char *payload64 = NULL;
    MU_CLEANUP(string_free) char *signature64 = NULL;
    char *token = NULL;

    assert_int_equal(signature_make(key, RECORD_SIGNATURE_CONTEXT, text, &signature, &err), MU_OK);
    assert_int_equal(base64_encode(text, &payload64, &err), MU_OK);
    assert_int_equal(base64_encode(buffer_view(&signature), &signature64, &err), MU_OK);
    assert_true(asprintf(&token,
                         "{\"type\":\"measured-unlock\",\"keyslots\":%s,\"record\":\"%s\","
                         "\"signature\":\"%s\"}",
                         keyslots, payload64, signature64) > 0);
    return token;
}

static enum mu_status parse(const char *text, EVP_PKEY *key, struct record *ret,
                            struct mu_error *err)
{
    MU_CLEANUP(json_free) json_object *token = json_tokener_parse(text);

    assert_non_null(token);
    return key != NULL ? record_parse_token(token, key, ret, err)
                       : record_parse_token_unverified(token, ret, err);
}

static void test_good(void **state)
{
    MU_CLEANUP(string_free) char *token = make_token(PAYLOAD, "[\"1\"]", builder);
    MU_CLEANUP(record_free) struct record record = {0};
    struct mu_error err = {0};

    (void)state;
    assert_int_equal(parse(token, builder, &record, &err), MU_OK);
    assert_int_equal(record.version, 7);
    assert_string_equal(record.created, "2026-01-02T03:04:05Z");
    assert_string_equal(record.volume_uuid, UUID);
    assert_int_equal(record.volume_identity[1], 0x11);
    assert_int_equal(record.keyslot, 1);
    assert_string_equal(record.provider, "aws-kms");
    assert_int_equal(record.baselines, 1);
    assert_int_equal(record.baseline[0].mask, PCR_BIT(4) | PCR_BIT(12));
    assert_int_equal(record_check(&record, UUID, 7, &err), MU_OK);
    assert_int_equal(record_check(&record, UUID, 8, &err), MU_REFUSE);
    assert_int_equal(record_check(&record, "0b3a1c5e-7c1d-4d0f-9a52-5f0c8e6d1a78", 1, &err),
                     MU_REFUSE);
}

static void test_round_trip(void **state)
{
    MU_CLEANUP(string_free) char *token = make_token(PAYLOAD, "[\"1\"]", builder);
    MU_CLEANUP(string_free) char *again = NULL;
    MU_CLEANUP(record_free) struct record record = {0};
    MU_CLEANUP(record_free) struct record second = {0};
    struct mu_error err = {0};

    (void)state;
    assert_int_equal(parse(token, builder, &record, &err), MU_OK);
    assert_int_equal(record_make_token(&record, stranger, &again, &err), MU_OK);
    assert_int_equal(parse(again, stranger, &second, &err), MU_OK);
    assert_int_equal(parse(again, builder, &second, &err), MU_REFUSE);
    assert_int_equal(second.version, 7);
    assert_memory_equal(&second.baseline[0], &record.baseline[0], sizeof(record.baseline[0]));
}

/* Without the builder's key nothing can be changed; reading without a key is something else. */
static void test_signature(void **state)
{
    MU_CLEANUP(string_free) char *token = make_token(PAYLOAD, "[\"1\"]", stranger);
    MU_CLEANUP(record_free) struct record record = {0};
    struct mu_error err = {0};

    (void)state;
    assert_int_equal(parse(token, builder, &record, &err), MU_REFUSE);
    assert_int_equal(parse(token, NULL, &record, &err), MU_OK);
    assert_int_equal(record_parse_token(NULL, NULL, &record, &err), MU_CONFIG);
}

static void test_every_byte(void **state)
{
    MU_CLEANUP(string_free) char *token = make_token(PAYLOAD, "[\"1\"]", builder);
    char *start = strstr(token, "\"record\":\"") + strlen("\"record\":\"");
    struct record record = {0};
    struct mu_error err = {0};

    (void)state;
    for (char *c = start; *c != '}'; c++) {
        char before = *c;

        if (before == '"' || before == ':' || before == ',')
            continue;
        *c = before == 'A' ? 'B' : 'A';
        assert_int_equal(parse(token, builder, &record, &err), MU_REFUSE);
        *c = before;
    }
}

/* Soundly signed, and wrong all the same: the builder's tools may have faults, too. */
static void test_payloads(void **state)
{
    static const struct {
        const char *from, *to;
    } cases[] = {
        {"\"format\":1", "\"format\":2"},
        {"\"format\":1,", ""},
        {"\"format\":1", "\"format\":1,\"format\":1"},
        {"\"format\":1", "\"format\":1,\"x\":1"},
        {"\"format\":1", "\"format\":1.0"},
        {"\"record_version\":7", "\"record_version\":0"},
        {"\"record_version\":7", "\"record_version\":-1"},
        {"\"record_version\":7", "\"record_version\":99999999999999999999"},
        {"\"record_version\":7", "\"record_version\":\"7\""},
        {"2026-01-02T03:04:05Z", "2026-01-02 03:04:05Z"},
        {"2026-01-02T03:04:05Z", "2026-01-02T03:04:05Zx"},
        {"\"volume_uuid\":\"0", "\"volume_uuid\":\"00"},
        {"\"volume_identity\":\"00", "\"volume_identity\":\""},
        {"\"volume_identity\":\"00", "\"volume_identity\":\"0g"},
        {"\"keyslot\":1", "\"keyslot\":2"},
        {"\"keyslot\":1", "\"keyslot\":32"},
        {"\"keyslot\":1", "\"keyslot\":-1"},
        {"\"provider\":\"aws-kms\"", "\"provider\":\"vault\""},
        {"\"provider\":\"aws-kms\"", "\"provider\":\"format\""},
        {"\"provider\":\"aws-kms\"", "\"provider\":\"volume_uuid\""},
        {"\"provider\":\"aws-kms\"", "\"provider\":\"\""},
        {"\"aws-kms\":{\"key_arn\":\"arn\"}", "\"aws-kms\":\"arn\""},
        {"\"baselines\":[" BASELINE "]", "\"baselines\":[]"},
        {"\"baselines\":[" BASELINE "]", "\"baselines\":" BASELINE},
        {"\"baselines\":[" BASELINE "]", "\"baselines\":[1]"},
        {"{\"Measurements\"", "{\"x\":0,\"Measurements\""},
        {"\"PCR4\":\"00", "\"PCR4\":\""},
        {"\"PCR4\"", "\"PCR24\""},
        {"]}", "]}{}"},
        {"]}", "]"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        const char *at = strstr(PAYLOAD, cases[i].from);
        MU_CLEANUP(string_free) char *payload = NULL;
        MU_CLEANUP(string_free) char *token = NULL;
        struct record record = {0};
        struct mu_error err = {0};

        assert_non_null(at);
        assert_true(asprintf(&payload, "%.*s%s%s", (int)(at - PAYLOAD), PAYLOAD, cases[i].to,
                             at + strlen(cases[i].from)) > 0);
        token = make_token(payload, "[\"1\"]", builder);
        if (parse(token, builder, &record, &err) != MU_REFUSE)
            fail_msg("accepted: %s", payload);
        assert_int_equal(err.status, MU_REFUSE);
    }
}

static void test_truncated(void **state)
{
    struct record record = {0};
    struct mu_error err = {0};

    (void)state;
    for (size_t len = 0; len < strlen(PAYLOAD); len++) {
        MU_CLEANUP(string_free) char *payload = strndup(PAYLOAD, len);
        MU_CLEANUP(string_free) char *token = NULL;

        assert_non_null(payload);
        token = make_token(payload, "[\"1\"]", builder);
        assert_int_equal(parse(token, builder, &record, &err), MU_REFUSE);
    }
}

static void test_tokens(void **state)
{
    static const char *const keyslots[] = {"[]",    "[\"0\"]", "[\"1\",\"0\"]", "[1]", "[\"01\"]",
                                           "\"1\"", "{}"};
    static const char *const tokens[] = {
        "{}",
        "[]",
        "{\"type\":\"measured-unlock\",\"keyslots\":[\"1\"],\"record\":\"AAAA\"}",
        "{\"type\":\"measured-unlock\",\"keyslots\":[\"1\"],\"record\":\"A\",\"signature\":\"AA\"}",
        "{\"type\":\"measured-unlock\",\"keyslots\":[\"1\"],\"record\":1,\"signature\":2,\"x\":3}",
    };
    struct record record = {0};
    struct mu_error err = {0};

    (void)state;
    for (size_t i = 0; i < sizeof(keyslots) / sizeof(keyslots[0]); i++) {
        MU_CLEANUP(string_free) char *token = make_token(PAYLOAD, keyslots[i], builder);

        assert_int_equal(parse(token, builder, &record, &err), MU_REFUSE);
    }
    for (size_t i = 0; i < sizeof(tokens) / sizeof(tokens[0]); i++)
        assert_int_equal(parse(tokens[i], builder, &record, &err), MU_REFUSE);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_good),      cmocka_unit_test(test_round_trip),
        cmocka_unit_test(test_signature), cmocka_unit_test(test_every_byte),
        cmocka_unit_test(test_payloads),  cmocka_unit_test(test_truncated),
        cmocka_unit_test(test_tokens),
    };
    int failed;

    builder = EVP_EC_gen("P-256");
    stranger = EVP_EC_gen("P-256");
    if (builder == NULL || stranger == NULL)
        return 99;
    failed = cmocka_run_group_tests(tests, NULL, NULL);
    signature_key_free(&builder);
    signature_key_free(&stranger);
    return failed;
}
