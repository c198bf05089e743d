/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "made_pe.h"

#include <stdlib.h>
#include <string.h>

#define HEADER 0x80
#define OPTIONAL (HEADER + 24)
#define HEADERS_SIZE 1024

static size_t padded(size_t len)
{
    return (len + 511) / 512 * 512;
}

void put_le(uint8_t *to, uint64_t value, size_t size)
{
    for (size_t i = 0; i < size; i++)
        to[i] = (uint8_t)(value >> (8 * i));
}

struct buffer made_pe(const struct made_section *sections, size_t count, struct bytes tail,
                      size_t certificates)
{
    size_t len = HEADERS_SIZE + tail.len + certificates, offset = HEADERS_SIZE;
    struct buffer pe;

    for (size_t i = 0; i < count; i++)
        len += padded(sections[i].data.len);
    pe = (struct buffer){calloc(1, len), len};
    if (pe.data == NULL)
        abort();
    memcpy(pe.data, "MZ", 2);
    put_le(pe.data + 0x3c, HEADER, 4);
    memcpy(pe.data + HEADER, "PE\0\0", 4);
    put_le(pe.data + HEADER + 6, count, 2);
    put_le(pe.data + HEADER + 20, 112 + 16 * 8, 2);
    put_le(pe.data + OPTIONAL, 0x20b, 2);
    put_le(pe.data + OPTIONAL + 60, HEADERS_SIZE, 4);
    put_le(pe.data + OPTIONAL + 64, 0x12345678, 4);
    put_le(pe.data + OPTIONAL + 108, 16, 4);
    for (size_t i = 0; i < count; i++) {
        uint8_t *header = pe.data + PE_SECTIONS + 40 * i;

        memcpy(header, sections[i].name, strlen(sections[i].name));
        put_le(header + 8, sections[i].data.len, 4);
        put_le(header + 12, 0x10000 * (i + 1), 4);
        put_le(header + 16, padded(sections[i].data.len), 4);
        put_le(header + 20, offset, 4);
        memcpy(pe.data + offset, sections[i].data.data, sections[i].data.len);
        offset += padded(sections[i].data.len);
    }
    if (tail.len > 0)
        memcpy(pe.data + offset, tail.data, tail.len);
    if (certificates > 0) {
        put_le(pe.data + PE_SECURITY, len - certificates, 4);
        put_le(pe.data + PE_SECURITY + 4, certificates, 4);
        memset(pe.data + len - certificates, 0xcc, certificates);
    }
    return pe;
}
