/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "base/landlock.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/landlock.h>
#include <stdint.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/file.h"

/* The kernel's headers on the build machine may be older than the kernel that this runs on. */
#define ACCESS_TRUNCATE (1ull << 14)  /* version 3 */
#define ACCESS_IOCTL_DEV (1ull << 15) /* version 5 */
#define SCOPE_ABSTRACT_UNIX (1ull << 0)
#define SCOPE_SIGNAL (1ull << 1) /* both version 6 */

struct ruleset {
    uint64_t access_fs;
    uint64_t access_net; /* version 4 */
    uint64_t scoped;     /* version 6 */
};

#define MAKE_FILES                                                                                 \
    (LANDLOCK_ACCESS_FS_MAKE_REG | LANDLOCK_ACCESS_FS_REMOVE_FILE | LANDLOCK_ACCESS_FS_MAKE_SYM)
#define WRITE (LANDLOCK_ACCESS_FS_WRITE_FILE | ACCESS_TRUNCATE | ACCESS_IOCTL_DEV)

static const uint64_t rights[] = {
    [WRITABLE_DEVICES] = WRITE,
    [WRITABLE_NODES] =
        WRITE | MAKE_FILES | LANDLOCK_ACCESS_FS_MAKE_BLOCK | LANDLOCK_ACCESS_FS_MAKE_CHAR,
    [WRITABLE_FILES] = WRITE | MAKE_FILES | LANDLOCK_ACCESS_FS_MAKE_DIR,
};

/* All that is not reading, as far as this version knows it. Moving a file to another folder
 * (version 2) is never allowed if no rule says so. */
static struct ruleset everything(int abi)
{
    struct ruleset all = {.access_fs = LANDLOCK_ACCESS_FS_MAKE_SYM * 2 - 1};

    all.access_fs &= ~(uint64_t)(LANDLOCK_ACCESS_FS_READ_FILE | LANDLOCK_ACCESS_FS_READ_DIR);
    if (abi >= 3)
        all.access_fs |= ACCESS_TRUNCATE;
    if (abi >= 5)
        all.access_fs |= ACCESS_IOCTL_DEV;
    if (abi >= 6)
        all.scoped = SCOPE_ABSTRACT_UNIX | SCOPE_SIGNAL;
    return all;
}

static enum mu_status allow(int ruleset, uint64_t known, const struct writable *writable,
                            struct mu_error *err)
{
    MU_CLEANUP(fd_close) int fd = open(writable->path, O_PATH | O_CLOEXEC);
    struct landlock_path_beneath_attr rule = {.allowed_access = rights[writable->what] & known,
                                              .parent_fd = fd};
    struct stat found;

    if (fd < 0 && (errno == ENOENT || errno == ENOTDIR))
        return MU_OK;
    if (fd < 0 || fstat(fd, &found) != 0)
        return mu_fail(err, MU_CONFIG, "%s: %s", writable->path, strerror(errno));
    if (!S_ISDIR(found.st_mode))
        rule.allowed_access &= WRITE;
    if (syscall(SYS_landlock_add_rule, ruleset, LANDLOCK_RULE_PATH_BENEATH, &rule, 0) != 0)
        return mu_fail(err, MU_INTERNAL, "landlock_add_rule: %s: %s", writable->path,
                       strerror(errno));
    return MU_OK;
}

static enum mu_status confine(int abi, const struct writable *writable, size_t count,
                              struct mu_error *err)
{
    const struct ruleset all = everything(abi);
    /* Older versions take the larger structure if they know nothing of what is set. */
    MU_CLEANUP(fd_close) int fd = (int)syscall(SYS_landlock_create_ruleset, &all, sizeof(all), 0);

    if (fd < 0)
        return mu_fail(err, MU_INTERNAL, "landlock_create_ruleset: %s", strerror(errno));
    for (size_t i = 0; i < count; i++)
        MU_TRY(allow(fd, all.access_fs, &writable[i], err));
    if (syscall(SYS_landlock_restrict_self, fd, 0) != 0)
        return mu_fail(err, MU_INTERNAL, "landlock_restrict_self: %s", strerror(errno));
    return MU_OK;
}

enum mu_status landlock_confine(const struct writable *writable, size_t count, int *ret_abi,
                                struct mu_error *err)
{
    long abi = 0;

#ifndef MU_UNFILTERED /* sanitizers write where they want to */
    abi = syscall(SYS_landlock_create_ruleset, NULL, 0, LANDLOCK_CREATE_RULESET_VERSION);
    /* Not built in; switched off by lsm= on the kernel's command line. */
    if (abi < 0 && (errno == ENOSYS || errno == EOPNOTSUPP))
        abi = 0;
    if (abi < 0)
        return mu_fail(err, MU_INTERNAL, "landlock_create_ruleset: %s", strerror(errno));
#endif
    if (abi > 0)
        MU_TRY(confine((int)abi, writable, count, err));
    *ret_abi = (int)abi;
    return MU_OK;
}
