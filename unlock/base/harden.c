/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "base/harden.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <openssl/crypto.h>

#include "base/secret.h"

static void *openssl_malloc(size_t size, const char *file, int line)
{
    (void)file;
    (void)line;
    return malloc(size);
}

static void *openssl_realloc(void *old, size_t size, const char *file, int line)
{
    (void)file;
    (void)line;
    return wiping_realloc(old, size);
}

static void openssl_free(void *memory, const char *file, int line)
{
    (void)file;
    (void)line;
    wiping_free(memory);
}

/* Locks all other memory, if allowed. MCL_FUTURE under a finite limit would make later allocations
 * fail, so the limit goes first. MCL_ONFAULT: thread stacks are mapped large and hardly touched. */
static void lock_the_rest(void)
{
    const struct rlimit unlimited = {RLIM_INFINITY, RLIM_INFINITY};

    if (setrlimit(RLIMIT_MEMLOCK, &unlimited) == 0)
        (void)mlockall(MCL_CURRENT | MCL_FUTURE | MCL_ONFAULT);
}

enum mu_status process_harden(enum process_kind kind, struct mu_error *err)
{
    const struct rlimit none = {0, 0};

    (void)umask(077);
    /* tpm2-tss would print lines of its own to standard error. */
    if (setenv("TSS2_LOG", "all+NONE", 0) != 0)
        return mu_oom(err);
    if (setrlimit(RLIMIT_CORE, &none) != 0)
        return mu_fail(err, MU_INTERNAL, "core dumps cannot be switched off: %s", strerror(errno));
    /* A process that is not dumpable cannot open its own /dev/fd/N unless it is root, and a shell's
     * <(...) is that; secrets are kept out of dumps by MADV_DONTDUMP anyway. */
    if ((kind == PROCESS_BOOT || geteuid() == 0) && prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) != 0)
        return mu_fail(err, MU_INTERNAL, "PR_SET_DUMPABLE: %s", strerror(errno));
    if (CRYPTO_set_mem_functions(openssl_malloc, openssl_realloc, openssl_free) != 1)
        return mu_fail(err, MU_INTERNAL, "OpenSSL was used before process_harden()");
    if (kind == PROCESS_BOOT)
        secret_require_lock();
    lock_the_rest();
    return MU_OK;
}
