/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "base/file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define FIRST_CHUNK 4096u

static bool is_dash(const char *path)
{
    return strcmp(path, "-") == 0;
}

bool path_is_in(const char *path, const char *folder)
{
    size_t len = strlen(folder);

    return strncmp(path, folder, len) == 0 && (path[len] == '\0' || path[len] == '/');
}

void fd_close(int *fd)
{
    if (*fd >= 0)
        (void)close(*fd);
    *fd = -1;
}

static void close_unless_standard(int *fd)
{
    if (*fd > STDERR_FILENO)
        fd_close(fd);
}

/* sysfs and pipes tell no size. */
enum mu_status file_read_fd(int fd, const char *path, size_t max, struct buffer *ret,
                            struct mu_error *err)
{
    MU_CLEANUP(buffer_free) struct buffer all = {0};
    size_t cap = 0;

    for (;;) {
        ssize_t n;

        if (all.len == cap) {
            uint8_t *grown;

            cap = cap == 0 ? FIRST_CHUNK : 2 * cap;
            grown = realloc(all.data, cap + 1);
            if (grown == NULL)
                return mu_oom(err);
            all.data = grown;
        }
        n = read(fd, all.data + all.len, cap - all.len);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return mu_fail(err, MU_CONFIG, "%s: cannot read: %s", path, strerror(errno));
        if (n == 0)
            break;
        all.len += (size_t)n;
        if (all.len > max)
            return mu_fail(err, MU_CONFIG, "%s: larger than %zu bytes", path, max);
    }
    all.data[all.len] = 0;
    *ret = MU_TAKE(all);
    return MU_OK;
}

enum mu_status file_read(const char *path, size_t max, struct buffer *ret, struct mu_error *err)
{
    MU_CLEANUP(close_unless_standard) int fd = STDIN_FILENO;

    if (is_dash(path))
        return file_read_fd(fd, "standard input", max, ret, err);
    fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
    if (fd < 0)
        return mu_fail(err, MU_CONFIG, "%s: cannot open: %s", path, strerror(errno));
    return file_read_fd(fd, path, max, ret, err);
}

static enum mu_status write_all(int fd, const char *path, struct bytes content,
                                struct mu_error *err)
{
    size_t done = 0;

    while (done < content.len) {
        ssize_t n = write(fd, content.data + done, content.len - done);

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return mu_fail(err, MU_CONFIG, "%s: cannot write: %s", path, strerror(errno));
        done += (size_t)n;
    }
    return MU_OK;
}

/* The name of a temporary file while it exists. */
static void remove_temporary(char **name)
{
    if (*name != NULL)
        (void)unlink(*name);
    free(*name);
    *name = NULL;
}

static enum mu_status sync_folder_of(const char *path, struct mu_error *err)
{
    const char *slash = strrchr(path, '/');
    char *folder = slash == NULL ? strdup(".") : strndup(path, (size_t)(slash - path) + 1);
    MU_CLEANUP(fd_close) int fd = folder ? open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1;
    int failed = fd >= 0 && fsync(fd) != 0 && errno != EINVAL;

    free(folder);
    if (failed)
        return mu_fail(err, MU_CONFIG, "%s: cannot sync its folder: %s", path, strerror(errno));
    return MU_OK;
}

static enum mu_status replace(const char *path, struct bytes content, unsigned mode,
                              struct mu_error *err)
{
    MU_CLEANUP(remove_temporary) char *temporary = NULL;
    MU_CLEANUP(fd_close) int fd = -1;
    char *name;

    MU_TRY(string_print(&name, err, "%s.XXXXXX", path));
    fd = mkostemp(name, O_CLOEXEC);
    if (fd < 0) {
        free(name);
        return mu_fail(err, MU_CONFIG, "%s: cannot create: %s", path, strerror(errno));
    }
    temporary = name;
    MU_TRY(write_all(fd, path, content, err));
    if (fchmod(fd, (mode_t)mode) != 0 || fsync(fd) != 0 || rename(temporary, path) != 0)
        return mu_fail(err, MU_CONFIG, "%s: cannot write: %s", path, strerror(errno));
    free(temporary);
    temporary = NULL;
    return sync_folder_of(path, err);
}

enum mu_status file_write(const char *path, struct bytes content, unsigned mode,
                          struct mu_error *err)
{
    MU_CLEANUP(close_unless_standard) int fd = STDOUT_FILENO;
    struct stat st;

    if (is_dash(path))
        return write_all(fd, "standard output", content, err);
    /* A device or a pipe (/dev/null, /dev/fd/3) is written to, never replaced. */
    if (stat(path, &st) != 0 || S_ISREG(st.st_mode))
        return replace(path, content, mode, err);
    fd = open(path, O_WRONLY | O_CLOEXEC | O_NOCTTY);
    if (fd < 0)
        return mu_fail(err, MU_CONFIG, "%s: cannot open: %s", path, strerror(errno));
    return write_all(fd, path, content, err);
}
