/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "measure/text.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define ELLIPSIS "..."
#define PIECE_MAX 256
/* Of what is no text, more than this is shortened. */
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

void text_ascii(struct text *text, struct bytes data)
{
    for (size_t i = 0; i < data.len && !text->full; i++) {
        if (data.data[i] < 0x80)
            put_character(text, data.data[i]);
        else
            text_printf(text, "\\x%02x", data.data[i]);
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

static bool mostly_ascii(struct bytes data)
{
    size_t plain = 0;

    for (size_t i = 0; i < data.len; i++)
        plain += data.data[i] >= 0x20 && data.data[i] < 0x7f;
    return data.len > 0 && 4 * plain >= 3 * data.len;
}

void text_guess(struct text *text, struct bytes data)
{
    struct bytes wide = data.len % 2 == 0 ? without_zeros(data, 2) : data;
    struct bytes narrow = without_zeros(data, 1);

    if (mostly_ascii(narrow))
        text_ascii(text, narrow);
    else if (mostly_utf16(wide))
        text_utf16(text, wide);
    else
        text_hex(text, data);
}
