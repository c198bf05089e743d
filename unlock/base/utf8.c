/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "base/utf8.h"

bool utf8_next(struct reader *r, uint32_t *ret)
{
    static const uint32_t least[] = {0, 0x80, 0x800, 0x10000};
    struct reader next = *r;
    uint8_t c = reader_u8(&next);
    unsigned more = c < 0x80 ? 0 : c < 0xe0 ? 1 : c < 0xf0 ? 2 : 3;
    uint32_t code = more == 0 ? c : c & (0x3fu >> more);

    if (next.failed || (c >= 0x80 && c < 0xc0) || c >= 0xf8)
        return false;
    for (unsigned i = 0; i < more; i++) {
        uint8_t following = reader_u8(&next);

        if ((following & 0xc0) != 0x80)
            return false;
        code = code << 6 | (following & 0x3fu);
    }
    if (code < least[more] || code > 0x10ffff || (code >= 0xd800 && code < 0xe000))
        return false;
    *r = next;
    *ret = code;
    return true;
}
