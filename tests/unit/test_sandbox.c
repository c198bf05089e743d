/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Each test runs in a child: what a sandbox takes away does not come back. */
#include <fcntl.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/wait.h>

#include "base/sandbox.h"
#include "base/secret.h"
#include "base/signals.h"
#include "test.h"

#define NOT_ENTERED 99

typedef int act(void);
static bool loads_libraries;

/* The wait status of a child that does it, after sandbox_enter or without. */
static int child(act *what, bool sandboxed)
{
    int status = -1;
    pid_t pid = fork();

    if (pid == 0) {
        (void)signal(SIGSYS, SIG_DFL); /* cmocka has a handler of its own */
        if (sandboxed && sandbox_enter(loads_libraries, &err) != MU_OK) {
            (void)fprintf(stderr, "%s\n", err.text);
            _exit(NOT_ENTERED);
        }
        _exit(what());
    }
    assert_true(pid > 0);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    return status;
}

static int read_a_file(void)
{
    char byte;
    int fd = open("/proc/self/status", O_RDONLY | O_CLOEXEC);

    return fd >= 0 && read(fd, &byte, 1) == 1 && close(fd) == 0 ? 0 : 1;
}

static int run_a_program(void)
{
    (void)execl("/bin/true", "true", (char *)NULL);
    return 1;
}

static int map_code(void)
{
    void *page = mmap(NULL, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    return page != MAP_FAILED ? 0 : 1;
}

static int make_code(void)
{
    void *page = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    if (page == MAP_FAILED || mprotect(page, 4096, PROT_READ) != 0)
        return 2;
    return mprotect(page, 4096, PROT_READ | PROT_EXEC) == 0 ? 0 : 1;
}

static int trace_itself(void)
{
    return ptrace(PTRACE_TRACEME, 0, NULL, NULL) == 0 ? 0 : 1;
}

/* As a number; 0 where there is no such line. */
static unsigned long long status_line(const char *name, int base)
{
    char line[256];
    unsigned long long value = 0;
    FILE *file = fopen("/proc/self/status", "re");

    if (file == NULL)
        return 0;
    while (fgets(line, sizeof(line), file) != NULL) {
        if (strncmp(line, name, strlen(name)) == 0)
            value = strtoull(line + strlen(name), NULL, base);
    }
    (void)fclose(file);
    return value;
}

static int has_given_up_privileges(void)
{
    const unsigned long long kept = 1ull << 1 | 1ull << 14 | 1ull << 21 | 1ull << 27;

    return status_line("NoNewPrivs:", 10) == 1 && (status_line("CapEff:", 16) & ~kept) == 0 &&
                   (status_line("CapPrm:", 16) & ~kept) == 0
               ? 0
               : 1;
}

TEST(test_what_stays_allowed)
{
    assert_int_equal(child(read_a_file, true), 0);
}

TEST(test_what_is_not)
{
    act *const acts[] = {run_a_program, map_code, make_code, trace_itself};

    for (size_t i = 0; i < sizeof(acts) / sizeof(acts[0]); i++) {
        int status = child(acts[i], true);

        assert_int_equal(child(acts[i], false), 0); /* the premise */
#ifndef MU_UNFILTERED
        assert_true(WIFSIGNALED(status));
        assert_int_equal(WTERMSIG(status), SIGSYS);
#else
        assert_int_equal(status, 0);
#endif
    }
}

TEST(test_libraries_may_be_loaded)
{
    loads_libraries = true;
    assert_int_equal(child(map_code, true), 0);
    assert_int_equal(child(make_code, true), 0);
#ifndef MU_UNFILTERED
    assert_int_not_equal(child(run_a_program, true), 0);
#endif
    loads_libraries = false;
}

TEST(test_privileges)
{
    assert_int_equal(child(has_given_up_privileges, true), 0);
    assert_int_not_equal(child(has_given_up_privileges, false), 0); /* the premise */
}

/* What a crashing child's secret holds when the signal arrives, and when it dies of it. */
TEST(test_a_crash_wipes)
{
    const char text[] = "a key in memory";
    const int signals[] = {SIGSEGV, SIGABRT, SIGSYS};
    struct secret secret = {0};

    for (size_t i = 0; i < sizeof(signals) / sizeof(signals[0]); i++) {
        char seen[sizeof(text)] = "";
        int place[2], status, memory;
        uint8_t *address;
        char path[64];
        pid_t pid;

        assert_int_equal(pipe(place), 0);
        pid = fork();
        if (pid == 0) {
            if (signals_install(&err) != MU_OK ||
                secret_alloc(&secret, sizeof(text), &err) != MU_OK)
                _exit(1);
            memcpy(secret.data, text, sizeof(text));
            if (write(place[1], &secret.data, sizeof(secret.data)) != sizeof(secret.data) ||
                ptrace(PTRACE_TRACEME, 0, NULL, NULL) != 0)
                _exit(1);
            (void)raise(signals[i]);
            (void)raise(signals[i]);
            _exit(1);
        }
        assert_int_equal(read(place[0], &address, sizeof(address)), sizeof(address));
        assert_int_equal(waitpid(pid, &status, 0), pid);
        assert_true(WIFSTOPPED(status));
        (void)snprintf(path, sizeof(path), "/proc/%d/mem", pid);
        memory = open(path, O_RDONLY | O_CLOEXEC);
        assert_int_equal(pread(memory, seen, sizeof(seen), (off_t)(uintptr_t)address),
                         sizeof(seen));
        assert_string_equal(seen, text); /* the premise */

        assert_int_equal(ptrace(PTRACE_CONT, pid, NULL, signals[i]), 0);
        assert_int_equal(waitpid(pid, &status, 0), pid);
        assert_true(WIFSTOPPED(status));
        assert_int_equal(WSTOPSIG(status), signals[i]);
        assert_int_equal(pread(memory, seen, sizeof(seen), (off_t)(uintptr_t)address),
                         sizeof(seen));
        assert_string_equal(seen, "");

        assert_int_equal(ptrace(PTRACE_CONT, pid, NULL, signals[i]), 0);
        assert_int_equal(waitpid(pid, &status, 0), pid);
        assert_true(WIFSIGNALED(status));
        assert_int_equal(WTERMSIG(status), signals[i]);
        (void)close(memory);
        (void)close(place[0]);
        (void)close(place[1]);
    }
}

TEST(test_a_signal_stops)
{
    assert_int_equal(signals_install(&err), MU_OK);
    assert_false(atomic_load(signals_stop()));
    assert_int_equal(raise(SIGPIPE), 0);
    assert_false(atomic_load(signals_stop()));
    assert_int_equal(raise(SIGTERM), 0);
    assert_true(atomic_load(signals_stop()));
}

TEST(test_too_many_secrets)
{
    static struct secret secret[SECRETS_MAX + 1];

    for (size_t i = 0; i < SECRETS_MAX; i++)
        assert_int_equal(secret_alloc(&secret[i], 1, &err), MU_OK);
    assert_int_equal(secret_alloc(&secret[SECRETS_MAX], 1, &err), MU_INTERNAL);
    secret_free(&secret[3]);
    assert_int_equal(secret_alloc(&secret[SECRETS_MAX], 1, &err), MU_OK);
    for (size_t i = 0; i <= SECRETS_MAX; i++)
        secret_free(&secret[i]);
}
