/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "base/json.h"
#include "test.h"

static enum mu_status parse(const char *text, size_t len, json_object **ret)
{
    return json_parse((struct bytes){(const uint8_t *)text, len}, "test", MU_REFUSE, ret, &err);
}

TEST(test_good)
{
    static const char *const good[] = {
        "{}",
        " {\"a\" : 1 }\r\n\t",
        "[]",
        "null",
        "true",
        "0",
        "-0.5e+3",
        "\"\"",
        "1234567890",
        "{\"a:b\":\"c:{,]\",\"d\":{\"a:b\":[]}}",
        "\"\\u00e9\\\"\\\\\\/\\b\\f\\n\\r\\t\"",
        "\"\xc3\xa9\xe2\x82\xac\xf0\x9f\x94\x92\xed\x9f\xbf\xee\x80\x80\xf4\x8f\xbf\xbf\"",
        "{\"\":1}",
        "[1,[2,[3]]]",
        "[[[[[[[[[[[[[[[1]]]]]]]]]]]]]]]",
    };

    for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
        json_object *object = NULL;

        if (parse(good[i], strlen(good[i]), &object) != MU_OK)
            fail_msg("%s: %s", good[i], err.text);
        json_free(&object);
    }
}

TEST(test_bad)
{
    static const char *const bad[] = {
        "",
        " ",
        "{",
        "}",
        "[",
        "]",
        "{}}",
        "{} {}",
        "[1 2]",
        "[1,]",
        "[,1]",
        "[1,,2]",
        "{\"a\":1,}",
        "{,}",
        "{\"a\"}",
        "{\"a\" 1}",
        "{\"a\":}",
        "{a:1}",
        "{'a':1}",
        "{\"a\":'b'}",
        "{1:2}",
        "NaN",
        "[NaN]",
        "Infinity",
        "-Infinity",
        "[-Infinity]",
        "nan",
        "TRUE",
        "True",
        "nul",
        "nulll",
        "01",
        "-",
        "+1",
        "1.",
        ".5",
        "1e",
        "1e+",
        "0x10",
        "--1",
        "1.2.3",
        "\"a",
        "\"\\x\"",
        "\"\\u12\"",
        "\"\\u12g4\"",
        "\"\\u0000\"",
        "{\"a\\u0000b\":1}",
        "\"\t\"",
        "\"\n\"",
        "\"\x7f\xff\"",
        "\"\xc3\"",
        "\"\xe0\x9f\xbf\"",
        "\"\xed\xa0\x80\"",
        "\"\xf4\x90\x80\x80\"",
        "\"\xf8\x88\x80\x80\x80\"",
        "\"\x80\"",
        "\"\xe2\x82",
        "\"\xc0\x80\"",
        "// c\n{}",
        "{}//c",
        "/**/{}",
        "{}\f",
        "\xef\xbb\xbf{}",
        "[[[[[[[[[[[[[[[[1]]]]]]]]]]]]]]]]",
        "[true false]",
        "{\"a\":1 \"b\":2}",
        "truefalse",
    };

    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        json_object *object = NULL;

        if (parse(bad[i], strlen(bad[i]), &object) != MU_REFUSE)
            fail_msg("case %zu was taken for JSON: %s", i, bad[i]);
        assert_null(object);
        assert_memory_equal(err.text, "test: ", 6);
    }
}

TEST(test_duplicates)
{
    static const char *const bad[] = {
        "{\"a\":1,\"a\":2}",
        "{\"a\":1,\"b\":2,\"a\":1}",
        "{\"a\":1,\"\\u0061\":2}",
        "{\"x\":{\"a\":1,\"a\":2}}",
        "[{\"a\":1},{\"b\":null,\"b\":null}]",
        "{\"a\":{\"b\":1},\"a\":{}}",
    };
    json_object *object = NULL;

    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        assert_int_equal(parse(bad[i], strlen(bad[i]), &object), MU_REFUSE);
        assert_non_null(strstr(err.text, "two members of one name"));
    }
    /* The same name at different places. */
    assert_int_equal(parse("[{\"a\":{\"a\":1}},{\"a\":2}]", 23, &object), MU_OK);
    json_free(&object);
}

TEST(test_truncated_at_every_length)
{
    static const char text[] =
        "{\"a\":[1,-2.5e3,\"x\\u00e9\",true,null],\"b\":{\"c\":\"\xc3\xa9\"}}";
    json_object *object = NULL;

    for (size_t len = 0; len < sizeof(text) - 1; len++)
        assert_int_equal(parse(text, len, &object), MU_REFUSE);
    assert_int_equal(parse(text, sizeof(text) - 1, &object), MU_OK);
    json_free(&object);
    assert_int_equal(parse(text, sizeof(text), &object), MU_REFUSE); /* with its zero byte */
}

/* Whatever single byte is altered: no crash, and what is accepted has unique members. */
TEST(test_every_byte_altered)
{
    char text[] = "{\"a\":[1,2.5],\"b\":{\"c\":\"d\"}}";

    for (size_t i = 0; i < sizeof(text) - 1; i++)
        for (unsigned c = 0; c < 256; c++) {
            json_object *object = NULL;
            char old = text[i];

            text[i] = (char)c;
            if (parse(text, sizeof(text) - 1, &object) == MU_OK && i == 14)
                assert_int_equal(json_object_object_length(object), c == 'a' ? 0 : 2);
            json_free(&object);
            text[i] = old;
        }
}

TEST(test_members)
{
    static const char text[] = "{\"s\":\"text\",\"e\":\"\",\"i\":42,\"big\":9223372036854775808,"
                               "\"huge\":99999999999999999999999,\"f\":1.0,\"n\":null,\"neg\":-7}";
    static const char *const some[] = {"s", "e", "i", NULL};
    static const char *const all[] = {"s", "e", "i", "big", "huge", "f", "n", "neg", NULL};
    json_object *object = NULL, *member = NULL;
    const char *s = NULL;
    int64_t n = 0;

    assert_int_equal(parse(text, sizeof(text) - 1, &object), MU_OK);
    assert_int_equal(json_string(object, "s", 4, MU_CONFIG, &s, &err), MU_OK);
    assert_string_equal(s, "text");
    assert_int_equal(json_string(object, "s", 3, MU_CONFIG, &s, &err), MU_CONFIG);
    assert_int_equal(json_string(object, "e", 3, MU_REFUSE, &s, &err), MU_REFUSE);
    assert_int_equal(json_string(object, "i", 3, MU_REFUSE, &s, &err), MU_REFUSE);
    assert_string_equal(err.text, "\"i\" is not of type string");
    assert_int_equal(json_string(object, "n", 3, MU_REFUSE, &s, &err), MU_REFUSE);
    assert_int_equal(json_string(object, "none", 3, MU_REFUSE, &s, &err), MU_REFUSE);
    assert_string_equal(err.text, "\"none\" is missing");
    assert_int_equal(json_integer(object, "i", 42, 42, MU_REFUSE, &n, &err), MU_OK);
    assert_int_equal(n, 42);
    assert_int_equal(json_integer(object, "i", 43, 99, MU_REFUSE, &n, &err), MU_REFUSE);
    assert_int_equal(json_integer(object, "i", 0, 41, MU_REFUSE, &n, &err), MU_REFUSE);
    assert_int_equal(json_integer(object, "neg", -7, 0, MU_REFUSE, &n, &err), MU_OK);
    assert_int_equal(json_integer(object, "neg", 0, INT64_MAX, MU_REFUSE, &n, &err), MU_REFUSE);
    assert_int_equal(json_integer(object, "f", 0, 9, MU_REFUSE, &n, &err), MU_REFUSE);
    assert_int_equal(json_integer(object, "big", 0, INT64_MAX, MU_REFUSE, &n, &err), MU_REFUSE);
    assert_int_equal(json_integer(object, "huge", 0, INT64_MAX, MU_REFUSE, &n, &err), MU_REFUSE);
    assert_int_equal(n, -7);
    assert_int_equal(json_member(object, "n", json_type_null, MU_REFUSE, &member, &err), MU_OK);
    assert_int_equal(json_member(NULL, "n", json_type_null, MU_REFUSE, &member, &err), MU_REFUSE);
    assert_int_equal(json_only(object, "it", all, MU_REFUSE, &err), MU_OK);
    assert_int_equal(json_only(object, "it", some, MU_REFUSE, &err), MU_REFUSE);
    assert_string_equal(err.text, "it: unknown member \"big\"");
    assert_int_equal(json_only(NULL, "it", all, MU_REFUSE, &err), MU_REFUSE);
    json_free(&object);
}

/* What Windows writes is not read, but named. */
TEST(test_foreign_encodings)
{
    static const struct {
        const char *text;
        size_t len;
        const char *said;
    } files[] = {
        {"\xef\xbb\xbf{}", 5, "byte order mark"},
        {"\xff\xfe{\0}\0", 6, "UTF-16"},
        {"\xfe\xff\0{\0}", 6, "UTF-16"},
        {"{\0}\0", 4, "UTF-16"},
        {"\0{\0}", 4, "UTF-16"},
    };
    json_object *object = NULL;

    for (size_t i = 0; i < sizeof(files) / sizeof(files[0]); i++) {
        assert_int_equal(parse(files[i].text, files[i].len, &object), MU_REFUSE);
        assert_non_null(strstr(err.text, files[i].said));
    }
    assert_int_equal(parse("{}", 2, &object), MU_OK);
    json_free(&object);
}
