/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef MU_CTL_UNPACK_H
#define MU_CTL_UNPACK_H

#include "base/bytes.h"

/* True if the data begins like something that unpack() knows (Linux, lib/decompress.c). */
bool unpack_knows(struct bytes data);

/* Decompresses with the program that belongs to the format (zstd, gzip, xz, lz4, bzip2, lzop), run
 * without a shell in a clean environment. MU_CONFIG: it is not installed (the text says which
 * package has it), or the result is larger than max. *ret_whole is false where the program found
 * fault after what it put out: damaged data, or something else follows. */
enum mu_status unpack(struct bytes data, size_t max, struct buffer *ret, bool *ret_whole,
                      struct mu_error *err) MU_MUST_CHECK;

#endif
