/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef MU_MEASURE_TEXT_H
#define MU_MEASURE_TEXT_H

#include "base/bytes.h"

/* Untrusted data as one line of UTF-8: control characters and the ones that reorder or hide text
 * are escaped (\x1b, \u202e). Pieces are appended whole or, with everything after them, not at all;
 * then the line ends in "...". */
struct text {
    char *to;
    size_t cap, len;
    bool full;
};

/* cap >= 4. The text is terminated at all times. */
struct text text_into(char *to, size_t cap);
void text_printf(struct text *text, const char *format, ...) MU_PRINTF(2, 3);
void text_ascii(struct text *text, struct bytes data);
void text_utf16(struct text *text, struct bytes data); /* little-endian */
/* Whichever of UTF-16 and ASCII the data looks like, without zeros at its end; else hex. */
void text_guess(struct text *text, struct bytes data);
void text_hex(struct text *text, struct bytes data);  /* beyond 64 bytes shortened */
void text_guid(struct text *text, struct bytes data); /* 16 bytes, the first three fields LE */

#endif
