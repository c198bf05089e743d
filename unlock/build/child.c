/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "build/child.h"

#include <errno.h>
#include <fcntl.h>
#include <spawn.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/file.h"

struct child {
    pid_t pid; /* 0: none */
    int input, output;
};

/* A child that still writes ends with SIGPIPE. */
static int child_wait(struct child *child)
{
    int status = -1;

    fd_close(&child->input);
    fd_close(&child->output);
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

/* In memory, so that the child reads and writes at its own pace. */
static enum mu_status put_input(struct bytes data, int *ret, struct mu_error *err)
{
    MU_CLEANUP(fd_close) int fd = memfd_create("input", MFD_CLOEXEC);

    if (fd < 0)
        return mu_fail(err, MU_INTERNAL, "memfd_create: %s", strerror(errno));
    while (data.len > 0) {
        ssize_t n = write(fd, data.data, data.len);

        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return mu_fail(err, MU_CONFIG, "no memory for a copy of what a program is to read");
        data = (struct bytes){data.data + n, data.len - (size_t)n};
    }
    if (lseek(fd, 0, SEEK_SET) != 0)
        return mu_fail(err, MU_INTERNAL, "lseek: %s", strerror(errno));
    *ret = fd;
    fd = -1;
    return MU_OK;
}

/* posix_spawnp would search in this process's own PATH. */
static int spawn(const struct child_program *program, posix_spawn_file_actions_t *actions,
                 pid_t *ret)
{
    int rc = ENOENT;

    for (const char *from = CHILD_PATH; rc == ENOENT && *from != '\0';) {
        int len = (int)strcspn(from, ":");
        char path[64];

        (void)snprintf(path, sizeof(path), "%.*s/%s", len, from, program->argv[0]);
        rc = posix_spawn(ret, path, actions, NULL, program->argv, program->environment);
        from += len + (from[len] == ':');
    }
    return rc;
}

static int add_actions(posix_spawn_file_actions_t *actions, const struct child *child, int output,
                       bool quiet)
{
    int rc = posix_spawn_file_actions_adddup2(actions, child->input, STDIN_FILENO);

    if (rc == 0)
        rc = posix_spawn_file_actions_adddup2(actions, output, STDOUT_FILENO);
    if (rc == 0 && quiet)
        rc = posix_spawn_file_actions_addopen(actions, STDERR_FILENO, "/dev/null", O_WRONLY, 0);
    if (rc == 0)
        rc = posix_spawn_file_actions_addclosefrom_np(actions, STDERR_FILENO + 1);
    return rc;
}

static enum mu_status child_start(struct child *child, const struct child_program *program,
                                  struct mu_error *err)
{
    MU_CLEANUP(fd_close) int output = -1;
    posix_spawn_file_actions_t actions;
    int ends[2];
    pid_t pid;
    int rc;

    if (pipe2(ends, O_CLOEXEC) != 0)
        return mu_fail(err, MU_INTERNAL, "pipe: %s", strerror(errno));
    child->output = ends[0];
    output = ends[1];
    if (posix_spawn_file_actions_init(&actions) != 0)
        return mu_oom(err);
    rc = add_actions(&actions, child, output, program->quiet);
    if (rc == 0)
        rc = spawn(program, &actions, &pid);
    (void)posix_spawn_file_actions_destroy(&actions);
    if (rc == ENOENT)
        return mu_fail(err, MU_CONFIG, "%s is not installed: install the package %s",
                       program->argv[0], program->package);
    if (rc != 0)
        return mu_fail(err, MU_CONFIG, "%s cannot be started: %s", program->argv[0], strerror(rc));
    child->pid = pid;
    return MU_OK;
}

enum mu_status child_run(const struct child_program *program, struct bytes input, size_t max,
                         struct buffer *ret, bool *ret_success, struct mu_error *err)
{
    MU_CLEANUP(child_free) struct child child = {.input = -1, .output = -1};
    int status;

    MU_TRY(put_input(input, &child.input, err));
    MU_TRY(child_start(&child, program, err));
    MU_TRY(file_read_fd(child.output, program->argv[0], max, ret, err));
    status = child_wait(&child);
    *ret_success = WIFEXITED(status) && WEXITSTATUS(status) == 0;
    return MU_OK;
}
