/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <openssl/core_names.h>
#include <openssl/ec.h>
#include <openssl/rsa.h>

#include "../token_verify.h"
#include "jose/token.h"
#include "test.h"

static struct bytes text(const char *s)
{
    return text_view(s);
}

static struct buffer decoded(const char *s)
{
    struct buffer out = {0};

    assert_int_equal(base64url_decode(text(s), 4096, MU_REFUSE, &out, &err), MU_OK);
    return out;
}

/* A P-256 key from the three numbers of a JWK. */
static EVP_PKEY *key_of(const char *x, const char *y, const char *d)
{
    struct buffer part[3] = {decoded(x), decoded(y), decoded(d)};
    EVP_PKEY_CTX *context = EVP_PKEY_CTX_new_from_name(NULL, "EC", NULL);
    EVP_PKEY *key = NULL;
    uint8_t point[65] = {4}, number[32];

    for (size_t i = 0; i < 2; i++)
        memcpy(point + 1 + 32 * i, part[i].data, 32);
    for (size_t i = 0; i < 32; i++) /* the host's order */
        number[i] = part[2].data[31 - i];
    assert_int_equal(EVP_PKEY_fromdata_init(context), 1);
    assert_int_equal(
        EVP_PKEY_fromdata(
            context, &key, EVP_PKEY_KEYPAIR,
            (OSSL_PARAM[]){
                OSSL_PARAM_construct_utf8_string(OSSL_PKEY_PARAM_GROUP_NAME, (char *)"P-256", 0),
                OSSL_PARAM_construct_octet_string(OSSL_PKEY_PARAM_PUB_KEY, point, sizeof(point)),
                OSSL_PARAM_construct_BN(OSSL_PKEY_PARAM_PRIV_KEY, number, sizeof(number)),
                OSSL_PARAM_construct_end()}),
        1);
    EVP_PKEY_CTX_free(context);
    for (size_t i = 0; i < 3; i++)
        buffer_free(&part[i]);
    return key;
}

/* RFC 7518, appendix C */
TEST(test_agreement_of_the_rfc)
{
    MU_CLEANUP(key_free)
    EVP_PKEY *alice = key_of("gI0GAILBdu7T53akrFmMyGcsF3n5dO7MmwNBHKW5SV0",
                             "SLW_xSffzlPWrHEVI30DHM_4egVwt3NQqeUD7nMFpps",
                             "0_NxaRPUMQoAJt50Gz8YiTr8gRTwyEaCumd-MToTmIo");
    MU_CLEANUP(key_free)
    EVP_PKEY *bob = key_of("weNJy2HscCSM6AEDTDg04biOvhFhyyWvOHQfeF_PxMQ",
                           "e8lnCO-AlStT-NJVX-crhB7QRYhiix03illJOVAOyck",
                           "VEmDZpDXXK8p8N0Cndsxs924q6nS1RXFASRl6BfUqdw");
    MU_CLEANUP(secret_free) struct secret key = {0};
    MU_CLEANUP(secret_free) struct secret same = {0};
    MU_CLEANUP(secret_free) struct secret other = {0};
    MU_CLEANUP(string_free) char *encoded = NULL;

    assert_int_equal(token_agree(alice, bob, "A128GCM", text("Alice"), text("Bob"), 16, &key, &err),
                     MU_OK);
    assert_int_equal(base64url_encode(secret_view(&key), &encoded, &err), MU_OK);
    assert_string_equal(encoded, "VqqN6vgjbSBcIijNcacQGg");
    assert_int_equal(
        token_agree(bob, alice, "A128GCM", text("Alice"), text("Bob"), 16, &same, &err), MU_OK);
    assert_true(bytes_equal(secret_view(&key), secret_view(&same)));
    assert_int_equal(
        token_agree(bob, alice, "A128GCM", text("Alice"), text("Eve"), 16, &other, &err), MU_OK);
    assert_false(bytes_equal(secret_view(&key), secret_view(&other)));
}

#define A3_HEADER "eyJhbGciOiJFUzI1NiJ9"
#define A3_CLAIMS                                                                                  \
    "eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVl" \
    "fQ"
#define A3_SIGNATURE                                                                               \
    "DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU1Q"

static EVP_PKEY *a3_key(void)
{
    return key_of("f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU",
                  "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0",
                  "jpsQnnGQmL-YBIffH1136cspYG6-0iY7X1fCE9-E9LI");
}

/* RFC 7515, A.3 */
TEST(test_signature_of_the_rfc)
{
    MU_CLEANUP(key_free) EVP_PKEY *key = a3_key();
    MU_CLEANUP(json_free) json_object *claims = NULL;
    const char *issuer = NULL;

    assert_int_equal(token_verify(A3_HEADER "." A3_CLAIMS "." A3_SIGNATURE, key, &claims, &err),
                     MU_OK);
    assert_int_equal(json_string(claims, "iss", 8, MU_REFUSE, &issuer, &err), MU_OK);
    assert_string_equal(issuer, "joe");
}

static void refused(const char *token, EVP_PKEY *key, const char *why)
{
    json_object *claims = NULL;

    assert_int_equal(token_verify(token, key, &claims, &err), MU_REFUSE);
    assert_null(claims);
    if (strstr(err.text, why) == NULL)
        fail_msg("'%s' does not say '%s'", err.text, why);
}

TEST(test_other_signatures_are_refused)
{
    MU_CLEANUP(key_free) EVP_PKEY *key = a3_key();
    MU_CLEANUP(key_free) EVP_PKEY *other = EVP_EC_gen("P-256");
    MU_CLEANUP(key_free) EVP_PKEY *longer = EVP_EC_gen("P-384");
    MU_CLEANUP(key_free) EVP_PKEY *rsa = EVP_RSA_gen(2048);
    char huge[TOKEN_MAX + 2];

    memset(huge, 'a', sizeof(huge));
    huge[sizeof(huge) - 1] = '\0';
    refused(A3_HEADER "." A3_CLAIMS "." A3_SIGNATURE, other, "does not hold");
    refused(A3_HEADER "." A3_CLAIMS "." A3_SIGNATURE, longer, "ES384");
    refused(A3_HEADER "." A3_CLAIMS "." A3_SIGNATURE, rsa, "P-384 or P-256");
    refused("eyJhbGciOiJub25lIn0." A3_CLAIMS ".", key, "\"alg\" is 'none'");
    refused("eyJhbGciOiJFUzI1NiIsImNyaXQiOlsiYiJdfQ." A3_CLAIMS "." A3_SIGNATURE, key, "\"crit\"");
    refused("eyJhbGciOiJFUzI1NiIsImFsZyI6IkVTMjU2In0." A3_CLAIMS "." A3_SIGNATURE, key,
            "two members");
    refused("eyJhbGciOiJFUzI1NiJ." A3_CLAIMS "." A3_SIGNATURE, key, "base64url");
    refused(A3_HEADER "." A3_CLAIMS "." A3_SIGNATURE "=", key, "base64url");
    refused(A3_HEADER "." A3_CLAIMS ".AAAA", key, "has 3 bytes");
    refused(A3_HEADER "." A3_CLAIMS, key, "3 parts");
    refused(A3_HEADER "." A3_CLAIMS "." A3_SIGNATURE ".", key, "3 parts");
    refused("", key, "3 parts");
    refused(huge, key, "longer");
}

static json_object *some_claims(void)
{
    json_object *claims = json_object_new_object();

    assert_true(json_add_text(claims, "sub", "i-0123"));
    assert_true(json_add_text(claims, "iss", "https://v/"));
    return claims;
}

TEST(test_what_is_signed_verifies)
{
    static const char *const groups[] = {"P-256", "P-384"};
    MU_CLEANUP(json_free) json_object *claims = some_claims();

    for (size_t i = 0; i < 2; i++) {
        MU_CLEANUP(key_free) EVP_PKEY *key = EVP_EC_gen(groups[i]);
        MU_CLEANUP(json_free) json_object *found = NULL;
        MU_CLEANUP(string_free) char *token = NULL;

        assert_int_equal(token_sign(key, claims, &token, &err), MU_OK);
        assert_int_equal(token_verify(token, key, &found, &err), MU_OK);
        assert_true(json_object_equal(claims, found));
        token[strcspn(token, ".") + 1] ^= 1;
        refused(token, key, "does not hold");
    }
}

TEST(test_encrypted_tokens_open)
{
    static const char *const groups[] = {"P-256", "P-384"};

    for (size_t i = 0; i < 2; i++) {
        MU_CLEANUP(key_free) EVP_PKEY *key = EVP_EC_gen(groups[i]);
        MU_CLEANUP(key_free) EVP_PKEY *same_curve = EVP_EC_gen(groups[i]);
        MU_CLEANUP(key_free) EVP_PKEY *other_curve = EVP_EC_gen(groups[1 - i]);
        MU_CLEANUP(string_free) char *token = NULL;
        MU_CLEANUP(secret_free) struct secret inner = {0};

        assert_int_equal(token_encrypt("a.b.c", key, &token, &err), MU_OK);
        assert_int_equal(token_decrypt(token, key, &inner, &err), MU_OK);
        assert_int_equal(inner.len, 5);
        assert_memory_equal(inner.data, "a.b.c", 5);
        secret_free(&inner);
        assert_int_equal(token_decrypt(token, same_curve, &inner, &err), MU_REFUSE);
        assert_non_null(strstr(err.text, "not encrypted to this key"));
        assert_int_equal(token_decrypt(token, other_curve, &inner, &err), MU_REFUSE);
        assert_non_null(strstr(err.text, "another curve"));
        assert_null(inner.data);
    }
}

static void spoil(char *token, size_t part)
{
    for (; part > 0; part--)
        token = strchr(token, '.') + 1;
    token[0] = token[0] == 'A' ? 'B' : 'A';
}

TEST(test_altered_tokens_do_not_open)
{
    MU_CLEANUP(key_free) EVP_PKEY *key = EVP_EC_gen("P-384");
    MU_CLEANUP(string_free) char *token = NULL;
    MU_CLEANUP(secret_free) struct secret inner = {0};

    assert_int_equal(token_encrypt("a.b.c", key, &token, &err), MU_OK);
    for (size_t part = 0; part < 5; part++) {
        MU_CLEANUP(string_free) char *altered = NULL;

        if (part == 1) { /* is empty: something is put there */
            assert_true(asprintf(&altered, "%.*s.AAAA.%s", (int)strcspn(token, "."), token,
                                 strstr(token, "..") + 2) > 0);
        } else {
            assert_true(asprintf(&altered, "%s", token) > 0);
            spoil(altered, part);
        }
        assert_int_equal(token_decrypt(altered, key, &inner, &err), MU_REFUSE);
    }
    assert_int_equal(token_decrypt(token, key, &inner, &err), MU_OK);
}

/* {"alg":"ECDH-ES","enc":"A256GCM","epk":{...}} with other members and values. */
static void header_refused(const char *header, EVP_PKEY *key, const char *why)
{
    MU_CLEANUP(string_free) char *encoded = NULL;
    MU_CLEANUP(string_free) char *token = NULL;
    struct secret inner = {0};

    assert_int_equal(base64url_encode(text(header), &encoded, &err), MU_OK);
    assert_true(asprintf(&token, "%s..AAAAAAAAAAAAAAAA.AAAA.AAAAAAAAAAAAAAAAAAAAAA", encoded) > 0);
    assert_int_equal(token_decrypt(token, key, &inner, &err), MU_REFUSE);
    if (strstr(err.text, why) == NULL)
        fail_msg("'%s' does not say '%s'", err.text, why);
}

#define X "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU"
#define Y "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"
#define EPK(crv, x, y)                                                                             \
    "\"epk\":{\"kty\":\"EC\",\"crv\":\"" crv "\",\"x\":\"" x "\",\"y\":\"" y "\"}"

TEST(test_other_headers_are_refused)
{
    MU_CLEANUP(key_free) EVP_PKEY *key = a3_key();

    header_refused("{\"alg\":\"ECDH-ES\",\"enc\":\"A256GCM\"," EPK("P-256", X, Y) "}", key,
                   "not encrypted to this key"); /* all that is left to refuse is the tag */
    header_refused("{\"alg\":\"dir\",\"enc\":\"A256GCM\"," EPK("P-256", X, Y) "}", key, "'dir'");
    header_refused("{\"alg\":\"ECDH-ES\",\"enc\":\"A128GCM\"," EPK("P-256", X, Y) "}", key,
                   "'A128GCM'");
    header_refused(
        "{\"alg\":\"ECDH-ES\",\"enc\":\"A256GCM\",\"zip\":\"DEF\"," EPK("P-256", X, Y) "}", key,
        "\"zip\"");
    header_refused("{\"alg\":\"ECDH-ES\",\"enc\":\"A256GCM\",\"crit\":[]," EPK("P-256", X, Y) "}",
                   key, "\"crit\"");
    header_refused(
        "{\"alg\":\"ECDH-ES\",\"enc\":\"A256GCM\",\"apu\":\"AA\"," EPK("P-256", X, Y) "}", key,
        "\"apu\"");
    header_refused("{\"alg\":\"ECDH-ES\",\"enc\":\"A256GCM\"," EPK("P-521", X, Y) "}", key,
                   "P-384");
    header_refused("{\"alg\":\"ECDH-ES\",\"enc\":\"A256GCM\"," EPK("P-384", X, Y) "}", key,
                   "32 bytes, not 48");
    header_refused("{\"alg\":\"ECDH-ES\",\"enc\":\"A256GCM\"," EPK("P-256", Y, X) "}", key,
                   "not a point");
    header_refused("{\"alg\":\"ECDH-ES\",\"enc\":\"A256GCM\"}", key, "\"epk\" is missing");
    header_refused(
        "{\"alg\":\"ECDH-ES\",\"enc\":\"A256GCM\",\"epk\":{\"kty\":\"EC\",\"d\":\"AA\"}}", key,
        "\"d\"");
}

TEST(test_recipients)
{
    static const struct {
        int bits;
        enum mu_status status;
    } sizes[] = {{2048, MU_OK}, {1024, MU_REFUSE}};
    MU_CLEANUP(key_free) EVP_PKEY *p521 = EVP_EC_gen("P-521");
    char *none = NULL;

    for (size_t i = 0; i < 2; i++) {
        MU_CLEANUP(key_free) EVP_PKEY *key = EVP_RSA_gen((unsigned)sizes[i].bits);
        MU_CLEANUP(string_free) char *token = NULL;

        assert_int_equal(token_encrypt("a.b.c", key, &token, &err), sizes[i].status);
    }
    assert_int_equal(token_encrypt("a.b.c", p521, &none, &err), MU_REFUSE);
    assert_null(none);
}

TEST(test_base64url)
{
    static const char *const bad[] = {"A", "AA==", "AB", "AAB", "A+AA", "A/AA", "AA A", "AAAA\n"};
    MU_CLEANUP(string_free) char *encoded = NULL;
    struct buffer out = {0};

    assert_int_equal(base64url_encode(text("\xfb\xff\xfe!"), &encoded, &err), MU_OK);
    assert_string_equal(encoded, "-__-IQ");
    assert_int_equal(base64url_decode(text(encoded), 4, MU_REFUSE, &out, &err), MU_OK);
    assert_true(bytes_equal(buffer_view(&out), text("\xfb\xff\xfe!")));
    buffer_free(&out);
    assert_int_equal(base64url_decode(text(encoded), 3, MU_REFUSE, &out, &err), MU_REFUSE);
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        assert_int_equal(base64url_decode(text(bad[i]), 64, MU_REFUSE, &out, &err), MU_REFUSE);
    assert_int_equal(
        base64url_decode((struct bytes){(const uint8_t *)"A\0AA", 4}, 64, MU_CONFIG, &out, &err),
        MU_CONFIG);
    assert_int_equal(base64url_decode(text(""), 0, MU_REFUSE, &out, &err), MU_OK);
    assert_int_equal(out.len, 0);
    buffer_free(&out);
}
