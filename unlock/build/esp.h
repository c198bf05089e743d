/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef MU_BUILD_ESP_H
#define MU_BUILD_ESP_H

#include <stdbool.h>

#define ESP_PATH_MAX 4096

/* Names on an EFI system partition: FAT knows no case, and the folder may lie on a file system that
 * does. */

bool esp_ends_with(const char *name, const char *suffix);
bool esp_begins_with(const char *name, const char *prefix);

/* Calls for each entry of `folder`/`below`; the parts of `below` are found in any case. */
void esp_each(const char *folder, const char *below,
              void (*visit)(void *context, const char *folder, const char *name), void *context);

/* The path of `folder`/`name` below root, found in any case, to be freed; NULL if it is not there.
 */
char *esp_find(const char *root, const char *folder, const char *name);
/* What firmware looks for on machines of this kind (UEFI 2.10, 3.5.1.1). */
#ifdef __aarch64__
#define ESP_BOOT_FILE "BOOTAA64.EFI"
#else
#define ESP_BOOT_FILE "BOOTX64.EFI"
#endif
/* That file, or that of another kind of machine; to be freed, NULL if there is none. */
char *esp_loader(const char *root);
/* The same for an image in EFI/Linux, which a boot loader starts; NULL elsewhere. */
char *esp_loader_of(const char *image);

/* What systemd-stub adds to a UKI from beside it (systemd-stub(7), "Companion files"): NAME.extra.d
 * and the folders of the loader that belong to all images. */
enum esp_kind {
    ESP_ADDON,         /* *.addon.efi */
    ESP_CREDENTIAL,    /* *.cred */
    ESP_CONFIGURATION, /* *.confext.raw */
    ESP_EXTENSION,     /* any other *.raw */
};
void esp_companions(const char *image,
                    void (*found)(void *context, enum esp_kind kind, const char *path),
                    void *context);
/* "an add-on, which is measured into PCR 4 and 12" */
const char *esp_describe(enum esp_kind kind);

#endif
