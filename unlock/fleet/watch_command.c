/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "fleet/watch_internal.h"

#include <errno.h>
#include <signal.h>
#include <spawn.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/file.h"

#define POLL_MS 20

extern char **environ;

/* Not a pipe: a command that does not read cannot hold anything up. */
static enum mu_status input_of(struct bytes event, int *ret, struct mu_error *err)
{
    MU_CLEANUP(fd_close) int fd = memfd_create("event", MFD_CLOEXEC);

    if (fd < 0)
        return mu_fail(err, MU_INTERNAL, "memfd_create: %s", strerror(errno));
    if (write(fd, event.data, event.len) != (ssize_t)event.len || lseek(fd, 0, SEEK_SET) != 0)
        return mu_fail(err, MU_RETRY, "no memory for the event");
    *ret = fd;
    fd = -1;
    return MU_OK;
}

/* A group of its own, so that what it started ends with it; its signals are as after a login. */
static int set_attributes(posix_spawnattr_t *attributes)
{
    sigset_t none, all;
    int rc;

    (void)sigemptyset(&none);
    (void)sigfillset(&all);
    if ((rc = posix_spawnattr_setflags(attributes, POSIX_SPAWN_SETPGROUP | POSIX_SPAWN_SETSIGMASK |
                                                       POSIX_SPAWN_SETSIGDEF)) != 0 ||
        (rc = posix_spawnattr_setpgroup(attributes, 0)) != 0 ||
        (rc = posix_spawnattr_setsigmask(attributes, &none)) != 0)
        return rc;
    return posix_spawnattr_setsigdefault(attributes, &all);
}

static int spawn(const char *path, int input, pid_t *ret)
{
    char name[] = "event", *argv[] = {name, NULL};
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attributes;
    int rc = posix_spawn_file_actions_init(&actions);

    if (rc != 0)
        return rc;
    rc = posix_spawnattr_init(&attributes);
    if (rc == 0) {
        if ((rc = set_attributes(&attributes)) == 0 &&
            (rc = posix_spawn_file_actions_adddup2(&actions, input, STDIN_FILENO)) == 0 &&
            (rc = posix_spawn_file_actions_addclosefrom_np(&actions, STDERR_FILENO + 1)) == 0)
            rc = posix_spawn(ret, path, &actions, &attributes, argv, environ);
        (void)posix_spawnattr_destroy(&attributes);
    }
    (void)posix_spawn_file_actions_destroy(&actions);
    return rc;
}

static enum mu_status wait_for(pid_t pid, const char *path, struct deadline deadline,
                               struct mu_error *err)
{
    int status = 0;
    pid_t done;

    while ((done = waitpid(pid, &status, WNOHANG)) == 0 && clock_pause_ms(POLL_MS, deadline))
        ;
    if (done == 0) {
        (void)kill(-pid, SIGKILL);
        while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
            ;
        return mu_fail(err, MU_RETRY, "%s: not ready in time, and was ended", path);
    }
    if (done < 0)
        return mu_fail(err, MU_INTERNAL, "waitpid: %s", strerror(errno));
    if (WIFSIGNALED(status))
        return mu_fail(err, MU_RETRY, "%s: ended by signal %d", path, WTERMSIG(status));
    if (WEXITSTATUS(status) != 0)
        return mu_fail(err, MU_RETRY, "%s: exit status %d", path, WEXITSTATUS(status));
    return MU_OK;
}

enum mu_status watch_command_deliver(const struct watch_to *command, struct bytes event,
                                     struct deadline deadline, struct mu_error *err)
{
    MU_CLEANUP(fd_close) int input = -1;
    struct deadline limit = deadline_in(command->timeout);
    pid_t pid;
    int rc;

    limit.stop = deadline.stop;
    MU_TRY(input_of(event, &input, err));
    rc = spawn(command->to, input, &pid);
    if (rc != 0)
        return mu_fail(err, MU_RETRY, "%s: cannot be started: %s", command->to, strerror(rc));
    return wait_for(pid, command->to, limit, err);
}
