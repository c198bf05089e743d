/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/file.h"
#include "ctl/doctor.h"
#include "ctl/initramfs.h"
#include "measure/predict.h"

#define SOURCE_MAX_BYTES (64u << 20)
#define LIST_MAX 400
#define ETC "etc/measured-unlock/"
#define LIB "usr/lib/measured-unlock/"
#define UNITS "usr/lib/systemd/system/"
#define ETC_UNITS "etc/systemd/system/"
#define OWN_CMDLINE "etc/cmdline.d/50-measured-unlock.conf"

enum when { ALWAYS, SYSTEMD, PLAIN };

/* What the dracut module puts into an image: a copy of a file of its own (source: its name there),
 * or a symbolic link. A path that begins with "hooks/" is a dracut hook. */
static const struct part {
    const char *finding;
    enum when when;
    const char *path, *source, *link;
} parts[] = {
    {"image-hooks", ALWAYS, LIB "supervise", "supervise", NULL},
    {"image-hooks", ALWAYS, LIB "refuse", "refuse", NULL},
    {"image-hooks", ALWAYS, LIB "passphrase", "passphrase", NULL},
    {"image-hooks", ALWAYS, LIB "check-root", "check-root", NULL},
    {"image-hooks", ALWAYS, LIB "wait-unlocked", "wait-unlocked", NULL},
    {"image-hooks", ALWAYS, LIB "settings.sh", "settings.sh", NULL},
    {"image-hooks", ALWAYS, "hooks/initqueue/settled/99-settled.sh", "settled.sh", NULL},
    {"image-hooks", ALWAYS, "hooks/pre-pivot/00-pre-pivot.sh", "pre-pivot.sh", NULL},
    {"image-hooks", PLAIN, "hooks/pre-trigger/90-pre-trigger.sh", "pre-trigger.sh", NULL},
    {"image-hooks", PLAIN, "hooks/initqueue/finished/90-finished.sh", "finished.sh", NULL},
    {"image-hooks", PLAIN, "hooks/pre-mount/00-pre-mount.sh", "pre-mount.sh", NULL},
    {"image-units", SYSTEMD, UNITS "measured-unlock.service", "measured-unlock.service", NULL},
    {"image-units", SYSTEMD, UNITS "measured-unlock-root.service", "measured-unlock-root.service",
     NULL},
    {"image-units", SYSTEMD, UNITS "measured-unlock-refused.service",
     "measured-unlock-refused.service", NULL},
    {"image-units", SYSTEMD, UNITS "initrd.target.requires/measured-unlock.service", NULL,
     "../measured-unlock.service"},
    {"image-units", SYSTEMD, UNITS "initrd-root-fs.target.requires/measured-unlock-root.service",
     NULL, "../measured-unlock-root.service"},
    {"image-units", SYSTEMD, ETC_UNITS "sysroot.mount.d/measured-unlock.conf", "sysroot.conf",
     NULL},
    {"image-prompt", ALWAYS, "hooks/cmdline/95-cmdline.sh", "cmdline.sh", NULL},
    {"image-shell", ALWAYS, "hooks/emergency/00-emergency.sh", "emergency.sh", NULL},
    {"image-shell", SYSTEMD, ETC_UNITS "emergency.service.d/measured-unlock.conf", "refuse.conf",
     NULL},
    {"image-shell", SYSTEMD, ETC_UNITS "rescue.service.d/measured-unlock.conf", "refuse.conf",
     NULL},
    {"image-shell", SYSTEMD, ETC_UNITS "dracut-emergency.service.d/measured-unlock.conf",
     "refuse.conf", NULL},
    {"image-shell", SYSTEMD, ETC_UNITS "debug-shell.service", NULL, "/dev/null"},
};
#define PARTS (sizeof(parts) / sizeof(parts[0]))

static const char *const hook_folders[] = {"usr/lib/dracut/hooks", "var/lib/dracut/hooks"};
#define HOOK_FOLDERS (sizeof(hook_folders) / sizeof(hook_folders[0]))

/* Each would ask for a passphrase, open a shell or resume from a disk before the fence. */
static const char *const generators[] = {
    "systemd-cryptsetup-generator",
    "systemd-gpt-auto-generator",
    "systemd-debug-generator",
    "systemd-run-generator",
    "systemd-getty-generator",
    "systemd-ssh-generator",
    "systemd-hibernate-resume-generator",
};

static const char rebuild[] = "build the image again: dracut --force";

/* One image while it is looked into. */
struct view {
    struct doctor *doctor;
    const char *path;
    struct initramfs image;
    bool systemd;
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

static bool content_of(const struct view *view, const char *path, struct bytes *ret)
{
    char place[256];

    if (strncmp(path, "hooks/", 6) != 0)
        return initramfs_content(&view->image, path, ret);
    for (size_t i = 0; i < HOOK_FOLDERS; i++) {
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
        return "is not in it";
    if (file_read(source, SOURCE_MAX_BYTES, &here, &err) != MU_OK)
        return "cannot be compared, since this machine has none";
    return bytes_equal(there, buffer_view(&here)) ? NULL : "is not the one of this machine";
}

static void check_part(const struct view *view, const struct part *part, struct list *wrong)
{
    char source[DOCTOR_PATH_MAX], module[256];
    const char *what = NULL;

    if (part->link != NULL) {
        if (!initramfs_is_link(&view->image, part->path, part->link))
            what = "is not in it";
    } else {
        (void)snprintf(module, sizeof(module), DOCTOR_MODULE "/%s", part->source);
        doctor_path(view->doctor, module, source);
        what = compare(view, part->path, source);
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
    for (size_t i = 0; i < PARTS; i++) {
        if (strcmp(parts[i].finding, finding) != 0 ||
            (parts[i].when == SYSTEMD && !view->systemd) ||
            (parts[i].when == PLAIN && view->systemd))
            continue;
        check_part(view, &parts[i], wrong);
    }
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
    const char *const files[] = {config->baseline, config->builder_key, config->ca_file};
    char source[DOCTOR_PATH_MAX];
    struct list wrong = {0};
    const char *what = compare(view, ETC "measured-unlock.conf", view->doctor->config_path);

    if (what != NULL)
        list_add(&wrong, ETC "measured-unlock.conf", what);
    for (size_t i = 0; i < sizeof(files) / sizeof(files[0]); i++) {
        struct stat st;

        doctor_path(view->doctor, files[i], source);
        if (files[i] == config->ca_file && stat(source, &st) != 0)
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
    char path[128];

    check_parts(view, "image-prompt", &wrong);
    for (size_t i = 0; view->systemd && i < sizeof(generators) / sizeof(generators[0]); i++) {
        (void)snprintf(path, sizeof(path), "usr/lib/systemd/system-generators/%s", generators[i]);
        if (initramfs_find(&view->image, path) == NULL)
            continue;
        (void)snprintf(path, sizeof(path), "etc/systemd/system-generators/%s", generators[i]);
        if (!initramfs_is_link(&view->image, path, "/dev/null"))
            list_add(&wrong, generators[i], "is not masked");
    }
    if (initramfs_find(&view->image, "usr/bin/clevis") != NULL)
        list_add(&wrong, "clevis", "would open the volumes by itself");
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
    if (!initramfs_content(&view->image, OWN_CMDLINE, &own) || own.len == 0)
        list_add(&wrong, OWN_CMDLINE, "is not in it");
    else
        for (size_t i = 0; i < sizeof(settings) / sizeof(settings[0]); i++)
            if (memmem(own.data, own.len, settings[i], strlen(settings[i])) == NULL)
                list_add(&wrong, OWN_CMDLINE " does not say", settings[i]);
    conclude(view, "image-shell", &wrong, "every emergency shell ends in a refusal");
}

/* The command line is the UKI's own, and what other dracut modules left in etc/cmdline.d, which is
 * where a host-only image puts this machine's root= and rd.luks.uuid=. */
static void check_command_lines(const struct view *view)
{
    if (view->image.uki)
        doctor_command_line(view->doctor, "image-cmdline", ".cmdline", view->image.cmdline, true);
    for (size_t i = 0; i < view->image.entries; i++) {
        const struct initramfs_entry *entry = &view->image.entry[i];

        if (strncmp(entry->name, "etc/cmdline.d/", 14) == 0 && S_ISREG(entry->mode) &&
            strstr(entry->name, "measured-unlock") == NULL)
            doctor_command_line(view->doctor, "image-cmdline", entry->name, entry->data, false);
    }
}

/* PCR 4 of a UKI that firmware starts itself, to be found in the records later. */
static void remember(const struct view *view)
{
    struct doctor *doctor = view->doctor;
    struct bytes image = buffer_view(&view->image.file);
    struct predict_request request = {
        .bank = HASH_SHA384, .mask = PCR_BIT(4), .images = &image, .count = 1, .phases = ""};
    struct mu_error err = {0};
    struct doctor_uki *uki;

    if (!view->image.uki) {
        doctor->initramfs++;
        return;
    }
    uki = &doctor->uki[doctor->ukis++];
    (void)snprintf(uki->path, sizeof(uki->path), "%s", view->path);
    uki->predicted = predict(&request, &uki->pcr4, &err) == MU_OK;
}

/* False: the image does not hold measured-unlock at all. */
static bool look_into(struct view *view)
{
    if (initramfs_find(&view->image, LIB "measured-unlock") == NULL &&
        initramfs_find(&view->image, ETC "measured-unlock.conf") == NULL)
        return false;
    view->systemd = initramfs_find(&view->image, "usr/lib/systemd/systemd") != NULL;
    if (!view->image.whole)
        doctor_warn(view->doctor, "image", "muctl sees the first part of it alone; unpack the rest",
                    "%s: damaged, or something follows its compressed archive", view->path);
    doctor_ok(view->doctor, "image", "%s: %s, %s systemd, %zu files", view->path,
              view->image.uki ? "unified kernel image" : "initramfs",
              view->systemd ? "with" : "without", view->image.entries);
    view->doctor->image_now = view->path;
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
    check_command_lines(view);
    remember(view);
    view->doctor->image_now = NULL;
    return true;
}

/* ---- which images ---- */

static const struct place {
    const char *folder, *prefix, *suffix;
} places[] = {
    {"/boot/EFI/Linux", "", ".efi"},     {"/efi/EFI/Linux", "", ".efi"},
    {"/boot/efi/EFI/Linux", "", ".efi"}, {"/boot/EFI/BOOT", "BOOT", ".EFI"},
    {"/efi/EFI/BOOT", "BOOT", ".EFI"},   {"/boot/efi/EFI/BOOT", "BOOT", ".EFI"},
    {"/boot", "initrd.img-", ""},        {"/boot", "initramfs-", ".img"},
};

struct found {
    char *path[DOCTOR_IMAGES_MAX];
    size_t count;
    bool more;
};

static void found_free(struct found *found)
{
    for (size_t i = 0; i < found->count; i++)
        free(found->path[i]);
}

static bool belongs(const char *name, const struct place *place)
{
    size_t len = strlen(name), prefix = strlen(place->prefix), suffix = strlen(place->suffix);

    return len > prefix + suffix && strncmp(name, place->prefix, prefix) == 0 &&
           strcmp(name + len - suffix, place->suffix) == 0 && strstr(name, "kdump") == NULL;
}

static void search(const struct doctor *doctor, const struct place *place, struct found *found)
{
    char folder[DOCTOR_PATH_MAX];
    struct dirent *entry;
    DIR *dir;

    doctor_path(doctor, place->folder, folder);
    dir = opendir(folder);
    while (dir != NULL && (entry = readdir(dir)) != NULL) {
        if (!belongs(entry->d_name, place))
            continue;
        if (found->count == DOCTOR_IMAGES_MAX)
            found->more = true;
        else if (asprintf(&found->path[found->count], "%s/%s", folder, entry->d_name) > 0)
            found->count++;
    }
    if (dir != NULL)
        (void)closedir(dir);
}

/* A boot loader in EFI/BOOT is no image, and an image without measured-unlock is another system's,
 * as long as one was found that has it; one that was named must be one. */
static bool examine(struct doctor *doctor, const char *path, bool named)
{
    struct view view = {.doctor = doctor, .path = path};
    struct mu_error err = {0};
    bool good = false;

    if (initramfs_load(path, &view.image, &err) != MU_OK) {
        if (named)
            doctor_fail(doctor, err.status, "image", "give a UKI or an initramfs made by dracut",
                        "%s: %s", path, err.text);
        else if (strstr(path, "/EFI/BOOT/") == NULL)
            doctor_warn(doctor, "image", rebuild, "%s: %s", path, err.text);
        return false;
    }
    good = look_into(&view);
    if (!good && named)
        doctor_fail(doctor, MU_CONFIG, "image",
                    "write the configuration, then build it again: dracut --force",
                    "%s: measured-unlock is not in it", path);
    else if (!good)
        doctor_warn(doctor, "image", "remove it if it is not used any more",
                    "%s: measured-unlock is not in it", path);
    initramfs_free(&view.image);
    return good;
}

void doctor_check_images(struct doctor *doctor)
{
    MU_CLEANUP(found_free) struct found found = {0};
    size_t good = 0;

    for (size_t i = 0; i < doctor->images; i++)
        (void)examine(doctor, doctor->image[i], true);
    if (doctor->images > 0)
        return;
    for (size_t i = 0; i < sizeof(places) / sizeof(places[0]); i++)
        search(doctor, &places[i], &found);
    for (size_t i = 0; i < found.count; i++)
        good += examine(doctor, found.path[i], false);
    if (found.more)
        doctor_warn(doctor, "image", "name those to look into with --image",
                    "more than %d images were found", DOCTOR_IMAGES_MAX);
    if (found.count == 0)
        doctor_warn(doctor, "image", "mount the EFI system partition, or give --image FILE",
                    "not done: no image was found in %s/boot, /efi, /boot/efi", doctor->root);
    else if (good == 0)
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
    for (size_t i = 0; missing.count == 0 && i < PARTS; i++) {
        if (parts[i].source == NULL)
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
        doctor_warn(doctor, "dracut-module",
                    "install it before an image is built here; one built elsewhere needs it not",
                    "%s", missing.text);
}
