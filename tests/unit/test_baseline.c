/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "measure/baseline.h"

#define HEX16 "0123456789abcdef"
#define HEX64 HEX16 HEX16 HEX16 HEX16
#define HEX96 HEX64 HEX16 HEX16
#define UPPER96 "0123456789ABCDEF0123456789ABCDEF0123456789ABCDEF" HEX16 HEX16 HEX16
#define IN(members) "{\"Measurements\":{" members "}}"

static enum mu_status parse(const char *text, struct pcr_values *values, struct mu_error *err)
{
    return baseline_parse((struct bytes){(const uint8_t *)text, strlen(text)}, "b.json", values,
                          err);
}

static void good_files_are_read(void **state)
{
    static const struct {
        const char *text;
        enum hash_alg bank;
        uint32_t mask;
    } cases[] = {
        {IN("\"HashAlgorithm\":\"SHA384\",\"PCR4\":\"" HEX96 "\""), HASH_SHA384, PCR_BIT(4)},
        {IN("\"HashAlgorithm\":\"sha384\",\"PCR23\":\"" UPPER96 "\""), HASH_SHA384, PCR_BIT(23)},
        {IN("\"PCR0\":\"" HEX96 "\",\"HashAlgorithm\":\"SHA384 { ... }\",\"PCR12\":\"" HEX96 "\""),
         HASH_SHA384, PCR_BIT(0) | PCR_BIT(12)},
        {IN("\"HashAlgorithm\":\"SHA256\",\"PCR7\":\"" HEX64 "\""), HASH_SHA256, PCR_BIT(7)},
        {"{\"Created\":\"x\",\"Measurements\":{\"HashAlgorithm\":\"SHA256\",\"PCR7\":\"" HEX64
         "\"},\"Source\":{}}",
         HASH_SHA256, PCR_BIT(7)},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct pcr_values values;
        struct mu_error err;

        if (parse(cases[i].text, &values, &err) != MU_OK)
            fail_msg("case %zu: %s", i, err.text);
        assert_int_equal(values.bank, cases[i].bank);
        assert_int_equal(values.mask, cases[i].mask);
        for (unsigned pcr = 0; pcr < PCR_COUNT; pcr++)
            if ((values.mask & PCR_BIT(pcr)) != 0)
                assert_memory_equal(values.value[pcr].bytes, "\x01\x23\x45\x67\x89\xab\xcd\xef", 8);
    }
}

static void bad_files_are_refused(void **state)
{
    static const struct {
        const char *text, *message;
    } cases[] = {
        {"", "b.json"},
        {"[]", "b.json"},
        {"{}", "Measurements"},
        {"{\"Measurements\":[]}", "Measurements"},
        {IN("\"PCR4\":\"" HEX96 "\""), "HashAlgorithm"},
        {IN("\"HashAlgorithm\":\"SHA384\""), "names no PCR"},
        {IN("\"HashAlgorithm\":\"SHA1\",\"PCR4\":\"" HEX96 "\""), "'SHA1' is not"},
        {IN("\"HashAlgorithm\":\"SHA384 {...}\",\"PCR4\":\"" HEX96 "\""), "is not SHA384"},
        {IN("\"HashAlgorithm\":\"SHA512\",\"PCR4\":\"" HEX96 "\""), "'SHA512' is not"},
        {IN("\"HashAlgorithm\":384,\"PCR4\":\"" HEX96 "\""), "HashAlgorithm"},
        {IN("\"HashAlgorithm\":\"SHA384\",\"PCR4\":\"" HEX64 "\""), "PCR4 must be 96 hex digits"},
        {IN("\"HashAlgorithm\":\"SHA256\",\"PCR4\":\"" HEX96 "\""), "PCR4 must be 64 hex digits"},
        {IN("\"HashAlgorithm\":\"SHA256\",\"PCR4\":\"" HEX64 "0\""), "PCR4 must be"},
        {IN("\"HashAlgorithm\":\"SHA256\",\"PCR4\":\"" HEX64 "\\u0000\""), "b.json"},
        {IN("\"HashAlgorithm\":\"SHA256\",\"PCR4\":\"g" HEX16 HEX16 HEX16 "123456789abcdef\""),
         "PCR4 must be"},
        {IN("\"HashAlgorithm\":\"SHA256\",\"PCR4\":4"), "PCR4 must be"},
        {IN("\"HashAlgorithm\":\"SHA256\",\"PCR4\":null"), "PCR4 must be"},
        {IN("\"HashAlgorithm\":\"SHA384\",\"PCR24\":\"" HEX96 "\""), "'PCR24'"},
        {IN("\"HashAlgorithm\":\"SHA384\",\"PCR04\":\"" HEX96 "\""), "'PCR04'"},
        {IN("\"HashAlgorithm\":\"SHA384\",\"pcr4\":\"" HEX96 "\""), "'pcr4'"},
        {IN("\"HashAlgorithm\":\"SHA384\",\"PCR4\":\"" HEX96 "\",\"Note\":\"\""), "'Note'"},
        {IN("\"HashAlgorithm\":\"SHA384\",\"PCR4\":\"" HEX96 "\",\"PCR4\":\"" HEX96 "\""),
         "two members"},
        {IN("\"HashAlgorithm\":\"SHA256\",\"PCR4\":\"" HEX64 "\"") "{}", "b.json"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct pcr_values values = {.mask = 99};
        struct mu_error err = {0};

        assert_int_equal(parse(cases[i].text, &values, &err), MU_CONFIG);
        if (strstr(err.text, cases[i].message) == NULL || strstr(err.text, "b.json") == NULL)
            fail_msg("case %zu: '%s' lacks '%s'", i, err.text, cases[i].message);
        assert_int_equal(values.mask, 99);
    }
}

static void truncation_is_refused(void **state)
{
    static const char text[] = IN("\"HashAlgorithm\":\"SHA384\",\"PCR4\":\"" HEX96 "\"");
    struct pcr_values values;
    struct mu_error err;

    (void)state;
    for (size_t len = 0; len < strlen(text); len++)
        assert_int_equal(
            baseline_parse((struct bytes){(const uint8_t *)text, len}, "b.json", &values, &err),
            MU_CONFIG);
}

static void written_as_read(void **state)
{
    static const char text[] =
        IN("\"HashAlgorithm\":\"SHA384\",\"PCR4\":\"" UPPER96 "\",\"PCR12\":\"" HEX96 "\"");
    static const char expected[] =
        IN("\"HashAlgorithm\":\"SHA384\",\"PCR4\":\"" HEX96 "\",\"PCR12\":\"" HEX96 "\"");
    json_object *object = NULL;
    struct pcr_values values;
    struct mu_error err;

    (void)state;
    assert_int_equal(parse(text, &values, &err), MU_OK);
    assert_int_equal(baseline_to_json(&values, &object, &err), MU_OK);
    assert_string_equal(json_object_to_json_string_ext(object, JSON_C_TO_STRING_PLAIN), expected);
    json_free(&object);
    values.bank = HASH_SHA1;
    assert_int_equal(baseline_to_json(&values, &object, &err), MU_CONFIG);
}

static struct pcr_values values_of(uint32_t mask)
{
    struct pcr_values values = {.bank = HASH_SHA384, .mask = mask};

    for (unsigned pcr = 0; pcr < PCR_COUNT; pcr++)
        memset(values.value[pcr].bytes, (int)pcr, 48);
    return values;
}

/* Each byte counts, and none beyond the digest. */
static void every_byte_is_compared(void **state)
{
    struct pcr_values expected = values_of(PCR_BIT(4) | PCR_BIT(12));
    struct mu_error err;

    (void)state;
    for (size_t i = 0; i < HASH_MAX_SIZE; i++) {
        struct pcr_values found = values_of(0xffffff);
        uint32_t differ = 99;

        found.value[5].bytes[i] ^= 0x80; /* not asked for */
        assert_int_equal(baseline_compare(&expected, &found, &differ, &err), MU_OK);
        assert_int_equal(differ, 0);
        found.value[12].bytes[i] ^= 0x80;
        assert_int_equal(baseline_compare(&expected, &found, &differ, &err),
                         i < 48 ? MU_REFUSE : MU_OK);
        assert_int_equal(differ, i < 48 ? PCR_BIT(12) : 0);
    }
}

static void differences_are_named(void **state)
{
    struct pcr_values expected = values_of(0xffffff), found = values_of(PCR_BIT(4) | PCR_BIT(12));
    struct mu_error err;
    uint32_t differ = 0;

    (void)state;
    found.value[4].bytes[47] = 0xff;
    memset(found.value[12].bytes, 0xaa, 48);
    assert_int_equal(baseline_compare(&expected, &found, &differ, &err), MU_REFUSE);
    assert_int_equal(differ, 0xffffff);
    assert_true(strlen(err.text) < sizeof(err.text));

    expected.mask = PCR_BIT(4) | PCR_BIT(7) | PCR_BIT(12);
    assert_int_equal(baseline_compare(&expected, &found, &differ, &err), MU_REFUSE);
    assert_string_equal(err.text,
                        "PCR 4: expected 0404040404040404..., found 0404040404040404...; "
                        "PCR 7: expected 0707070707070707..., found nothing; "
                        "PCR 12: expected 0c0c0c0c0c0c0c0c..., found aaaaaaaaaaaaaaaa...");
}

static void nothing_is_not_a_match(void **state)
{
    struct pcr_values expected = values_of(0), found = values_of(0xffffff);
    struct mu_error err;
    uint32_t differ;

    (void)state;
    assert_int_equal(baseline_compare(&expected, &found, &differ, &err), MU_CONFIG);
    expected = values_of(PCR_BIT(4));
    found.bank = HASH_SHA256;
    assert_int_equal(baseline_compare(&expected, &found, &differ, &err), MU_CONFIG);
}

static void completeness(void **state)
{
    static const struct {
        uint32_t mask;
        const char *message;
    } cases[] = {
        {PCR_BIT(4) | PCR_BIT(12), NULL},
        {PCR_BIT(7) | PCR_BIT(12), NULL},
        {PCR_BIT(0) | PCR_BIT(4) | PCR_BIT(7) | PCR_BIT(12), NULL},
        {PCR_BIT(4) | PCR_BIT(7), "lacks PCR 12"},
        {PCR_BIT(12), "neither PCR 4 nor PCR 7"},
        {PCR_BIT(0) | PCR_BIT(2) | PCR_BIT(3) | PCR_BIT(6) | PCR_BIT(12), "neither PCR 4 nor"},
        {PCR_BIT(1) | PCR_BIT(4) | PCR_BIT(12), "PCR 1,"},
        {PCR_BIT(4) | PCR_BIT(12) | PCR_BIT(15), "PCR 15"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct pcr_values values = values_of(cases[i].mask);
        struct mu_error err;
        enum mu_status status = baseline_check_complete(&values, 15, &err);

        assert_int_equal(status, cases[i].message == NULL ? MU_OK : MU_CONFIG);
        if (status != MU_OK)
            assert_non_null(strstr(err.text, cases[i].message));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(good_files_are_read),    cmocka_unit_test(bad_files_are_refused),
        cmocka_unit_test(truncation_is_refused),  cmocka_unit_test(written_as_read),
        cmocka_unit_test(every_byte_is_compared), cmocka_unit_test(differences_are_named),
        cmocka_unit_test(nothing_is_not_a_match), cmocka_unit_test(completeness),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
