/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "base/bytes.h"
#include "test.h"

static struct bytes text(const char *s)
{
    return text_view(s);
}

TEST(test_reader_reads_both_orders)
{
    static const uint8_t data[] = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
    struct reader r = reader_of((struct bytes){data, sizeof(data)});

    assert_int_equal(reader_u8(&r), 1);
    assert_int_equal(reader_be16(&r), 0x0203);
    assert_int_equal(reader_be32(&r), 0x04050607);
    assert_int_equal(reader_be64(&r), 0x08090a0b0c0d0e0full);
    assert_int_equal(reader_left(&r), 0);
    assert_false(r.failed);
    r = reader_of((struct bytes){data, sizeof(data)});
    assert_int_equal(reader_le16(&r), 0x0201);
    assert_int_equal(reader_le32(&r), 0x06050403);
    assert_int_equal(reader_le64(&r), 0x0e0d0c0b0a090807ull);
    assert_int_equal(reader_offset(&r), 14);
    assert_int_equal(reader_left(&r), 1);
}

TEST(test_reader_stays_failed)
{
    static const uint8_t data[] = {1, 2, 3};
    struct reader r = reader_of((struct bytes){data, sizeof(data)});
    uint8_t copy[4] = {9, 9, 9, 9};

    assert_int_equal(reader_be32(&r), 0);
    assert_true(r.failed);
    assert_int_equal(reader_u8(&r), 0); /* though there is one */
    assert_int_equal(reader_take(&r, 0).len, 0);
    reader_copy(&r, copy, sizeof(copy));
    assert_true(bytes_all_zero((struct bytes){copy, sizeof(copy)}));
    assert_int_equal(reader_left(&r), 3);
}

TEST(test_reader_of_nothing)
{
    struct reader r = reader_of((struct bytes){NULL, 0});

    assert_int_equal(reader_take(&r, 0).len, 0);
    assert_false(r.failed);
    assert_int_equal(reader_take(&r, SIZE_MAX).len, 0);
    assert_true(r.failed);
}

TEST(test_writer_refuses_what_does_not_fit)
{
    uint8_t data[8] = {0};
    struct writer w = writer_into(data, 7);

    writer_be32(&w, 0x01020304);
    writer_be16(&w, 0x0506);
    assert_false(w.failed);
    writer_be16(&w, 0x0708);
    assert_true(w.failed);
    writer_u8(&w, 1);
    assert_true(w.failed);
    assert_int_equal(data[7], 0);
    assert_memory_equal(data, "\1\2\3\4\5\6", 6);
}

TEST(test_equal)
{
    static const uint8_t zero[3] = {0};

    assert_true(bytes_equal(text("abc"), text("abc")));
    assert_false(bytes_equal(text("abc"), text("abd")));
    assert_false(bytes_equal(text("abc"), text("ab")));
    assert_true(bytes_equal((struct bytes){NULL, 0}, text("")));
    assert_true(bytes_all_zero((struct bytes){zero, 3}));
    assert_false(bytes_all_zero((struct bytes){(const uint8_t *)"\0\0\1", 3}));
}

TEST(test_hex)
{
    static const char *const bad[] = {"",     "0",    "001",  "00112", "0g11",
                                      "00 1", " 011", "0x11", "00-1"};
    uint8_t data[2];
    char hex[5];

    hex_encode((struct bytes){(const uint8_t *)"\x0a\xff", 2}, hex);
    assert_string_equal(hex, "0aff");
    assert_true(hex_decode("0AfF", data, 2));
    assert_memory_equal(data, "\x0a\xff", 2);
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        assert_false(hex_decode(bad[i], data, 2));
}

TEST(test_base64)
{
    /* RFC 4648, 10 */
    static const char *const good[][2] = {
        {"", ""},
        {"f", "Zg=="},
        {"fo", "Zm8="},
        {"foo", "Zm9v"},
        {"foob", "Zm9vYg=="},
        {"fooba", "Zm9vYmE="},
        {"foobar", "Zm9vYmFy"},
    };
    static const char *const bad[] = {"Z",     "Zg",           "Zg=",     "Zg===", "Zg==\n",
                                      " Zg==", "Zg= =",        "Zm9v=Zg", "Zm-_",  "=Zg=",
                                      "====",  "Zm9vZg==Zm9v", "Zh==",    "Zm9="};
    struct buffer decoded = {0};
    char *encoded = NULL;

    for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
        assert_int_equal(base64_encode(text(good[i][0]), &encoded, &err), MU_OK);
        assert_string_equal(encoded, good[i][1]);
        assert_int_equal(base64_decode(encoded, 6, MU_CONFIG, &decoded, &err), MU_OK);
        assert_true(bytes_equal(buffer_view(&decoded), text(good[i][0])));
        buffer_free(&decoded);
        free(encoded);
    }
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        if (base64_decode(bad[i], 100, MU_CONFIG, &decoded, &err) != MU_CONFIG)
            fail_msg("\"%s\" was taken for base64", bad[i]);
    assert_int_equal(base64_decode("Zm9vYmFy", 5, MU_CONFIG, &decoded, &err), MU_CONFIG);
    assert_null(decoded.data);
}

TEST(test_buffer)
{
    struct buffer copy = {0};

    assert_int_equal(buffer_copy(&copy, text("abc"), &err), MU_OK);
    assert_true(bytes_equal(buffer_view(&copy), text("abc")));
    buffer_free(&copy);
    assert_null(copy.data);
    assert_int_equal(buffer_copy(&copy, (struct bytes){0}, &err), MU_OK);
    assert_non_null(copy.data);
    buffer_free(&copy);
    assert_int_equal(buffer_alloc(&copy, SIZE_MAX / 2, &err), MU_INTERNAL);
    assert_string_equal(err.text, "out of memory");
}

TEST(test_error_context)
{
    char longest[2000];

    assert_int_equal(mu_fail(&err, MU_REFUSE, "PCR %u", 4), MU_REFUSE);
    assert_int_equal(mu_context(&err, "volume %s", "root"), MU_REFUSE);
    assert_string_equal(err.text, "volume root: PCR 4");
    memset(longest, 'x', sizeof(longest));
    longest[sizeof(longest) - 1] = '\0';
    assert_int_equal(mu_context(&err, "%s", longest), MU_REFUSE);
    assert_int_equal(strlen(err.text), sizeof(err.text) - 1);
    assert_string_equal(mu_status_name(MU_CONFIG), "config");
    assert_string_equal(mu_status_name((enum mu_status)99), "internal");
}
