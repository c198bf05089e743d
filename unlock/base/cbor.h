/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef MU_BASE_CBOR_H
#define MU_BASE_CBOR_H

#include "base/bytes.h"

/* Reads CBOR (RFC 8949) in place over a struct reader: nothing is allocated, strings are views, and
 * a read that does not fit sets the reader's `failed`, which stays set. Arrays and maps may have a
 * definite or indefinite length; strings in chunks (RFC 8949, 3.2.3) fail, since no view can cover
 * them and no known producer makes them. */

enum cbor_kind {
    CBOR_UNSIGNED,
    CBOR_BYTES,
    CBOR_TEXT,
    CBOR_ARRAY,
    CBOR_MAP,
    CBOR_TAG,
    CBOR_NULL,
    CBOR_OTHER, /* negative integer, boolean, float, undefined */
    CBOR_BREAK,
    CBOR_INVALID,
};

struct cbor_token {
    enum cbor_kind kind;
    uint64_t value;      /* the integer, the tag, or the count of an array or map */
    bool indefinite;     /* an array or map without a count */
    struct bytes string; /* text or bytes; data is never NULL */
};

/* The next data item's head, with the content of a string. */
struct cbor_token cbor_next(struct reader *r) MU_NONNULL;

/* A head of exactly this kind. */
uint64_t cbor_unsigned(struct reader *r) MU_NONNULL;
struct bytes cbor_string(struct reader *r, enum cbor_kind kind) MU_NONNULL;
/* A byte string or null; for null, data is NULL. */
struct bytes cbor_bytes_or_null(struct reader *r) MU_NONNULL;

/* for (items = cbor_enter(r, CBOR_MAP); cbor_more(r, &items);) { read key, read value } */
struct cbor_items {
    uint64_t left;
    bool indefinite;
};
struct cbor_items cbor_enter(struct reader *r, enum cbor_kind kind) MU_NONNULL;
bool cbor_more(struct reader *r, struct cbor_items *items) MU_NONNULL;

/* Passes over one data item, at most eight levels deep. */
void cbor_skip(struct reader *r) MU_NONNULL;

/* True if the text is exactly this. */
bool cbor_text_is(struct bytes text, const char *value) MU_NONNULL;

#endif
