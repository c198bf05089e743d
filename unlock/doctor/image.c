/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/file.h"
#include "build/esp.h"
#include "build/pe.h"
#include "build/predict.h"
#include "doctor/doctor.h"
#include "doctor/parts.h"

#define SOURCE_MAX_BYTES (64u << 20)
#define LIST_MAX 400
#define ETC "etc/measured-unlock/"
#define LIB "usr/lib/measured-unlock/"
#define OWN_CMDLINE "etc/cmdline.d/50-measured-unlock.conf"

static const char *const hook_folders[] = {"usr/lib/dracut/hooks", "var/lib/dracut/hooks"};

static const char rebuild[] = "build the image again: dracut --force";

/* One image while it is examined. */
struct view {
    struct doctor *doctor;
    const char *path;
    struct initramfs image;
    bool systemd, networkd;
};

/* The names of what is wrong, for one line. */
struct list {
    char text[LIST_MAX];
    size_t len;
    unsigned count;
};

static void list_add(struct list *list, const char *name, const char *what)
{
    list->count++;
    if (list->len < sizeof(list->text))
        list->len += (size_t)snprintf(list->text + list->len, sizeof(list->text) - list->len,
                                      "%s%s %s", list->len > 0 ? "; " : "", name, what);
}

/* How the report names a file that was not found. */
static const char *absent(const struct view *view)
{
    return view->image.unseen.status == MU_OK ? "is not in it"
                                              : "is not in what could be seen of it";
}

static bool content_of(const struct view *view, const char *path, struct bytes *ret)
{
    char place[256];

    if (strncmp(path, "hooks/", 6) != 0)
        return initramfs_content(&view->image, path, ret);
    for (size_t i = 0; i < MU_COUNT(hook_folders); i++) {
        (void)snprintf(place, sizeof(place), "%s/%s", hook_folders[i], path + 6);
        if (initramfs_content(&view->image, place, ret))
            return true;
    }
    return false;
}

/* NULL if the image's file and the machine's are equal; else what is wrong. */
static const char *compare(const struct view *view, const char *path, const char *source)
{
    MU_CLEANUP(buffer_free) struct buffer here = {0};
    struct mu_error err = {0};
    struct bytes there;

    if (!content_of(view, path, &there))
        return absent(view);
    if (file_read(source, SOURCE_MAX_BYTES, &here, &err) != MU_OK)
        return "cannot be compared, since this machine has none";
    return bytes_equal(there, buffer_view(&here)) ? NULL : "is not the one of this machine";
}

static void check_part(const struct view *view, const struct part *part, struct list *wrong)
{
    char source[DOCTOR_PATH_MAX], module[256];
    struct bytes content;
    const char *what = NULL;

    switch (part->kind) {
    case PART_COPY:
        (void)snprintf(module, sizeof(module), DOCTOR_MODULE "/%s", part->source);
        doctor_path(view->doctor, module, source);
        what = compare(view, part->path, source);
        break;
    case PART_LINK:
        if (!initramfs_is_link(&view->image, part->path, part->source))
            what = absent(view);
        break;
    case PART_MADE:
        if (!content_of(view, part->path, &content) || content.len == 0)
            what = absent(view);
        break;
    }
    if (what != NULL)
        list_add(wrong, part->path, what);
}

static void conclude(const struct view *view, const char *finding, const struct list *wrong,
                     const char *good)
{
    if (wrong->count > 0)
        doctor_fail(view->doctor, MU_CONFIG, finding, rebuild, "%s", wrong->text);
    else
        doctor_ok(view->doctor, finding, "%s", good);
}

static void check_parts(const struct view *view, const char *finding, struct list *wrong)
{
    const bool expected[] = {[PART_ALWAYS] = true,
                             [PART_SYSTEMD] = view->systemd,
                             [PART_PLAIN] = !view->systemd,
                             [PART_NETWORKD] = view->networkd};

    for (size_t i = 0; i < parts_count; i++)
        if (strcmp(parts[i].finding, finding) == 0 && expected[parts[i].when])
            check_part(view, &parts[i], wrong);
}

static void find_init(struct view *view)
{
    view->systemd = initramfs_find(&view->image, "usr/lib/systemd/systemd") != NULL;
    view->networkd = initramfs_find(&view->image, "usr/lib/systemd/systemd-networkd") != NULL;
}

static void check_program(const struct view *view)
{
    char source[DOCTOR_PATH_MAX];
    struct list wrong = {0};
    const char *what;

    doctor_path(view->doctor, DOCTOR_PROGRAM, source);
    what = compare(view, LIB "measured-unlock", source);
    if (what != NULL)
        list_add(&wrong, DOCTOR_PROGRAM, what);
    conclude(view, "image-program", &wrong, "the program of this machine");
}

static void check_configuration(const struct view *view)
{
    const struct config *config = &view->doctor->config;
    const char *const files[] = {config->baseline, config->builder_key, config->aws.ca_file};
    char source[DOCTOR_PATH_MAX];
    struct list wrong = {0};
    const char *what = compare(view, ETC "measured-unlock.conf", view->doctor->config_path);

    if (what != NULL)
        list_add(&wrong, ETC "measured-unlock.conf", what);
    for (size_t i = 0; i < MU_COUNT(files); i++) {
        struct stat st;

        doctor_path(view->doctor, files[i], source);
        if (files[i] == config->aws.ca_file && stat(source, &st) != 0)
            doctor_path(view->doctor, DOCTOR_ROOTS, source);
        what = compare(view, files[i] + 1, source);
        if (what != NULL)
            list_add(&wrong, files[i], what);
    }
    conclude(view, "image-configuration", &wrong,
             "configuration, baseline, builder's key and CA file of this machine");
}

static void check_prompt(const struct view *view)
{
    struct list wrong = {0};
    struct bytes crypttab = {0};

    check_parts(view, "image-prompt", &wrong);
    if (initramfs_find(&view->image, "usr/bin/clevis") != NULL)
        list_add(&wrong, "clevis", "would open the volumes by itself");
    if (initramfs_find(&view->image, "usr/lib/systemd/systemd-cryptsetup") != NULL ||
        initramfs_find(&view->image, "usr/bin/systemd-cryptsetup") != NULL)
        doctor_warn(view->doctor, "image-prompt",
                    "leave dracut's modules crypt and systemd-cryptsetup out, as the file of "
                    "measured-unlock in dracut.conf.d does",
                    "it holds systemd-cryptsetup, a second program that opens volumes");
    if (initramfs_content(&view->image, "etc/crypttab", &crypttab) && crypttab.len > 0)
        doctor_warn(view->doctor, "image-prompt",
                    "keep the volumes out of /etc/crypttab; measured-unlock makes the mappings",
                    "it holds an etc/crypttab, which nothing in it obeys");
    conclude(view, "image-prompt", &wrong, "nothing in it asks for a passphrase");
}

static void check_shell(const struct view *view)
{
    static const char *const settings[] = {"rd.shell=0", "rd.emergency=poweroff", "rd.luks=0"};
    struct bytes own = {0};
    struct list wrong = {0};

    check_parts(view, "image-shell", &wrong);
    if (initramfs_content(&view->image, OWN_CMDLINE, &own))
        for (size_t i = 0; i < MU_COUNT(settings); i++)
            if (memmem(own.data, own.len, settings[i], strlen(settings[i])) == NULL)
                list_add(&wrong, OWN_CMDLINE " does not say", settings[i]);
    conclude(view, "image-shell", &wrong, "every emergency shell ends in a refusal");
}

/* The command line is the UKI's own, and what other dracut modules left in etc/cmdline.d, which is
 * where a host-only image puts this machine's root= and rd.luks.uuid=. */
static void check_command_lines(const struct view *view)
{
    if (view->image.uki)
        doctor_command_line(view->doctor, "image-cmdline", view->image.cmdline_name,
                            view->image.cmdline, true);
    if (view->image.borrowed)
        return;
    for (size_t i = 0; i < view->image.entries; i++) {
        const struct initramfs_entry *entry = &view->image.entry[i];

        if (strncmp(entry->name, "etc/cmdline.d/", 14) == 0 && S_ISREG(entry->mode) &&
            strstr(entry->name, "measured-unlock") == NULL)
            doctor_command_line(view->doctor, "image-cmdline", entry->name, entry->data, false);
    }
}

/* PCR 4 of a UKI, to be found in the records later. One in EFI/Linux has a boot loader before it.
 */
static void remember(const struct view *view)
{
    MU_CLEANUP(string_free) char *loader = esp_loader_of(view->path);
    MU_CLEANUP(buffer_free) struct buffer file = {0};
    struct doctor *doctor = view->doctor;
    static const struct secure_boot on = {0};
    struct bytes images[2] = {buffer_view(&view->image.file)};
    struct predict_request request = {
        .bank = HASH_SHA384, .mask = PCR_BIT(4), .images = images, .count = 1, .phases = ""};
    struct mu_error err = {0};
    struct doctor_uki *uki;

    if (!view->image.uki) {
        doctor->initramfs++;
        return;
    }
    uki = &doctor->uki[doctor->ukis++];
    (void)snprintf(uki->path, sizeof(uki->path), "%s", view->path);
    if (loader != NULL && file_read(loader, PE_MAX_BYTES, &file, &err) == MU_OK) {
        (void)snprintf(uki->loader, sizeof(uki->loader), "%s", loader);
        images[1] = images[0];
        images[0] = buffer_view(&file);
        request.count = 2;
    }
    uki->predicted = predict_values(&request, &uki->pcr4, &err) == MU_OK;
    request.keys = &on;
    uki->predicted =
        uki->predicted && predict_values(&request, &uki->pcr4_secure_boot, &err) == MU_OK;
}

static bool holds_ours(const struct view *view)
{
    return initramfs_find(&view->image, LIB "measured-unlock") != NULL ||
           initramfs_find(&view->image, ETC "measured-unlock.conf") != NULL;
}

static void check_files(const struct view *view)
{
    check_program(view);
    check_configuration(view);
    for (size_t i = 0; i < 2; i++) {
        const char *finding = i == 0 ? "image-hooks" : "image-units";
        struct list wrong = {0};

        if (i == 1 && !view->systemd)
            continue;
        check_parts(view, finding, &wrong);
        conclude(view, finding, &wrong, "those of this machine");
    }
    check_prompt(view);
    check_shell(view);
}

/* With a profile's own initrd and command line, or with that of all. */
static void look_into(const struct view *view)
{
    if (!view->image.borrowed)
        check_files(view);
    doctor_check_doors(view->doctor, &view->image, view->systemd);
    check_command_lines(view);
}

static void check_profile(const struct view *base, size_t profile)
{
    struct view view = {.doctor = base->doctor, .path = base->path};
    struct mu_error err = {0};

    if (initramfs_profile(&base->image, profile, &view.image, &err) != MU_OK) {
        doctor_fail(view.doctor, err.status, "image", rebuild, "not done: profile %zu: %s", profile,
                    err.text);
        return;
    }
    if (!view.image.borrowed && view.image.unseen.status != MU_OK)
        doctor_fail(view.doctor, MU_CONFIG, "image", view.image.cure,
                    "not done: the profile '%s' has another initrd: %s", view.image.profile,
                    view.image.unseen.text);
    else if (!view.image.borrowed && !holds_ours(&view))
        doctor_fail(view.doctor, MU_CONFIG, "image", rebuild,
                    "the profile '%s' has an initrd of its own, and measured-unlock is not in it",
                    view.image.profile);
    else {
        find_init(&view);
        look_into(&view);
    }
    initramfs_free(&view.image);
}

static void check_profiles(const struct view *view)
{
    if (view->image.profiles > 1)
        doctor_warn(view->doctor, "image",
                    "build an image for each profile, or record PCR 11 for the enrolment, too",
                    "it has %zu profiles: which one starts is chosen from outside and shows in PCR "
                    "11 alone, so that each one is let in",
                    view->image.profiles);
    for (size_t i = 1; i < view->image.profiles; i++)
        check_profile(view, i);
}

static void look_at_image(struct view *view)
{
    struct doctor *doctor = view->doctor;

    if (view->image.unseen.status != MU_OK)
        doctor_warn(doctor, "image", view->image.cure, "not done: %s could not be seen whole: %s",
                    view->path, view->image.unseen.text);
    find_init(view);
    doctor_ok(doctor, "image", "%s: %s, %s systemd, %zu files", view->path,
              view->image.uki ? "unified kernel image" : "initramfs",
              view->systemd ? "with" : "without", view->image.entries);
    doctor->image_now = view->path;
    look_into(view);
    check_profiles(view);
    if (view->image.uki)
        doctor_check_companions(doctor, view->path);
    remember(view);
    doctor->image_now = NULL;
}

/* ---- which images ---- */

/* A boot loader in EFI/BOOT is not an image. An image without measured-unlock belongs to another
 * system, if another image has measured-unlock. An image that was named must have it. */
static enum verdict {
    OURS,
    NOT_OURS,
    UNSEEN
} examine(struct doctor *doctor, const char *path, bool named)
{
    struct view view = {.doctor = doctor, .path = path};
    struct mu_error err = {0};
    const bool loader = strcasestr(path, "/EFI/BOOT/") != NULL && !named;
    enum verdict verdict = NOT_OURS;

    if (initramfs_load(path, &view.image, &err) != MU_OK) {
        if (named)
            doctor_fail(doctor, err.status, "image", "give a UKI or an initramfs made by dracut",
                        "not done: %s: %s", path, err.text);
        else if (!loader)
            doctor_warn(doctor, "image", rebuild, "not done: %s: %s", path, err.text);
        return loader ? NOT_OURS : UNSEEN;
    }
    if (holds_ours(&view)) {
        look_at_image(&view);
        verdict = OURS;
    } else if (view.image.unseen.status != MU_OK) {
        verdict = UNSEEN;
        doctor_find(doctor, named ? MU_CONFIG : DOCTOR_WARNING, "image", view.image.cure,
                    "not done: %s: %s", path, view.image.unseen.text);
    } else if (named) {
        doctor_fail(doctor, MU_CONFIG, "image",
                    "write the configuration, then build it again: dracut --force",
                    "%s: measured-unlock is not in it", path);
    } else {
        doctor_warn(doctor, "image", "remove it if it is not used any more",
                    "%s: measured-unlock is not in it", path);
    }
    initramfs_free(&view.image);
    return verdict;
}

void doctor_check_images(struct doctor *doctor)
{
    MU_CLEANUP(doctor_found_free) struct doctor_found found = {0};
    size_t count[] = {[OURS] = 0, [NOT_OURS] = 0, [UNSEEN] = 0};

    for (size_t i = 0; i < doctor->images; i++)
        (void)examine(doctor, doctor->image[i], true);
    if (doctor->images > 0)
        return;
    doctor_find_images(doctor, &found);
    for (size_t i = 0; i < found.count; i++)
        count[examine(doctor, found.path[i], false)]++;
    if (found.more)
        doctor_warn(doctor, "image", "name those to examine with --image",
                    "more than %d images were found", DOCTOR_IMAGES_MAX);
    if (found.count == 0)
        doctor_warn(doctor, "image", "mount the EFI system partition, or give --image FILE",
                    "not done: no image was found in %s/boot, /efi, /boot/efi", doctor->root);
    else if (count[OURS] == 0 && count[UNSEEN] > 0)
        doctor_fail(doctor, MU_CONFIG, "image", "make sure that they can be read",
                    "not done: measured-unlock was not seen in any of the images that were found, "
                    "and %zu of %zu could not be read",
                    count[UNSEEN], found.count);
    else if (count[OURS] == 0)
        doctor_fail(doctor, MU_CONFIG, "image",
                    "write the configuration, then dracut --force; or give --image FILE",
                    "measured-unlock is in none of the images that were found");
}

/* ---- what the next one is built from ---- */

void doctor_check_module(struct doctor *doctor)
{
    char path[DOCTOR_PATH_MAX], name[256];
    struct list missing = {0};
    struct stat st;

    doctor_path(doctor, DOCTOR_PROGRAM, path);
    if (stat(path, &st) != 0)
        list_add(&missing, path, "is missing");
    doctor_path(doctor, DOCTOR_MODULE "/module-setup.sh", path);
    if (stat(path, &st) != 0)
        list_add(&missing, path, "is missing");
    for (size_t i = 0; missing.count == 0 && i < parts_count; i++) {
        if (parts[i].kind != PART_COPY)
            continue;
        (void)snprintf(name, sizeof(name), DOCTOR_MODULE "/%s", parts[i].source);
        doctor_path(doctor, name, path);
        if (stat(path, &st) != 0)
            list_add(&missing, path, "is missing");
    }
    if (missing.count == 0)
        doctor_ok(doctor, "dracut-module", "%s" DOCTOR_MODULE, doctor->root);
    else if (doctor->role == ROLE_BUILD)
        doctor_fail(doctor, MU_CONFIG, "dracut-module", "make install, then run dracut again", "%s",
                    missing.text);
    else
        doctor_warn(
            doctor, "dracut-module",
            "install it before an image is built here; an image built elsewhere does not need it",
            "%s", missing.text);
}
