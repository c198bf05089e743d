/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef MU_TESTS_MADE_PE_H
#define MU_TESTS_MADE_PE_H

#include "base/bytes.h"

#define PE_CHECKSUM 0xd8  /* of the images made here */
#define PE_SECURITY 0x128 /* directory entry 4 */
#define PE_SECTIONS 0x188 /* first section header */

struct made_section {
    const char *name;
    struct bytes data;
};

/* A PE32+ image: headers of 1 KiB, the sections in file order and padded to 512 bytes, `tail` after
 * them, and a certificate table of `certificates` bytes at the end. */
struct buffer made_pe(const struct made_section *sections, size_t count, struct bytes tail,
                      size_t certificates);
void put_le(uint8_t *to, uint64_t value, size_t size);

#endif
