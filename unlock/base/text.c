/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "base/text.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/utf8.h"

#define ELLIPSIS "..."
#define PIECE_MAX 256
/* Data that are not text are shortened to this many bytes. */
#define BINARY_MAX 64

struct text text_into(char *to, size_t cap)
{
    to[0] = '\0';
    return (struct text){.to = to, .cap = cap};
}

/* Room for the ellipsis and the zero byte stays free until they are needed. */
static void append(struct text *text, const char *piece, size_t len)
{
    if (text->full)
        return;
    if (text->len + len + sizeof(ELLIPSIS) > text->cap) {
        text->full = true;
        piece = ELLIPSIS;
        len = strlen(ELLIPSIS);
    }
    memcpy(text->to + text->len, piece, len);
    text->len += len;
    text->to[text->len] = '\0';
}

void text_printf(struct text *text, const char *format, ...)
{
    char piece[PIECE_MAX];
    va_list args;
    int len;

    va_start(args, format);
    len = vsnprintf(piece, sizeof(piece), format, args);
    va_end(args);
    if (len > 0)
        append(text, piece, (size_t)len < sizeof(piece) ? (size_t)len : sizeof(piece) - 1);
}

/* Characters that move the cursor, reorder what is shown, or show nothing. */
static bool deceives(uint32_t c)
{
    return (c >= 0x7f && c < 0xa0) || c == 0xad || (c >= 0x200b && c <= 0x200f) ||
           (c >= 0x2028 && c <= 0x202e) || (c >= 0x2060 && c <= 0x206f) ||
           (c >= 0xd800 && c <= 0xdfff) || c == 0xfeff || (c >= 0xfff0 && c <= 0xffff) ||
           (c >= 0xe0000 && c <= 0xeffff);
}

static void put_character(struct text *text, uint32_t c)
{
    char utf8[4];
    size_t len = 0;

    if (c < 0x20 || c == 0x7f) {
        text_printf(text, "\\x%02x", c);
        return;
    }
    if (deceives(c)) {
        text_printf(text, c > 0xffff ? "\\U%08x" : "\\u%04x", c);
        return;
    }
    if (c < 0x80) {
        utf8[len++] = (char)c;
    } else if (c < 0x800) {
        utf8[len++] = (char)(0xc0 | c >> 6);
    } else if (c < 0x10000) {
        utf8[len++] = (char)(0xe0 | c >> 12);
        utf8[len++] = (char)(0x80 | (c >> 6 & 0x3f));
    } else {
        utf8[len++] = (char)(0xf0 | c >> 18);
        utf8[len++] = (char)(0x80 | (c >> 12 & 0x3f));
        utf8[len++] = (char)(0x80 | (c >> 6 & 0x3f));
    }
    if (c >= 0x80)
        utf8[len++] = (char)(0x80 | (c & 0x3f));
    append(text, utf8, len);
}

void text_utf8(struct text *text, struct bytes data)
{
    struct reader r = reader_of(data);

    while (reader_left(&r) > 0 && !text->full) {
        uint32_t c;

        if (utf8_next(&r, &c))
            put_character(text, c);
        else
            text_printf(text, "\\x%02x", reader_u8(&r));
    }
}

void text_utf16(struct text *text, struct bytes data)
{
    struct reader r = reader_of(data);

    while (reader_left(&r) >= 2 && !text->full) {
        uint32_t c = reader_le16(&r);
        struct reader next = r;
        uint16_t low = reader_le16(&next);

        if (c >= 0xd800 && c < 0xdc00 && low >= 0xdc00 && low < 0xe000) {
            c = 0x10000 + ((c - 0xd800) << 10) + (low - 0xdc00u);
            r = next;
        }
        put_character(text, c);
    }
}

void text_hex(struct text *text, struct bytes data)
{
    const size_t shown = data.len <= BINARY_MAX ? data.len : BINARY_MAX / 2;

    for (size_t i = 0; i < shown && !text->full; i++)
        text_printf(text, "%02x", data.data[i]);
    if (shown < data.len)
        text_printf(text, "... (%zu bytes)", data.len);
}

void text_guid(struct text *text, struct bytes data)
{
    struct reader r = reader_of(data);
    uint32_t first = reader_le32(&r);
    uint16_t second = reader_le16(&r);
    uint16_t third = reader_le16(&r);
    uint16_t fourth = reader_be16(&r);
    uint32_t node = reader_be32(&r);

    text_printf(text, "%08x-%04x-%04x-%04x-%08x%04x", first, second, third, fourth, node,
                reader_be16(&r));
}

static struct bytes without_zeros(struct bytes data, size_t unit)
{
    while (data.len >= unit && bytes_all_zero((struct bytes){data.data + data.len - unit, unit}))
        data.len -= unit;
    return data;
}

static bool mostly_utf16(struct bytes data)
{
    struct reader r = reader_of(data);
    size_t plain = 0;

    while (reader_left(&r) >= 2) {
        uint16_t c = reader_le16(&r);

        plain += c > 0 && c < 0x80;
    }
    return data.len >= 2 && data.len % 2 == 0 && plain >= data.len / 4;
}

/* Counted in bytes, so that one accent in a short word does not decide. */
static bool mostly_utf8(struct bytes data)
{
    struct reader r = reader_of(data);
    size_t plain = 0;

    while (reader_left(&r) > 0) {
        size_t left = reader_left(&r);
        uint32_t c;

        if (!utf8_next(&r, &c))
            (void)reader_u8(&r);
        else if (c >= 0x20 && c != 0x7f)
            plain += left - reader_left(&r);
    }
    return data.len > 0 && 4 * plain >= 3 * data.len;
}

void text_guess(struct text *text, struct bytes data)
{
    struct bytes wide = data.len % 2 == 0 ? without_zeros(data, 2) : data;
    struct bytes narrow = without_zeros(data, 1);

    if (mostly_utf8(narrow))
        text_utf8(text, narrow);
    else if (mostly_utf16(wide))
        text_utf16(text, wide);
    else
        text_hex(text, data);
}

static bool is_between(struct bytes text, uint8_t first, uint8_t last)
{
    for (size_t i = 0; i < text.len; i++)
        if (text.data[i] < first || text.data[i] > last)
            return false;
    return true;
}

bool text_is_printable(struct bytes text)
{
    return is_between(text, ' ', '~');
}

bool text_is_word(struct bytes text)
{
    return is_between(text, '!', '~');
}

void text_make_printable(char *text)
{
    for (; *text != '\0'; text++)
        if (*text < ' ' || *text > '~')
            *text = '?';
}
