/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "base/sandbox.h"

#include <errno.h>
#include <linux/audit.h>
#include <linux/capability.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>

#if defined(__x86_64__)
#define ARCHITECTURE AUDIT_ARCH_X86_64
#elif defined(__aarch64__)
#define ARCHITECTURE AUDIT_ARCH_AARCH64
#else
#error "sandbox.c does not know this architecture"
#endif

#define BIT(n) (1ull << (n))
/* Device-mapper; /dev/tpmrm0, which may belong to another user; mlock; the nodes that libdevmapper
 * makes if udev does not. */
static const uint64_t KEPT_CAPABILITIES =
    BIT(CAP_SYS_ADMIN) | BIT(CAP_DAC_OVERRIDE) | BIT(CAP_IPC_LOCK) | BIT(CAP_MKNOD);

/* clang-format off */
static const uint32_t allowed_calls[] = {
    /* files and devices */
    SYS_read, SYS_readv, SYS_pread64, SYS_write, SYS_writev, SYS_pwrite64, SYS_lseek, SYS_close,
    SYS_openat, SYS_newfstatat, SYS_fstat, SYS_statx, SYS_statfs, SYS_fstatfs, SYS_faccessat,
    SYS_faccessat2, SYS_readlinkat, SYS_getdents64, SYS_fcntl, SYS_flock, SYS_ioctl, SYS_fsync,
    SYS_fdatasync, SYS_ftruncate, SYS_fchmod, SYS_fchmodat, SYS_fchown, SYS_fchownat, SYS_mkdirat,
    SYS_mknodat, SYS_unlinkat, SYS_renameat, SYS_renameat2, SYS_symlinkat, SYS_memfd_create,
    SYS_dup, SYS_dup3, SYS_pipe2, SYS_umask, SYS_getcwd,
    /* network */
    SYS_socket, SYS_socketpair, SYS_connect, SYS_bind, SYS_sendto, SYS_sendmsg, SYS_sendmmsg,
    SYS_recvfrom, SYS_recvmsg, SYS_recvmmsg, SYS_getsockname, SYS_getpeername, SYS_getsockopt,
    SYS_setsockopt, SYS_shutdown, SYS_ppoll, SYS_pselect6, SYS_eventfd2,
    /* memory */
    SYS_munmap, SYS_mremap, SYS_madvise, SYS_brk, SYS_mlock, SYS_mlock2, SYS_munlock, SYS_mlockall,
    SYS_munlockall, SYS_mincore,
    /* threads, signals, time */
    SYS_clone, SYS_clone3, SYS_exit, SYS_exit_group, SYS_futex, SYS_set_robust_list, SYS_rseq,
    SYS_sched_yield, SYS_sched_getaffinity, SYS_gettid, SYS_getpid, SYS_getppid, SYS_tgkill,
    SYS_rt_sigaction, SYS_rt_sigprocmask, SYS_rt_sigreturn, SYS_sigaltstack, SYS_restart_syscall,
    SYS_clock_gettime, SYS_clock_getres, SYS_clock_nanosleep, SYS_nanosleep, SYS_gettimeofday,
    SYS_getrandom,
    /* what the process is */
    SYS_getuid, SYS_geteuid, SYS_getgid, SYS_getegid, SYS_uname, SYS_sysinfo, SYS_prlimit64,
    SYS_getrlimit, SYS_prctl, SYS_getpriority, SYS_setpriority,
    /* what follows this sandbox, and can only take away more */
    SYS_landlock_create_ruleset, SYS_landlock_add_rule, SYS_landlock_restrict_self,
    /* libcryptsetup hands the volume key to dm-crypt by the kernel's key ring; libdevmapper waits
     * for udev by a semaphore */
    SYS_add_key, SYS_request_key, SYS_keyctl, SYS_semget, SYS_semop, SYS_semtimedop, SYS_semctl,
#if defined(__x86_64__)
    /* the older names of some of them, which aarch64 does not have */
    SYS_open, SYS_stat, SYS_lstat, SYS_access, SYS_readlink, SYS_rename, SYS_mkdir, SYS_mknod,
    SYS_unlink, SYS_symlink, SYS_chmod, SYS_chown, SYS_lchown, SYS_dup2, SYS_pipe, SYS_poll,
    SYS_select, SYS_eventfd, SYS_time,
#endif
};
/* clang-format on */
/* These two unless they ask for executable memory. */
static const uint32_t mapping_calls[] = {SYS_mmap, SYS_mprotect};

#define ALLOWED MU_COUNT(allowed_calls)
#define MAPPING MU_COUNT(mapping_calls)
#define FIELD(name) ((uint32_t)offsetof(struct seccomp_data, name))
#define LOAD(offset) ((struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS, (offset)))
#define IF(test, value, yes, no)                                                                   \
    ((struct sock_filter)BPF_JUMP(BPF_JMP | (test) | BPF_K, (value), (uint8_t)(yes), (uint8_t)(no)))
#define RETURN(what) ((struct sock_filter)BPF_STMT(BPF_RET | BPF_K, (what)))
_Static_assert(ALLOWED + MAPPING < 250, "a jump of the filter is one byte");

/* Load the architecture, test it, load the number, test for each call; forbid, allow; load the
 * mapping calls' argument, test it, forbid, allow. Jumps count from the next instruction. */
#define LENGTH (3 + ALLOWED + MAPPING + 6)

static void write_filter(struct sock_filter *to, bool loads_libraries)
{
    size_t left = ALLOWED + MAPPING;

    *to++ = LOAD(FIELD(arch));
    *to++ = IF(BPF_JEQ, ARCHITECTURE, 0, left + 1);
    *to++ = LOAD(FIELD(nr));
    for (size_t i = 0; i < ALLOWED; i++)
        *to++ = IF(BPF_JEQ, allowed_calls[i], left--, 0);
    for (size_t i = 0; i < MAPPING; i++)
        *to++ = IF(BPF_JEQ, mapping_calls[i], left-- + 1, 0);
    *to++ = RETURN(SECCOMP_RET_TRAP);
    *to++ = RETURN(SECCOMP_RET_ALLOW);
    *to++ = LOAD(FIELD(args[2])); /* the low half: both architectures are little-endian */
    *to++ = IF(BPF_JSET, loads_libraries ? 0 : PROT_EXEC, 0, 1);
    *to++ = RETURN(SECCOMP_RET_TRAP);
    *to = RETURN(SECCOMP_RET_ALLOW);
}

static enum mu_status filter_calls(bool loads_libraries, struct mu_error *err)
{
#ifdef MU_UNFILTERED /* sanitizers and valgrind need calls of their own */
    (void)write_filter;
    (void)loads_libraries;
    (void)err;
    return MU_OK;
#else
    struct sock_filter filter[LENGTH];
    const struct sock_fprog program = {MU_COUNT(filter), filter};

    write_filter(filter, loads_libraries);
    if (prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) != 0)
        return mu_fail(err, MU_CONFIG, "this kernel cannot filter system calls (seccomp): %s",
                       strerror(errno));
    return MU_OK;
#endif
}

/* glibc has these and declares them nowhere; capget(2). */
int capget(cap_user_header_t header, cap_user_data_t data);
int capset(cap_user_header_t header, const struct __user_cap_data_struct *data);

/* capabilities(7): two words of 32 bits, as of version 3. */
static enum mu_status drop_capabilities(struct mu_error *err)
{
    struct __user_cap_header_struct header = {_LINUX_CAPABILITY_VERSION_3, 0};
    struct __user_cap_data_struct data[_LINUX_CAPABILITY_U32S_3] = {0};

    if (capget(&header, data) != 0)
        return mu_fail(err, MU_INTERNAL, "capget: %s", strerror(errno));
    for (unsigned i = 0; i < _LINUX_CAPABILITY_U32S_3; i++) {
        data[i].permitted &= (uint32_t)(KEPT_CAPABILITIES >> (32 * i));
        data[i].effective &= data[i].permitted;
        data[i].inheritable = 0;
    }
    if (capset(&header, data) != 0)
        return mu_fail(err, MU_INTERNAL, "capset: %s", strerror(errno));
    return MU_OK;
}

enum mu_status sandbox_enter(bool loads_libraries, struct mu_error *err)
{
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0)
        return mu_fail(err, MU_INTERNAL, "PR_SET_NO_NEW_PRIVS: %s", strerror(errno));
    MU_TRY(drop_capabilities(err));
    return filter_calls(loads_libraries, err);
}
