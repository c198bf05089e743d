/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef MU_BUILD_BOOTENTRY_H
#define MU_BUILD_BOOTENTRY_H

#include "base/bytes.h"

/* Unified kernel images as a boot loader's entries (UAPI.1, "Type #2 EFI Unified Kernel Images"),
 * and the order in which systemd-boot takes them. */

#define BOOT_FILE_MAX 256
#define BOOT_FIELD_MAX 128

/* NAME.efi, or NAME+LEFT.efi, NAME+LEFT-DONE.efi for an image on trial (UAPI.1, "Boot counting").
 * A counter that is not one belongs to the name. */
struct boot_name {
    char stem[BOOT_FILE_MAX]; /* NAME */
    int64_t left, done;       /* tries; left -1: the image is not on trial */
};
/* False unless the file's name ends in .efi and something stands before that. */
bool boot_name_parse(const char *file, struct boot_name *ret);
/* NAME, or NAME+LEFT for left >= 0, with .efi. MU_CONFIG if that is no name of an entry. */
enum mu_status boot_name_make(const char *stem, int64_t left, char ret[static BOOT_FILE_MAX],
                              struct mu_error *err) MU_MUST_CHECK;

struct boot_entry {
    char file[BOOT_FILE_MAX];
    struct boot_name name;
    char sort_key[BOOT_FIELD_MAX], version[BOOT_FIELD_MAX]; /* of .osrel; "" if it has none */
};
/* MU_CONFIG if the image is not a UKI, or if systemd-boot would not list it. */
enum mu_status boot_entry_read(const char *file, struct bytes uki, struct boot_entry *ret,
                               struct mu_error *err) MU_MUST_CHECK;
/* Less than zero if systemd-boot takes `a` before `b`: entries without tries left come last. */
int boot_entry_compare(const struct boot_entry *a, const struct boot_entry *b);

/* UAPI.10, "Version Format Specification": less than, equal to or greater than zero. */
int version_compare(const char *a, const char *b);

#endif
