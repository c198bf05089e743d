/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "release/kms_keys.h"
#include "test.h"

#define ID "1234abcd-12ab-34cd-56ef-1234567890ab"
#define MRK "mrk-1234abcd12ab34cd56ef1234567890ab"
#define ARN(region, account, id) "arn:aws:kms:" region ":" account ":key/" id
#define IRELAND ARN("eu-west-1", "111122223333", MRK)
#define FRANKFURT ARN("eu-central-1", "111122223333", MRK)
#define VIRGINIA ARN("us-east-1", "111122223333", MRK)
#define OTHER_ACCOUNT ARN("eu-west-1", "444455556666", MRK)
#define SINGLE ARN("eu-west-1", "111122223333", ID)
#define SINGLE_ELSEWHERE ARN("us-east-1", "111122223333", ID)
#define CHINA "arn:aws-cn:kms:cn-north-1:111122223333:key/" ID

#define UUID "0b3a1c5e-7c1d-4d0f-9a52-5f0c8e6d1a77"
#define ZERO_16 "00000000000000000000000000000000"
#define IDENTITY ZERO_16 ZERO_16 ZERO_16
#define CONTEXT                                                                                    \
    "\"encryption_context\":{\"volume-uuid\":\"" UUID "\",\"volume-identity\":\"" IDENTITY "\"}"
#define WITH(arn) "{\"key_arn\":\"" arn "\",\"ciphertext\":\"AQID\"}"
#define WITHOUT(arn) "{\"key_arn\":\"" arn "\"}"
#define DATA(keys) "{\"keys\":[" keys "]," CONTEXT "}"

static struct record record;

void before_each(void)
{
    record = (struct record){.volume_uuid = UUID};
}

void after_each(void)
{
    record_free(&record);
}

TEST(test_replicas)
{
    assert_true(kms_is_replica(IRELAND, FRANKFURT));
    assert_true(kms_is_replica(FRANKFURT, IRELAND));
    assert_false(kms_is_replica(IRELAND, IRELAND));
    assert_false(kms_is_replica(IRELAND, OTHER_ACCOUNT));
    assert_false(kms_is_replica(FRANKFURT, OTHER_ACCOUNT));
    assert_false(kms_is_replica(SINGLE, SINGLE_ELSEWHERE));
    assert_false(kms_is_replica(IRELAND, "arn:aws:kms:us-east-1"));
    assert_false(kms_is_replica(IRELAND, "arn:aws-cn:kms:cn-north-1:111122223333:key/" MRK));
}

static enum mu_status of_list(const char *list, struct kms_keys *ret, char **text)
{
    string_free(text);
    return kms_keys_of_list(list, text, ret, &err);
}

TEST(test_list)
{
    MU_CLEANUP(string_free) char *text = NULL;
    struct kms_keys keys = {0};

    assert_int_equal(of_list(SINGLE, &keys, &text), MU_OK);
    assert_int_equal(keys.count, 1);
    assert_int_equal(of_list(" " FRANKFURT ",\t" SINGLE "  " VIRGINIA " ,", &keys, &text), MU_OK);
    assert_int_equal(keys.count, 3);
    assert_string_equal(keys.key[0].arn, FRANKFURT);
    assert_string_equal(keys.key[1].arn, SINGLE);
    assert_string_equal(keys.key[2].arn, VIRGINIA);
    assert_string_equal(keys.key[2].region, "us-east-1");
    assert_int_equal(kms_keys_first(&keys, 0), 0);
    assert_int_equal(kms_keys_first(&keys, 1), 1);
    assert_int_equal(kms_keys_first(&keys, 2), 0);
}

TEST(test_bad_lists)
{
    static const struct {
        const char *list, *says;
    } cases[] = {
        {"", "names no key"},
        {" ,", "names no key"},
        {SINGLE " x", "'x' is not arn:"},
        {SINGLE " " SINGLE, SINGLE " stands twice"},
        {SINGLE " " IRELAND " " SINGLE, "stands twice"},
        {SINGLE " " CHINA, CHINA " is in the partition aws-cn"},
        {CHINA " " SINGLE, "is in the partition aws, and"},
        {"arn:aws:kms:eu-west-1:111122223333:alias/x", "use the key's ARN"},
    };

    for (size_t i = 0; i < MU_COUNT(cases); i++) {
        MU_CLEANUP(string_free) char *text = NULL;
        struct kms_keys keys = {0};

        assert_int_equal(of_list(cases[i].list, &keys, &text), MU_REFUSE);
        if (strstr(err.text, cases[i].says) == NULL)
            fail_msg("%s", err.text);
        assert_int_equal(keys.count, 0);
    }
}

TEST(test_how_many)
{
    char arn[KMS_KEYS_MAX + 1][sizeof(SINGLE)];
    struct kms_keys keys = {0};

    for (unsigned i = 0; i <= KMS_KEYS_MAX; i++) {
        memcpy(arn[i], SINGLE, sizeof(SINGLE));
        arn[i][sizeof(SINGLE) - 2] = "0123456789abcdefg"[i];
        assert_int_equal(kms_keys_add(&keys, arn[i], &err), i < KMS_KEYS_MAX ? MU_OK : MU_REFUSE);
    }
    assert_int_equal(keys.count, KMS_KEYS_MAX);
    assert_non_null(strstr(err.text, "1 to 16"));
}

static enum mu_status parse(const char *data, struct kms_keys *ret)
{
    json_free(&record.provider_data);
    record.provider_data = json_tokener_parse(data);
    assert_non_null(record.provider_data);
    return kms_keys_parse(&record, ret, &err);
}

TEST(test_parse)
{
    struct kms_keys keys = {0};

    assert_int_equal(parse(DATA(WITH(IRELAND) "," WITH(SINGLE) "," WITHOUT(VIRGINIA)), &keys),
                     MU_OK);
    assert_int_equal(keys.count, 3);
    for (size_t i = 0; i < 3; i++)
        assert_string_equal(keys.key[i].ciphertext, "AQID");
    assert_ptr_equal(keys.key[2].ciphertext, keys.key[0].ciphertext);
    assert_int_equal(json_object_object_length(keys.encryption_context), 2);
}

TEST(test_round_trip)
{
    MU_CLEANUP(json_free) json_object *before = NULL;
    struct kms_keys keys = {0};

    assert_int_equal(
        parse(DATA(WITH(IRELAND) "," WITHOUT(VIRGINIA) "," WITH(OTHER_ACCOUNT)), &keys), MU_OK);
    before = json_object_get(record.provider_data);
    assert_int_equal(kms_keys_describe(&keys, &record, &err), MU_OK);
    assert_ptr_not_equal(before, record.provider_data);
    assert_true(json_object_equal(before, record.provider_data));
    assert_string_equal(record.provider, "aws-kms");
}

TEST(test_bad_data)
{
    static const struct {
        const char *data, *says;
    } cases[] = {
        {"[]", "aws-kms"},
        {"{}", "\"keys\""},
        {"{\"keys\":{}," CONTEXT "}", "\"keys\""},
        {DATA(""), "names no key"},
        {"{\"keys\":[" WITH(SINGLE) "]}", "encryption_context"},
        {"{\"keys\":[" WITH(SINGLE) "]," CONTEXT ",\"x\":1}", "\"x\""},
        {"{\"key_arn\":\"" SINGLE "\",\"ciphertext\":\"AQID\"," CONTEXT "}", "\"key_arn\""},
        {DATA("1"), "key_arn"},
        {DATA("null"), "key_arn"},
        {DATA("{}"), "key_arn"},
        {DATA(WITHOUT(SINGLE)), "ciphertext"},
        {DATA(WITHOUT(IRELAND)), "ciphertext"},
        {DATA("{\"key_arn\":\"" SINGLE "\",\"ciphertext\":\"AQID\",\"x\":1}"), "\"x\""},
        {DATA("{\"key_arn\":\"" SINGLE "\",\"ciphertext\":1}"), "ciphertext"},
        {DATA(WITH("arn:aws:kms:eu-west-1:111122223333:alias/x")), "alias"},
        {DATA(WITH(SINGLE) "," WITH(SINGLE)), "stands twice"},
        {DATA(WITH(SINGLE) "," WITHOUT(SINGLE_ELSEWHERE)), "ciphertext"},
        {DATA(WITH(IRELAND) "," WITHOUT(OTHER_ACCOUNT)), "ciphertext"},
        {DATA(WITH(IRELAND) "," WITH(FRANKFURT)), "unknown member \"ciphertext\""},
        {DATA(WITH(SINGLE) "," WITH(CHINA)), "aws-cn"},
        {"{\"keys\":[" WITH(SINGLE) "],\"encryption_context\":{\"volume-uuid\":\"x\","
                                    "\"volume-identity\":\"" IDENTITY "\"}}",
         "volume-uuid is not this volume's"},
        {"{\"keys\":[" WITH(SINGLE) "],\"encryption_context\":{\"volume-uuid\":\"" UUID "\","
                                    "\"volume-identity\":\"" IDENTITY "\",\"x\":\"y\"}}",
         "3 members"},
        {"{\"keys\":[" WITH(SINGLE) "],\"encryption_context\":{\"volume-uuid\":\"" UUID "\"}}",
         "volume-identity"},
    };

    for (size_t i = 0; i < MU_COUNT(cases); i++) {
        struct kms_keys keys = {0};

        if (parse(cases[i].data, &keys) != MU_REFUSE || strstr(err.text, cases[i].says) == NULL)
            fail_msg("case %zu: %s", i, err.text);
        assert_int_equal(keys.count, 0);
    }
}
