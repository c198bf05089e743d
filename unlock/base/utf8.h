/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef MU_BASE_UTF8_H
#define MU_BASE_UTF8_H

#include "base/bytes.h"

/* The next character (RFC 3629, 4: no overlong forms, no surrogates, nothing above U+10FFFF). False
 * at the end, and if the bytes are invalid: the reader then stays where it is and is not marked as
 * failed. */
bool utf8_next(struct reader *r, uint32_t *ret) MU_MUST_CHECK MU_NONNULL;

#endif
