/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef MU_BASE_TEXT_H
#define MU_BASE_TEXT_H

#include "base/bytes.h"

/* Untrusted data as one line of UTF-8: control characters and the ones that reorder or hide text
 * are escaped (\x1b, \u202e). A piece that does not fit is left out, and so is everything after it;
 * the line then ends in "...". */
struct text {
    char *to;
    size_t cap, len;
    bool full;
};

/* cap >= 4. The text is terminated at all times. */
struct text text_into(char *to, size_t cap) MU_NONNULL;
void text_printf(struct text *text, const char *format, ...) MU_PRINTF(2, 3) MU_NONNULL_AT(1, 2);
void text_utf8(struct text *text, struct bytes data) MU_NONNULL;  /* invalid bytes as \xNN */
void text_utf16(struct text *text, struct bytes data) MU_NONNULL; /* little-endian */
/* Whichever of UTF-16 and UTF-8 the data looks like, without zeros at its end; else hex. */
void text_guess(struct text *text, struct bytes data) MU_NONNULL;
void text_hex(struct text *text, struct bytes data) MU_NONNULL; /* shortened beyond 64 bytes */
/* 16 bytes, the first three fields little-endian. */
void text_guid(struct text *text, struct bytes data) MU_NONNULL;

/* Printable ASCII, with spaces or without. */
bool text_is_printable(struct bytes text);
bool text_is_word(struct bytes text);
/* Everything that is not printable ASCII becomes a question mark. */
void text_make_printable(char *text) MU_NONNULL;

#endif
