/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "base/bytes.h"

#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <openssl/crypto.h>
#include <openssl/evp.h>

void buffer_free(struct buffer *buffer)
{
    free(buffer->data);
    *buffer = (struct buffer){0};
}

void string_free(char **text)
{
    free(*text);
    *text = NULL;
}

void buffer_wipe(struct buffer *buffer)
{
    OPENSSL_cleanse(buffer->data, buffer->len);
    buffer_free(buffer);
}

void memory_free(void *pointer)
{
    free(*(void **)pointer);
}

void string_wipe(char **text)
{
    if (*text != NULL)
        OPENSSL_cleanse(*text, strlen(*text));
    string_free(text);
}

enum mu_status string_set(char **field, const char *text, struct mu_error *err)
{
    char *copy = strdup(text);

    if (copy == NULL)
        return mu_oom(err);
    free(*field);
    *field = copy;
    return MU_OK;
}

enum mu_status string_print(char **ret, struct mu_error *err, const char *format, ...)
{
    va_list args;
    int len;

    va_start(args, format);
    len = vasprintf(ret, format, args);
    va_end(args);
    if (len >= 0)
        return MU_OK;
    *ret = NULL;
    return mu_oom(err);
}

enum mu_status buffer_alloc(struct buffer *ret, size_t len, struct mu_error *err)
{
    uint8_t *data = calloc(1, len ? len : 1);

    if (data == NULL)
        return mu_oom(err);
    *ret = (struct buffer){data, len};
    return MU_OK;
}

enum mu_status buffer_copy(struct buffer *ret, struct bytes from, struct mu_error *err)
{
    MU_TRY(buffer_alloc(ret, from.len, err));
    if (from.len > 0)
        memcpy(ret->data, from.data, from.len);
    return MU_OK;
}

bool bytes_equal(struct bytes a, struct bytes b)
{
    return a.len == b.len && (a.len == 0 || CRYPTO_memcmp(a.data, b.data, a.len) == 0);
}

bool bytes_all_zero(struct bytes b)
{
    uint8_t any = 0;

    for (size_t i = 0; i < b.len; i++)
        any |= b.data[i];
    return any == 0;
}

bool bytes_all_of(struct bytes text, const char *allowed)
{
    for (size_t i = 0; i < text.len; i++)
        if (text.data[i] == '\0' || strchr(allowed, text.data[i]) == NULL)
            return false;
    return text.len > 0;
}

struct reader reader_of(struct bytes b)
{
    const uint8_t *start = b.data ? b.data : (const uint8_t *)"";

    return (struct reader){start, start, start + b.len, false};
}

size_t reader_left(const struct reader *r)
{
    return (size_t)(r->end - r->pos);
}

size_t reader_offset(const struct reader *r)
{
    return (size_t)(r->pos - r->start);
}

struct bytes reader_take(struct reader *r, size_t len)
{
    const uint8_t *at = r->pos;

    if (r->failed || len > reader_left(r)) {
        r->failed = true;
        return (struct bytes){at, 0};
    }
    r->pos += len;
    return (struct bytes){at, len};
}

void reader_copy(struct reader *r, void *to, size_t len)
{
    struct bytes b = reader_take(r, len);

    memset(to, 0, len);
    if (b.len > 0)
        memcpy(to, b.data, b.len);
}

static uint64_t read_be(struct reader *r, size_t len)
{
    struct bytes b = reader_take(r, len);
    uint64_t value = 0;

    for (size_t i = 0; i < b.len; i++)
        value = value << 8 | b.data[i];
    return value;
}

static uint64_t read_le(struct reader *r, size_t len)
{
    struct bytes b = reader_take(r, len);
    uint64_t value = 0;

    for (size_t i = b.len; i > 0; i--)
        value = value << 8 | b.data[i - 1];
    return value;
}

uint8_t reader_u8(struct reader *r)
{
    return (uint8_t)read_be(r, 1);
}

uint16_t reader_be16(struct reader *r)
{
    return (uint16_t)read_be(r, 2);
}

uint32_t reader_be32(struct reader *r)
{
    return (uint32_t)read_be(r, 4);
}

uint64_t reader_be64(struct reader *r)
{
    return read_be(r, 8);
}

uint16_t reader_le16(struct reader *r)
{
    return (uint16_t)read_le(r, 2);
}

uint32_t reader_le32(struct reader *r)
{
    return (uint32_t)read_le(r, 4);
}

uint64_t reader_le64(struct reader *r)
{
    return read_le(r, 8);
}

struct writer writer_into(void *data, size_t cap)
{
    return (struct writer){data, cap, 0, false};
}

void writer_bytes(struct writer *w, struct bytes b)
{
    if (w->failed || b.len > w->cap - w->len) {
        w->failed = true;
        return;
    }
    if (b.len > 0)
        memcpy(w->data + w->len, b.data, b.len);
    w->len += b.len;
}

void writer_u8(struct writer *w, uint8_t value)
{
    writer_bytes(w, (struct bytes){&value, 1});
}

void writer_be16(struct writer *w, uint16_t value)
{
    writer_u8(w, (uint8_t)(value >> 8));
    writer_u8(w, (uint8_t)value);
}

void writer_be32(struct writer *w, uint32_t value)
{
    writer_be16(w, (uint16_t)(value >> 16));
    writer_be16(w, (uint16_t)value);
}

void writer_le(struct writer *w, uint64_t value, size_t size)
{
    for (size_t i = 0; i < size; i++)
        writer_u8(w, (uint8_t)(value >> (8 * i)));
}

void writer_be64(struct writer *w, uint64_t value)
{
    writer_be32(w, (uint32_t)(value >> 32));
    writer_be32(w, (uint32_t)value);
}

void hex_encode(struct bytes from, char *to)
{
    static const char digits[] = "0123456789abcdef";

    for (size_t i = 0; i < from.len; i++) {
        *to++ = digits[from.data[i] >> 4];
        *to++ = digits[from.data[i] & 15];
    }
    *to = '\0';
}

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    if (c >= 'A' && c <= 'F')
        return c - 'A' + 10;
    return -1;
}

bool hex_decode(const char *from, uint8_t *to, size_t len)
{
    if (strlen(from) != 2 * len)
        return false;
    for (size_t i = 0; i < len; i++) {
        int high = hex_digit(from[2 * i]);
        int low = hex_digit(from[2 * i + 1]);

        if (high < 0 || low < 0)
            return false;
        to[i] = (uint8_t)(high << 4 | low);
    }
    return true;
}

enum mu_status base64_encode(struct bytes from, char **ret, struct mu_error *err)
{
    char *text;

    if (from.len > INT_MAX / 2)
        return mu_fail(err, MU_INTERNAL, "base64: %zu bytes are too many", from.len);
    text = malloc((from.len + 2) / 3 * 4 + 1);
    if (text == NULL)
        return mu_oom(err);
    (void)EVP_EncodeBlock((uint8_t *)text, from.data, (int)from.len);
    *ret = text;
    return MU_OK;
}

enum mu_status base64_decode(const char *from, size_t max, enum mu_status status,
                             struct buffer *ret, struct mu_error *err)
{
    static const char alphabet[] =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    size_t len = strlen(from);
    size_t digits = strspn(from, alphabet);
    size_t padding = len - digits;
    MU_CLEANUP(buffer_free) struct buffer out = {0};

    if (len % 4 != 0 || padding > 2 || strspn(from + digits, "=") != padding)
        return mu_fail(err, status, "not base64");
    if (len / 4 * 3 - padding > max)
        return mu_fail(err, status, "base64 of more than %zu bytes", max);
    MU_TRY(buffer_alloc(&out, len / 4 * 3, err));
    if (EVP_DecodeBlock(out.data, (const uint8_t *)from, (int)len) < 0)
        return mu_fail(err, status, "not base64");
    out.len -= padding;
    /* RFC 4648, 3.5: bits that carry nothing must be zero. */
    if (padding > 0) {
        uint8_t last[5];

        (void)EVP_EncodeBlock(last, out.data + out.len - (3 - padding), (int)(3 - padding));
        if (memcmp(last, from + len - 4, 4) != 0)
            return mu_fail(err, status, "not base64");
    }
    *ret = MU_TAKE(out);
    return MU_OK;
}

enum mu_status base64url_encode(struct bytes from, char **ret, struct mu_error *err)
{
    char *text;

    MU_TRY(base64_encode(from, &text, err));
    text[strcspn(text, "=")] = '\0';
    for (char *c = text; *c != '\0'; c++) {
        if (*c == '+')
            *c = '-';
        else if (*c == '/')
            *c = '_';
    }
    *ret = text;
    return MU_OK;
}

enum mu_status base64url_decode(struct bytes from, size_t max, enum mu_status status,
                                struct buffer *ret, struct mu_error *err)
{
    static const char plain[] = "+/=", safe[] = "-_";
    MU_CLEANUP(buffer_free) struct buffer text = {0};
    size_t padded = (from.len + 3) / 4 * 4;
    enum mu_status decoded;

    MU_TRY(buffer_alloc(&text, padded + 1, err));
    memset(text.data, '=', padded);
    text.data[padded] = '\0';
    for (size_t i = 0; i < from.len; i++) {
        const char *in_safe = from.data[i] != '\0' ? strchr(safe, from.data[i]) : NULL;

        if (from.data[i] == '\0' || strchr(plain, from.data[i]) != NULL)
            return mu_fail(err, status, "not base64url");
        text.data[i] = in_safe != NULL ? (uint8_t)plain[in_safe - safe] : from.data[i];
    }
    decoded = base64_decode((const char *)text.data, max, status, ret, err);
    if (decoded == status)
        return mu_fail(err, status, "not base64url of at most %zu bytes", max);
    return decoded;
}
