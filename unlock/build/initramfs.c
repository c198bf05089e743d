/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "build/initramfs.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/file.h"
#include "base/text.h"
#include "build/pe.h"
#include "build/unpack.h"

#define NAME_MAX_BYTES 4096
#define LINKS_MAX 8

void initramfs_free(struct initramfs *image)
{
    buffer_free(&image->file);
    for (size_t i = 0; i < image->parts; i++)
        buffer_free(&image->unpacked[i]);
    buffer_free(&image->spare_initrd);
    buffer_free(&image->spare_cmdline);
    if (!image->borrowed)
        free(image->entry);
    *image = (struct initramfs){0};
}

static struct initramfs_entry *add_entry(struct initramfs *image)
{
    if (image->entries == image->room) {
        size_t room = image->room == 0 ? 1024 : 2 * image->room;
        struct initramfs_entry *grown;

        if (room > 2ul * INITRAMFS_ENTRIES_MAX)
            return NULL;
        grown = reallocarray(image->entry, room, sizeof(*grown));
        if (grown == NULL)
            return NULL;
        image->entry = grown;
        image->room = room;
    }
    return &image->entry[image->entries++];
}

/* Counted from the beginning of the archive. */
static void skip_padding(struct reader *r, size_t begin)
{
    (void)reader_take(r, (begin - reader_offset(r)) & 3);
}

static const char *without_root(const char *name)
{
    while (*name == '/' || (name[0] == '.' && name[1] == '/'))
        name += *name == '/' ? 1 : 2;
    return name;
}

/* *ret_end: it was the trailer. */
static bool take_entry(struct initramfs *image, struct reader *r, size_t begin, bool *ret_end)
{
    uint32_t field[CPIO_FIELDS];
    struct initramfs_entry entry;
    struct initramfs_entry *to;
    struct bytes name;

    if (!cpio_header(reader_take(r, CPIO_HEADER_BYTES), field))
        return false;
    name = reader_take(r, field[11]);
    if (r->failed || name.len == 0 || name.len > NAME_MAX_BYTES || name.data[name.len - 1] != '\0')
        return false;
    skip_padding(r, begin);
    entry = (struct initramfs_entry){.name = without_root((const char *)name.data),
                                     .inode = field[0],
                                     .mode = field[1],
                                     .links = field[4],
                                     .major = field[7],
                                     .minor = field[8],
                                     .archive = image->archives,
                                     .data = reader_take(r, field[6])};
    skip_padding(r, begin);
    *ret_end = strcmp(entry.name, "TRAILER!!!") == 0;
    if (r->failed)
        return false;
    if (*ret_end)
        return true;
    to = add_entry(image);
    if (to == NULL)
        return false;
    *to = entry;
    return true;
}

/* Archives with zeros between and after them; *ret_used: the offset at which something else
 * begins. */
static enum mu_status take_archives(struct initramfs *image, struct bytes data, size_t *ret_used,
                                    struct mu_error *err)
{
    struct reader r = reader_of(data);

    while (reader_left(&r) > 0) {
        size_t at = reader_offset(&r);
        bool magic = data.len - at >= 6 && (memcmp(data.data + at, "070701", 6) == 0 ||
                                            memcmp(data.data + at, "070702", 6) == 0);
        bool end = false;

        if (data.data[at] == 0) {
            (void)reader_u8(&r);
            continue;
        }
        if (!magic)
            break;
        while (!end) {
            size_t offset = reader_offset(&r);

            if (!take_entry(image, &r, at, &end))
                return mu_fail(err, MU_CONFIG,
                               "cpio archive: bad entry at offset %zu, where it was cut or damaged",
                               offset);
        }
        image->archives++;
    }
    *ret_used = reader_offset(&r);
    return MU_OK;
}

static struct bytes after(struct bytes data, size_t len)
{
    return (struct bytes){data.data + len, data.len - len};
}

static enum mu_status take_compressed(struct initramfs *image, struct bytes data, size_t *ret_used,
                                      struct mu_error *err)
{
    size_t offset = (size_t)(data.data - image->initrd.data), used, room = INITRAMFS_MAX;
    struct buffer *to = &image->unpacked[image->parts];
    bool whole;

    if (!unpack_knows(data))
        return mu_fail(err, MU_CONFIG,
                       "neither a cpio archive nor compressed in a way that is known (offset %zu)",
                       offset);
    if (image->parts == INITRAMFS_PARTS_MAX)
        return mu_fail(err, MU_CONFIG, "more than %d compressed archives", INITRAMFS_PARTS_MAX);
    for (size_t i = 0; i < image->parts; i++)
        room -= image->unpacked[i].len;
    MU_TRY(unpack_first(data, room, to, ret_used, &whole, err));
    image->parts++;
    MU_TRY(take_archives(image, buffer_view(to), &used, err));
    if (!whole)
        return mu_fail(err, MU_CONFIG,
                       "the compressed archive at offset %zu is damaged or cut, or something that "
                       "is not known follows it",
                       offset);
    if (used < to->len)
        return mu_fail(err, MU_CONFIG, "unpacked: not a cpio archive at offset %zu, or a cut one",
                       used);
    return MU_OK;
}

/* As the kernel reads it (init/initramfs.c, unpack_to_rootfs): archives, compressed or not, in any
 * order, with zeros between them. */
static enum mu_status initramfs_parse(struct initramfs *image, struct mu_error *err)
{
    struct bytes rest = image->initrd;
    size_t used;

    while (true) {
        MU_TRY(take_archives(image, rest, &used, err));
        rest = after(rest, used);
        if (rest.len == 0)
            return MU_OK;
        MU_TRY(take_compressed(image, rest, &used, err));
        rest = after(rest, used);
    }
}

/* Linux, fs/squashfs/squashfs_fs.h and fs/erofs/erofs_fs.h */
static const char *file_system_of(struct bytes data)
{
    static const uint8_t erofs[] = {0xe2, 0xe1, 0xf5, 0xe0};

    if (data.len >= 4 && memcmp(data.data, "hsqs", 4) == 0)
        return "squashfs";
    if (data.len >= 1028 && memcmp(data.data + 1024, erofs, sizeof(erofs)) == 0)
        return "erofs";
    return NULL;
}

/* dracut's squash modules leave little more in the archive than what mounts this file. */
static enum mu_status check_squashed(const struct initramfs *image, struct mu_error *err)
{
    for (size_t i = 0; i < image->entries; i++) {
        const struct initramfs_entry *entry = &image->entry[i];
        const char *kind = S_ISREG(entry->mode) ? file_system_of(entry->data) : NULL;

        if (kind != NULL)
            return mu_fail(err, MU_CONFIG,
                           "there are files in its %.80s, a squashed file system (%s), into which "
                           "muctl does not look",
                           entry->name, kind);
    }
    return MU_OK;
}

/* A part of the image that cannot be read is not a failure here: the rest still tells something. */
static enum mu_status look(struct initramfs *image, struct mu_error *err)
{
    static const char again[] = "install what is named there, or build the image again: "
                                "dracut --force";
    struct mu_error why = {0};

    if (initramfs_parse(image, &why) != MU_OK)
        image->cure = again;
    else if (check_squashed(image, &why) != MU_OK)
        image->cure = "build it without dracut's squash modules: dracut --force --omit 'squash "
                      "squash-squashfs squash-erofs squash-lib'";
    if (why.status != MU_OK && why.status != MU_CONFIG)
        return mu_fail(err, why.status, "%s", why.text);
    image->unseen = why;
    if (image->entries == 0 && why.status == MU_OK)
        return mu_fail(err, MU_CONFIG, "holds no files");
    return MU_OK;
}

/* The value of the line KEY=VALUE of a .profile section (UAPI.5), as far as it can be shown. */
static bool profile_field(struct bytes section, const char *key, char ret[static PROFILE_NAME_MAX])
{
    const char *at = (const char *)section.data, *end = at + section.len;
    size_t len = strlen(key), n = 0;

    while (at < end) {
        const char *line_end = memchr(at, '\n', (size_t)(end - at));

        line_end = line_end != NULL ? line_end : end;
        if ((size_t)(line_end - at) > len && memcmp(at, key, len) == 0) {
            for (at += len; at < line_end && n + 1 < PROFILE_NAME_MAX; at++)
                if (*at != '"' && *at != '\'')
                    ret[n++] = *at;
            while (n > 0 && (ret[n - 1] == '\0' || ret[n - 1] == '\r'))
                n--;
            ret[n] = '\0';
            text_make_printable(ret);
            return n > 0;
        }
        at = line_end + (line_end < end);
    }
    return false;
}

static enum mu_status name_profile(const struct pe *pe, size_t profile,
                                   char ret[static PROFILE_NAME_MAX], struct mu_error *err)
{
    MU_CLEANUP(buffer_free) struct buffer spare = {0};
    struct bytes section;

    MU_TRY(pe_profile_section(pe, profile, ".profile", &spare, &section, err));
    if (!profile_field(section, "ID=", ret) && !profile_field(section, "TITLE=", ret))
        (void)snprintf(ret, PROFILE_NAME_MAX, "%zu", profile);
    return MU_OK;
}

static enum mu_status take_profile(struct initramfs *image, const struct pe *pe, size_t profile,
                                   struct mu_error *err)
{
    image->uki = true;
    image->profiles = pe_profiles(pe);
    (void)snprintf(image->cmdline_name, sizeof(image->cmdline_name), ".cmdline");
    if (image->profiles > 0) {
        MU_TRY(name_profile(pe, profile, image->profile, err));
        (void)snprintf(image->cmdline_name, sizeof(image->cmdline_name),
                       ".cmdline of the profile '%s'", image->profile);
    }
    MU_TRY(pe_profile_section(pe, profile, ".initrd", &image->spare_initrd, &image->initrd, err));
    return pe_profile_section(pe, profile, ".cmdline", &image->spare_cmdline, &image->cmdline, err);
}

static enum mu_status initramfs_read(const char *path, struct initramfs *image,
                                     struct mu_error *err)
{
    struct pe pe;

    MU_TRY(file_read(path, INITRAMFS_FILE_MAX, &image->file, err));
    image->initrd = buffer_view(&image->file);
    if (image->initrd.len < 2 || memcmp(image->initrd.data, "MZ", 2) != 0)
        return look(image, err);
    MU_TRY(pe_parse(image->initrd, &pe, err));
    MU_TRY(take_profile(image, &pe, 0, err));
    if (image->initrd.len == 0)
        return mu_fail(err, MU_CONFIG,
                       "no .initrd section: not a unified kernel image (a boot loader?)");
    return look(image, err);
}

enum mu_status initramfs_load(const char *path, struct initramfs *ret, struct mu_error *err)
{
    MU_CLEANUP(initramfs_free) struct initramfs image = {0};

    MU_TRY(initramfs_read(path, &image, err));
    *ret = MU_TAKE(image);
    return MU_OK;
}

enum mu_status initramfs_profile(const struct initramfs *base, size_t profile,
                                 struct initramfs *ret, struct mu_error *err)
{
    MU_CLEANUP(initramfs_free) struct initramfs image = {0};
    struct pe pe;

    MU_TRY(pe_parse(buffer_view(&base->file), &pe, err));
    MU_TRY(take_profile(&image, &pe, profile, err));
    if (bytes_equal(image.initrd, base->initrd)) {
        image.borrowed = true;
        image.entry = base->entry;
        image.entries = base->entries;
        image.cure = base->cure;
        image.unseen = base->unseen;
    } else {
        MU_TRY(look(&image, err));
    }
    *ret = MU_TAKE(image);
    return MU_OK;
}

const struct initramfs_entry *initramfs_find(const struct initramfs *image, const char *name)
{
    const char *unmerged = strncmp(name, "usr/", 4) == 0 ? name + 4 : NULL;

    for (size_t i = image->entries; i-- > 0;)
        if (strcmp(image->entry[i].name, name) == 0)
            return &image->entry[i];
    return unmerged != NULL ? initramfs_find(image, unmerged) : NULL;
}

/* Of hard links, the last one carries the data. */
static struct bytes data_of(const struct initramfs *image, const struct initramfs_entry *entry)
{
    if (entry->data.len > 0 || entry->links < 2)
        return entry->data;
    for (size_t i = 0; i < image->entries; i++) {
        const struct initramfs_entry *other = &image->entry[i];

        if (other->archive == entry->archive && other->inode == entry->inode &&
            other->major == entry->major && other->minor == entry->minor && other->data.len > 0)
            return other->data;
    }
    return entry->data;
}

/* `name` becomes the link's target: a path from the image's root without "." and "..". */
static bool follow(const struct initramfs_entry *link, char name[static NAME_MAX_BYTES])
{
    char target[NAME_MAX_BYTES];
    size_t len = 0;
    int n;

    if (link->data.len == 0 || link->data.len >= sizeof(target))
        return false;
    if (link->data.data[0] == '/')
        n = snprintf(target, sizeof(target), "%.*s", (int)link->data.len,
                     (const char *)link->data.data);
    else
        n = snprintf(target, sizeof(target), "%s/../%.*s", link->name, (int)link->data.len,
                     (const char *)link->data.data);
    if (n < 0 || (size_t)n >= sizeof(target))
        return false;
    for (const char *from = target; *from != '\0';) {
        size_t part = strcspn(from, "/");

        if (part == 2 && memcmp(from, "..", 2) == 0) {
            while (len > 0 && name[--len] != '/')
                ;
        } else if (part > 0 && !(part == 1 && *from == '.')) {
            if (len > 0)
                name[len++] = '/';
            memcpy(name + len, from, part);
            len += part;
        }
        from += part + (from[part] == '/');
    }
    name[len] = '\0';
    return len > 0;
}

bool initramfs_content(const struct initramfs *image, const char *name, struct bytes *ret)
{
    char path[NAME_MAX_BYTES];

    if (strlen(name) >= sizeof(path))
        return false;
    (void)snprintf(path, sizeof(path), "%s", name);
    for (unsigned i = 0; i < LINKS_MAX; i++) {
        const struct initramfs_entry *entry = initramfs_find(image, path);

        if (entry == NULL)
            return false;
        if (S_ISREG(entry->mode)) {
            *ret = data_of(image, entry);
            return true;
        }
        if (!S_ISLNK(entry->mode) || !follow(entry, path))
            return false;
    }
    return false;
}

bool initramfs_is_link(const struct initramfs *image, const char *name, const char *target)
{
    const struct initramfs_entry *entry = initramfs_find(image, name);

    return entry != NULL && S_ISLNK(entry->mode) && entry->data.len == strlen(target) &&
           memcmp(entry->data.data, target, entry->data.len) == 0;
}
