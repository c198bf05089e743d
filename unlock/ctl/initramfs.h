/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef MU_CTL_INITRAMFS_H
#define MU_CTL_INITRAMFS_H

#include "base/bytes.h"

#define INITRAMFS_FILE_MAX (512u << 20)
#define INITRAMFS_MAX (1024u << 20) /* unpacked */
#define INITRAMFS_ENTRIES_MAX 200000

/* One entry of a cpio archive in the "newc" format (Linux, early-userspace/buffer-format). */
struct initramfs_entry {
    const char *name; /* without "/" or "./" before it */
    uint32_t inode, mode, links, major, minor;
    unsigned archive;
    struct bytes data;
};

/* An initramfs: archives one after the other, the last of them compressed as a rule. */
struct initramfs {
    struct buffer file, unpacked; /* what the views point into */
    bool uki;                     /* it is the .initrd section of a PE image */
    struct bytes cmdline;         /* the image's .cmdline section */
    bool whole;                   /* false: the decompressor found fault after some output */
    unsigned archives;
    size_t entries, room;
    struct initramfs_entry *entry;
};

/* Reads an initramfs, or the one in a unified kernel image. MU_CONFIG says what is wrong with it.
 */
enum mu_status initramfs_load(const char *path, struct initramfs *ret,
                              struct mu_error *err) MU_MUST_CHECK;
void initramfs_free(struct initramfs *image);

/* The entry that the kernel ends up with: the last of that name; NULL if there is none. "usr/lib/x"
 * finds "lib/x" too. */
const struct initramfs_entry *initramfs_find(const struct initramfs *image, const char *name);
/* The content of a regular file, symbolic and hard links followed; false if there is none. */
bool initramfs_content(const struct initramfs *image, const char *name, struct bytes *ret);
/* True for a symbolic link to exactly that. */
bool initramfs_is_link(const struct initramfs *image, const char *name, const char *target);

#endif
