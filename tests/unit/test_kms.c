/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "base/json.h"
#include "net/imds.h"
#include "release/kms_client.h"
#include "release/provider.h"
#include "test.h"

#define KEY_ID "1234abcd-12ab-34cd-56ef-1234567890ab"
#define KEY_ARN "arn:aws:kms:eu-west-1:111122223333:key/" KEY_ID
#define TEXT(text) ((struct bytes){(const uint8_t *)(text), strlen(text)})

TEST(test_key_arn)
{
    static const struct {
        const char *arn, *region, *partition;
    } good[] = {
        {KEY_ARN, "eu-west-1", "aws"},
        {"arn:aws-cn:kms:cn-north-1:111122223333:key/" KEY_ID, "cn-north-1", "aws-cn"},
        {"arn:aws-us-gov:kms:us-gov-west-1:111122223333:key/" KEY_ID, "us-gov-west-1",
         "aws-us-gov"},
        {"arn:aws:kms:us-east-1:111122223333:key/mrk-1234abcd12ab34cd56ef1234567890ab", "us-east-1",
         "aws"},
    };

    for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
        char region[64], partition[32];

        if (kms_parse_key_arn(good[i].arn, region, partition, &err) != MU_OK)
            fail_msg("%s", err.text);
        assert_string_equal(region, good[i].region);
        assert_string_equal(partition, good[i].partition);
    }
}

TEST(test_bad_key_arn)
{
    static const char *const bad[] = {
        "",
        "arn",
        KEY_ID,
        "alias/root-volume",
        "arn:aws:kms:eu-west-1:111122223333:alias/root-volume",
        "arn:aws:kms:eu-west-1:111122223333:key/",
        "arn:aws:kms:eu-west-1:111122223333:key/alias",
        "arn:aws:kms:eu-west-1:111122223333:key/" KEY_ID "0",
        "arn:aws:kms:eu-west-1:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890a/",
        "arn:aws:kms:eu-west-1:11112222333:key/" KEY_ID,
        "arn:aws:kms:eu-west-1:11112222333x:key/" KEY_ID,
        "arn:aws:kms::111122223333:key/" KEY_ID,
        "arn:aws:kms:evil.example/:111122223333:key/" KEY_ID,
        "arn:aws:kms:eu-west-1.evil:111122223333:key/" KEY_ID,
        "arn:aws:kms:EU-WEST-1:111122223333:key/" KEY_ID,
        "arn::kms:eu-west-1:111122223333:key/" KEY_ID,
        "arn:aws:s3:eu-west-1:111122223333:key/" KEY_ID,
        "urn:aws:kms:eu-west-1:111122223333:key/" KEY_ID,
        "arn:aws:kms:eu-west-1:111122223333:key/" KEY_ID ":x",
        "arn:aws:kms:a1234567890123456789012345678901234567890123456789012345678901234"
        ":111122223333:key/" KEY_ID,
        "arn:a12345678901234567890123456789012:kms:eu-west-1:111122223333:key/" KEY_ID,
    };

    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        char region[64] = "untouched", partition[32] = "untouched";

        if (kms_parse_key_arn(bad[i], region, partition, &err) != MU_REFUSE)
            fail_msg("%s", bad[i]);
        assert_string_equal(region, "untouched");
        assert_string_equal(partition, "untouched");
    }
}

TEST(test_endpoints)
{
    static const struct {
        const char *region, *partition;
        bool fips, dual_stack;
        char *configured;
        const char *url; /* NULL: MU_CONFIG */
    } cases[] = {
        {"eu-west-1", "aws", false, false, NULL, "https://kms.eu-west-1.amazonaws.com/"},
        {"eu-west-1", "aws", true, false, NULL, "https://kms-fips.eu-west-1.amazonaws.com/"},
        {"eu-west-1", "aws", false, true, NULL, "https://kms.eu-west-1.api.aws/"},
        {"eu-west-1", "aws", true, true, NULL, "https://kms-fips.eu-west-1.api.aws/"},
        {"cn-north-1", "aws-cn", false, false, NULL, "https://kms.cn-north-1.amazonaws.com.cn/"},
        {"cn-north-1", "aws-cn", false, true, NULL,
         "https://kms.cn-north-1.api.amazonwebservices.com.cn/"},
        {"us-gov-west-1", "aws-us-gov", true, false, NULL,
         "https://kms-fips.us-gov-west-1.amazonaws.com/"},
        {"us-iso-east-1", "aws-iso", false, false, NULL, "https://kms.us-iso-east-1.c2s.ic.gov/"},
        {"us-iso-east-1", "aws-iso", false, true, NULL,
         "https://kms.us-iso-east-1.api.aws.ic.gov/"},
        {"us-isob-east-1", "aws-iso-b", true, true, NULL,
         "https://kms-fips.us-isob-east-1.api.aws.scloud/"},
        {"eu-isoe-west-1", "aws-iso-e", false, true, NULL,
         "https://kms.eu-isoe-west-1.api.cloud-aws.adc-e.uk/"},
        {"us-isof-south-1", "aws-iso-f", false, true, NULL,
         "https://kms.us-isof-south-1.api.aws.hci.ic.gov/"},
        {"eusc-de-east-1", "aws-eusc", false, true, NULL,
         "https://kms.eusc-de-east-1.api.amazonwebservices.eu/"},
        {"eusc-de-east-1", "aws-eusc", false, false, NULL,
         "https://kms.eusc-de-east-1.amazonaws.eu/"},
        {"moon-1", "aws-moon", false, false, NULL, NULL},
        {"moon-1", "aws-moon", false, false, "https://kms.moon.example",
         "https://kms.moon.example/"},
        {"eu-west-1", "aws", false, false, "https://127.0.0.1:4430/", "https://127.0.0.1:4430/"},
        {"eu-west-1", "aws", false, false, "http://127.0.0.1:4430", NULL},
        {"eu-west-1", "aws", false, false, "https://", NULL},
        {"eu-west-1", "aws", false, false, "https:///", NULL},
        {"eu-west-1", "aws", false, false, "https://host/path", NULL},
        {"eu-west-1", "aws", false, false, "https://user@host", NULL},
        {"eu-west-1", "aws", false, false, "https://host?x", NULL},
        {"eu-west-1", "aws", false, false, "https://ho st", NULL},
        {"eu-west-1", "aws", false, false, "", NULL},
        {"eu-west-1", "aws", false, false, "eu-west-1=https://a, us-east-1=https://b",
         "https://a/"},
        {"us-east-1", "aws", false, false, "eu-west-1=https://a,us-east-1=https://b", "https://b/"},
        {"us-east-1", "aws", false, false, "eu-west-1=https://a",
         "https://kms.us-east-1.amazonaws.com/"},
        {"us-east-1", "aws", false, false, "https://a eu-west-1=https://b", "https://a/"},
        {"eu-west-1", "aws", false, false, "https://a eu-west-1=https://b", "https://b/"},
        {"eu-west-1", "aws", false, false, "eu-west-1=https://b https://a", "https://b/"},
        {"eu-west-1", "aws", false, false, "https://a https://b", NULL},
        {"eu-west-1", "aws", false, false, "eu-west-1=https://a eu-west-1=https://b", NULL},
        {"eu-west-1", "aws", false, false, "eu-west-1=https://a us-east-1=http://b", NULL},
        {"eu-west-1", "aws", false, false, "EU-WEST-1=https://a", NULL},
        {"eu-west-1", "aws", false, false, "=https://a", NULL},
    };

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct aws_options options = {.fips = cases[i].fips,
                                      .dual_stack = cases[i].dual_stack,
                                      .kms_endpoint = cases[i].configured};
        char url[KMS_URL_MAX] = "";
        enum mu_status status =
            kms_endpoint(&options, cases[i].region, cases[i].partition, url, &err);

        if (status != (cases[i].url ? MU_OK : MU_CONFIG))
            fail_msg("case %zu: %s %s", i, url, err.text);
        assert_string_equal(url, cases[i].url ? cases[i].url : "");
    }
}

TEST(test_errors)
{
    static const struct {
        long http_status;
        const char *body;
        enum mu_status status;
        bool credentials, clock;
        const char *says;
    } cases[] = {
        {400, "{\"__type\":\"AccessDeniedException\",\"Message\":\"not authorized\"}", MU_REFUSE,
         false, false, "AccessDeniedException (HTTP 400): not authorized; the key policy"},
        {400, "{\"__type\":\"com.amazonaws.kms#ThrottlingException\",\"message\":\"slow\"}",
         MU_RETRY, false, false, "ThrottlingException (HTTP 400): slow"},
        {500, "{\"__type\":\"KMSInternalException\"}", MU_RETRY, false, false, "KMSInternal"},
        {500, "{\"__type\":\"KeyUnavailableException\"}", MU_RETRY, false, false, ""},
        {500, "{\"__type\":\"DependencyTimeoutException\"}", MU_RETRY, false, false, ""},
        {400, "{\"__type\":\"InvalidCiphertextException\"}", MU_REFUSE, false, false,
         "encryption context"},
        {400, "{\"__type\":\"IncorrectKeyException\"}", MU_REFUSE, false, false, ""},
        {400, "{\"__type\":\"DisabledException\"}", MU_REFUSE, false, false, "enable"},
        {400, "{\"__type\":\"KMSInvalidStateException\"}", MU_REFUSE, false, false, ""},
        {400, "{\"__type\":\"NotFoundException\"}", MU_REFUSE, false, false, ""},
        {400, "{\"__type\":\"ValidationException\"}", MU_REFUSE, false, false, ""},
        {400, "{\"__type\":\"UnrecognizedClientException\"}", MU_REFUSE, false, false, ""},
        {400, "{\"__type\":\"ExpiredTokenException\"}", MU_RETRY, true, false, "expired"},
        {400, "{\"__type\":\"RequestExpired\"}", MU_REFUSE, false, true, "clock"},
        {400,
         "{\"__type\":\"InvalidSignatureException\",\"message\":\"Signature expired: x is now "
         "earlier than y\"}",
         MU_REFUSE, false, true, "Signature expired"},
        {400,
         "{\"__type\":\"InvalidSignatureException\",\"message\":\"Signature not yet current\"}",
         MU_REFUSE, false, true, ""},
        {403, "{\"__type\":\"InvalidSignatureException\",\"message\":\"does not match\"}",
         MU_REFUSE, false, false, ""},
        {400, "{\"__type\":\"SomethingNewException\"}", MU_REFUSE, false, false, "SomethingNew"},
        {500, "{\"__type\":\"SomethingNewException\"}", MU_RETRY, false, false, ""},
        {500, "{\"__type\":\"AccessDeniedException\"}", MU_REFUSE, false, false, ""},
        {429, "", MU_RETRY, false, false, "an error without a name (HTTP 429)"},
        {503, "<html>", MU_RETRY, false, false, "HTTP 503"},
        {403, "<html>", MU_REFUSE, false, false, "HTTP 403"},
        {400, "[]", MU_REFUSE, false, false, ""},
        {400, "{\"__type\":7,\"message\":{}}", MU_REFUSE, false, false, "without a name"},
        {302, "", MU_REFUSE, false, false, ""},
    };

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct kms_failure failure;
        enum mu_status status =
            kms_explain(cases[i].http_status, TEXT(cases[i].body), &failure, &err);

        if (status != cases[i].status || failure.credentials_expired != cases[i].credentials ||
            failure.clock_wrong != cases[i].clock || strstr(err.text, cases[i].says) == NULL)
            fail_msg("case %zu: status %d, %s", i, status, err.text);
    }
}

static json_object *parse(const char *text)
{
    json_object *object;

    if (json_parse(TEXT(text), "test", MU_INTERNAL, &object, &err) != MU_OK)
        fail_msg("%s: %s", text, err.text);
    return object;
}

TEST(test_decrypt_body)
{
    MU_CLEANUP(json_free)
    json_object *context = parse("{\"volume-uuid\":\"a/\\\"b\",\"volume-identity\":\"00\"}");
    MU_CLEANUP(json_free)
    json_object *expected = parse(
        "{\"KeyId\":\"" KEY_ARN "\",\"CiphertextBlob\":\"AQID\",\"EncryptionContext\":"
        "{\"volume-uuid\":\"a/\\\"b\",\"volume-identity\":\"00\"},\"Recipient\":"
        "{\"KeyEncryptionAlgorithm\":\"RSAES_OAEP_SHA_256\",\"AttestationDocument\":\"hEQ=\"}}");
    MU_CLEANUP(json_free) json_object *found = NULL;
    MU_CLEANUP(string_free) char *body = NULL;
    struct kms_decrypt_request request = {
        .key_arn = KEY_ARN,
        .ciphertext = "AQID",
        .encryption_context = context,
        .document = TEXT("\x84\x44"),
    };

    assert_int_equal(kms_decrypt_body(&request, &body, &err), MU_OK);
    found = parse(body);
    assert_true(json_object_equal(found, expected));
}

TEST(test_decrypt_answer)
{
    static const struct {
        const char *answer;
        enum mu_status status;
        const char *says;
    } cases[] = {
        {"{\"KeyId\":\"" KEY_ARN "\",\"CiphertextForRecipient\":\"YWJj\"}", MU_OK, ""},
        {"{\"KeyId\":\"" KEY_ARN "\",\"CiphertextForRecipient\":\"YWJj\",\"Plaintext\":null,"
         "\"EncryptionAlgorithm\":\"SYMMETRIC_DEFAULT\",\"KeyMaterialId\":\"x\"}",
         MU_OK, ""},
        {"{\"KeyId\":\"" KEY_ARN "\",\"CiphertextForRecipient\":\"YWJj\",\"Plaintext\":\"YWJj\"}",
         MU_REFUSE, "plaintext"},
        {"{\"KeyId\":\"" KEY_ARN "\",\"CiphertextForRecipient\":\"YWJj\",\"Plaintext\":\"\"}",
         MU_REFUSE, "plaintext"},
        {"{\"KeyId\":\"" KEY_ARN "0\",\"CiphertextForRecipient\":\"YWJj\"}", MU_REFUSE,
         "answered for the key"},
        {"{\"KeyId\":\"" KEY_ID "\",\"CiphertextForRecipient\":\"YWJj\"}", MU_REFUSE,
         "answered for the key"},
        {"{\"CiphertextForRecipient\":\"YWJj\"}", MU_REFUSE, "KeyId"},
        {"{\"KeyId\":1,\"CiphertextForRecipient\":\"YWJj\"}", MU_REFUSE, "KeyId"},
        {"{\"KeyId\":\"" KEY_ARN "\"}", MU_REFUSE, "CiphertextForRecipient"},
        {"{\"KeyId\":\"" KEY_ARN "\",\"CiphertextForRecipient\":null}", MU_REFUSE,
         "CiphertextForRecipient"},
        {"{\"KeyId\":\"" KEY_ARN "\",\"CiphertextForRecipient\":\"\"}", MU_REFUSE,
         "CiphertextForRecipient"},
        {"{\"KeyId\":\"" KEY_ARN "\",\"CiphertextForRecipient\":\"YWJj!\"}", MU_REFUSE,
         "CiphertextForRecipient"},
        {"[]", MU_REFUSE, "KeyId"},
        {"null", MU_REFUSE, "KeyId"},
    };

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        MU_CLEANUP(json_free) json_object *answer = parse(cases[i].answer);
        MU_CLEANUP(buffer_free) struct buffer wrapped = {0};
        enum mu_status status = kms_decrypt_answer(answer, KEY_ARN, &wrapped, &err);

        if (status != cases[i].status || strstr(err.text, cases[i].says) == NULL)
            fail_msg("case %zu: status %d, %s", i, status, err.text);
        if (status == MU_OK)
            assert_true(bytes_equal(buffer_view(&wrapped), TEXT("abc")));
        else
            assert_null(wrapped.data);
    }
}

#define ROLE_CREDENTIALS                                                                           \
    "{\"Code\":\"Success\",\"LastUpdated\":\"2026-01-01T00:00:00Z\",\"Type\":\"AWS-HMAC\","        \
    "\"AccessKeyId\":\"ASIAEXAMPLE\",\"SecretAccessKey\":\"secret/+=\",\"Token\":\"token==\","     \
    "\"Expiration\":\"2026-01-01T06:00:00Z\"}"

TEST(test_role_credentials)
{
    struct aws_credentials credentials;

    assert_int_equal(imds_parse_credentials(TEXT(ROLE_CREDENTIALS), &credentials, &err), MU_OK);
    assert_true(bytes_equal(secret_view(&credentials.access_key_id), TEXT("ASIAEXAMPLE")));
    assert_true(bytes_equal(secret_view(&credentials.secret_access_key), TEXT("secret/+=")));
    assert_true(bytes_equal(secret_view(&credentials.session_token), TEXT("token==")));
    aws_credentials_free(&credentials);
    for (size_t n = 0; n < strlen(ROLE_CREDENTIALS); n++)
        assert_int_equal(imds_parse_credentials((struct bytes){TEXT(ROLE_CREDENTIALS).data, n},
                                                &credentials, &err),
                         MU_RETRY);
}

TEST(test_bad_role_credentials)
{
    static const struct {
        const char *json, *says;
    } cases[] = {
        {"{\"Code\":\"AssumeRoleUnauthorizedAccess\",\"Message\":\"x\"}", "AssumeRoleUnauth"},
        {"{\"AccessKeyId\":\"A\",\"SecretAccessKey\":\"S\",\"Token\":\"T\"}", "Code"},
        {"{\"Code\":\"Success\",\"SecretAccessKey\":\"S\",\"Token\":\"T\"}", "AccessKeyId"},
        {"{\"Code\":\"Success\",\"AccessKeyId\":\"A\",\"Token\":\"T\"}", "SecretAccessKey"},
        {"{\"Code\":\"Success\",\"AccessKeyId\":\"A\",\"SecretAccessKey\":\"S\"}", "Token"},
        {"{\"Code\":\"Success\",\"AccessKeyId\":\"A\\r\\nX: y\",\"SecretAccessKey\":\"S\","
         "\"Token\":\"T\"}",
         "access key ID"},
        {"{\"Code\":\"Success\",\"AccessKeyId\":\"A\",\"SecretAccessKey\":\"S\",\"Token\":"
         "\"T\\nT\"}",
         "session token"},
        {"{\"Code\":\"Success\",\"AccessKeyId\":\"A\",\"AccessKeyId\":\"B\",\"SecretAccessKey\":"
         "\"S\",\"Token\":\"T\"}",
         "two members"},
        {"{\"Code\":\"Success\",\"AccessKeyId\":{},\"SecretAccessKey\":\"S\",\"Token\":\"T\"}",
         "AccessKeyId"},
        {"[]", "Code"},
        {"<html>", "JSON"},
    };

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct aws_credentials credentials = {0};

        if (imds_parse_credentials(TEXT(cases[i].json), &credentials, &err) != MU_RETRY ||
            strstr(err.text, cases[i].says) == NULL)
            fail_msg("case %zu: %s", i, err.text);
        assert_null(credentials.access_key_id.data);
    }
}

TEST(test_environment_credentials)
{
    struct aws_credentials credentials = {0};

    unsetenv("AWS_SECRET_ACCESS_KEY");
    setenv("AWS_ACCESS_KEY_ID", "AKIA", 1);
    setenv("AWS_SESSION_TOKEN", "", 1);
    assert_int_equal(aws_credentials_from_environment(&credentials, &err), MU_CONFIG);
    setenv("AWS_SECRET_ACCESS_KEY", "with space", 1);
    assert_int_equal(aws_credentials_from_environment(&credentials, &err), MU_CONFIG);
    setenv("AWS_SECRET_ACCESS_KEY", "secret", 1);
    assert_int_equal(aws_credentials_from_environment(&credentials, &err), MU_OK);
    assert_int_equal(credentials.session_token.len, 0);
    aws_credentials_free(&credentials);
}

TEST(test_providers)
{
    const struct provider *provider = NULL;

    assert_int_equal(provider_find("aws-kms", &provider, &err), MU_OK);
    assert_ptr_equal(provider, &provider_aws_kms);
    assert_int_equal(provider_find("aws-kms ", &provider, &err), MU_CONFIG);
    assert_int_equal(provider_find("", &provider, &err), MU_CONFIG);
}
