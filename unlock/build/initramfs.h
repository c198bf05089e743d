/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef MU_BUILD_INITRAMFS_H
#define MU_BUILD_INITRAMFS_H

#include "base/bytes.h"

#define INITRAMFS_FILE_MAX (512u << 20)
#define INITRAMFS_MAX (1024u << 20) /* unpacked */
#define INITRAMFS_ENTRIES_MAX 200000
#define INITRAMFS_PARTS_MAX 16 /* compressed archives */
#define PROFILE_NAME_MAX 64

/* One entry of a cpio archive in the "newc" format (Linux, early-userspace/buffer-format). */
struct initramfs_entry {
    const char *name; /* without "/" or "./" before it */
    uint32_t inode, mode, links, major, minor;
    unsigned archive;
    struct bytes data;
};

/* An initramfs: archives one after the other, compressed or not. */
struct initramfs {
    struct buffer file, spare_initrd, spare_cmdline; /* the memory that the views point into */
    struct buffer unpacked[INITRAMFS_PARTS_MAX];
    size_t parts;
    bool uki;                       /* it is the .initrd section of a PE image */
    size_t profiles;                /* of that image */
    char profile[PROFILE_NAME_MAX]; /* its ID=, TITLE= or number; "": there are none */
    struct bytes initrd, cmdline;
    char cmdline_name[32 + PROFILE_NAME_MAX]; /* ".cmdline", of which profile */
    struct mu_error unseen;                   /* MU_OK: all was read; else why a part was not */
    const char *cure;                         /* what to do about that */
    unsigned archives;
    size_t entries, room;
    struct initramfs_entry *entry;
    bool borrowed; /* the entries belong to another image */
};

/* Reads an initramfs, or the one in a unified kernel image, of its first profile. MU_CONFIG says
 * what is wrong with it; if only a part of it can be read, ret->unseen says why. */
enum mu_status initramfs_load(const char *path, struct initramfs *ret,
                              struct mu_error *err) MU_MUST_CHECK;
/* Another profile of the same image, from 1 on; `borrowed` if it has no initrd of its own. `base`
 * must outlive it. */
enum mu_status initramfs_profile(const struct initramfs *base, size_t profile,
                                 struct initramfs *ret, struct mu_error *err) MU_MUST_CHECK;
void initramfs_free(struct initramfs *image);

/* The entry that the kernel ends up with, the last one of that name; NULL if there is none.
 * "usr/lib/x" finds "lib/x" too. */
const struct initramfs_entry *initramfs_find(const struct initramfs *image, const char *name);
/* The content of a regular file, symbolic and hard links followed; false if there is none. */
bool initramfs_content(const struct initramfs *image, const char *name, struct bytes *ret);
/* True for a symbolic link to exactly that. */
bool initramfs_is_link(const struct initramfs *image, const char *name, const char *target);

#endif
