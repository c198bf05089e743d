/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef MU_BUILD_UNPACK_H
#define MU_BUILD_UNPACK_H

#include "base/bytes.h"

/* The header of an entry of a cpio archive ("newc"). The fields are inode, mode, uid, gid, links,
 * mtime, size, major, minor, rmajor, rminor, length of the name with its zero byte, check sum. */
#define CPIO_HEADER_BYTES 110
#define CPIO_FIELDS 13
bool cpio_header(struct bytes data, uint32_t ret[static CPIO_FIELDS]);

/* True if the data begins like something that unpack() knows (Linux, lib/decompress.c). */
bool unpack_knows(struct bytes data);

/* Decompresses the first of what may be several archives, one after the other with zeros between
 * them, with the program that belongs to its format (zstd, gzip, xz, lz4, bzip2, lzop), run without
 * a shell in a clean environment; *ret_used: how much of the data that was. MU_CONFIG: the program
 * is not installed (the text says which package has it), or the result is larger than max.
 * *ret_whole is false if the program finds a fault wherever the archive is taken to end: the data
 * are damaged, or something else follows. */
enum mu_status unpack_first(struct bytes data, size_t max, struct buffer *ret, size_t *ret_used,
                            bool *ret_whole, struct mu_error *err) MU_MUST_CHECK;

#endif
