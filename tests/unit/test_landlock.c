/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What a hole in a parser could be made into: each act is done in a child
 * without landlock_confine, which is the premise, and after it. The whole sandbox is entered first,
 * as in main(), but for the acts that its filter of system calls would end already. */
#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "base/landlock.h"
#include "base/sandbox.h"
#include "test.h"

#define NOT_ENTERED 99

typedef int act(void);
/* "given" may be written, "other" may not. Not temp_path(), since what is below /dev may be. */
static char folder[] = "/tmp/mu-landlock-XXXXXX";
static char given[64], other[64], report[96], rules[96], moved[96], emptied[96];
static int abi;
static pid_t parent;

static int exit_code(act *what, bool sandboxed, bool confined)
{
    const struct writable writable[] = {
        {"/dev", WRITABLE_DEVICES}, {given, WRITABLE_FILES}, {"/not/there", WRITABLE_FILES}};
    int status = -1, version;
    pid_t pid = fork();

    if (pid == 0) {
        (void)signal(SIGSYS, SIG_DFL); /* cmocka has a handler of its own */
        if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 ||
            (sandboxed && sandbox_enter(false, &err) != MU_OK) ||
            (confined && landlock_confine(writable, 3, &version, &err) != MU_OK)) {
            (void)fprintf(stderr, "%s\n", err.text);
            _exit(NOT_ENTERED);
        }
        _exit(what());
    }
    assert_true(pid > 0);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status));
    return WEXITSTATUS(status);
}

/* 0: opened for writing. What cannot be is the errno. */
static int open_to_write(const char *path, int flags)
{
    int fd = open(path, O_WRONLY | O_CLOEXEC | flags, 0644);

    if (fd < 0)
        return errno;
    (void)close(fd);
    return 0;
}

#if defined(__clang__)
#define AS_WRITTEN __attribute__((noinline))
#else
#define AS_WRITTEN __attribute__((noinline, noclone))
#endif

static AS_WRITTEN int its_own_code(void)
{
    __asm__ volatile(""); /* not to be computed by the compiler */
    return EACCES;
}

/* The text segment is not writable, and no memory may become executable; this file is both. */
static int replace_its_own_code(void)
{
#if defined(__x86_64__)
    static const uint8_t zero[] = {0x31, 0xc0, 0xc3}; /* xor eax, eax; ret */
#else
    static const uint8_t zero[] = {0, 0, 0x80, 0x52, 0xc0, 3, 0x5f, 0xd6}; /* mov w0, 0; ret */
#endif
    int (*volatile code)(void) = its_own_code;
    int fd = open("/proc/self/mem", O_RDWR | O_CLOEXEC);

    if (fd < 0)
        return errno;
    if (pwrite(fd, zero, sizeof(zero), (off_t)(uintptr_t)code) != (ssize_t)sizeof(zero))
        return errno;
    (void)close(fd);
    __builtin___clear_cache((char *)(uintptr_t)code, (char *)(uintptr_t)code + sizeof(zero));
    return code();
}

static int write_udev_rules(void)
{
    int rc = open_to_write(rules, O_CREAT | O_EXCL);

    (void)unlink(rules);
    return rc;
}

/* Opened only. */
static int write_core_pattern(void)
{
    return open_to_write("/proc/sys/kernel/core_pattern", 0);
}

static int write_sysfs(void)
{
    return open_to_write("/sys/kernel/mm/ksm/run", 0);
}

static int run_a_program(void)
{
    (void)execl("/bin/true", "true", (char *)NULL);
    return errno;
}

static int make_a_folder(void)
{
    int rc = mkdir(rules, 0755) == 0 ? 0 : errno;

    (void)unlinkat(AT_FDCWD, rules, AT_REMOVEDIR); /* rmdir(2) is filtered */
    return rc;
}

static int move_a_file_out(void)
{
    int rc;

    (void)open_to_write(report, O_CREAT);
    rc = rename(report, moved) == 0 ? 0 : errno;
    (void)unlink(moved);
    (void)unlink(report);
    return rc;
}

static int truncate_a_file(void)
{
    return truncate(emptied, 0) == 0 ? 0 : errno;
}

static int signal_its_parent(void)
{
    return kill(parent, 0) == 0 ? 0 : errno;
}

static int write_a_report(void)
{
    char temporary[sizeof(report) + 4];
    int rc;

    (void)snprintf(temporary, sizeof(temporary), "%s.new", report);
    rc = open_to_write(temporary, O_CREAT | O_EXCL);
    if (rc == 0 && rename(temporary, report) != 0)
        rc = errno;
    return rc == 0 && unlink(report) != 0 ? errno : rc;
}

static int use_devices_and_read(void)
{
    char byte;
    int rc = open_to_write("/dev/null", 0);
    int fd = open("/proc/self/mountinfo", O_RDONLY | O_CLOEXEC);

    if (rc != 0 || fd < 0 || read(fd, &byte, 1) != 1)
        return rc != 0 ? rc : errno;
    (void)close(fd);
    fd = (int)syscall(SYS_memfd_create, "a header", 0);
    (void)snprintf(moved, sizeof(moved), "/proc/self/fd/%d", fd);
    return open_to_write(moved, 0); /* as libcryptsetup does */
}

static bool needs(int version, const char *what)
{
    if (abi >= version)
        return true;
    print_message("skipped: Landlock %d of this kernel does not know %s\n", abi, what);
    return false;
}

static void refuse(act *what, bool sandboxed)
{
    assert_int_equal(exit_code(what, sandboxed, false), 0); /* the premise */
#ifndef MU_UNFILTERED
    assert_int_equal(exit_code(what, sandboxed, true), EACCES);
#endif
}

TEST(test_own_code)
{
    if (!needs(1, "any restriction"))
        skip();
    refuse(replace_its_own_code, true);
}

TEST(test_files_that_others_run)
{
    if (!needs(1, "any restriction"))
        skip();
    refuse(write_udev_rules, true);
    refuse(make_a_folder, true);
    refuse(run_a_program, false);
    if (needs(3, "truncate"))
        refuse(truncate_a_file, false);
}

TEST(test_kernel_settings)
{
    if (!needs(1, "any restriction"))
        skip();
    if (access("/proc/sys/kernel/core_pattern", W_OK) != 0) {
        print_message("skipped: only root can write the kernel's settings\n");
        skip();
    }
    refuse(write_core_pattern, true);
    if (access("/sys/kernel/mm/ksm/run", W_OK) == 0)
        refuse(write_sysfs, true);
}

TEST(test_moving)
{
    if (!needs(1, "any restriction"))
        skip();
    assert_int_equal(exit_code(move_a_file_out, true, false), 0);
#ifndef MU_UNFILTERED
    assert_int_not_equal(exit_code(move_a_file_out, true, true), 0); /* EACCES or EXDEV */
#endif
}

TEST(test_signals)
{
    if (!needs(6, "signals"))
        skip();
    assert_int_equal(exit_code(signal_its_parent, false, false), 0);
#ifndef MU_UNFILTERED
    assert_int_equal(exit_code(signal_its_parent, false, true), EPERM);
#endif
}

TEST(test_what_stays)
{
    assert_int_equal(exit_code(write_a_report, true, true), 0);
    assert_int_equal(exit_code(use_devices_and_read, true, true), 0);
}

/* What landlock_confine makes of a kernel whose call fails so: the version, or 100 and the status.
 */
static int on_a_kernel_that_says(int error)
{
    const struct writable nothing[] = {{"/not/there", WRITABLE_FILES}};
    struct sock_filter filter[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_landlock_create_ruleset, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | (uint32_t)error),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    const struct sock_fprog program = {sizeof(filter) / sizeof(filter[0]), filter};
    int version = 77, status = -1;
    pid_t pid = fork();

    if (pid == 0) {
        if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 ||
            prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) != 0)
            _exit(NOT_ENTERED);
        _exit(landlock_confine(nothing, 1, &version, &err) == MU_OK ? version
                                                                    : 100 + (int)err.status);
    }
    assert_true(pid > 0);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status));
    return WEXITSTATUS(status);
}

TEST(test_kernels_without)
{
    assert_int_equal(on_a_kernel_that_says(ENOSYS), 0);     /* not built in */
    assert_int_equal(on_a_kernel_that_says(EOPNOTSUPP), 0); /* lsm= leaves it out */
#ifndef MU_UNFILTERED
    assert_int_equal(on_a_kernel_that_says(EPERM), 100 + MU_INTERNAL);
#endif
}

void before_all(void)
{
    parent = getpid();
    abi = (int)syscall(SYS_landlock_create_ruleset, NULL, 0, 1 /* the version */);
    if (abi < 0)
        abi = 0;
    assert_non_null(mkdtemp(folder));
    (void)snprintf(given, sizeof(given), "%s/given", folder);
    (void)snprintf(other, sizeof(other), "%s/other", folder);
    (void)snprintf(report, sizeof(report), "%s/report.json", given);
    (void)snprintf(rules, sizeof(rules), "%s/99-own.rules", other);
    (void)snprintf(moved, sizeof(moved), "%s/moved", other);
    (void)snprintf(emptied, sizeof(emptied), "%s/emptied", other);
    assert_true(mkdir(given, 0700) == 0 && mkdir(other, 0700) == 0);
    assert_int_equal(open_to_write(emptied, O_CREAT | O_EXCL), 0);
}

void after_all(void)
{
    (void)unlink(emptied);
    assert_true(rmdir(given) == 0 && rmdir(other) == 0 && rmdir(folder) == 0);
}
