/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef MU_BASE_BYTES_H
#define MU_BASE_BYTES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "base/error.h"

/* A view of memory; its holder does not own that memory. */
struct bytes {
    const uint8_t *data;
    size_t len;
};

/* Memory that the holder owns. */
struct buffer {
    uint8_t *data;
    size_t len;
};

void buffer_free(struct buffer *buffer) MU_NONNULL;
void string_free(char **text) MU_NONNULL;   /* for MU_CLEANUP on malloc'ed strings */
void memory_free(void *pointer) MU_NONNULL; /* the same on anything malloc'ed */
/* The same two for what is secret: wiped first. */
void buffer_wipe(struct buffer *buffer) MU_NONNULL;
void string_wipe(char **text) MU_NONNULL;
/* *field becomes a copy of the text; what it was before is freed. */
enum mu_status string_set(char **field, const char *text,
                          struct mu_error *err) MU_MUST_CHECK MU_NONNULL;
enum mu_status string_print(char **ret, struct mu_error *err, const char *format, ...) MU_MUST_CHECK
    MU_PRINTF(3, 4) MU_NONNULL_AT(1, 2, 3);
enum mu_status buffer_alloc(struct buffer *ret, size_t len,
                            struct mu_error *err) MU_MUST_CHECK MU_NONNULL;
enum mu_status buffer_copy(struct buffer *ret, struct bytes from,
                           struct mu_error *err) MU_MUST_CHECK MU_NONNULL;
static inline struct bytes buffer_view(const struct buffer *b)
{
    return (struct bytes){b->data, b->len};
}
/* Without its terminating zero byte; NULL is empty. */
static inline struct bytes text_view(const char *text)
{
    return (struct bytes){(const uint8_t *)text, text != NULL ? strlen(text) : 0};
}

/* True if both hold the same bytes; constant time for equal lengths. */
bool bytes_equal(struct bytes a, struct bytes b);
bool bytes_all_zero(struct bytes b);
/* True if there are characters, and all are among those of `allowed`. */
bool bytes_all_of(struct bytes text, const char *allowed) MU_NONNULL;

/* Every byte from outside is read through this cursor. A read past the end returns zero (or an
 * empty view) and sets `failed`, which stays set: check it once, at the end. */
struct reader {
    const uint8_t *start;
    const uint8_t *pos;
    const uint8_t *end;
    bool failed;
};

struct reader reader_of(struct bytes b);
uint8_t reader_u8(struct reader *r) MU_NONNULL;
uint16_t reader_be16(struct reader *r) MU_NONNULL;
uint32_t reader_be32(struct reader *r) MU_NONNULL;
uint64_t reader_be64(struct reader *r) MU_NONNULL;
uint16_t reader_le16(struct reader *r) MU_NONNULL;
uint32_t reader_le32(struct reader *r) MU_NONNULL;
uint64_t reader_le64(struct reader *r) MU_NONNULL;
struct bytes reader_take(struct reader *r, size_t len) MU_NONNULL;
void reader_copy(struct reader *r, void *to, size_t len) MU_NONNULL; /* to is zeroed on failure */
size_t reader_left(const struct reader *r) MU_NONNULL;
size_t reader_offset(const struct reader *r) MU_NONNULL;

/* The counterpart of the reader, for memory of fixed size: a write that does not fit sets
 * `failed`. */
struct writer {
    uint8_t *data;
    size_t cap;
    size_t len;
    bool failed;
};

struct writer writer_into(void *data, size_t cap);
void writer_u8(struct writer *w, uint8_t value) MU_NONNULL;
void writer_be16(struct writer *w, uint16_t value) MU_NONNULL;
void writer_be32(struct writer *w, uint32_t value) MU_NONNULL;
void writer_le(struct writer *w, uint64_t value, size_t size) MU_NONNULL; /* size low bytes */
void writer_be64(struct writer *w, uint64_t value) MU_NONNULL;
void writer_bytes(struct writer *w, struct bytes b) MU_NONNULL;

/* Lower-case hex; `to` holds 2 * len + 1 characters. */
void hex_encode(struct bytes from, char *to) MU_NONNULL;
/* Accepts either case, exactly 2 * len digits and nothing else. */
bool hex_decode(const char *from, uint8_t *to, size_t len) MU_NONNULL;
/* Standard alphabet with padding, no white space (RFC 4648, 4). Any other text, and data of more
 * than max bytes, are refused with class `status`. */
enum mu_status base64_encode(struct bytes from, char **ret,
                             struct mu_error *err) MU_MUST_CHECK MU_NONNULL;
enum mu_status base64_decode(const char *from, size_t max, enum mu_status status,
                             struct buffer *ret, struct mu_error *err) MU_MUST_CHECK MU_NONNULL;
/* The alphabet safe in URLs, without padding (RFC 4648, 5; RFC 7515, 2). Bytes have exactly one
 * such text. Any other text, and data of more than max bytes, are refused with class `status`. */
enum mu_status base64url_encode(struct bytes from, char **ret,
                                struct mu_error *err) MU_MUST_CHECK MU_NONNULL;
enum mu_status base64url_decode(struct bytes from, size_t max, enum mu_status status,
                                struct buffer *ret, struct mu_error *err) MU_MUST_CHECK MU_NONNULL;

#endif
