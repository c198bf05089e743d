/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <ctype.h>

#include <openssl/core_names.h>
#include <openssl/param_build.h>
#include <openssl/pem.h>

#include "appraise/chain.h"
#include "appraise/cose.h"
#include "appraise/root.h"
#include "appraise/verify.h"
#include "base/json.h"
#include "measure/baseline.h"
#include "test.h"

#define BIT(check) (1u << (check))
#define ALL (BIT(VERIFY_CHECKS) - 1)
/* Which require_all leaves out. */
#define WHO (BIT(CHECK_IDENTITY_SIGNATURE) | BIT(CHECK_IDENTITY_INSTANCE))
#define UNASKED (BIT(CHECK_AGE) | BIT(CHECK_NONCE) | BIT(CHECK_BASELINE) | WHO)
#define HOUR_MS 3600000u
#define LEAF_LIFE (3 * 3600 + 3)

/* Documents that are right: one of our emulator with its root, and genuine ones. */
static const struct sample {
    const char *name, *instance_id;
    int64_t valid_from;
    bool ours;
} samples[] = {
    {"samples/document.cbor", "i-0123456789abcdef0", 1795927474, true},
    {"nitrotpm-doc/vaportpm-nitro-fixture-HEAD.cbor", "i-01cfb383223e42522", 1770113519, false},
    {"nitrotpm-doc/vaportpm-21a610c.cbor", "i-0082f89b039c97a0f", 1770017305, false},
};

/* What a test is about. */
static struct {
    const struct sample *sample;
    struct buffer raw, root; /* no root: AWS's own */
    struct document document;
} now;

static bool load(const struct sample *sample)
{
    now.sample = sample;
    if (sample->ours) {
        now.raw = data_load(sample->name);
        now.root = data_load("samples/root.pem");
    } else if (!vector_find(sample->name, &now.raw)) {
        return false;
    }
    if (document_parse(buffer_view(&now.raw), &now.document, &err) != MU_OK)
        fail_msg("%s: %s", sample->name, err.text);
    return true;
}

static void unload(void)
{
    document_free(&now.document);
    buffer_free(&now.raw);
    buffer_free(&now.root);
}

/* A test that is made with each of them. */
#define TEST_EACH(name)                                                                            \
    static void name##_with(void);                                                                 \
    TEST(name)                                                                                     \
    {                                                                                              \
        for (size_t s = 0; s < sizeof(samples) / sizeof(samples[0]); s++) {                        \
            if (!load(&samples[s]))                                                                \
                continue;                                                                          \
            name##_with();                                                                         \
            unload();                                                                              \
        }                                                                                          \
    }                                                                                              \
    static void name##_with(void)

static struct verify_policy policy_at(uint64_t at_ms)
{
    return (struct verify_policy){.at_ms = at_ms, .root = buffer_view(&now.root)};
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

    if (made == NULL)
        assert_int_equal(chain_cache_new(&made, &err), MU_OK);
    return made;
}

static void expect_same(const struct document *document, const struct verify_policy *policy,
                        const struct verify_report *report, const struct mu_error *error)
{
    struct verify_policy cached = *policy;

    cached.cache = cache();
    for (size_t i = 0; i < 2; i++) {
        struct verify_report found;
        struct mu_error why = {0};

        assert_int_equal(verify_document(document, &cached, &found, &why), error->status);
        assert_memory_equal(&found, report, sizeof(found));
        assert_string_equal(why.text, error->text);
    }
}

/* Exactly these checks fail, and the rest is what the policy makes of it. */
static void expect(const struct document *document, const struct verify_policy *policy,
                   unsigned failed, unsigned not_done)
{
    struct verify_report report;
    enum mu_status status;

    err = (struct mu_error){0};
    status = verify_document(document, policy, &report, &err);
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

TEST(test_root)
{
    struct bytes baked = {(const uint8_t *)aws_nitro_root, strlen(aws_nitro_root)};
    MU_CLEANUP(buffer_free) struct buffer published = {0};
    X509 *root = NULL;
    uint8_t sum[32];
    unsigned len = 0;
    char hex[65];

    assert_int_equal(certificate_from_pem(baked, "root", &root, &err), MU_OK);
    assert_int_equal(X509_digest(root, EVP_sha256(), sum, &len), 1);
    hex_encode((struct bytes){sum, len}, hex);
    assert_string_equal(hex, "641a0321a3e244efe456463195d606317ed7cdcc3c1756e09893f3c68f79bb5b");
    certificate_free(&root);
    if (vector_find("certs/AWS_NitroEnclaves_Root-G1.pem", &published))
        assert_true(bytes_equal(buffer_view(&published), baked));
}

TEST(test_root_file)
{
    static const char *const bad[] = {"", "nothing", "-----BEGIN CERTIFICATE-----\nMIIC\n"};
    char twice[4096];
    X509 *root = NULL;

    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        assert_int_equal(certificate_from_pem(text_view(bad[i]), "f", &root, &err), MU_CONFIG);
    (void)snprintf(twice, sizeof(twice), "%s%s", aws_nitro_root, aws_nitro_root);
    assert_int_equal(certificate_from_pem(text_view(twice), "f", &root, &err), MU_CONFIG);
    assert_non_null(strstr(err.text, "more than one"));
    assert_null(root);
}

TEST_EACH(test_good)
{
    struct verify_policy policy = policy_at(now.document.timestamp_ms);

    expect(&now.document, &policy, 0, UNASKED);
    policy.require_all = true;
    expect(&now.document, &policy, 0, UNASKED);
    policy.at_own_time = true;
    policy.at_ms = 0;
    policy.require_all = false;
    expect(&now.document, &policy, 0, UNASKED);
}

TEST_EACH(test_report)
{
    struct document document = now.document;
    struct verify_policy policy = {.at_own_time = true, .root = buffer_view(&now.root)};
    struct verify_report report;

    assert_int_equal(verify_document(&document, &policy, &report, &err), MU_OK);
    assert_string_equal(report.instance_id, now.sample->instance_id);
    assert_true(report.at_ms == document.timestamp_ms);
    assert_int_equal(report.valid_from, now.sample->valid_from);
    assert_int_equal(report.valid_until, now.sample->valid_from + LEAF_LIFE);
    assert_string_equal(report.check[CHECK_CHAIN].name, "chain");
    assert_string_equal(verify_result_name(report.check[CHECK_AGE].result), "not-done");
}

/* The leaf is valid for three hours and three seconds; OpenSSL counts the last one as expired. */
TEST_EACH(test_time)
{
    struct document document = now.document;
    struct verify_policy policy = policy_at(document.timestamp_ms);
    const uint64_t last_ms = (uint64_t)(now.sample->valid_from + LEAF_LIFE) * 1000;

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
}

/* The signature does not cover what is altered here, so that each check answers for itself. */
TEST_EACH(test_one_thing_wrong)
{
    struct document good = now.document;
    struct verify_policy policy = policy_at(good.timestamp_ms);
    struct document d;
    uint8_t longer[1025];

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
    expect(&d, &(struct verify_policy){.at_own_time = true, .root = buffer_view(&now.root)},
           BIT(CHECK_CHAIN) | BIT(CHECK_TIME), UNASKED);

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
}

TEST_EACH(test_identity)
{
    static const char *const suffixes[] = {
        "-enc0000000000000000",
        "-tpm0000000000000001",
        "-tpm000000000000000",
        "-tpm00000000000000000",
        "",
    };
    struct document document = now.document;
    struct verify_policy policy = policy_at(document.timestamp_ms);
    char id[32];

    for (size_t i = 0; i < sizeof(suffixes) / sizeof(suffixes[0]); i++) {
        (void)snprintf(document.module_id, sizeof(document.module_id), "%s%s",
                       now.sample->instance_id, suffixes[i]);
        expect(&document, &policy, BIT(CHECK_IDENTITY), UNASKED);
    }
    /* Another machine, other letters, a shorter number. */
    for (size_t i = 0; i < 4; i++) {
        (void)snprintf(id, sizeof(id), "%s", now.sample->instance_id);
        if (i == 0)
            id[strlen(id) - 1] ^= 1;
        else if (i == 1)
            id[0] = 'j';
        else if (i == 2)
            memmove(id + 2, id + 3, strlen(id + 2));
        for (char *c = id + 2; i == 3 && *c != '\0'; c++)
            *c = (char)toupper(*c);
        (void)snprintf(document.module_id, sizeof(document.module_id), "%s-tpm0000000000000000",
                       id);
        expect(&document, &policy, BIT(CHECK_IDENTITY), UNASKED);
    }
    (void)snprintf(document.module_id, sizeof(document.module_id), "-");
    expect(&document, &policy, BIT(CHECK_IDENTITY), UNASKED);
}

static char *to_pem(struct bytes der)
{
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
TEST_EACH(test_other_root)
{
    struct document document = now.document;
    char *regional = to_pem(document.cabundle[1]);
    char *root = to_pem(document.cabundle[0]);
    struct verify_policy policy = policy_at(document.timestamp_ms);

    policy.root = text_view(root);
    expect(&document, &policy, 0, UNASKED);
    policy.root = text_view(regional);
    expect(&document, &policy, BIT(CHECK_ROOT) | BIT(CHECK_CHAIN), UNASKED);
    free(regional);
    free(root);
}

TEST_EACH(test_age_and_nonce)
{
    struct document document = now.document;
    uint8_t other[64];
    struct verify_policy policy = {
        .at_ms = document.timestamp_ms + 60000, .max_age_s = 60, .root = buffer_view(&now.root)};

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
}

TEST_EACH(test_baseline)
{
    struct document document = now.document;
    struct pcr_values baseline = {
        .bank = HASH_SHA384, .mask = PCR_BIT(4) | PCR_BIT(12), .without = BASELINE_CLEAN_PCRS};
    struct verify_policy policy = {
        .at_ms = document.timestamp_ms, .baseline = &baseline, .root = buffer_view(&now.root)};
    struct verify_report report;

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
}

TEST_EACH(test_require_all)
{
    struct document document = now.document;
    struct pcr_values baseline = {.bank = HASH_SHA384, .mask = PCR_BIT(12)};
    struct verify_policy policy = {.at_ms = document.timestamp_ms,
                                   .max_age_s = 1,
                                   .nonce = document.nonce,
                                   .baseline = &baseline,
                                   .root = buffer_view(&now.root),
                                   .require_all = true};

    expect(&document, &policy, 0, WHO);
    policy.max_age_s = 0;
    expect(&document, &policy, 0, BIT(CHECK_AGE) | WHO);
}

static enum mu_status verify_with(struct bytes raw, uint64_t at_ms, struct chain_cache *with,
                                  struct mu_error *error)
{
    struct verify_policy policy = {.at_ms = at_ms, .cache = with, .root = buffer_view(&now.root)};
    struct document document = {0};
    struct verify_report report;
    enum mu_status status = verify_bytes(raw, &policy, &document, &report, error);

    assert_int_equal(report.ok, status == MU_OK);
    document_free(&document);
    return status;
}

static enum mu_status verify_raw(struct bytes raw, uint64_t at_ms, struct mu_error *error)
{
    enum mu_status status = verify_with(raw, at_ms, NULL, error);

    assert_int_equal(verify_with(raw, at_ms, cache(), error), status);
    return status;
}

TEST_EACH(test_flips)
{
    struct buffer raw = now.raw;
    uint64_t at_ms = now.document.timestamp_ms;
    size_t edge = now.sample->ours ? 1 : 10; /* one of the three is enough for all of them */

    assert_int_equal(verify_raw(buffer_view(&raw), at_ms, &err), MU_OK);
    for (size_t i = 0; i < raw.len; i += i < 64 || i + 100 >= raw.len ? edge : 17 * edge) {
        uint8_t bit = (uint8_t)(1u << (i % 8));

        raw.data[i] ^= bit;
        if (verify_raw(buffer_view(&raw), at_ms, &err) != MU_REFUSE)
            fail_msg("byte %zu, bit %#x", i, bit);
        raw.data[i] ^= bit;
    }
    for (size_t n = 0; n < raw.len; n++)
        assert_int_equal(verify_raw((struct bytes){raw.data, n}, at_ms, &err), MU_REFUSE);
}

static void is_no_document(struct bytes raw)
{
    struct verify_policy policy = {.at_own_time = true};
    struct document document = {0};
    struct verify_report report;

    assert_int_equal(verify_bytes(raw, &policy, &document, &report, &err), MU_REFUSE);
    assert_int_equal(mask_of(&report, VERIFY_FAILED), BIT(CHECK_STRUCTURE));
    assert_int_equal(mask_of(&report, VERIFY_OK), 0);
    assert_string_equal(report.check[CHECK_STRUCTURE].detail, err.text);
    assert_null(document.raw.data);
}

TEST(test_enclave)
{
    static const char *const genuine[] = {
        "enclave-doc/nitrite-nitro_attestation.cbor",
        "enclave-doc/dstack_dstack-attest_tests_nitro_attestation.cbor",
        "enclave-doc/nitrite-selfsigned_attestation.cbor",
    };
    MU_CLEANUP(buffer_free) struct buffer enclave = data_load("samples/enclave.cbor");
    MU_CLEANUP(buffer_free) struct buffer without = data_load("samples/without-header.cbor");

    is_no_document(buffer_view(&enclave));
    is_no_document(buffer_view(&without));
    for (size_t i = 0; i < sizeof(genuine) / sizeof(genuine[0]); i++) {
        MU_CLEANUP(buffer_free) struct buffer vector = {0};

        if (vector_find(genuine[i], &vector))
            is_no_document(buffer_view(&vector));
    }
}

/* ---- cose-wg/Examples, if they are there ---- */

/* RFC 4648, 5, without padding. */
static size_t from_base64url(const char *text, uint8_t *to, size_t cap)
{
    MU_CLEANUP(buffer_free) struct buffer decoded = {0};
    char standard[128];
    size_t len = strlen(text);

    assert_in_range(len, 1, sizeof(standard) - 4);
    for (size_t i = 0; i < len; i++)
        standard[i] = (char)(text[i] == '-' ? '+' : text[i] == '_' ? '/' : text[i]);
    while (len % 4 != 0)
        standard[len++] = '=';
    standard[len] = '\0';
    assert_int_equal(base64_decode(standard, cap, MU_CONFIG, &decoded, &err), MU_OK);
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

static bool load_example(const char *name, const char *group, struct example *ret)
{
    MU_CLEANUP(buffer_free) struct buffer file = {0};
    json_object *json = NULL;
    uint8_t point[160] = {4};
    const char *hex;
    struct reader r;
    size_t len = 1;

    if (!vector_find(name, &file))
        return false;
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
    return true;
}

static void all_of_it_is_signed(struct example *e)
{
    struct bytes *const parts[] = {&e->protected_header, &e->payload, &e->signature};
    const uint8_t zero[COSE_ES384_SIZE] = {0};

    assert_int_equal(cose_verify_es384(e->key, e->protected_header, e->payload, e->signature, &err),
                     MU_OK);
    for (size_t i = 0; i < sizeof(parts) / sizeof(parts[0]); i++) {
        MU_CLEANUP(buffer_free) struct buffer altered = {0};
        struct bytes was = *parts[i];

        assert_int_equal(buffer_copy(&altered, was, &err), MU_OK);
        *parts[i] = buffer_view(&altered);
        for (size_t at = 0; at<was.len; at += was.len> 256 ? 37 : 1) {
            altered.data[at] ^= 0x10;
            assert_int_equal(
                cose_verify_es384(e->key, e->protected_header, e->payload, e->signature, &err),
                MU_REFUSE);
            altered.data[at] ^= 0x10;
        }
        *parts[i] = was;
    }
    assert_int_equal(cose_verify_es384(e->key, e->protected_header, e->payload,
                                       (struct bytes){zero, sizeof(zero)}, &err),
                     MU_REFUSE);
    e->signature.len--;
    assert_int_equal(cose_verify_es384(e->key, e->protected_header, e->payload, e->signature, &err),
                     MU_REFUSE);
    EVP_PKEY_free(e->key);
}

/* As the document of the emulator is signed, by other libraries. */
static struct example own_example(EVP_PKEY *key)
{
    static const uint8_t header[] = {0xa1, 0x01, 0x38, 0x22};

    return (struct example){.key = key,
                            .protected_header = {header, sizeof(header)},
                            .payload = now.document.payload,
                            .signature = now.document.signature};
}

TEST(test_cose)
{
    struct example e;
    X509 *leaf = NULL;

    assert_true(load(&samples[0]));
    assert_int_equal(certificate_from_der(now.document.certificate, "leaf", &leaf, &err), MU_OK);
    e = own_example(X509_get_pubkey(leaf));
    all_of_it_is_signed(&e);
    certificate_free(&leaf);
    unload();
    if (load_example("cose-es384/ecdsa-sig-02.json", "P-384", &e))
        all_of_it_is_signed(&e);
}

static void is_another_curve(struct example *e)
{
    assert_int_equal(cose_verify_es384(e->key, e->protected_header, e->payload, e->signature, &err),
                     MU_REFUSE);
    assert_non_null(strstr(err.text, "P-384"));
    EVP_PKEY_free(e->key);
}

TEST(test_cose_other_curves)
{
    static const struct {
        const char *name, *group;
    } examples[] = {{"cose-es384/ecdsa-sig-01.json", "P-256"},
                    {"cose-es384/ecdsa-sig-03.json", "P-521"},
                    {"cose-es384/ecdsa-sig-04.json", "P-256"}};

    assert_true(load(&samples[0]));
    for (size_t i = 0; i < sizeof(examples) / sizeof(examples[0]); i++) {
        struct example e = own_example(EVP_EC_gen(examples[i].group));

        is_another_curve(&e);
        if (load_example(examples[i].name, examples[i].group, &e))
            is_another_curve(&e);
    }
    unload();
}

/* What is known is known for its path, its root and its time. */
TEST_EACH(test_cache)
{
    MU_CLEANUP(chain_cache_free) struct chain_cache *fresh = NULL;
    struct document document = now.document;
    struct verify_policy policy = {.at_own_time = true, .root = buffer_view(&now.root)};
    struct verify_report report;
    STACK_OF(X509) *path = sk_X509_new_null();
    int64_t at = (int64_t)(document.timestamp_ms / 1000), from, until;
    X509 *certificate = NULL;

    assert_int_equal(chain_cache_new(&fresh, &err), MU_OK);
    assert_int_equal(certificate_from_der(document.certificate, "leaf", &certificate, &err), MU_OK);
    assert_true(sk_X509_push(path, certificate) > 0);
    for (size_t i = document.cabundle_count; i > 0; i--) {
        assert_int_equal(certificate_from_der(document.cabundle[i - 1], "CA", &certificate, &err),
                         MU_OK);
        assert_true(sk_X509_push(path, certificate) > 0);
    }
    assert_false(chain_cache_knows(fresh, path, 1, at));
    policy.cache = fresh;
    assert_int_equal(verify_document(&document, &policy, &report, &err), MU_OK);
    assert_true(chain_cache_knows(fresh, path, 1, at));
    assert_int_equal(certificate_validity(sk_X509_value(path, 1), &from, &until, &err), MU_OK);
    assert_true(chain_cache_knows(fresh, path, 1, until - 1)); /* the shortest of them */
    assert_false(chain_cache_knows(fresh, path, 1, until));    /* as OpenSSL has it */
    assert_true(chain_cache_knows(fresh, path, 1, from));
    assert_false(chain_cache_knows(fresh, path, 1, from - 1));
    X509_free(sk_X509_delete(path, 2));
    assert_false(chain_cache_knows(fresh, path, 1, at));
    sk_X509_pop_free(path, X509_free);
}
