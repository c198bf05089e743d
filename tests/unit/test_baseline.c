/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "measure/baseline.h"
#include "test.h"

#define HEX16 "0123456789abcdef"
#define HEX64 HEX16 HEX16 HEX16 HEX16
#define HEX96 HEX64 HEX16 HEX16
#define UPPER96 "0123456789ABCDEF0123456789ABCDEF0123456789ABCDEF" HEX16 HEX16 HEX16
#define IN(members) "{\"Measurements\":{" members "}}"

static enum mu_status parse(const char *text, struct pcr_values *values, struct mu_error *error)
{
    return baseline_parse(text_view(text), "b.json", values, error);
}

TEST(good_files_are_read)
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

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct pcr_values values;

        if (parse(cases[i].text, &values, &err) != MU_OK)
            fail_msg("case %zu: %s", i, err.text);
        assert_int_equal(values.bank, cases[i].bank);
        assert_int_equal(values.mask, cases[i].mask);
        for (unsigned pcr = 0; pcr < PCR_COUNT; pcr++)
            if ((values.mask & PCR_BIT(pcr)) != 0)
                assert_memory_equal(values.value[pcr].bytes, "\x01\x23\x45\x67\x89\xab\xcd\xef", 8);
    }
}

TEST(bad_files_are_refused)
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

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct pcr_values values = {.mask = 99};

        assert_int_equal(parse(cases[i].text, &values, &err), MU_CONFIG);
        if (strstr(err.text, cases[i].message) == NULL || strstr(err.text, "b.json") == NULL)
            fail_msg("case %zu: '%s' lacks '%s'", i, err.text, cases[i].message);
        assert_int_equal(values.mask, 99);
    }
}

TEST(truncation_is_refused)
{
    static const char text[] = IN("\"HashAlgorithm\":\"SHA384\",\"PCR4\":\"" HEX96 "\"");
    struct pcr_values values;

    for (size_t len = 0; len < strlen(text); len++)
        assert_int_equal(
            baseline_parse((struct bytes){(const uint8_t *)text, len}, "b.json", &values, &err),
            MU_CONFIG);
}

TEST(written_as_read)
{
    static const char text[] =
        IN("\"HashAlgorithm\":\"SHA384\",\"PCR4\":\"" UPPER96 "\",\"PCR12\":\"" HEX96 "\"");
    static const char expected[] =
        IN("\"HashAlgorithm\":\"SHA384\",\"PCR4\":\"" HEX96 "\",\"PCR12\":\"" HEX96 "\"");
    json_object *object = NULL;
    struct pcr_values values;

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
TEST(every_byte_is_compared)
{
    struct pcr_values expected = values_of(PCR_BIT(4) | PCR_BIT(12));

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

TEST(differences_are_named)
{
    struct pcr_values expected = values_of(0xffffff), found = values_of(PCR_BIT(4) | PCR_BIT(12));
    uint32_t differ = 0;

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

TEST(nothing_is_not_a_match)
{
    struct pcr_values expected = values_of(0), found = values_of(0xffffff);
    uint32_t differ;

    assert_int_equal(baseline_compare(&expected, &found, &differ, &err), MU_CONFIG);
    expected = values_of(PCR_BIT(4));
    found.bank = HASH_SHA256;
    assert_int_equal(baseline_compare(&expected, &found, &differ, &err), MU_CONFIG);
}

/* Which PCR 7 it is: a value of its own means that Secure Boot is on. */
static void set_secure_boot_off(struct pcr_values *values)
{
    static const char sha384[] =
        "98441c7f7625d10058c47683aec486ce311c633235eb555593a7ee791121e3578a"
        "e72d04ecef661f272d59058b77af35";
    static const char sha256[] = "65caf8dd1e0ea7a6347b635d2b379c93b9a1351edc2afc3ecda700e534eb3068";

    assert_true(hex_decode(values->bank == HASH_SHA384 ? sha384 : sha256, values->value[7].bytes,
                           hash_size(values->bank)));
}

#define CLEAN BASELINE_CLEAN_PCRS

TEST(completeness)
{
    static const struct {
        uint32_t mask, without;
        bool secure_boot;
        const char *message;
    } cases[] = {
        {BASELINE_PCRS, 0, true, NULL},
        {BASELINE_PCRS, 0, false, NULL},
        {PCR_BIT(4) | PCR_BIT(12) | CLEAN, 0, false, NULL},
        {PCR_BIT(4) | PCR_BIT(7) | PCR_BIT(12), 0, true, NULL},
        {PCR_BIT(7) | PCR_BIT(12), 0, true, NULL},
        {PCR_BIT(0) | BASELINE_PCRS, 0, true, NULL},
        {PCR_BIT(4) | PCR_BIT(12), 0, false, "lacks PCR 2, 3, 13 and 14"},
        {PCR_BIT(4) | PCR_BIT(7) | PCR_BIT(12), 0, false, "lacks PCR 2, 3, 13 and 14"},
        {BASELINE_PCRS & ~PCR_BIT(2), 0, false, "lacks PCR 2: "},
        {BASELINE_PCRS & ~PCR_BIT(13) & ~PCR_BIT(14), 0, false, "lacks PCR 13 and 14: "},
        {BASELINE_PCRS & ~PCR_BIT(2), PCR_BIT(2), false, NULL},
        {BASELINE_PCRS & ~PCR_BIT(2) & ~PCR_BIT(3), PCR_BIT(2), false, "lacks PCR 3: "},
        {PCR_BIT(4) | PCR_BIT(12), CLEAN, false, NULL},
        {PCR_BIT(4) | PCR_BIT(7) | CLEAN, 0, true, "lacks PCR 12"},
        {PCR_BIT(12) | CLEAN, 0, false, "neither PCR 4 nor PCR 7"},
        {PCR_BIT(7) | PCR_BIT(12) | CLEAN, 0, false, "any image fits"},
        {PCR_BIT(0) | PCR_BIT(2) | PCR_BIT(3) | PCR_BIT(6) | PCR_BIT(12), 0, false,
         "neither PCR 4"},
        {PCR_BIT(8) | PCR_BIT(9) | PCR_BIT(11) | PCR_BIT(12) | CLEAN, 0, false, "neither PCR 4"},
        {PCR_BIT(1) | BASELINE_PCRS, 0, true, "PCR 1,"},
        {BASELINE_PCRS | PCR_BIT(15), 0, true, "PCR 15"},
    };

    for (size_t i = 0; i < 2 * sizeof(cases) / sizeof(cases[0]); i++) {
        struct pcr_values values = values_of(cases[i / 2].mask);
        enum mu_status expected = cases[i / 2].message == NULL ? MU_OK : MU_CONFIG;

        values.bank = i % 2 == 0 ? HASH_SHA384 : HASH_SHA256;
        values.without = cases[i / 2].without;
        if (!cases[i / 2].secure_boot)
            set_secure_boot_off(&values);
        if (baseline_check_complete(&values, 15, &err) != expected)
            fail_msg("case %zu: %s", i / 2, err.text);
        if (expected != MU_OK)
            assert_non_null(strstr(err.text, cases[i / 2].message));
    }
}

/* It cannot hold PCR 4, and what it can is demanded alike. */
TEST(baked_part)
{
    struct pcr_values values = values_of(BASELINE_BAKED_PCRS);

    set_secure_boot_off(&values);
    assert_int_equal(baseline_check_baked(&values, 15, &err), MU_OK);
    values.mask &= ~PCR_BIT(3);
    assert_int_equal(baseline_check_baked(&values, 15, &err), MU_CONFIG);
    assert_non_null(strstr(err.text, "lacks PCR 3: "));
    values.without = PCR_BIT(3);
    assert_int_equal(baseline_check_baked(&values, 15, &err), MU_OK);
    values.mask &= ~PCR_BIT(12);
    assert_int_equal(baseline_check_baked(&values, 15, &err), MU_CONFIG);
    assert_int_equal(baseline_check_baked(&values, 7, &err), MU_CONFIG);
}

TEST(clean_values_are_those_of_ec2)
{
    struct digest value;
    char hex[2 * HASH_MAX_SIZE + 1];

    assert_int_equal(baseline_clean_value(HASH_SHA384, 2, &value, &err), MU_OK);
    hex_encode((struct bytes){value.bytes, 48}, hex);
    assert_string_equal(hex,
                        "518923b0f955d08da077c96aaba522b9decede61c599cea6c41889cfbea4ae4d50529d"
                        "96fe4d1afdafb65e7f95bf23c4");
    assert_int_equal(baseline_clean_value(HASH_SHA384, 13, &value, &err), MU_OK);
    assert_true(bytes_all_zero((struct bytes){value.bytes, 48}));
}

TEST(what_is_left_out_knowingly_is_kept)
{
    static const char *const bad[] = {"2",    "[\"2\"]", "[4]",   "[24]",
                                      "[-1]", "[12]",    "[2.0]", "[15]"};
    struct pcr_values values, again;
    json_object *object = NULL;

    assert_int_equal(parse("{\"Measurements\":{\"HashAlgorithm\":\"SHA384\",\"PCR4\":\"" HEX96
                           "\"},\"Without\":[2,14]}",
                           &values, &err),
                     MU_OK);
    assert_int_equal(values.without, PCR_BIT(2) | PCR_BIT(14));
    assert_int_equal(baseline_to_json(&values, &object, &err), MU_OK);
    assert_int_equal(baseline_parse_object(object, "again", &again, &err), MU_OK);
    assert_int_equal(again.without, values.without);
    json_free(&object);
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        char text[512];

        (void)snprintf(text, sizeof(text),
                       "{\"Measurements\":{\"HashAlgorithm\":\"SHA384\",\"PCR4\":\"%s\"},"
                       "\"Without\":%s}",
                       HEX96, bad[i]);
        assert_int_equal(parse(text, &values, &err), MU_CONFIG);
    }
    assert_int_equal(parse("{\"Measurements\":{\"HashAlgorithm\":\"SHA384\",\"PCR2\":\"" HEX96
                           "\"},\"Without\":[2]}",
                           &values, &err),
                     MU_CONFIG);
}
