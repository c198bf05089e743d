/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "ctl/initramfs.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/file.h"
#include "ctl/unpack.h"
#include "measure/authenticode.h"

#define HEADER_FIELDS 13
#define NAME_MAX_BYTES 4096
#define LINKS_MAX 8

void initramfs_free(struct initramfs *image)
{
    buffer_free(&image->file);
    buffer_free(&image->unpacked);
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

static uint32_t take_hex(struct reader *r)
{
    struct bytes digits = reader_take(r, 8);
    uint8_t value[4] = {0};
    char text[9] = "";
    struct reader of_value;

    if (digits.len == 8)
        memcpy(text, digits.data, 8);
    if (!hex_decode(text, value, sizeof(value)))
        r->failed = true;
    of_value = reader_of((struct bytes){value, sizeof(value)});
    return reader_be32(&of_value);
}

static void skip_padding(struct reader *r)
{
    (void)reader_take(r, -reader_offset(r) & 3);
}

static const char *without_root(const char *name)
{
    while (*name == '/' || (name[0] == '.' && name[1] == '/'))
        name += *name == '/' ? 1 : 2;
    return name;
}

/* The fields are inode, mode, uid, gid, links, mtime, size, major, minor, rmajor, rminor, length of
 * the name with its zero byte, check sum. *ret_end: it was the trailer. */
static bool take_entry(struct initramfs *image, struct reader *r, bool *ret_end)
{
    uint32_t field[HEADER_FIELDS];
    struct initramfs_entry entry;
    struct initramfs_entry *to;
    struct bytes name;

    for (size_t i = 0; i < HEADER_FIELDS; i++)
        field[i] = take_hex(r);
    name = reader_take(r, field[11]);
    if (r->failed || name.len == 0 || name.len > NAME_MAX_BYTES || name.data[name.len - 1] != '\0')
        return false;
    skip_padding(r);
    entry = (struct initramfs_entry){.name = without_root((const char *)name.data),
                                     .inode = field[0],
                                     .mode = field[1],
                                     .links = field[4],
                                     .major = field[7],
                                     .minor = field[8],
                                     .archive = image->archives,
                                     .data = reader_take(r, field[6])};
    skip_padding(r);
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

/* Archives with zeros between and after them; *ret_used: where something else begins. */
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

            (void)reader_take(&r, 6);
            if (!take_entry(image, &r, &end))
                return mu_fail(err, MU_CONFIG, "cpio archive: bad entry at offset %zu", offset);
        }
        image->archives++;
    }
    *ret_used = reader_offset(&r);
    return MU_OK;
}

static enum mu_status parse(struct initramfs *image, struct bytes data, struct mu_error *err)
{
    struct bytes rest;
    size_t used;

    MU_TRY(take_archives(image, data, &used, err));
    rest = (struct bytes){data.data + used, data.len - used};
    image->whole = true;
    if (rest.len == 0)
        return MU_OK;
    if (!unpack_knows(rest))
        return mu_fail(err, MU_CONFIG,
                       "neither a cpio archive nor compressed in a way that is known (offset %zu)",
                       used);
    MU_TRY(unpack(rest, INITRAMFS_MAX, &image->unpacked, &image->whole, err));
    MU_TRY(take_archives(image, buffer_view(&image->unpacked), &used, err));
    if (used < image->unpacked.len)
        return mu_fail(err, MU_CONFIG, "unpacked: not a cpio archive at offset %zu", used);
    return MU_OK;
}

static enum mu_status load(const char *path, struct initramfs *image, struct mu_error *err)
{
    struct bytes data;

    MU_TRY(file_read(path, INITRAMFS_FILE_MAX, &image->file, err));
    data = buffer_view(&image->file);
    if (data.len >= 2 && memcmp(data.data, "MZ", 2) == 0) {
        struct bytes pe = data;

        image->uki = true;
        MU_TRY(pe_section(pe, ".initrd", &data, err));
        MU_TRY(pe_section(pe, ".cmdline", &image->cmdline, err));
        if (data.len == 0)
            return mu_fail(err, MU_CONFIG,
                           "no .initrd section: not a unified kernel image (a boot loader?)");
    }
    MU_TRY(parse(image, data, err));
    if (image->entries == 0)
        return mu_fail(err, MU_CONFIG, "holds no files");
    return MU_OK;
}

enum mu_status initramfs_load(const char *path, struct initramfs *ret, struct mu_error *err)
{
    MU_CLEANUP(initramfs_free) struct initramfs image = {0};

    MU_TRY(load(path, &image, err));
    *ret = image;
    image = (struct initramfs){0};
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
