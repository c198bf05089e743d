/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <openssl/core_names.h>
#include <openssl/param_build.h>
#include <openssl/pem.h>

#include "attest/chain.h"
#include "attest/cose.h"
#include "attest/root.h"
#include "attest/verify.h"
#include "base/json.h"
#include "vectors.h"

#define BIT(check) (1u << (check))
#define ALL (BIT(VERIFY_CHECKS) - 1)
/* Which require_all leaves out. */
#define WHO (BIT(CHECK_IDENTITY_SIGNATURE) | BIT(CHECK_IDENTITY_INSTANCE))
#define UNASKED (BIT(CHECK_AGE) | BIT(CHECK_NONCE) | BIT(CHECK_BASELINE) | WHO)
#define HOUR_MS 3600000u

static const char *const genuine[] = {"nitrotpm-doc/vaportpm-nitro-fixture-HEAD.cbor",
                                      "nitrotpm-doc/vaportpm-21a610c.cbor"};

static struct document load(const char *name)
{
    struct buffer raw = vector_load(name);
    struct document document;
    struct mu_error err = {0};

    if (document_parse(buffer_view(&raw), &document, &err) != MU_OK)
        fail_msg("%s: %s", name, err.text);
    buffer_free(&raw);
    return document;
}

static unsigned mask_of(const struct verify_report *report, enum verify_result result)
{
    unsigned mask = 0;

    for (unsigned i = 0; i < VERIFY_CHECKS; i++)
        if (report->check[i].result == result)
            mask |= BIT(i);
    return mask;
}

/* One for all tests: whatever it knows by then, the result must be the same. */
static struct chain_cache *cache(void)
{
    static struct chain_cache *made;
    struct mu_error err = {0};

    if (made == NULL)
        assert_int_equal(chain_cache_new(&made, &err), MU_OK);
    return made;
}

static void expect_same(const struct document *document, const struct verify_policy *policy,
                        const struct verify_report *report, const struct mu_error *err)
{
    struct verify_policy cached = *policy;

    cached.cache = cache();
    for (size_t i = 0; i < 2; i++) {
        struct verify_report found;
        struct mu_error why = {0};

        assert_int_equal(verify_document(document, &cached, &found, &why), err->status);
        assert_memory_equal(&found, report, sizeof(found));
        assert_string_equal(why.text, err->text);
    }
}

/* Exactly these checks fail, and the rest is what the policy makes of it. */
static void expect(const struct document *document, const struct verify_policy *policy,
                   unsigned failed, unsigned not_done)
{
    struct verify_report report;
    struct mu_error err = {0};
    enum mu_status status = verify_document(document, policy, &report, &err);

    if (mask_of(&report, VERIFY_FAILED) != failed || mask_of(&report, VERIFY_NOT_DONE) != not_done)
        fail_msg("failed %#x, not %#x: %s", mask_of(&report, VERIFY_FAILED), failed, err.text);
    assert_int_equal(mask_of(&report, VERIFY_OK), ALL & ~failed & ~not_done);
    if (failed != 0 || (policy->require_all && (not_done & ~WHO) != 0)) {
        assert_int_equal(status, MU_REFUSE);
        assert_false(report.ok);
        assert_true(err.text[0] != '\0');
    } else {
        assert_int_equal(status, MU_OK);
        assert_true(report.ok);
    }
    expect_same(document, policy, &report, &err);
}

static void test_root(void **state)
{
    struct bytes baked = {(const uint8_t *)aws_nitro_root, strlen(aws_nitro_root)};
    X509 *root = NULL;
    struct mu_error err = {0};
    uint8_t sum[32];
    unsigned len = 0;
    char hex[65];

    (void)state;
    assert_int_equal(certificate_from_pem(baked, "root", &root, &err), MU_OK);
    assert_int_equal(X509_digest(root, EVP_sha256(), sum, &len), 1);
    hex_encode((struct bytes){sum, len}, hex);
    assert_string_equal(hex, "641a0321a3e244efe456463195d606317ed7cdcc3c1756e09893f3c68f79bb5b");
    certificate_free(&root);
}

static void test_root_vector(void **state)
{
    struct buffer published = vector_load("certs/AWS_NitroEnclaves_Root-G1.pem");

    (void)state;
    assert_int_equal(published.len, strlen(aws_nitro_root));
    assert_memory_equal(published.data, aws_nitro_root, published.len);
    buffer_free(&published);
}

static void test_root_file(void **state)
{
    static const char *const bad[] = {"", "nothing", "-----BEGIN CERTIFICATE-----\nMIIC\n"};
    char twice[4096];
    struct mu_error err = {0};
    X509 *root = NULL;

    (void)state;
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        assert_int_equal(
            certificate_from_pem((struct bytes){(const uint8_t *)bad[i], strlen(bad[i])}, "f",
                                 &root, &err),
            MU_CONFIG);
    (void)snprintf(twice, sizeof(twice), "%s%s", aws_nitro_root, aws_nitro_root);
    assert_int_equal(certificate_from_pem((struct bytes){(const uint8_t *)twice, strlen(twice)},
                                          "f", &root, &err),
                     MU_CONFIG);
    assert_non_null(strstr(err.text, "more than one"));
    assert_null(root);
}

static void test_genuine(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(genuine) / sizeof(genuine[0]); i++) {
        struct document document = load(genuine[i]);
        struct verify_policy policy = {.at_ms = document.timestamp_ms};

        expect(&document, &policy, 0, UNASKED);
        expect(&document, &(struct verify_policy){.at_own_time = true}, 0, UNASKED);
        policy.require_all = true;
        expect(&document, &policy, 0, UNASKED);
        document_free(&document);
    }
}

static void test_report(void **state)
{
    struct document document = load(genuine[0]);
    struct verify_policy policy = {.at_own_time = true};
    struct verify_report report;
    struct mu_error err = {0};

    (void)state;
    assert_int_equal(verify_document(&document, &policy, &report, &err), MU_OK);
    assert_string_equal(report.instance_id, "i-01cfb383223e42522");
    assert_true(report.at_ms == document.timestamp_ms);
    assert_int_equal(report.valid_from, 1770113519);
    assert_int_equal(report.valid_until, 1770113519 + 3 * 3600 + 3);
    assert_string_equal(report.check[CHECK_CHAIN].name, "chain");
    assert_string_equal(verify_result_name(report.check[CHECK_AGE].result), "not-done");
    document_free(&document);
}

/* The leaf is valid for three hours and three seconds; OpenSSL counts the last one as expired. */
static void test_time(void **state)
{
    struct document document = load(genuine[0]);
    struct verify_policy policy = {.at_ms = document.timestamp_ms};
    const uint64_t last_ms = (1770113519 + 3 * 3600 + 3) * UINT64_C(1000);

    (void)state;
    policy.at_ms = document.timestamp_ms - HOUR_MS;
    expect(&document, &policy, BIT(CHECK_CHAIN) | BIT(CHECK_TIME), UNASKED);
    policy.at_ms = document.timestamp_ms + 5 * HOUR_MS;
    expect(&document, &policy, BIT(CHECK_CHAIN), UNASKED);
    policy.at_ms = last_ms - 1;
    expect(&document, &policy, 0, UNASKED);
    policy.at_ms = last_ms;
    expect(&document, &policy, BIT(CHECK_CHAIN), UNASKED);
    policy.at_ms = document.timestamp_ms - 1;
    expect(&document, &policy, 0, UNASKED);
    policy.at_ms = 0;
    expect(&document, &policy, BIT(CHECK_CHAIN) | BIT(CHECK_TIME), UNASKED);
    document_free(&document);
}

/* The signature does not cover what is altered here, so that each check answers for itself. */
static void test_one_thing_wrong(void **state)
{
    struct document good = load(genuine[0]);
    struct verify_policy policy = {.at_ms = good.timestamp_ms};
    struct document d;
    uint8_t longer[1025];

    (void)state;
    d = good; /* just within the allowance, and just not */
    d.timestamp_ms += VERIFY_CLOCK_ALLOWANCE_MS;
    expect(&d, &policy, 0, UNASKED);
    d.timestamp_ms++;
    expect(&d, &policy, BIT(CHECK_TIME), UNASKED);
    d = good; /* before its certificate */
    d.timestamp_ms -= 10000;
    expect(&d, &policy, BIT(CHECK_TIME), UNASKED);
    d = good; /* after it */
    d.timestamp_ms = UINT64_MAX;
    expect(&d, &policy, BIT(CHECK_TIME), UNASKED);
    expect(&d, &(struct verify_policy){.at_own_time = true}, BIT(CHECK_CHAIN) | BIT(CHECK_TIME),
           UNASKED);

    d = good; /* the root is not where it belongs */
    d.cabundle[0] = good.cabundle[1];
    expect(&d, &policy, BIT(CHECK_ROOT), UNASKED);
    d = good; /* two entries change places: the path could still be built */
    d.cabundle[1] = good.cabundle[2];
    d.cabundle[2] = good.cabundle[1];
    expect(&d, &policy, BIT(CHECK_CHAIN), UNASKED);
    d = good; /* one too many */
    d.cabundle[d.cabundle_count++] = good.cabundle[3];
    expect(&d, &policy, BIT(CHECK_CHAIN), UNASKED);
    d = good; /* one missing */
    d.cabundle_count--;
    expect(&d, &policy, BIT(CHECK_CHAIN), UNASKED);
    d = good; /* bytes after a certificate */
    memcpy(longer, good.certificate.data, good.certificate.len);
    longer[good.certificate.len] = 0;
    d.certificate = (struct bytes){longer, good.certificate.len + 1};
    expect(&d, &policy,
           BIT(CHECK_IDENTITY) | BIT(CHECK_CHAIN) | BIT(CHECK_SIGNATURE) | BIT(CHECK_TIME),
           UNASKED);
    d = good; /* a CA in the leaf's place: its name, key and rights are wrong; its times are not */
    d.certificate = good.cabundle[3];
    expect(&d, &policy, BIT(CHECK_IDENTITY) | BIT(CHECK_CHAIN) | BIT(CHECK_SIGNATURE), UNASKED);
    d = good;
    d.payload.len--;
    expect(&d, &policy, BIT(CHECK_SIGNATURE), UNASKED);
    document_free(&good);
}

static void test_identity(void **state)
{
    static const char *const wrong[] = {
        "i-01cfb383223e42522-enc0000000000000000",  "i-01cfb383223e42523-tpm0000000000000000",
        "i-01cfb383223e42522-tpm0000000000000001",  "i-01cfb383223e42522-tpm000000000000000",
        "i-01cfb383223e42522-tpm00000000000000000", "i-01cfb383223e42522",
        "i-01CFB383223E42522-tpm0000000000000000",  "j-01cfb383223e42522-tpm0000000000000000",
        "i-1cfb383223e42522-tpm0000000000000000",   "-",
    };
    struct document document = load(genuine[0]);
    struct verify_policy policy = {.at_ms = document.timestamp_ms};

    (void)state;
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        (void)snprintf(document.module_id, sizeof(document.module_id), "%s", wrong[i]);
        expect(&document, &policy, BIT(CHECK_IDENTITY), UNASKED);
    }
    document_free(&document);
}

static char *to_pem(struct bytes der)
{
    struct mu_error err;
    X509 *certificate = NULL;
    BIO *bio = BIO_new(BIO_s_mem());
    char *text, *copy;
    long len;

    assert_int_equal(certificate_from_der(der, "x", &certificate, &err), MU_OK);
    assert_int_equal(PEM_write_bio_X509(bio, certificate), 1);
    len = BIO_get_mem_data(bio, &text);
    copy = strndup(text, (size_t)len);
    BIO_free(bio);
    certificate_free(&certificate);
    return copy;
}

/* A certificate of the path is no anchor, even if it is the one asked to be trusted. */
static void test_other_root(void **state)
{
    struct document document = load(genuine[0]);
    char *regional = to_pem(document.cabundle[1]);
    char *aws = to_pem(document.cabundle[0]);
    struct verify_policy policy = {.at_ms = document.timestamp_ms};

    (void)state;
    policy.root = (struct bytes){(uint8_t *)aws, strlen(aws)};
    expect(&document, &policy, 0, UNASKED);
    policy.root = (struct bytes){(uint8_t *)regional, strlen(regional)};
    expect(&document, &policy, BIT(CHECK_ROOT) | BIT(CHECK_CHAIN), UNASKED);
    free(regional);
    free(aws);
    document_free(&document);
}

static void test_age_and_nonce(void **state)
{
    struct document document = load(genuine[0]);
    uint8_t other[64];
    struct verify_policy policy = {.at_ms = document.timestamp_ms + 60000, .max_age_s = 60};

    (void)state;
    assert_in_range(document.nonce.len, 1, sizeof(other));
    expect(&document, &policy, 0, UNASKED & ~BIT(CHECK_AGE));
    policy.at_ms++;
    expect(&document, &policy, BIT(CHECK_AGE), UNASKED & ~BIT(CHECK_AGE));
    policy.at_ms = document.timestamp_ms - 1;
    expect(&document, &policy, 0, UNASKED & ~BIT(CHECK_AGE));

    policy.max_age_s = 0;
    policy.nonce = document.nonce;
    expect(&document, &policy, 0, UNASKED & ~BIT(CHECK_NONCE));
    memcpy(other, document.nonce.data, document.nonce.len);
    other[document.nonce.len - 1] ^= 1;
    policy.nonce = (struct bytes){other, document.nonce.len};
    expect(&document, &policy, BIT(CHECK_NONCE), UNASKED & ~BIT(CHECK_NONCE));
    policy.nonce = (struct bytes){document.nonce.data, document.nonce.len - 1};
    expect(&document, &policy, BIT(CHECK_NONCE), UNASKED & ~BIT(CHECK_NONCE));
    policy.nonce = document.nonce;
    document.nonce = (struct bytes){0};
    expect(&document, &policy, BIT(CHECK_NONCE), UNASKED & ~BIT(CHECK_NONCE));
    document_free(&document);
}

static void test_baseline(void **state)
{
    struct document document = load(genuine[0]);
    struct pcr_values baseline = {.bank = HASH_SHA384, .mask = PCR_BIT(4) | PCR_BIT(12)};
    struct verify_policy policy = {.at_ms = document.timestamp_ms, .baseline = &baseline};
    struct verify_report report;
    struct mu_error err = {0};

    (void)state;
    memcpy(baseline.value[4].bytes, document.pcr[4].data, 48);
    expect(&document, &policy, 0, UNASKED & ~BIT(CHECK_BASELINE));
    assert_int_equal(verify_document(&document, &policy, &report, &err), MU_OK);
    assert_string_equal(report.check[CHECK_BASELINE].detail, "equal: PCR 4 12");

    baseline.mask = PCR_BIT(4);
    assert_int_equal(verify_document(&document, &policy, &report, &err), MU_OK);
    assert_non_null(strstr(report.check[CHECK_BASELINE].detail, "lacks PCR 12"));
    document.pcr_mask &= ~PCR_BIT(4);
    expect(&document, &policy, BIT(CHECK_BASELINE), UNASKED & ~BIT(CHECK_BASELINE));
    document.pcr_mask |= PCR_BIT(4);
    baseline.value[4].bytes[47] ^= 1;
    expect(&document, &policy, BIT(CHECK_BASELINE), UNASKED & ~BIT(CHECK_BASELINE));

    baseline.bank = HASH_SHA256;
    assert_int_equal(verify_document(&document, &policy, &report, &err), MU_CONFIG);
    document_free(&document);
}

static void test_require_all(void **state)
{
    struct document document = load(genuine[0]);
    struct pcr_values baseline = {.bank = HASH_SHA384, .mask = PCR_BIT(12)};
    struct verify_policy policy = {.at_ms = document.timestamp_ms,
                                   .max_age_s = 1,
                                   .nonce = document.nonce,
                                   .baseline = &baseline,
                                   .require_all = true};

    (void)state;
    expect(&document, &policy, 0, WHO);
    policy.max_age_s = 0;
    expect(&document, &policy, 0, BIT(CHECK_AGE) | WHO);
    document_free(&document);
}

static enum mu_status verify_with(struct bytes raw, uint64_t at_ms, struct chain_cache *with,
                                  struct mu_error *err)
{
    struct verify_policy policy = {.at_ms = at_ms, .cache = with};
    struct document document = {0};
    struct verify_report report;
    enum mu_status status = verify_bytes(raw, &policy, &document, &report, err);

    assert_int_equal(report.ok, status == MU_OK);
    document_free(&document);
    return status;
}

static enum mu_status verify_raw(struct bytes raw, uint64_t at_ms, struct mu_error *err)
{
    enum mu_status status = verify_with(raw, at_ms, NULL, err);

    assert_int_equal(verify_with(raw, at_ms, cache(), err), status);
    return status;
}

static void test_flips(void **state)
{
    struct buffer raw = vector_load(genuine[0]);
    struct document document = load(genuine[0]);
    uint64_t at_ms = document.timestamp_ms;
    struct mu_error err = {0};

    (void)state;
    assert_int_equal(verify_raw(buffer_view(&raw), at_ms, &err), MU_OK);
    for (size_t i = 0; i < raw.len; i += i < 64 || i + 100 >= raw.len ? 1 : 17) {
        uint8_t bit = (uint8_t)(1u << (i % 8));

        raw.data[i] ^= bit;
        if (verify_raw(buffer_view(&raw), at_ms, &err) != MU_REFUSE)
            fail_msg("byte %zu, bit %#x", i, bit);
        raw.data[i] ^= bit;
    }
    for (size_t n = 0; n < raw.len; n++)
        assert_int_equal(verify_raw((struct bytes){raw.data, n}, at_ms, &err), MU_REFUSE);
    document_free(&document);
    buffer_free(&raw);
}

static void test_enclave(void **state)
{
    static const char *const names[] = {
        "enclave-doc/nitrite-nitro_attestation.cbor",
        "enclave-doc/dstack_dstack-attest_tests_nitro_attestation.cbor",
        "enclave-doc/nitrite-selfsigned_attestation.cbor",
    };

    (void)state;
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        struct buffer raw = vector_load(names[i]);
        struct verify_policy policy = {.at_own_time = true};
        struct document document = {0};
        struct verify_report report;
        struct mu_error err = {0};

        assert_int_equal(verify_bytes(buffer_view(&raw), &policy, &document, &report, &err),
                         MU_REFUSE);
        assert_int_equal(mask_of(&report, VERIFY_FAILED), BIT(CHECK_STRUCTURE));
        assert_int_equal(mask_of(&report, VERIFY_OK), 0);
        assert_string_equal(report.check[CHECK_STRUCTURE].detail, err.text);
        assert_null(document.raw.data);
        buffer_free(&raw);
    }
}

/* ---- cose-wg/Examples ---- */

/* RFC 4648, 5, without padding. */
static size_t from_base64url(const char *text, uint8_t *to, size_t cap)
{
    MU_CLEANUP(buffer_free) struct buffer decoded = {0};
    struct mu_error err = {0};
    char standard[128];
    size_t len = strlen(text);

    assert_in_range(len, 1, sizeof(standard) - 4);
    for (size_t i = 0; i < len; i++)
        standard[i] = (char)(text[i] == '-' ? '+' : text[i] == '_' ? '/' : text[i]);
    while (len % 4 != 0)
        standard[len++] = '=';
    standard[len] = '\0';
    assert_int_equal(base64_decode(standard, cap, &decoded, &err), MU_OK);
    memcpy(to, decoded.data, decoded.len);
    return decoded.len;
}

static EVP_PKEY *public_key(const char *group, uint8_t *point, size_t len)
{
    OSSL_PARAM parameters[] = {
        OSSL_PARAM_construct_utf8_string(OSSL_PKEY_PARAM_GROUP_NAME, (char *)group, 0),
        OSSL_PARAM_construct_octet_string(OSSL_PKEY_PARAM_PUB_KEY, point, len),
        OSSL_PARAM_construct_end(),
    };
    EVP_PKEY_CTX *context = EVP_PKEY_CTX_new_from_name(NULL, "EC", NULL);
    EVP_PKEY *key = NULL;

    assert_int_equal(EVP_PKEY_fromdata_init(context), 1);
    assert_int_equal(EVP_PKEY_fromdata(context, &key, EVP_PKEY_PUBLIC_KEY, parameters), 1);
    EVP_PKEY_CTX_free(context);
    return key;
}

/* What the examples have in common: 18([protected, {4: kid}, payload, signature]). */
struct example {
    EVP_PKEY *key;
    uint8_t cbor[512];
    struct bytes protected_header, payload, signature;
};

static json_object *follow(json_object *object, const char *const *names)
{
    for (; *names != NULL; names++)
        assert_true(json_object_object_get_ex(object, *names, &object));
    return object;
}

static const char *text_at(json_object *object, const char *const *names)
{
    return json_object_get_string(follow(object, names));
}

static struct bytes byte_string(struct reader *r)
{
    uint8_t head = reader_u8(r);

    return reader_take(r, head == 0x58 ? reader_u8(r) : head - 0x40u);
}

static void load_example(const char *name, const char *group, struct example *ret)
{
    struct buffer file = vector_load(name);
    struct mu_error err = {0};
    json_object *json = NULL;
    uint8_t point[160] = {4};
    const char *hex;
    struct reader r;
    size_t len = 1;

    assert_int_equal(json_parse(buffer_view(&file), name, MU_CONFIG, &json, &err), MU_OK);
    len += from_base64url(text_at(json, (const char *[]){"input", "sign0", "key", "x", NULL}),
                          point + len, 66);
    len += from_base64url(text_at(json, (const char *[]){"input", "sign0", "key", "y", NULL}),
                          point + len, 66);
    ret->key = public_key(group, point, len);
    hex = text_at(json, (const char *[]){"output", "cbor", NULL});
    assert_in_range(strlen(hex), 2, 2 * sizeof(ret->cbor));
    assert_true(hex_decode(hex, ret->cbor, strlen(hex) / 2));
    r = reader_of((struct bytes){ret->cbor, strlen(hex) / 2});
    assert_int_equal(reader_be16(&r), 0xd284);
    ret->protected_header = byte_string(&r);
    assert_int_equal(reader_be16(&r), 0xa104);
    (void)byte_string(&r);
    ret->payload = byte_string(&r);
    ret->signature = byte_string(&r);
    assert_false(r.failed);
    assert_int_equal(reader_left(&r), 0);
    json_free(&json);
    buffer_free(&file);
}

static void test_cose(void **state)
{
    struct example e;
    struct bytes *const parts[] = {&e.protected_header, &e.payload, &e.signature};
    struct mu_error err = {0};
    const uint8_t zero[COSE_ES384_SIZE] = {0};

    (void)state;
    load_example("cose-es384/ecdsa-sig-02.json", "P-384", &e);
    assert_int_equal(cose_verify_es384(e.key, e.protected_header, e.payload, e.signature, &err),
                     MU_OK);
    for (size_t i = 0; i < sizeof(parts) / sizeof(parts[0]); i++) {
        for (size_t at = 0; at < parts[i]->len; at++) {
            uint8_t *byte = e.cbor + (parts[i]->data - e.cbor) + at;

            *byte ^= 0x10;
            assert_int_equal(
                cose_verify_es384(e.key, e.protected_header, e.payload, e.signature, &err),
                MU_REFUSE);
            *byte ^= 0x10;
        }
    }
    assert_int_equal(cose_verify_es384(e.key, e.protected_header, e.payload,
                                       (struct bytes){zero, sizeof(zero)}, &err),
                     MU_REFUSE);
    e.signature.len--;
    assert_int_equal(cose_verify_es384(e.key, e.protected_header, e.payload, e.signature, &err),
                     MU_REFUSE);
    EVP_PKEY_free(e.key);
}

static void test_cose_other_curves(void **state)
{
    static const struct {
        const char *name, *group;
    } examples[] = {{"cose-es384/ecdsa-sig-01.json", "P-256"},
                    {"cose-es384/ecdsa-sig-03.json", "P-521"},
                    {"cose-es384/ecdsa-sig-04.json", "P-256"}};

    (void)state;
    for (size_t i = 0; i < sizeof(examples) / sizeof(examples[0]); i++) {
        struct mu_error err = {0};
        struct example e;

        load_example(examples[i].name, examples[i].group, &e);
        assert_int_equal(cose_verify_es384(e.key, e.protected_header, e.payload, e.signature, &err),
                         MU_REFUSE);
        assert_non_null(strstr(err.text, "P-384"));
        EVP_PKEY_free(e.key);
    }
}

/* What is known is known for its path, its root and its time. */
static void test_cache(void **state)
{
    MU_CLEANUP(chain_cache_free) struct chain_cache *fresh = NULL;
    struct document document = load(genuine[0]);
    struct verify_policy policy = {.at_own_time = true};
    struct verify_report report;
    struct mu_error err = {0};
    STACK_OF(X509) *path = sk_X509_new_null();
    int64_t at = (int64_t)(document.timestamp_ms / 1000), from, until;
    X509 *certificate = NULL;

    (void)state;
    assert_int_equal(chain_cache_new(&fresh, &err), MU_OK);
    assert_int_equal(certificate_from_der(document.certificate, "leaf", &certificate, &err), MU_OK);
    assert_true(sk_X509_push(path, certificate) > 0);
    for (size_t i = document.cabundle_count; i > 0; i--) {
        assert_int_equal(certificate_from_der(document.cabundle[i - 1], "CA", &certificate, &err),
                         MU_OK);
        assert_true(sk_X509_push(path, certificate) > 0);
    }
    assert_false(chain_cache_knows(fresh, path, at));
    policy.cache = fresh;
    assert_int_equal(verify_document(&document, &policy, &report, &err), MU_OK);
    assert_true(chain_cache_knows(fresh, path, at));
    assert_int_equal(certificate_validity(sk_X509_value(path, 1), &from, &until, &err), MU_OK);
    assert_true(chain_cache_knows(fresh, path, until)); /* the shortest of them */
    assert_false(chain_cache_knows(fresh, path, until + 1));
    assert_true(chain_cache_knows(fresh, path, from));
    assert_false(chain_cache_knows(fresh, path, from - 1));
    X509_free(sk_X509_delete(path, 2));
    assert_false(chain_cache_knows(fresh, path, at));
    sk_X509_pop_free(path, X509_free);
    document_free(&document);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_root),
        cmocka_unit_test(test_root_vector),
        cmocka_unit_test(test_root_file),
        cmocka_unit_test(test_genuine),
        cmocka_unit_test(test_report),
        cmocka_unit_test(test_time),
        cmocka_unit_test(test_one_thing_wrong),
        cmocka_unit_test(test_identity),
        cmocka_unit_test(test_other_root),
        cmocka_unit_test(test_age_and_nonce),
        cmocka_unit_test(test_baseline),
        cmocka_unit_test(test_require_all),
        cmocka_unit_test(test_flips),
        cmocka_unit_test(test_cache),
        cmocka_unit_test(test_enclave),
        cmocka_unit_test(test_cose),
        cmocka_unit_test(test_cose_other_curves),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
