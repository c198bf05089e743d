/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "boot/doors.h"

#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "base/mounts.h"

#define MOUNTINFO "/proc/self/mountinfo"
#define OPTIONS "/sys/firmware/efi/efivars/SystemdOptions-8cf2644b-4b0b-428f-9387-6d876050dc67"
#define EFIVARS_WORD "efi=noruntime"
#define CREDENTIALS_WORD "systemd.import_credentials=no"

/* Folders that are missing or empty if nothing came from outside (systemd 252 to 262). */
static const struct {
    const char *folder, *name, *what, *word;
} folders[] = {
    {"/run/systemd/efivars", "efivars", "systemd took options from an EFI variable", EFIVARS_WORD},
    {"/run/credentials/@system", "credentials", "systemd imported credentials", CREDENTIALS_WORD},
    {"/run/credentials/@encrypted", "credentials", "systemd imported credentials",
     CREDENTIALS_WORD},
    {"/run/credentials/@initrd", "credentials", "systemd imported credentials", CREDENTIALS_WORD},
    {"/run/credstore", "credentials", "credentials were put", "systemd.imds=0"},
    {"/run/credstore.encrypted", "credentials", "credentials were put", "systemd.imds=0"},
};

static bool is_one_of(const char *text, const char *const *list)
{
    for (; *list != NULL; list++)
        if (strcmp(text, *list) == 0)
            return true;
    return false;
}

static bool is_in_one_of(const char *path, const char *const *folders_listed)
{
    for (; *folders_listed != NULL; folders_listed++)
        if (path_is_in(path, *folders_listed))
            return true;
    return false;
}

/* Interfaces of the kernel: writing disks or firmware does not change what they show. */
static bool is_api(const struct mount *mount)
{
    static const char *const types[] = {
        "proc",       "sysfs",     "devtmpfs", "devpts",      "cgroup",    "cgroup2", "cpuset",
        "securityfs", "debugfs",   "tracefs",  "configfs",    "fusectl",   "pstore",  "bpf",
        "mqueue",     "hugetlbfs", "autofs",   "binfmt_misc", "selinuxfs", "smackfs", "rpc_pipefs",
        "nsfs",       "efivarfs",  "resctrl",  "nfsd",        NULL};
    static const char *const places[] = {"/proc", "/sys", "/dev", "/run", "/var/lib/nfs/rpc_pipefs",
                                         NULL};

    return is_one_of(mount->type, types) && is_in_one_of(mount->point, places);
}

/* File systems in memory, at places from which nothing is read that steers a boot. Such a file
 * system begins empty, but can hide what lies below it, or be a view of another folder. */
static bool is_scratch(const struct mount *mount)
{
    static const char *const types[] = {"tmpfs", "ramfs", NULL};
    static const char *const exact[] = {"/dev", "/dev/shm", "/run",    "/sys/fs/cgroup",
                                        "/tmp", "/var/tmp", "/squash", "/etc/machine-id",
                                        NULL};
    static const char *const steering[] = {"/run/systemd/efivars",
                                           "/run/systemd/system",
                                           "/run/systemd/system.control",
                                           "/run/systemd/system.attached",
                                           "/run/systemd/transient",
                                           "/run/systemd/generator",
                                           "/run/systemd/generator.early",
                                           "/run/systemd/generator.late",
                                           "/run/systemd/system-generators",
                                           "/run/systemd/system-environment-generators",
                                           "/run/systemd/network",
                                           "/run/udev",
                                           "/run/measured-unlock",
                                           "/run/initramfs",
                                           "/run/tmpfiles.d",
                                           "/run/sysctl.d",
                                           "/run/modprobe.d",
                                           "/run/modules-load.d",
                                           "/run/sysusers.d",
                                           "/run/environment.d",
                                           "/run/binfmt.d",
                                           "/run/credstore",
                                           "/run/credstore.encrypted",
                                           "/run/extensions",
                                           "/run/confexts",
                                           "/run/credentials/@system",
                                           "/run/credentials/@encrypted",
                                           "/run/credentials/@initrd",
                                           NULL};

    if (!is_one_of(mount->type, types))
        return false;
    if (is_one_of(mount->point, exact))
        return true;
    return path_is_in(mount->point, "/run") && strcmp(mount->point, "/run/systemd") != 0 &&
           strcmp(mount->point, "/run/credentials") != 0 && !is_in_one_of(mount->point, steering);
}

static const struct mount *mount_at(const struct mounts *mounts, const char *point)
{
    for (size_t i = 0; i < mounts->count; i++)
        if (strcmp(mounts->mount[i].point, point) == 0)
            return &mounts->mount[i];
    return NULL;
}

/* dracut's squash module runs from an overlay over an image inside the initramfs. */
static bool is_squashed(const struct mounts *mounts)
{
    const struct mount *root = mount_at(mounts, "/");

    return root != NULL && strcmp(root->type, "overlay") == 0 &&
           mount_at(mounts, "/squash") != NULL;
}

/* A folder of the initramfs mounted over itself: this is how systemd 256 and later make /usr
 * read-only. */
static bool is_itself(const struct mounts *mounts, const struct mount *mount)
{
    for (size_t i = 0; i < mounts->count; i++)
        if (strcmp(mounts->mount[i].point, "/") == 0 &&
            strcmp(mounts->mount[i].device, mount->device) == 0 &&
            strcmp(mount->root, mount->point) == 0)
            return true;
    return false;
}

/* Linux 7.0 keeps an empty nullfs below the initramfs. */
static bool is_initramfs(const struct mounts *mounts)
{
    static const char *const types[] = {"rootfs", "tmpfs", "ramfs", "nullfs", NULL};

    for (size_t i = 0; i < mounts->count; i++)
        if (strcmp(mounts->mount[i].point, "/") == 0 && is_one_of(mounts->mount[i].type, types))
            return true;
    return is_squashed(mounts);
}

static bool is_squash_image(const struct mounts *mounts, const struct mount *mount)
{
    static const char *const types[] = {"squashfs", "erofs", NULL};

    return is_squashed(mounts) && strcmp(mount->point, "/squash/root") == 0 &&
           is_one_of(mount->type, types);
}

/* import-creds of systemd mounts memory for what it imports. */
static bool is_credentials(const struct config *config, const struct mount *mount)
{
    static const char *const types[] = {"tmpfs", "ramfs", NULL};

    return config_opens(config, "credentials") && is_one_of(mount->type, types) &&
           strncmp(mount->point, "/run/credentials/@", 18) == 0;
}

/* What systemd lays over /usr and /etc of an initramfs, if the builder wants that. */
static bool is_extension(const struct config *config, const struct mount *mount)
{
    static const char *const points[] = {"/usr", "/opt", "/etc", NULL};

    return config_opens(config, "extensions") && strcmp(mount->type, "overlay") == 0 &&
           is_one_of(mount->point, points);
}

static enum mu_status check_mounts(const struct config *config, const struct mounts *mounts,
                                   struct mu_error *err)
{
    for (size_t i = 0; i < mounts->count; i++) {
        const struct mount *mount = &mounts->mount[i];

        if (strcmp(mount->point, "/") == 0 || is_api(mount) || is_scratch(mount) ||
            is_itself(mounts, mount) || is_squash_image(mounts, mount) ||
            is_credentials(config, mount) || is_extension(config, mount))
            continue;
        return mu_fail(err, MU_REFUSE,
                       "%s was mounted on %s (%s) before the unlock, and not by this image; if it "
                       "is yours, mount it in the unlocked system; " EFIVARS_WORD
                       " and " CREDENTIALS_WORD " on the command line shut the ways to it",
                       mount->source, mount->point, mount->type);
    }
    return MU_OK;
}

static void close_folder(DIR **folder)
{
    if (*folder != NULL)
        (void)closedir(*folder);
}

/* The name of an entry of the folder, or "". */
static enum mu_status first_entry(const char *folder, char name[static NAME_MAX + 1],
                                  struct mu_error *err)
{
    MU_CLEANUP(close_folder) DIR *dir = opendir(folder);
    struct dirent *entry = NULL;

    name[0] = '\0';
    if (dir == NULL && errno == ENOENT)
        return MU_OK;
    if (dir != NULL) {
        do {
            errno = 0;
            entry = readdir(dir);
        } while (entry != NULL &&
                 (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0));
        if (entry != NULL)
            (void)snprintf(name, NAME_MAX + 1, "%s", entry->d_name);
        if (entry != NULL || errno == 0)
            return MU_OK;
    }
    return mu_fail(err, MU_CONFIG, "%s: %s", folder, strerror(errno));
}

static enum mu_status check_folder(size_t which, struct mu_error *err)
{
    char name[NAME_MAX + 1];

    MU_TRY(first_entry(folders[which].folder, name, err));
    if (name[0] == '\0')
        return MU_OK;
    return mu_fail(err, MU_REFUSE,
                   "%s: %s is in %s; put %s on the image's command line, or 'open = %s' into "
                   "[boot] if it is wanted",
                   folders[which].what, name, folders[which].folder, folders[which].word,
                   folders[which].name);
}

enum mu_status doors_check(const struct config *config, struct mu_error *err)
{
    MU_CLEANUP(buffer_free) struct buffer content = {0};
    MU_CLEANUP(mounts_free) struct mounts mounts = {0};

    MU_TRY(file_read(MOUNTINFO, MOUNTS_MAX_BYTES, &content, err));
    MU_TRY(mounts_parse(buffer_view(&content), &mounts, err));
    if (!is_initramfs(&mounts))
        return MU_OK;
    for (size_t i = 0; i < MU_COUNT(folders); i++)
        if (!config_opens(config, folders[i].name))
            MU_TRY(check_folder(i, err));
    if (!config_opens(config, "efivars") && access(OPTIONS, F_OK) == 0)
        return mu_fail(err, MU_REFUSE,
                       "the EFI variable SystemdOptions is there, a command line that nothing "
                       "measures; put " EFIVARS_WORD
                       " on the image's command line, or 'open = efivars' "
                       "into [boot] if it is wanted");
    return check_mounts(config, &mounts, err);
}
