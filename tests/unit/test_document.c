/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "attest/document.h"
#include "base/cbor.h"
#include "test.h"

/* Builds a document piece by piece, so that each test can get one piece wrong. */
struct pieces {
    const char *outer, *protected_header, *unprotected, *open, *module_id, *digest, *timestamp,
        *pcrs, *certificate, *cabundle, *optional, *close, *after_payload, *signature, *after;
};

#define ZERO48                                                                                     \
    "00000000000000000000000000000000000000000000000000000000000000000000"                         \
    "0000000000000000000000000000"
#define PCRS "6d6e6974726f74706d5f70637273" /* "nitrotpm_pcrs" */
#define PCR48 "5830" ZERO48
#define CERTIFICATE "6b6365727469666963617465"
#define CABUNDLE "68636162756e646c65"
#define MODULE_ID "696d6f64756c655f6964"
#define DIGEST "66646967657374"
#define TIMESTAMP "6974696d657374616d70"
#define PUBLIC_KEY "6a7075626c69635f6b6579"
#define USER_DATA "69757365725f64617461"
#define NONCE "656e6f6e6365"

#define ENTRIES8 "41014101410141014101410141014101"
#define ENTRIES16 ENTRIES8 ENTRIES8

static const struct pieces good = {
    .outer = "84",
    .protected_header = "44a1013822",
    .unprotected = "a0",
    .open = "bf",
    .module_id = MODULE_ID "63692d31",
    .digest = DIGEST "66534841333834",
    .timestamp = TIMESTAMP "1b0000019c1d2e3f40",
    .pcrs = PCRS "a200" PCR48 "0f" PCR48,
    .certificate = CERTIFICATE "43300102",
    .cabundle = CABUNDLE "8243300102420304",
    .optional = PUBLIC_KEY "f6" USER_DATA "40" NONCE "420102",
    .close = "ff",
    .after_payload = "",
    .signature = "5860" ZERO48 ZERO48,
    .after = "",
};

static size_t put_hex(uint8_t *to, const char *hex)
{
    size_t len = strlen(hex) / 2;

    assert_true(hex_decode(hex, to, len));
    return len;
}

static size_t build(const struct pieces *p, uint8_t *to)
{
    const char *const inner[] = {p->open,  p->module_id,    p->digest,   p->timestamp,
                                 p->pcrs,  p->certificate,  p->cabundle, p->optional,
                                 p->close, p->after_payload};
    uint8_t payload[4096];
    size_t payload_len = 0, len = 0;

    for (size_t i = 0; i < sizeof(inner) / sizeof(inner[0]); i++)
        payload_len += put_hex(payload + payload_len, inner[i]);
    len += put_hex(to + len, p->outer);
    len += put_hex(to + len, p->protected_header);
    len += put_hex(to + len, p->unprotected);
    to[len++] = 0x59;
    to[len++] = (uint8_t)(payload_len >> 8);
    to[len++] = (uint8_t)payload_len;
    memcpy(to + len, payload, payload_len);
    len += payload_len;
    len += put_hex(to + len, p->signature);
    return len + put_hex(to + len, p->after);
}

static enum mu_status parse_pieces(const struct pieces *p, struct document *ret,
                                   struct mu_error *error)
{
    uint8_t raw[8192];
    const size_t len = build(p, raw);

    return document_parse((struct bytes){raw, len}, ret, error);
}

static void refused(const struct pieces *p, const char *because)
{
    struct document document = {.timestamp_ms = 7};

    assert_int_equal(parse_pieces(p, &document, &err), MU_REFUSE);
    if (strstr(err.text, because) == NULL)
        fail_msg("\"%s\" does not say \"%s\"", err.text, because);
    assert_int_equal(document.timestamp_ms, 7);
    assert_null(document.raw.data);
}

static void accepted(const struct pieces *p)
{
    struct document document;

    if (parse_pieces(p, &document, &err) != MU_OK)
        fail_msg("%s", err.text);
    assert_string_equal(document.module_id, "i-1");
    document_free(&document);
}

TEST(test_made)
{
    struct document document;

    assert_int_equal(parse_pieces(&good, &document, &err), MU_OK);
    assert_string_equal(document.module_id, "i-1");
    assert_int_equal(document.timestamp_ms, 0x19c1d2e3f40);
    assert_int_equal(document.pcr_mask, 0x8001);
    assert_int_equal(document.pcr[15].len, 48);
    assert_int_equal(document.cabundle_count, 2);
    assert_memory_equal(document.cabundle[1].data, "\3\4", 2);
    assert_null(document.public_key.data);
    assert_non_null(document.user_data.data);
    assert_int_equal(document.user_data.len, 0);
    assert_int_equal(document.nonce.len, 2);
    assert_int_equal(document.signature.len, 96);
    document_free(&document);
}

#define WITH(member, value)                                                                        \
    ({                                                                                             \
        static struct pieces changed;                                                              \
        changed = good;                                                                            \
        changed.member = value;                                                                    \
        &changed;                                                                                  \
    })

TEST(test_encodings)
{
    accepted(WITH(outer, "d284"));
    accepted(WITH(unprotected, "bfff"));
    accepted(WITH(optional, ""));
    accepted(WITH(optional, "617863616263")); /* a member that nobody knows yet */
    accepted(WITH(optional, "6178a1618182f5fb3ff0000000000000"));
    struct pieces definite = good;
    definite.open = "a9";
    definite.close = "";
    accepted(&definite);
    struct pieces indefinite = good;
    indefinite.outer = "9f";
    indefinite.after = "ff";
    indefinite.pcrs = PCRS "bf00" PCR48 "ff";
    indefinite.cabundle = CABUNDLE "9f43300102ff";
    accepted(&indefinite);
}

TEST(test_structure)
{
    refused(WITH(outer, "d184"), "array of four");
    refused(WITH(outer, "d2d284"), "array of four");
    refused(WITH(outer, "83"), "array of four");
    refused(WITH(outer, "85"), "array of four");
    refused(WITH(outer, "a2"), "array of four");
    refused(WITH(outer, "9f"), "COSE_Sign1");
    refused(WITH(after, "00"), "bytes after it");
    refused(WITH(protected_header, "40"), "ES384");
    refused(WITH(protected_header, "44a1013823"), "ES384");
    refused(WITH(protected_header, "f6"), "COSE_Sign1");
    refused(WITH(unprotected, "a10101"), "unprotected");
    refused(WITH(unprotected, "80"), "COSE_Sign1");
    refused(WITH(signature, "5830" ZERO48), "signature");
    refused(WITH(signature, "f6"), "COSE_Sign1");
    refused(WITH(open, "aa"), "payload");
    refused(WITH(open, "80"), "payload");
    refused(WITH(close, ""), "payload");
    refused(WITH(after_payload, "00"), "bytes after its map");
    refused(WITH(optional, "0000"), "payload");
    refused(WITH(optional, "61785f4161ff"), "payload");                 /* a string in chunks */
    refused(WITH(optional, "6178818181818181818181818100"), "payload"); /* deep */
    refused(WITH(optional, "61789b7fffffffffffffff"), "payload");
    refused(WITH(optional, "6178bbffffffffffffffff"), "payload");
}

TEST(test_members)
{
    refused(WITH(module_id, ""), "module_id is missing");
    refused(WITH(digest, ""), "digest is missing");
    refused(WITH(timestamp, ""), "timestamp is missing");
    refused(WITH(pcrs, ""), "nitrotpm_pcrs is missing");
    refused(WITH(certificate, ""), "certificate is missing");
    refused(WITH(cabundle, ""), "cabundle is missing");
    refused(WITH(module_id, MODULE_ID "60"), "module_id has 0");
    refused(WITH(module_id, MODULE_ID "6100"), "module_id");
    refused(WITH(module_id, MODULE_ID "4161"), "module_id is not a text");
    refused(WITH(module_id, MODULE_ID "6161" MODULE_ID "6161"), "module_id occurs twice");
    refused(WITH(digest, DIGEST "66534841323536"), "digest is not");
    refused(WITH(digest, DIGEST "46534841333834"), "digest is not");
    refused(WITH(timestamp, TIMESTAMP "00"), "timestamp");
    refused(WITH(timestamp, TIMESTAMP "20"), "timestamp");
    refused(WITH(timestamp, TIMESTAMP "fb3ff0000000000000"), "timestamp");
    refused(WITH(certificate, CERTIFICATE "40"), "certificate has 0");
    refused(WITH(certificate, CERTIFICATE "f6"), "certificate is not");
    refused(WITH(certificate, CERTIFICATE "6161"), "certificate is not");
    refused(WITH(optional, PUBLIC_KEY "40"), "public_key has 0");
    refused(WITH(optional, PUBLIC_KEY "6161"), "public_key is neither");
    refused(WITH(optional, NONCE "00"), "nonce is neither");
    refused(WITH(optional, NONCE "4101" NONCE "4101"), "nonce occurs twice");
    refused(WITH(optional, USER_DATA "f5"), "user_data is neither");
    refused(WITH(optional, "6470637273a10043010203"), "enclave");
}

TEST(test_pcrs_and_bundle)
{
    refused(WITH(pcrs, PCRS "a0"), "nitrotpm_pcrs");
    refused(WITH(pcrs, PCRS "80"), "nitrotpm_pcrs");
    refused(WITH(pcrs, PCRS "a200" PCR48 "00" PCR48), "twice");
    refused(WITH(pcrs, PCRS "a11820" PCR48), "above 31");
    refused(WITH(pcrs, PCRS "a11b0000000100000000" PCR48), "above 31");
    refused(WITH(pcrs, PCRS "a1004101"), "48 bytes");
    refused(WITH(pcrs, PCRS "a1613041"
                            "01"),
            "nitrotpm_pcrs");
    refused(WITH(pcrs, PCRS "a100f6"), "nitrotpm_pcrs");
    accepted(WITH(cabundle, CABUNDLE "90" ENTRIES16));
    refused(WITH(cabundle, CABUNDLE "80"), "cabundle");
    refused(WITH(cabundle, CABUNDLE "8140"), "cabundle entry has 0");
    refused(WITH(cabundle, CABUNDLE "816161"), "cabundle");
    refused(WITH(cabundle, CABUNDLE "91" ENTRIES16 "4101"), "more than 16");
}

/* 1025 bytes where 1024 are allowed. */
TEST(test_oversized_field)
{
    static char hex[4096];
    size_t len = (size_t)sprintf(hex, NONCE "590401");

    memset(hex + len, '0', 2 * 1025);
    refused(WITH(optional, hex), "nonce has 1025");
    memcpy(hex + len - 2, "00", 2);
    hex[len + 2048] = '\0';
    accepted(WITH(optional, hex));
}

TEST(test_truncation)
{
    uint8_t raw[8192];
    size_t len = build(&good, raw);

    for (size_t n = 0; n < len; n++) {
        struct document document;
        uint8_t *exact = malloc(n ? n : 1); /* so that valgrind sees a read past the end */

        memcpy(exact, raw, n);
        assert_int_equal(document_parse((struct bytes){exact, n}, &document, &err), MU_REFUSE);
        free(exact);
    }
}

TEST(test_too_large)
{
    static const uint8_t raw[DOCUMENT_MAX_BYTES + 1] = {0x84};
    struct document document;

    assert_int_equal(document_parse((struct bytes){raw, sizeof(raw)}, &document, &err), MU_REFUSE);
    assert_non_null(strstr(err.text, "16385"));
}

static void check_whole(struct bytes raw)
{
    struct document document;

    if (document_parse(raw, &document, &err) != MU_OK)
        fail_msg("%s", err.text);
    assert_memory_equal(document.module_id, "i-", 2);
    assert_non_null(strstr(document.module_id, "-tpm0000000000000000"));
    assert_int_equal(document.pcr_mask, 0xffffff);
    assert_int_equal(document.cabundle_count, 4);
    assert_true(document.timestamp_ms > UINT64_C(1700000000000));
    assert_true(bytes_all_zero(document.pcr[12]));
    document_free(&document);
    for (size_t n = 0; n < raw.len; n++)
        assert_int_equal(document_parse((struct bytes){raw.data, n}, &document, &err), MU_REFUSE);
}

TEST(test_whole)
{
    static const char *const ours[] = {"samples/document.cbor", "samples/short.cbor"};
    static const char *const genuine[] = {"nitrotpm-doc/vaportpm-nitro-fixture-HEAD.cbor",
                                          "nitrotpm-doc/vaportpm-21a610c.cbor"};

    for (size_t i = 0; i < 2; i++) {
        MU_CLEANUP(buffer_free) struct buffer made = data_load(ours[i]);
        MU_CLEANUP(buffer_free) struct buffer vector = {0};

        check_whole(buffer_view(&made));
        if (vector_find(genuine[i], &vector))
            check_whole(buffer_view(&vector));
    }
}

static void bytes_refused(struct bytes raw, const char *because)
{
    struct document document;

    assert_int_equal(document_parse(raw, &document, &err), MU_REFUSE);
    if (strstr(err.text, because) == NULL)
        fail_msg("%s", err.text);
}

TEST(test_enclave)
{
    static const char *const genuine[] = {
        "enclave-doc/nitrite-nitro_attestation.cbor",
        "enclave-doc/dstack_dstack-attest_tests_nitro_attestation.cbor"};
    MU_CLEANUP(buffer_free) struct buffer made = data_load("samples/enclave.cbor");

    bytes_refused(buffer_view(&made), "enclave");
    for (size_t i = 0; i < 2; i++) {
        MU_CLEANUP(buffer_free) struct buffer vector = {0};

        if (vector_find(genuine[i], &vector))
            bytes_refused(buffer_view(&vector), "enclave");
    }
}

TEST(test_header_is_null)
{
    MU_CLEANUP(buffer_free) struct buffer made = data_load("samples/without-header.cbor");
    MU_CLEANUP(buffer_free) struct buffer vector = {0};

    bytes_refused(buffer_view(&made), "COSE_Sign1");
    if (vector_find("enclave-doc/nitrite-selfsigned_attestation.cbor", &vector))
        bytes_refused(buffer_view(&vector), "COSE_Sign1");
}

/* RFC 8949, appendix A: a byte of a well-formed item is never read twice or left over. */
TEST(test_skip)
{
    static const struct {
        const char *hex;
        bool ok;
    } items[] = {
        {"00", true},
        {"3bffffffffffffffff", true},
        {"c249010000000000000000", true},
        {"f97e00", true},
        {"fa47c35000", true},
        {"f7", true},
        {"a26161016162820203", true},
        {"bf61610161629f0203ffff", true},
        {"9fff", true},
        {"81818181818100", true},
        {"ff", false},
        {"81ff", false},
        {"a1", false},
        {"1c", false},
        {"5f4101ff", false},
        {"", false},
    };

    for (size_t i = 0; i < sizeof(items) / sizeof(items[0]); i++) {
        uint8_t raw[64];
        struct reader r = reader_of((struct bytes){raw, put_hex(raw, items[i].hex)});

        cbor_skip(&r);
        if (r.failed == items[i].ok || (items[i].ok && reader_left(&r) != 0))
            fail_msg("%s", items[i].hex);
    }
}
