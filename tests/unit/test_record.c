/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <openssl/ec.h>

#include "build/signer.h"
#include "test.h"
#include "volume/record.h"

#define UUID "0b3a1c5e-7c1d-4d0f-9a52-5f0c8e6d1a77"
#define HEX_16 "00112233445566778899aabbccddeeff"
#define HEX_48 HEX_16 HEX_16 HEX_16
#define BASELINE                                                                                   \
    "{\"Measurements\":{\"HashAlgorithm\":\"SHA384\",\"PCR4\":\"" HEX_48 "\",\"PCR12\":\"" HEX_48  \
    "\"}}"
#define MEMBERS                                                                                    \
    "{\"format\":3,\"created\":\"2026-01-02T03:04:05Z\",\"record_version\":7,"                     \
    "\"volume_name\":\"root\",\"volume_uuid\":\"" UUID "\",\"volume_identity\":\"" HEX_48 "\","    \
    "\"data_offset\":16777216,\"sector_size\":4096,\"device_size\":1073741824,\"keyslot\":1,"      \
    "\"provider\":\"aws-kms\",\"aws-kms\":{\"keys\":[{\"key_arn\":\"arn\","                        \
    "\"ciphertext\":\"AQID\"}]}"
#define PAYLOAD MEMBERS ",\"baselines\":[" BASELINE "]}"
#define INSTANCE_PAYLOAD MEMBERS "}"

/* docs/develop/formats.md. The key is the first of RFC 8032, 7.1; signature and MAC by Python. */
#define VECTOR_PUBLIC "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a"
#define VECTOR_SIGNATURE                                                                           \
    "g0neXerhwJxjGIN8u1P+z6Q5/5iVOJLuI52YZ/owvJoue+nuaesrs7bcp1ePePe4usDdeWzVQ0z9wv7SE36MAQ=="
#define VECTOR_MAC "dY2GPqz6D1f4P0lNS7n8KrZ/u/f3uZ6OlF7qA3JPyJNZNI6vWRmv23m0GZivm7dk"

static EVP_PKEY *builder, *stranger;

void before_all(void)
{
    builder = EVP_EC_gen("P-256");
    stranger = EVP_EC_gen("P-256");
    assert_true(builder != NULL && stranger != NULL);
}

void after_all(void)
{
    key_free(&builder);
    key_free(&stranger);
}

/* A token around any payload, soundly signed. */
static char *make_token(const char *payload, const char *keyslots, EVP_PKEY *key)
{
    struct bytes text = {(const uint8_t *)payload, strlen(payload)};
    MU_CLEANUP(buffer_free) struct buffer signature = {0};
    MU_CLEANUP(string_free) char *payload64 = NULL;
    MU_CLEANUP(string_free) char *signature64 = NULL;
    char *token = NULL;

    assert_int_equal(signing_sign(key, RECORD_SIGNATURE_CONTEXT, text, &signature, &err), MU_OK);
    assert_int_equal(base64_encode(text, &payload64, &err), MU_OK);
    assert_int_equal(base64_encode(buffer_view(&signature), &signature64, &err), MU_OK);
    assert_true(asprintf(&token,
                         "{\"type\":\"measured-unlock\",\"keyslots\":%s,\"record\":\"%s\","
                         "\"signature\":\"%s\"}",
                         keyslots, payload64, signature64) > 0);
    return token;
}

static enum mu_status parse(const char *text, EVP_PKEY *key, struct record *ret,
                            struct mu_error *error)
{
    MU_CLEANUP(json_free) json_object *token = json_tokener_parse(text);

    assert_non_null(token);
    return key != NULL ? record_parse_token(token, &(struct public_keys){{key}, 1}, ret, error)
                       : record_parse_token_unverified(token, ret, error);
}

TEST(test_good)
{
    MU_CLEANUP(string_free) char *token = make_token(PAYLOAD, "[\"1\"]", builder);
    MU_CLEANUP(record_free) struct record record = {0};

    assert_int_equal(parse(token, builder, &record, &err), MU_OK);
    assert_int_equal(record.version, 7);
    assert_string_equal(record.created, "2026-01-02T03:04:05Z");
    assert_string_equal(record.volume_name, "root");
    assert_string_equal(record.volume_uuid, UUID);
    assert_int_equal(record.geometry.data_offset, 16 << 20);
    assert_int_equal(record.geometry.sector_size, 4096);
    assert_int_equal(record.geometry.device_size, 1 << 30);
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

static enum mu_status names(const char *name, struct mu_error *error)
{
    struct record record = {.volume_name = "root"};

    return record_check_name(&record, name, error);
}

TEST(test_name)
{
    assert_int_equal(names("root", &err), MU_OK);
    assert_int_equal(names("roo", &err), MU_REFUSE);
    assert_int_equal(names("roots", &err), MU_REFUSE);
    assert_int_equal(names("data", &err), MU_REFUSE);
    assert_non_null(strstr(err.text, "'root'"));
    assert_non_null(strstr(err.text, "'data'"));
}

static enum mu_status lies_at(uint64_t offset, uint64_t sector, uint64_t size,
                              struct mu_error *error)
{
    struct record record = {.geometry = {16 << 20, 4096, 1 << 30}};
    struct volume_geometry found = {offset, sector, size};

    return record_check_geometry(&record, &found, error);
}

/* A larger device is what an enlarged EBS volume is. */
TEST(test_geometry)
{
    assert_int_equal(lies_at(16 << 20, 4096, 1 << 30, &err), MU_OK);
    assert_int_equal(lies_at(16 << 20, 4096, (1 << 30) + 512, &err), MU_OK);
    assert_int_equal(lies_at(16 << 20, 4096, (1 << 30) - 512, &err), MU_REFUSE);
    assert_non_null(strstr(err.text, "1073741824"));
    assert_int_equal(lies_at(16 << 20, 512, 1 << 30, &err), MU_REFUSE);
    assert_int_equal(lies_at((16 << 20) + 512, 4096, 1 << 30, &err), MU_REFUSE);
    assert_int_equal(lies_at((16 << 20) - 512, 4096, 1 << 30, &err), MU_REFUSE);
}

TEST(test_old_format)
{
    static const char old[] =
        "{\"format\":2,\"created\":\"2026-01-02T03:04:05Z\",\"record_version\":7,"
        "\"volume_uuid\":\"" UUID "\",\"volume_identity\":\"" HEX_48 "\",\"keyslot\":1,"
        "\"provider\":\"aws-kms\",\"aws-kms\":{\"key_arn\":\"arn\"},\"baselines\":[" BASELINE "]}";
    MU_CLEANUP(string_free) char *token = make_token(old, "[\"1\"]", builder);
    struct record record = {0};

    assert_int_equal(parse(token, builder, &record, &err), MU_REFUSE);
    assert_non_null(strstr(err.text, "enroll again"));
}

TEST(test_round_trip)
{
    MU_CLEANUP(string_free) char *token = make_token(PAYLOAD, "[\"1\"]", builder);
    MU_CLEANUP(string_free) char *again = NULL;
    MU_CLEANUP(record_free) struct record record = {0};
    MU_CLEANUP(record_free) struct record second = {0};

    assert_int_equal(parse(token, builder, &record, &err), MU_OK);
    assert_int_equal(
        signer_record_token(&(struct signer){.from = "", .key = stranger}, &record, &again, &err),
        MU_OK);
    assert_int_equal(parse(again, stranger, &second, &err), MU_OK);
    assert_int_equal(parse(again, builder, &second, &err), MU_REFUSE);
    assert_int_equal(second.version, 7);
    assert_string_equal(second.volume_name, record.volume_name);
    assert_memory_equal(&second.geometry, &record.geometry, sizeof(record.geometry));
    assert_memory_equal(&second.baseline[0], &record.baseline[0], sizeof(record.baseline[0]));
}

/* Without the builder's key nothing can be changed; reading without a key is something else. */
TEST(test_signature)
{
    MU_CLEANUP(string_free) char *token = make_token(PAYLOAD, "[\"1\"]", stranger);
    MU_CLEANUP(record_free) struct record record = {0};

    assert_int_equal(parse(token, builder, &record, &err), MU_REFUSE);
    assert_int_equal(parse(token, NULL, &record, &err), MU_OK);
    assert_int_equal(record_parse_token(NULL, NULL, &record, &err), MU_CONFIG);
}

static char *vector_token(const char *payload, const char *name, const char *proof)
{
    struct bytes text = {(const uint8_t *)payload, strlen(payload)};
    MU_CLEANUP(string_free) char *payload64 = NULL;
    char *token = NULL;

    assert_int_equal(base64_encode(text, &payload64, &err), MU_OK);
    assert_true(asprintf(&token,
                         "{\"type\":\"measured-unlock\",\"keyslots\":[\"1\"],\"record\":\"%s\","
                         "\"%s\":\"%s\"}",
                         payload64, name, proof) > 0);
    return token;
}

TEST(test_vector_signed)
{
    MU_CLEANUP(string_free) char *token = vector_token(PAYLOAD, "signature", VECTOR_SIGNATURE);
    MU_CLEANUP(record_free) struct record record = {0};
    uint8_t raw[32];
    EVP_PKEY *key;

    assert_true(hex_decode(VECTOR_PUBLIC, raw, sizeof(raw)));
    key = EVP_PKEY_new_raw_public_key(EVP_PKEY_ED25519, NULL, raw, sizeof(raw));
    assert_non_null(key);
    assert_int_equal(parse(token, key, &record, &err), MU_OK);
    assert_int_equal(record.version, 7);
    key_free(&key);
}

TEST(test_vector_made)
{
    MU_CLEANUP(string_free) char *text = vector_token(INSTANCE_PAYLOAD, "mac", VECTOR_MAC);
    MU_CLEANUP(json_free) json_object *token = json_tokener_parse(text);
    MU_CLEANUP(record_free) struct record record = {0};
    MU_CLEANUP(secret_free) struct secret key = {0};

    assert_int_equal(secret_alloc(&key, 32, &err), MU_OK);
    for (uint8_t i = 0; i < 32; i++)
        key.data[i] = i;
    assert_true(record_token_by_instance(token));
    assert_int_equal(record_parse_instance_token(token, &record, &err), MU_OK);
    assert_int_equal(record_check_mac(&record, &key, &err), MU_OK);
    key.data[0]++;
    assert_int_equal(record_check_mac(&record, &key, &err), MU_REFUSE);
}

TEST(test_every_byte)
{
    MU_CLEANUP(string_free) char *token = make_token(PAYLOAD, "[\"1\"]", builder);
    char *start = strstr(token, "\"record\":\"") + strlen("\"record\":\"");
    struct record record = {0};

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
TEST(test_payloads)
{
    static const struct {
        const char *from, *to;
    } cases[] = {
        {"\"format\":3", "\"format\":2"},
        {"\"format\":3", "\"format\":4"},
        {"\"format\":3,", ""},
        {"\"format\":3", "\"format\":3,\"format\":3"},
        {"\"format\":3", "\"format\":3,\"x\":1"},
        {"\"format\":3", "\"format\":3.0"},
        {"\"volume_name\":\"root\",", ""},
        {"\"volume_name\":\"root\"", "\"volume_name\":\"\""},
        {"\"volume_name\":\"root\"", "\"volume_name\":\"ro/ot\""},
        {"\"volume_name\":\"root\"", "\"volume_name\":\"control\""},
        {"\"volume_name\":\"root\"", "\"volume_name\":1"},
        {"\"data_offset\":16777216,", ""},
        {"\"data_offset\":16777216", "\"data_offset\":0"},
        {"\"data_offset\":16777216", "\"data_offset\":-4096"},
        {"\"data_offset\":16777216", "\"data_offset\":\"16777216\""},
        {"\"data_offset\":16777216", "\"data_offset\":1073741824"},
        {"\"sector_size\":4096,", ""},
        {"\"sector_size\":4096", "\"sector_size\":8192"},
        {"\"device_size\":1073741824,", ""},
        {"\"device_size\":1073741824", "\"device_size\":99999999999999999999"},
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
        {"\"aws-kms\":{", "\"aws-kms\":\"arn\",\"x\":{"},
        {"\"baselines\":[" BASELINE "]", "\"baselines\":[]"},
        {"\"baselines\":[" BASELINE "]", "\"baselines\":" BASELINE},
        {"\"baselines\":[" BASELINE "]", "\"baselines\":[1]"},
        {"{\"Measurements\"", "{\"x\":0,\"Measurements\""},
        {"\"PCR4\":\"00", "\"PCR4\":\""},
        {"\"PCR4\"", "\"PCR24\""},
        {"]}", "]}{}"},
        {"]}", "]"},
    };

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        const char *at = strstr(PAYLOAD, cases[i].from);
        MU_CLEANUP(string_free) char *payload = NULL;
        MU_CLEANUP(string_free) char *token = NULL;
        struct record record = {0};

        assert_non_null(at);
        assert_true(asprintf(&payload, "%.*s%s%s", (int)(at - PAYLOAD), PAYLOAD, cases[i].to,
                             at + strlen(cases[i].from)) > 0);
        token = make_token(payload, "[\"1\"]", builder);
        if (parse(token, builder, &record, &err) != MU_REFUSE)
            fail_msg("accepted: %s", payload);
        assert_int_equal(err.status, MU_REFUSE);
    }
}

TEST(test_truncated)
{
    struct record record = {0};

    for (size_t len = 0; len < strlen(PAYLOAD); len++) {
        MU_CLEANUP(string_free) char *payload = strndup(PAYLOAD, len);
        MU_CLEANUP(string_free) char *token = NULL;

        assert_non_null(payload);
        token = make_token(payload, "[\"1\"]", builder);
        assert_int_equal(parse(token, builder, &record, &err), MU_REFUSE);
    }
}

TEST(test_tokens)
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

    for (size_t i = 0; i < sizeof(keyslots) / sizeof(keyslots[0]); i++) {
        MU_CLEANUP(string_free) char *token = make_token(PAYLOAD, keyslots[i], builder);

        assert_int_equal(parse(token, builder, &record, &err), MU_REFUSE);
    }
    for (size_t i = 0; i < sizeof(tokens) / sizeof(tokens[0]); i++)
        assert_int_equal(parse(tokens[i], builder, &record, &err), MU_REFUSE);
}
