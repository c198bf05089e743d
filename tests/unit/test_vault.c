/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "release/provider.h"
#include "release/vault.h"
#include "release/vault_client.h"
#include "test.h"

#define TEXT(text) ((struct bytes){(const uint8_t *)(text), strlen(text)})
#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

#define WHO                                                                                        \
    "\"verifier\":\"https://verifier.example:8443/x\",\"address\":\"https://10.0.0.1:8200\","      \
    "\"auth_mount\":\"jwt\",\"role\":\"root-volume\""
#define KV "\"kv\":{\"mount\":\"secret\",\"path\":\"volumes/root\",\"field\":\"key\"}"
#define TRANSIT "\"transit\":{\"mount\":\"a/b\",\"key\":\"k\",\"ciphertext\":\"vault:v1:AAAA+/=\"}"

static enum mu_status parse(const char *json, struct vault_record *ret, json_object **ret_object,
                            struct mu_error *error)
{
    assert_int_equal(json_parse(TEXT(json), "test", MU_INTERNAL, ret_object, error), MU_OK);
    return vault_parse_record(*ret_object, ret, error);
}

TEST(test_kv_record)
{
    MU_CLEANUP(json_free) json_object *object = NULL;
    struct vault_record r;

    assert_int_equal(parse("{" WHO "," KV "}", &r, &object, &err), MU_OK);
    assert_string_equal(r.verifier, "https://verifier.example:8443/x");
    assert_string_equal(r.address, "https://10.0.0.1:8200");
    assert_string_equal(r.role, "root-volume");
    assert_true(r.kv && r.scope == NULL && r.wrap_ttl == 0 && r.version == 0);
    assert_string_equal(r.mount, "secret");
    assert_string_equal(r.path, "volumes/root");
    assert_string_equal(r.field, "key");
}

TEST(test_transit_record)
{
    MU_CLEANUP(json_free) json_object *object = NULL;
    struct vault_record r;

    assert_int_equal(
        parse("{" WHO "," TRANSIT ",\"namespace\":\"a/b\",\"wrap_ttl\":60}", &r, &object, &err),
        MU_OK);
    assert_true(!r.kv && r.context == NULL && r.wrap_ttl == 60);
    assert_string_equal(r.scope, "a/b");
    assert_string_equal(r.mount, "a/b");
    assert_string_equal(r.ciphertext, "vault:v1:AAAA+/=");
}

TEST(test_bad_records)
{
    static const char *const bad[] = {
        "{}",
        "[]",
        "{" WHO "}",
        "{" WHO "," KV "," TRANSIT "}",
        "{" WHO "," KV ",\"more\":1}",
        "{" WHO "," KV ",\"wrap_ttl\":0}",
        "{" WHO "," KV ",\"wrap_ttl\":3601}",
        "{" WHO "," KV ",\"wrap_ttl\":\"60\"}",
        "{" WHO "," KV ",\"namespace\":\"a b\"}",
        "{" WHO "," KV ",\"namespace\":\"\"}",
        "{" WHO ",\"kv\":{\"mount\":\"secret\",\"path\":\"../sys\",\"field\":\"key\"}}",
        "{" WHO ",\"kv\":{\"mount\":\"secret\",\"path\":\"a?version=1\",\"field\":\"key\"}}",
        "{" WHO ",\"kv\":{\"mount\":\"secret\",\"path\":\"a%2f\",\"field\":\"key\"}}",
        "{" WHO ",\"kv\":{\"mount\":\"secret\",\"path\":\"/a\",\"field\":\"key\"}}",
        "{" WHO ",\"kv\":{\"mount\":\"secret\",\"path\":\"a\"}}",
        "{" WHO ",\"kv\":{\"mount\":\"s\",\"path\":\"a\",\"field\":\"k\",\"version\":0}}",
        "{" WHO ",\"kv\":{\"mount\":\"s\",\"path\":\"a\",\"field\":\"k\",\"x\":0}}",
        "{" WHO ",\"transit\":{\"mount\":\"t\",\"key\":\"k\"}}",
        "{" WHO ",\"transit\":{\"mount\":\"t\",\"key\":\"k\",\"ciphertext\":\"a\\\"b\"}}",
        "{" WHO ",\"transit\":{\"mount\":\"t\",\"key\":\"k\",\"ciphertext\":\"a\\\\b\"}}",
        "{" WHO
        ",\"transit\":{\"mount\":\"t\",\"key\":\"k\",\"ciphertext\":\"a\",\"context\":\"a\\\"\"}}",
        "{\"verifier\":\"http://v\",\"address\":\"https://"
        "a\",\"auth_mount\":\"jwt\",\"role\":\"r\"," KV "}",
        "{\"verifier\":\"https://v\",\"address\":\"https://a/\",\"auth_mount\":\"jwt\",\"role\":"
        "\"r\"," KV "}",
        "{\"verifier\":\"https://v\",\"address\":\"https://"
        "a\",\"auth_mount\":\"jwt\",\"role\":\"a\\\"b\"," KV "}",
    };

    for (size_t i = 0; i < COUNT(bad); i++) {
        MU_CLEANUP(json_free) json_object *object = NULL;
        struct vault_record r = {.role = "untouched"};

        if (parse(bad[i], &r, &object, &err) != MU_REFUSE)
            fail_msg("%s", bad[i]);
        assert_string_equal(r.role, "untouched");
        assert_non_null(strstr(err.text, "record: vault: "));
    }
}

TEST(test_paths)
{
    static const char *const good[] = {"a", "a/b", "a-b_c.d~e/F9", "..a", "a."};
    static const char *const bad[] = {"",    "/",   "/a",  "a/",  "a//b", ".",        "..", "a/..",
                                      "a/.", "a b", "a%b", "a?b", "a#b",  "\xc3\xa4", "a\n"};

    for (size_t i = 0; i < COUNT(good); i++)
        assert_true(vault_path_ok(good[i]));
    for (size_t i = 0; i < COUNT(bad); i++)
        assert_false(vault_path_ok(bad[i]));
}

TEST(test_addresses)
{
    static const char *const good[] = {"https://a", "https://a:1", "https://a/b/c",
                                       "https://[::1]:8200"};
    static const char *const bad[] = {"",           "https://",   "http://a",     "https://a/",
                                      "https://a?", "https://a#", "https://u@a",  "https://a b",
                                      "HTTPS://a",  "https://\"", "https://a\\b", "file:///a"};

    for (size_t i = 0; i < COUNT(good); i++)
        assert_true(service_address_ok(good[i]));
    for (size_t i = 0; i < COUNT(bad); i++)
        assert_false(service_address_ok(bad[i]));
}

/* What passes is waited for, what does not is said at once. */
TEST(test_classes)
{
    static const struct {
        long http_status;
        enum mu_status status;
    } classes[] = {
        {400, MU_REFUSE}, {401, MU_REFUSE}, {403, MU_REFUSE}, {404, MU_CONFIG}, {405, MU_CONFIG},
        {307, MU_RETRY},  {412, MU_RETRY},  {429, MU_RETRY},  {472, MU_RETRY},  {473, MU_RETRY},
        {500, MU_RETRY},  {502, MU_RETRY},  {503, MU_RETRY},  {301, MU_REFUSE}, {201, MU_REFUSE},
    };

    for (size_t i = 0; i < COUNT(classes); i++) {
        if (vault_explain(classes[i].http_status, TEXT("{\"errors\":[\"its words\"]}"), "secret/x",
                          &err) != classes[i].status)
            fail_msg("%ld: %s", classes[i].http_status, err.text);
        assert_non_null(strstr(err.text, "its words"));
        assert_non_null(strstr(err.text, "secret/x"));
    }
}

TEST(test_odd_errors)
{
    static const char *const bodies[] = {
        "", "<html>", "{}", "[]", "{\"errors\":[]}", "{\"errors\":[1]}", "{\"errors\":{\"a\":1}}"};

    for (size_t i = 0; i < COUNT(bodies); i++) {
        assert_int_equal(vault_explain(403, TEXT(bodies[i]), "p", &err), MU_REFUSE);
        assert_non_null(strstr(err.text, "HTTP 403 for p; no policy"));
    }
}

static enum mu_status key_of(const char *json, bool kv, struct secret *ret, struct mu_error *error)
{
    MU_CLEANUP(json_wipe) json_object *object = NULL;

    assert_int_equal(json_parse(TEXT(json), "test", MU_INTERNAL, &object, error), MU_OK);
    return vault_key(object, kv, kv ? "key" : "plaintext", RELEASE_KEY_SIZE, ret, error);
}

#define KEY64 "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="

TEST(test_key)
{
    MU_CLEANUP(secret_free) struct secret kv = {0};
    MU_CLEANUP(secret_free) struct secret transit = {0};

    assert_int_equal(
        key_of("{\"data\":{\"data\":{\"key\":\"" KEY64 "\"},\"metadata\":{}}}", true, &kv, &err),
        MU_OK);
    assert_int_equal(key_of("{\"data\":{\"plaintext\":\"" KEY64 "\"}}", false, &transit, &err),
                     MU_OK);
    assert_int_equal(kv.len, RELEASE_KEY_SIZE);
    for (size_t i = 0; i < kv.len; i++)
        assert_int_equal(kv.data[i], i);
    assert_true(bytes_equal(secret_view(&kv), secret_view(&transit)));
}

TEST(test_no_key)
{
    static const char *const bad[] = {
        "{}",
        "{\"data\":null}",
        "{\"data\":{\"key\":\"" KEY64 "\"}}",
        "{\"data\":{\"data\":{\"Key\":\"" KEY64 "\"}}}",
        "{\"data\":{\"data\":{\"key\":[\"" KEY64 "\"]}}}",
        "{\"data\":{\"data\":{\"key\":\"AAEC\"}}}",
        "{\"data\":{\"data\":{\"key\":\"" KEY64 "AAAA\"}}}",
        "{\"data\":{\"data\":{\"key\":\"AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh9\"}}}",
        "{\"data\":{\"data\":{\"key\":\" " KEY64 "\"}}}",
    };

    for (size_t i = 0; i < COUNT(bad); i++) {
        struct secret key = {0};

        if (key_of(bad[i], true, &key, &err) != MU_REFUSE || key.data != NULL)
            fail_msg("%s", bad[i]);
        assert_null(strstr(err.text, "AAEC"));
    }
}
