/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <openssl/ec.h>
#include <openssl/pem.h>
#include <openssl/rsa.h>

#include "build/signing.h"
#include "test.h"

static const struct bytes message = {(const uint8_t *)"what is signed", 14};

static EVP_PKEY *make_key(const char *name)
{
    EVP_PKEY *key = NULL;

    if (strcmp(name, "ED25519") == 0 || strcmp(name, "ED448") == 0)
        key = EVP_PKEY_Q_keygen(NULL, NULL, name);
    else if (strcmp(name, "RSA") == 0)
        key = EVP_RSA_gen(2048);
    else
        key = EVP_EC_gen(name);
    assert_non_null(key);
    return key;
}

TEST(test_holds_and_not)
{
    static const char *const names[] = {"P-256", "P-384", "ED25519"};

    for (size_t i = 0; i < 3; i++) {
        MU_CLEANUP(key_free) EVP_PKEY *key = make_key(names[i]);
        MU_CLEANUP(key_free) EVP_PKEY *other = make_key(names[i]);
        MU_CLEANUP(buffer_free) struct buffer signature = {0};
        struct bytes shorter = {message.data, message.len - 1};
        struct bytes view;

        assert_int_equal(signing_sign(key, "one", message, &signature, &err), MU_OK);
        view = buffer_view(&signature);
        assert_int_equal(signature_verify(key, "one", message, view, &err), MU_OK);
        assert_int_equal(signature_verify(other, "one", message, view, &err), MU_REFUSE);
        assert_int_equal(signature_verify(key, "two", message, view, &err), MU_REFUSE);
        assert_int_equal(signature_verify(key, NULL, message, view, &err), MU_REFUSE);
        assert_int_equal(signature_verify(key, "one", shorter, view, &err), MU_REFUSE);
        for (size_t len = 0; len < view.len; len++)
            assert_int_equal(
                signature_verify(key, "one", message, (struct bytes){view.data, len}, &err),
                MU_REFUSE);
        for (size_t at = 0; at < view.len; at++) {
            signature.data[at] ^= 1;
            assert_int_equal(signature_verify(key, "one", message, view, &err), MU_REFUSE);
            signature.data[at] ^= 1;
        }
    }
}

/* "a" 00 "bc" and "a" 00 "b" "c" are one text; "a", "bc" and "ab", "c" are not. */
TEST(test_context_is_apart)
{
    MU_CLEANUP(key_free) EVP_PKEY *key = make_key("P-256");
    MU_CLEANUP(buffer_free) struct buffer signature = {0};

    assert_int_equal(
        signing_sign(key, "a", (struct bytes){(const uint8_t *)"bc", 2}, &signature, &err), MU_OK);
    assert_int_equal(signature_verify(key, "ab", (struct bytes){(const uint8_t *)"c", 1},
                                      buffer_view(&signature), &err),
                     MU_REFUSE);
    assert_int_equal(signature_verify(key, NULL, (struct bytes){(const uint8_t *)"a\0bc", 4},
                                      buffer_view(&signature), &err),
                     MU_OK);
}

/* RFC 8032, 7.1, TEST 2 */
TEST(test_rfc8032)
{
    uint8_t public[32];
    uint8_t signature[64];
    MU_CLEANUP(key_free) EVP_PKEY *key = NULL;

    assert_true(hex_decode("3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c",
                           public, sizeof(public)));
    assert_true(hex_decode("92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da"
                           "085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00",
                           signature, sizeof(signature)));
    key = EVP_PKEY_new_raw_public_key(EVP_PKEY_ED25519, NULL, public, sizeof(public));
    assert_non_null(key);
    assert_int_equal(signature_verify(key, NULL, (struct bytes){(const uint8_t *)"\x72", 1},
                                      (struct bytes){signature, 64}, &err),
                     MU_OK);
    assert_int_equal(signature_verify(key, NULL, (struct bytes){(const uint8_t *)"\x73", 1},
                                      (struct bytes){signature, 64}, &err),
                     MU_REFUSE);
}

static void write_pem(const char *path, EVP_PKEY *key, bool private)
{
    FILE *f = fopen(path, "w");

    assert_non_null(f);
    assert_int_equal(private ? PEM_write_PKCS8PrivateKey(f, key, NULL, NULL, 0, NULL, NULL)
                             : PEM_write_PUBKEY(f, key),
                     1);
    assert_int_equal(fclose(f), 0);
}

TEST(test_files)
{
    static const struct {
        const char *name;
        enum mu_status status;
    } cases[] = {{"P-256", MU_OK},        {"P-384", MU_OK},   {"ED25519", MU_OK},
                 {"P-521", MU_CONFIG},    {"RSA", MU_CONFIG}, {"ED448", MU_CONFIG},
                 {"secp256k1", MU_CONFIG}};
    const char *path = temp_path("key");

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        MU_CLEANUP(key_free) EVP_PKEY *key = make_key(cases[i].name);
        MU_CLEANUP(key_free) EVP_PKEY *public = NULL;
        MU_CLEANUP(key_free) EVP_PKEY *private = NULL;
        MU_CLEANUP(key_free) EVP_PKEY *wrong = NULL;
        MU_CLEANUP(buffer_free) struct buffer signature = {0};

        write_pem(path, key, false);
        assert_int_equal(signature_load_key(path, NULL, &public, &err), cases[i].status);
        assert_int_equal(signing_load_key(path, &wrong, &err), MU_CONFIG);
        write_pem(path, key, true);
        assert_int_equal(signing_load_key(path, &private, &err), cases[i].status);
        assert_int_equal(signature_load_key(path, NULL, &wrong, &err), MU_CONFIG);
        if (cases[i].status != MU_OK) {
            assert_int_equal(signing_sign(key, NULL, message, &signature, &err), MU_CONFIG);
            continue;
        }
        assert_int_equal(signing_sign(private, NULL, message, &signature, &err), MU_OK);
        assert_int_equal(signature_verify(public, NULL, message, buffer_view(&signature), &err),
                         MU_OK);
    }
    (void)unlink(path);
    assert_int_equal(signature_load_key(path, NULL, &(EVP_PKEY *){NULL}, &err), MU_CONFIG);
}

static void append_public(const char *path, EVP_PKEY *key)
{
    FILE *f = fopen(path, "a");

    assert_non_null(f);
    assert_int_equal(PEM_write_PUBKEY(f, key), 1);
    assert_int_equal(fclose(f), 0);
}

/* One key after the other takes over: an image trusts both meanwhile. */
TEST(test_two_keys)
{
    static const char *const names[] = {"P-384", "ED25519", "P-256"};
    const char *path = temp_path("keys");
    MU_CLEANUP(public_keys_free) struct public_keys keys = {0};
    MU_CLEANUP(public_keys_free) struct public_keys three = {0};
    enum mu_status loaded[] = {MU_OK, MU_OK, MU_CONFIG};

    (void)unlink(path);
    for (size_t i = 0; i < 3; i++) {
        MU_CLEANUP(key_free) EVP_PKEY *key = make_key(names[i]);
        MU_CLEANUP(buffer_free) struct buffer signature = {0};

        assert_int_equal(signing_sign(key, NULL, message, &signature, &err), MU_OK);
        append_public(path, key);
        if (i == 2) {
            assert_int_equal(signature_load_keys(path, &three, &err), loaded[i]);
            assert_non_null(strstr(err.text, "3 keys"));
            assert_int_equal(
                signature_verify_any(&keys, NULL, message, buffer_view(&signature), &err),
                MU_REFUSE);
            continue;
        }
        public_keys_free(&keys);
        assert_int_equal(signature_load_keys(path, &keys, &err), loaded[i]);
        assert_int_equal(keys.count, i + 1);
        assert_int_equal(signature_verify_any(&keys, NULL, message, buffer_view(&signature), &err),
                         MU_OK);
    }
    (void)unlink(path);
    assert_int_equal(signature_verify_any(&(struct public_keys){0}, NULL, message, message, &err),
                     MU_REFUSE);
}
