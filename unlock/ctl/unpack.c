/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "ctl/unpack.h"

#include <errno.h>
#include <fcntl.h>
#include <spawn.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/file.h"

#define SEARCH_PATH "/usr/sbin:/usr/bin:/sbin:/bin"

static const struct tool {
    const char *magic;
    size_t len;
    const char *package;
    char *program, *argument[3]; /* not const: execve's prototype */
} tools[] = {
    {"\x28\xb5\x2f\xfd", 4, "zstd", "zstd", {"-dcq"}},
    {"\x1f\x8b", 2, "gzip", "gzip", {"-dcq"}},
    {"\xfd"
     "7zXZ",
     5,
     "xz-utils",
     "xz",
     {"-dcq"}},
    {"\x5d\0\0", 3, "xz-utils", "xz", {"-dcq", "--format=lzma"}},
    {"\x02\x21\x4c\x18", 4, "lz4", "lz4", {"-dcq"}},
    {"\x04\x22\x4d\x18", 4, "lz4", "lz4", {"-dcq"}},
    {"BZh", 3, "bzip2", "bzip2", {"-dcq"}},
    {"\x89LZO", 4, "lzop", "lzop", {"-dcq"}},
};

struct child {
    pid_t pid; /* 0: none */
    int input, output;
};

static void close_fd(int *fd)
{
    if (*fd >= 0)
        (void)close(*fd);
    *fd = -1;
}

/* A child that still writes ends with SIGPIPE. */
static int child_wait(struct child *child)
{
    int status = -1;

    close_fd(&child->input);
    close_fd(&child->output);
    if (child->pid > 0)
        while (waitpid(child->pid, &status, 0) < 0 && errno == EINTR)
            ;
    child->pid = 0;
    return status;
}

static void child_free(struct child *child)
{
    (void)child_wait(child);
}

static const struct tool *tool_of(struct bytes data)
{
    for (size_t i = 0; i < sizeof(tools) / sizeof(tools[0]); i++)
        if (data.len >= tools[i].len && memcmp(data.data, tools[i].magic, tools[i].len) == 0)
            return &tools[i];
    return NULL;
}

bool unpack_knows(struct bytes data)
{
    return tool_of(data) != NULL;
}

/* In memory, so that the child reads and writes at its own pace. */
static enum mu_status put_input(struct bytes data, int *ret, struct mu_error *err)
{
    MU_CLEANUP(close_fd) int fd = memfd_create("image", MFD_CLOEXEC);

    if (fd < 0)
        return mu_fail(err, MU_INTERNAL, "memfd_create: %s", strerror(errno));
    while (data.len > 0) {
        ssize_t n = write(fd, data.data, data.len);

        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return mu_fail(err, MU_CONFIG, "no memory for a copy of the image");
        data = (struct bytes){data.data + n, data.len - (size_t)n};
    }
    if (lseek(fd, 0, SEEK_SET) != 0)
        return mu_fail(err, MU_INTERNAL, "lseek: %s", strerror(errno));
    *ret = fd;
    fd = -1;
    return MU_OK;
}

/* posix_spawnp would search in this process's own PATH. */
static int spawn(const struct tool *tool, posix_spawn_file_actions_t *actions, pid_t *ret)
{
    char *argv[] = {tool->program, tool->argument[0], tool->argument[1], NULL};
    char *environment[] = {(char[]){"PATH=" SEARCH_PATH}, (char[]){"LC_ALL=C"}, NULL};
    int rc = ENOENT;

    for (const char *from = SEARCH_PATH; rc == ENOENT && *from != '\0';) {
        int len = (int)strcspn(from, ":");
        char path[64];

        (void)snprintf(path, sizeof(path), "%.*s/%s", len, from, tool->program);
        rc = posix_spawn(ret, path, actions, NULL, argv, environment);
        from += len + (from[len] == ':');
    }
    return rc;
}

static enum mu_status child_start(struct child *child, const struct tool *tool,
                                  struct mu_error *err)
{
    MU_CLEANUP(close_fd) int pipe_in = -1;
    posix_spawn_file_actions_t actions;
    int ends[2];
    pid_t pid;
    int rc;

    if (pipe2(ends, O_CLOEXEC) != 0)
        return mu_fail(err, MU_INTERNAL, "pipe: %s", strerror(errno));
    child->output = ends[0];
    pipe_in = ends[1];
    rc = posix_spawn_file_actions_init(&actions);
    if (rc != 0)
        return mu_oom(err);
    rc = posix_spawn_file_actions_adddup2(&actions, child->input, STDIN_FILENO);
    if (rc == 0)
        rc = posix_spawn_file_actions_adddup2(&actions, pipe_in, STDOUT_FILENO);
    if (rc == 0)
        rc = posix_spawn_file_actions_addopen(&actions, STDERR_FILENO, "/dev/null", O_WRONLY, 0);
    if (rc == 0)
        rc = posix_spawn_file_actions_addclosefrom_np(&actions, STDERR_FILENO + 1);
    if (rc == 0)
        rc = spawn(tool, &actions, &pid);
    (void)posix_spawn_file_actions_destroy(&actions);
    if (rc == ENOENT)
        return mu_fail(err, MU_CONFIG,
                       "it is compressed with %s, which is not installed: install the package %s",
                       tool->program, tool->package);
    if (rc != 0)
        return mu_fail(err, MU_CONFIG, "%s cannot be started: %s", tool->program, strerror(rc));
    child->pid = pid;
    return MU_OK;
}

enum mu_status unpack(struct bytes data, size_t max, struct buffer *ret, bool *ret_whole,
                      struct mu_error *err)
{
    MU_CLEANUP(child_free) struct child child = {.input = -1, .output = -1};
    const struct tool *tool = tool_of(data);
    int status;

    if (tool == NULL)
        return mu_fail(err, MU_CONFIG, "it is not compressed in a way that is known");
    MU_TRY(put_input(data, &child.input, err));
    MU_TRY(child_start(&child, tool, err));
    MU_TRY(file_read_fd(child.output, tool->program, max, ret, err));
    status = child_wait(&child);
    *ret_whole = WIFEXITED(status) && WEXITSTATUS(status) == 0;
    return MU_OK;
}
