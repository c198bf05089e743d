/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <ctype.h>
#include <errno.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "base/log.h"
#include "build/esp.h"
#include "build/pe.h"
#include "ctl/update.h"

#define LABEL "PARTLABEL=esp"
#define MOUNT_POINT "/run/measured-unlock-esp.XXXXXX"
#define LOADER_MAGIC "LoaderInfo: systemd-boot "
#define LOADER_CONF_MAX 65536
#define LOADER_FIX                                                                                 \
    "systemd-boot's file (Debian: /usr/lib/systemd/boot/efi of the package systemd-boot-efi) "     \
    "belongs there"

const char *update_machine_name(uint16_t machine)
{
    switch (machine) {
    case PE_MACHINE_X64:
        return "x86-64";
    case PE_MACHINE_AA64:
        return "aarch64";
    default:
        return "a machine that is not known here";
    }
}

/* ---- where it is ---- */

/* Nobody else sees it, and it is gone with this program, whatever happens. */
static enum mu_status mount_device(const char *device, struct update_esp *esp, struct mu_error *err)
{
    char point[] = MOUNT_POINT;

    if (unshare(CLONE_NEWNS) != 0 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) != 0)
        return mu_fail(err, MU_CONFIG,
                       "%s cannot be mounted by you (%s): be root, or name the folder where it is "
                       "mounted with --esp",
                       device, strerror(errno));
    if (mkdtemp(point) == NULL)
        return mu_fail(err, MU_CONFIG, "%s: cannot create: %s", point, strerror(errno));
    if (mount(device, point, "vfat", MS_NOSUID | MS_NODEV | MS_NOEXEC, "umask=0077") != 0) {
        int why = errno;

        (void)rmdir(point);
        return mu_fail(err, MU_CONFIG, "%s: cannot be mounted as an EFI system partition: %s",
                       device, strerror(why));
    }
    esp->is_ours = true;
    return string_set(&esp->path, point, err);
}

static enum mu_status find_mounted(struct update_esp *esp, struct mu_error *err)
{
    static const char *const places[] = {"/boot", "/efi", "/boot/efi"};

    for (size_t i = 0; esp->path == NULL && i < MU_COUNT(places); i++) {
        MU_CLEANUP(string_free) char *loader = esp_loader(places[i]);

        if (loader != NULL)
            MU_TRY(string_set(&esp->path, places[i], err));
    }
    return MU_OK;
}

static enum mu_status locate(const char *named, struct update_esp *esp, struct mu_error *err)
{
    MU_CLEANUP(string_free) char *device = NULL;
    struct stat st;

    if (named == NULL)
        MU_TRY(find_mounted(esp, err));
    if (esp->path != NULL)
        return MU_OK;
    if (ctl_device(named != NULL ? named : LABEL, &device, err) != MU_OK) {
        if (named != NULL)
            return mu_context(err, "--esp %s", named);
        return mu_fail(err, MU_CONFIG,
                       "no EFI system partition is mounted at /boot, /efi or /boot/efi, and none "
                       "has the label 'esp': name its folder or device with --esp");
    }
    if (stat(device, &st) != 0)
        return mu_fail(err, MU_CONFIG, "--esp %s: %s", device, strerror(errno));
    if (!S_ISDIR(st.st_mode))
        return mount_device(device, esp, err);
    return string_set(&esp->path, device, err);
}

/* ---- what is on it ---- */

static enum mu_status read_loader(struct update_esp *esp, struct mu_error *err)
{
    MU_CLEANUP(buffer_free) struct buffer spare = {0};
    struct bytes magic;
    struct pe pe;

    esp->loader_path = esp_loader(esp->path);
    if (esp->loader_path == NULL)
        return mu_fail(err, MU_CONFIG, "%s/EFI/BOOT has no %s: " LOADER_FIX, esp->path,
                       ESP_BOOT_FILE);
    MU_TRY(file_read(esp->loader_path, PE_MAX_BYTES, &esp->loader, err));
    if (pe_parse(buffer_view(&esp->loader), &pe, err) != MU_OK ||
        pe_section(buffer_view(&esp->loader), ".sdmagic", &spare, &magic, err) != MU_OK)
        return mu_context(err, "%s", esp->loader_path);
    if (magic.len == 0 || memmem(magic.data, magic.len, LOADER_MAGIC, strlen(LOADER_MAGIC)) == NULL)
        return mu_fail(err, MU_CONFIG,
                       "%s, which firmware starts, is not systemd-boot, and nothing else counts "
                       "tries: " LOADER_FIX
                       ", and this image in EFI/Linux, once the record allows that (docs/guide/"
                       "updating.md)",
                       esp->loader_path);
    esp->machine = pe.machine;
    return MU_OK;
}

struct listing {
    struct update_esp *esp;
    struct mu_error *err;
    enum mu_status status;
};

static enum mu_status add_entry(struct update_esp *esp, const char *folder, const char *name,
                                struct mu_error *err)
{
    MU_CLEANUP(string_free) char *path = NULL;
    MU_CLEANUP(buffer_free) struct buffer file = {0};
    struct boot_name ignored;
    struct boot_entry entry;

    if (name[0] == '.' || !boot_name_parse(name, &ignored))
        return MU_OK;
    MU_TRY(string_print(&path, err, "%s/%s", folder, name));
    MU_TRY(file_read(path, PE_MAX_BYTES, &file, err));
    if (boot_entry_read(name, buffer_view(&file), &entry, err) != MU_OK) {
        log_line("warning: %s: %s", path, err->text);
        *err = (struct mu_error){0};
        return MU_OK;
    }
    if (esp->count == UPDATE_ENTRIES_MAX)
        return mu_fail(err, MU_CONFIG, "%s holds more than %d images: remove some", folder,
                       UPDATE_ENTRIES_MAX);
    esp->entry[esp->count++] = (struct update_entry){entry, MU_TAKE(path)};
    return MU_OK;
}

static void take_entry(void *context, const char *folder, const char *name)
{
    struct listing *listing = context;

    if (listing->status == MU_OK)
        listing->status = add_entry(listing->esp, folder, name, listing->err);
}

static int in_order(const void *a, const void *b)
{
    const struct update_entry *x = a, *y = b;

    return boot_entry_compare(&x->entry, &y->entry);
}

enum mu_status update_esp_open(const char *named, struct update_esp *ret, struct mu_error *err)
{
    struct listing listing = {ret, err, MU_OK};

    *ret = (struct update_esp){0};
    MU_TRY(locate(named, ret, err));
    MU_TRY(read_loader(ret, err));
    ret->images = esp_find(ret->path, "EFI", "Linux");
    esp_each(ret->path, "EFI/Linux", take_entry, &listing);
    qsort(ret->entry, ret->count, sizeof(ret->entry[0]), in_order);
    return listing.status;
}

void update_esp_close(struct update_esp *esp)
{
    if (esp->is_ours && umount2(esp->path, 0) == 0)
        (void)rmdir(esp->path);
    for (size_t i = 0; i < esp->count; i++)
        string_free(&esp->entry[i].path);
    string_free(&esp->path);
    string_free(&esp->images);
    string_free(&esp->loader_path);
    buffer_free(&esp->loader);
}

/* ---- what takes the choice from the counters ---- */

static void take_other(void *context, const char *folder, const char *name)
{
    char **other = context;

    if (*other == NULL && esp_ends_with(name, ".conf") &&
        asprintf(other, "%s/%s", folder, name) < 0)
        *other = NULL;
}

/* systemd-boot takes what is named there even if its tries are used up. */
static bool names_a_default(const char *text)
{
    while (*text != '\0') {
        size_t len;

        text += strspn(text, " \t\r\n");
        len = strcspn(text, " \t\r\n");
        if (len == strlen("default") && strncmp(text, "default", len) == 0)
            return true;
        text += strcspn(text, "\n");
    }
    return false;
}

enum mu_status update_esp_counts(const struct update_esp *esp, struct mu_error *err)
{
    MU_CLEANUP(string_free) char *other = NULL;
    MU_CLEANUP(string_free) char *conf = esp_find(esp->path, "loader", "loader.conf");
    MU_CLEANUP(buffer_free) struct buffer text = {0};

    esp_each(esp->path, "loader/entries", take_other, &other);
    if (other != NULL)
        return mu_fail(err, MU_CONFIG,
                       "%s: systemd-boot may take this entry before an image: remove it", other);
    if (conf == NULL)
        return MU_OK;
    MU_TRY(file_read(conf, LOADER_CONF_MAX, &text, err));
    if (names_a_default((const char *)text.data))
        return mu_fail(err, MU_CONFIG,
                       "%s has a line 'default': systemd-boot takes what it names even if its "
                       "tries are used up, or never takes the new image: remove the line",
                       conf);
    return MU_OK;
}
