/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "base/cbor.h"

#include <string.h>

#include <cbor.h>

#define SKIP_DEPTH_MAX 8

/* What libcbor's empty callbacks leave as it is is CBOR_OTHER. */
static void set(struct cbor_token *token, enum cbor_kind kind, uint64_t value, bool indefinite)
{
    token->kind = kind;
    token->value = value;
    token->indefinite = indefinite;
}

static void on_uint8(void *token, uint8_t value)
{
    set(token, CBOR_UNSIGNED, value, false);
}

static void on_uint16(void *token, uint16_t value)
{
    set(token, CBOR_UNSIGNED, value, false);
}

static void on_uint32(void *token, uint32_t value)
{
    set(token, CBOR_UNSIGNED, value, false);
}

static void on_uint64(void *token, uint64_t value)
{
    set(token, CBOR_UNSIGNED, value, false);
}

static void on_string(struct cbor_token *token, enum cbor_kind kind, const uint8_t *data, size_t n)
{
    token->kind = kind;
    token->string = (struct bytes){data, n};
}

static void on_bytes(void *token, cbor_data data, size_t len)
{
    on_string(token, CBOR_BYTES, data, len);
}

static void on_text(void *token, cbor_data data, size_t len)
{
    on_string(token, CBOR_TEXT, data, len);
}

static void on_array(void *token, size_t count)
{
    set(token, CBOR_ARRAY, count, false);
}

static void on_map(void *token, size_t count)
{
    set(token, CBOR_MAP, count, false);
}

static void on_indefinite_array(void *token)
{
    set(token, CBOR_ARRAY, 0, true);
}

static void on_indefinite_map(void *token)
{
    set(token, CBOR_MAP, 0, true);
}

static void on_tag(void *token, uint64_t value)
{
    set(token, CBOR_TAG, value, false);
}

static void on_null(void *token)
{
    set(token, CBOR_NULL, 0, false);
}

static void on_break(void *token)
{
    set(token, CBOR_BREAK, 0, false);
}

static void on_chunked_string(void *token)
{
    set(token, CBOR_INVALID, 0, false);
}

static const struct cbor_callbacks callbacks = {
    .uint8 = on_uint8,
    .uint16 = on_uint16,
    .uint32 = on_uint32,
    .uint64 = on_uint64,
    .negint8 = cbor_null_negint8_callback,
    .negint16 = cbor_null_negint16_callback,
    .negint32 = cbor_null_negint32_callback,
    .negint64 = cbor_null_negint64_callback,
    .byte_string_start = on_chunked_string,
    .byte_string = on_bytes,
    .string_start = on_chunked_string,
    .string = on_text,
    .indef_array_start = on_indefinite_array,
    .array_start = on_array,
    .indef_map_start = on_indefinite_map,
    .map_start = on_map,
    .tag = on_tag,
    .float2 = cbor_null_float2_callback,
    .float4 = cbor_null_float4_callback,
    .float8 = cbor_null_float8_callback,
    .undefined = cbor_null_undefined_callback,
    .null = on_null,
    .boolean = cbor_null_boolean_callback,
    .indef_break = on_break,
};

struct cbor_token cbor_next(struct reader *r)
{
    struct cbor_token token = {.kind = CBOR_OTHER};
    struct cbor_decoder_result result;

    if (!r->failed && reader_left(r) > 0) {
        result = cbor_stream_decode(r->pos, reader_left(r), &callbacks, &token);
        if (result.status == CBOR_DECODER_FINISHED && token.kind != CBOR_INVALID) {
            (void)reader_take(r, result.read);
            return token;
        }
    }
    r->failed = true;
    return (struct cbor_token){.kind = CBOR_INVALID, .string = {r->pos, 0}};
}

static struct cbor_token expect(struct reader *r, enum cbor_kind kind)
{
    struct cbor_token token = cbor_next(r);

    if (token.kind != kind)
        r->failed = true;
    if (r->failed)
        return (struct cbor_token){.kind = CBOR_INVALID, .string = {r->pos, 0}};
    return token;
}

uint64_t cbor_unsigned(struct reader *r)
{
    return expect(r, CBOR_UNSIGNED).value;
}

struct bytes cbor_string(struct reader *r, enum cbor_kind kind)
{
    return expect(r, kind).string;
}

struct bytes cbor_bytes_or_null(struct reader *r)
{
    struct cbor_token token = cbor_next(r);

    if (token.kind == CBOR_NULL)
        return (struct bytes){0};
    if (token.kind != CBOR_BYTES)
        r->failed = true;
    if (r->failed)
        return (struct bytes){0};
    return token.string;
}

struct cbor_items cbor_enter(struct reader *r, enum cbor_kind kind)
{
    struct cbor_token token = expect(r, kind);

    return (struct cbor_items){token.value, token.indefinite};
}

bool cbor_more(struct reader *r, struct cbor_items *items)
{
    const uint8_t stop = 0xff;

    if (r->failed)
        return false;
    if (!items->indefinite)
        return items->left > 0 && items->left-- > 0;
    if (reader_left(r) > 0 && *r->pos == stop) {
        (void)reader_take(r, 1);
        return false;
    }
    return true;
}

void cbor_skip(struct reader *r)
{
    struct cbor_items open[SKIP_DEPTH_MAX] = {{.left = 1}};
    size_t depth = 1;

    while (depth > 0 && !r->failed) {
        struct cbor_token token;

        if (!cbor_more(r, &open[depth - 1])) {
            depth--;
            continue;
        }
        token = cbor_next(r);
        if (token.kind == CBOR_BREAK)
            r->failed = true;
        if (token.kind != CBOR_ARRAY && token.kind != CBOR_MAP && token.kind != CBOR_TAG)
            continue;
        if (depth == SKIP_DEPTH_MAX || (token.kind == CBOR_MAP && token.value > UINT64_MAX / 2)) {
            r->failed = true;
            return;
        }
        open[depth++] = (struct cbor_items){.left = token.kind == CBOR_TAG   ? 1
                                                    : token.kind == CBOR_MAP ? 2 * token.value
                                                                             : token.value,
                                            .indefinite = token.indefinite};
    }
}

bool cbor_text_is(struct bytes text, const char *value)
{
    return text.len == strlen(value) && memcmp(text.data, value, text.len) == 0;
}
