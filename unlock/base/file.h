/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef MU_BASE_FILE_H
#define MU_BASE_FILE_H

#include "base/bytes.h"

/* Reads a whole file ("-": standard input) of 0 to max bytes. MU_CONFIG if the file cannot be read
 * or is larger; the text names the file. One zero byte follows the data (not counted in len). */
enum mu_status file_read(const char *path, size_t max, struct buffer *ret,
                         struct mu_error *err) MU_MUST_CHECK MU_NONNULL;

/* The same for an open file or pipe, from its present position to its end; `path` names it in the
 * text. */
enum mu_status file_read_fd(int fd, const char *path, size_t max, struct buffer *ret,
                            struct mu_error *err) MU_MUST_CHECK MU_NONNULL;

/* Writes a whole file ("-": standard output) so that readers see the old content or the new one,
 * never a part: temporary file in the same folder, fsync, rename. */
enum mu_status file_write(const char *path, struct bytes content, unsigned mode,
                          struct mu_error *err) MU_MUST_CHECK MU_NONNULL;

/* True if the path is the folder itself, or lies in it; compares the two texts only. */
bool path_is_in(const char *path, const char *folder) MU_NONNULL;

/* For MU_CLEANUP: closes the descriptor unless it is -1, and sets it to -1. */
void fd_close(int *fd) MU_NONNULL;

#endif
