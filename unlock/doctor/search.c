/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "build/esp.h"
#include "build/pe.h"
#include "doctor/doctor.h"

/* Folders where an EFI system partition may be mounted, and names of images there and in /boot. */
static const char *const partitions[] = {"/boot", "/efi", "/boot/efi"};

static const struct place {
    const char *folder, *prefix, *suffix; /* in any case */
} places[] = {{"EFI/Linux", "", ".efi"}, {"EFI/BOOT", "BOOT", ".efi"}},
  kernels[] = {{"", "initrd.img-", ""}, {"", "initramfs-", ".img"}};

void doctor_found_free(struct doctor_found *found)
{
    for (size_t i = 0; i < found->count; i++)
        free(found->path[i]);
}

struct hunt {
    const struct place *place;
    struct doctor_found *found;
};

static bool belongs(const char *name, const struct place *place)
{
    return esp_begins_with(name, place->prefix) &&
           esp_ends_with(name + strlen(place->prefix), place->suffix) &&
           strstr(name, "kdump") == NULL;
}

static void take_name(void *context, const char *folder, const char *name)
{
    const struct hunt *hunt = context;
    struct doctor_found *found = hunt->found;

    if (!belongs(name, hunt->place))
        return;
    if (found->count == DOCTOR_IMAGES_MAX)
        found->more = true;
    else if (asprintf(&found->path[found->count], "%s/%s", folder, name) > 0)
        found->count++;
}

static void search(const struct doctor *doctor, const char *below, const struct place *place,
                   struct doctor_found *found)
{
    struct hunt hunt = {place, found};
    char folder[DOCTOR_PATH_MAX];

    doctor_path(doctor, below, folder);
    esp_each(folder, place->folder, take_name, &hunt);
}

void doctor_find_images(const struct doctor *doctor, struct doctor_found *found)
{
    for (size_t i = 0; i < MU_COUNT(places); i++)
        for (size_t k = 0; k < MU_COUNT(partitions); k++)
            search(doctor, partitions[k], &places[i], found);
    for (size_t i = 0; i < MU_COUNT(kernels); i++)
        search(doctor, "/boot", &kernels[i], found);
}

/* ---- beside one ---- */

static enum mu_status look_at_addon(struct doctor *doctor, const char *path, struct mu_error *err)
{
    static const struct {
        const char *name, *what;
    } parts[] = {{".initrd", "an initrd"}, {".ucode", "microcode"}, {".dtb", "a device tree"}};
    MU_CLEANUP(buffer_free) struct buffer file = {0};
    MU_CLEANUP(buffer_free) struct buffer spare = {0};
    struct bytes section;

    MU_TRY(file_read(path, PE_MAX_BYTES, &file, err));
    for (size_t i = 0; i < MU_COUNT(parts); i++) {
        MU_TRY(pe_section(buffer_view(&file), parts[i].name, &spare, &section, err));
        if (section.len > 0)
            doctor_warn(doctor, "image-addons", "remove it, unless it is wanted",
                        "%s: it has %s, which becomes part of the image", path, parts[i].what);
    }
    MU_TRY(pe_section(buffer_view(&file), ".cmdline", &spare, &section, err));
    if (section.len > 0)
        doctor_command_line(doctor, "image-addons", path, section, false);
    return MU_OK;
}

static void check_addon(struct doctor *doctor, const char *path)
{
    struct mu_error err = {0};

    if (look_at_addon(doctor, path, &err) != MU_OK)
        doctor_fail(doctor, err.status, "image-addons", "remove it or copy it again",
                    "not done: %s: %s", path, err.text);
}

static void take_companion(void *context, enum esp_kind kind, const char *path)
{
    struct doctor *doctor = context;

    doctor_warn(doctor, "image-addons",
                "remove it, or record the baseline of a boot with it: 'muctl baseline record'",
                "%s lies beside the image and is given to it: %s, so a prediction from the image "
                "alone is wrong",
                path, esp_describe(kind));
    if (kind == ESP_ADDON)
        check_addon(doctor, path);
}

void doctor_check_companions(struct doctor *doctor, const char *image)
{
    esp_companions(image, take_companion, doctor);
}
