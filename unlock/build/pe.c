/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "build/pe.h"

#include <string.h>

#define DOS_LFANEW 0x3c
#define COFF_HEADER_BYTES 24 /* with the "PE\0\0" before it */
#define SECTION_HEADER_BYTES 40
#define OPTIONAL_CHECKSUM 64
#define DIRECTORY_SECURITY 4
#define IS_CUT "; the file was cut or damaged: copy or build it again"

static struct reader reader_at(struct bytes image, size_t offset)
{
    struct reader r = reader_of(image);

    (void)reader_take(&r, offset);
    return r;
}

static enum mu_status parse_directories(struct pe *pe, size_t optional, size_t optional_size,
                                        struct mu_error *err)
{
    struct reader r = reader_at(pe->image, optional);
    uint16_t magic = reader_le16(&r);
    bool plus = magic == 0x20b;
    size_t directories = optional + (plus ? 112 : 96);
    uint32_t count, offset, size;

    if (magic != 0x10b && magic != 0x20b)
        return mu_fail(err, MU_CONFIG, "PE image: optional header magic 0x%x is not known", magic);
    if (directories > optional + optional_size)
        return mu_fail(err, MU_CONFIG, "PE image: optional header of %zu bytes is too short",
                       optional_size);
    r = reader_at(pe->image, optional + 60);
    pe->headers_size = reader_le32(&r);
    pe->checksum = optional + OPTIONAL_CHECKSUM;

    r = reader_at(pe->image, directories - 4);
    count = reader_le32(&r);
    if (count > 16 || directories + 8 * (size_t)count > optional + optional_size)
        return mu_fail(err, MU_CONFIG, "PE image: %u data directories do not fit its header",
                       count);
    if (count <= DIRECTORY_SECURITY || r.failed)
        return MU_OK;

    pe->security = directories + (size_t)8 * DIRECTORY_SECURITY;
    r = reader_at(pe->image, pe->security);
    offset = reader_le32(&r);
    size = reader_le32(&r);
    /* Firmware leaves out the last `size` bytes wherever the table is: only at the end is it one.
     */
    if (size > 0 && (r.failed || (uint64_t)offset + size != pe->image.len))
        return mu_fail(err, MU_CONFIG,
                       "PE image: certificate table (%u bytes at %u) is not the end of the file",
                       size, offset);
    pe->certificates_size = size;
    return MU_OK;
}

static enum mu_status parse_sections(struct pe *pe, size_t table, struct mu_error *err)
{
    struct reader r = reader_at(pe->image, table);

    for (size_t i = 0; i < pe->sections; i++) {
        struct pe_section *s = &pe->section[i];

        reader_copy(&r, s->name, 8);
        s->virtual_size = reader_le32(&r);
        (void)reader_le32(&r); /* virtual address */
        s->raw_size = reader_le32(&r);
        s->raw_offset = reader_le32(&r);
        (void)reader_take(&r, SECTION_HEADER_BYTES - 24);
        if (!r.failed && s->raw_size > 0 &&
            (s->raw_offset < pe->headers_size ||
             (uint64_t)s->raw_offset + s->raw_size > pe->image.len - pe->certificates_size))
            return mu_fail(err, MU_CONFIG, "PE image: section '%s' lies outside the file" IS_CUT,
                           s->name);
    }
    if (r.failed || reader_offset(&r) > pe->headers_size)
        return mu_fail(err, MU_CONFIG, "PE image: section table is truncated" IS_CUT);
    return MU_OK;
}

enum mu_status pe_parse(struct bytes image, struct pe *ret, struct mu_error *err)
{
    struct reader r = reader_of(image);
    size_t header, optional;
    uint16_t optional_size;
    struct bytes magic;

    *ret = (struct pe){.image = image};
    if (image.len > PE_MAX_BYTES)
        return mu_fail(err, MU_CONFIG, "PE image: larger than %u bytes", PE_MAX_BYTES);
    magic = reader_take(&r, 2);
    if (r.failed || memcmp(magic.data, "MZ", 2) != 0)
        return mu_fail(err, MU_CONFIG, "not a PE image: it does not begin with 'MZ'");
    r = reader_at(image, DOS_LFANEW);
    header = reader_le32(&r);
    r = reader_at(image, header);
    magic = reader_take(&r, 4);
    if (r.failed || memcmp(magic.data, "PE\0\0", 4) != 0)
        return mu_fail(err, MU_CONFIG, "not a PE image: no PE header at offset %zu", header);
    ret->machine = reader_le16(&r);
    ret->sections = reader_le16(&r);
    (void)reader_take(&r, 12); /* time stamp, symbol table */
    optional_size = reader_le16(&r);
    if (r.failed || ret->sections > PE_SECTIONS_MAX)
        return mu_fail(err, MU_CONFIG, "PE image: more than %d sections, or truncated",
                       PE_SECTIONS_MAX);
    optional = header + COFF_HEADER_BYTES;
    MU_TRY(parse_directories(ret, optional, optional_size, err));
    if (ret->headers_size > image.len)
        return mu_fail(err, MU_CONFIG, "PE image: truncated in its headers" IS_CUT);
    return parse_sections(ret, optional + optional_size, err);
}

/* systemd-stub, pe.c: what stands before the first .profile belongs to each; then come the sections
 * of one profile after the other, which take the place of those of all. */
size_t pe_profiles(const struct pe *pe)
{
    size_t count = 0;

    for (size_t i = 0; i < pe->sections; i++)
        count += strcmp(pe->section[i].name, ".profile") == 0;
    return count;
}

/* The sections of a profile that have a name of their own there: `first` to `end` - 1. */
static void range_of_profile(const struct pe *pe, size_t profile, size_t *ret_first,
                             size_t *ret_end)
{
    size_t seen = 0;

    *ret_first = *ret_end = pe->sections;
    for (size_t i = 0; i < pe->sections; i++) {
        if (strcmp(pe->section[i].name, ".profile") != 0)
            continue;
        if (seen == profile)
            *ret_first = i;
        if (seen == profile + 1) {
            *ret_end = i;
            return;
        }
        seen++;
    }
}

static enum mu_status find(const struct pe *pe, size_t first, size_t end, const char *name,
                           const struct pe_section **ret, struct mu_error *err)
{
    *ret = NULL;
    for (size_t i = first; i < end; i++) {
        if (strcmp(pe->section[i].name, name) != 0)
            continue;
        if (*ret != NULL)
            return mu_fail(err, MU_CONFIG, "PE image: two sections are named '%s'", name);
        *ret = &pe->section[i];
    }
    return MU_OK;
}

static enum mu_status pe_load(const struct pe *pe, const struct pe_section *section,
                              struct buffer *spare, struct bytes *ret, struct mu_error *err)
{
    const uint8_t *data = pe->image.data + (section->raw_size > 0 ? section->raw_offset : 0);

    if (section->virtual_size <= section->raw_size) {
        *ret = (struct bytes){data, section->virtual_size};
        return MU_OK;
    }
    if (section->virtual_size - section->raw_size > PE_PADDING_MAX)
        return mu_fail(err, MU_CONFIG,
                       "PE image: section '%s' has a VirtualSize of %u bytes, and %u in the file: "
                       "no more than %u may be missing; build the image again",
                       section->name, section->virtual_size, section->raw_size, PE_PADDING_MAX);
    buffer_free(spare);
    MU_TRY(buffer_alloc(spare, section->virtual_size, err));
    memset(spare->data, 0, spare->len);
    memcpy(spare->data, data, section->raw_size);
    *ret = buffer_view(spare);
    return MU_OK;
}

enum mu_status pe_profile_section(const struct pe *pe, size_t profile, const char *name,
                                  struct buffer *spare, struct bytes *ret, struct mu_error *err)
{
    const struct pe_section *found = NULL;
    size_t first, end, unused;

    range_of_profile(pe, profile, &first, &end);
    MU_TRY(find(pe, first, end, name, &found, err));
    if (found == NULL) {
        range_of_profile(pe, 0, &first, &unused);
        MU_TRY(find(pe, 0, first, name, &found, err));
    }
    if (found != NULL)
        return pe_load(pe, found, spare, ret, err);
    *ret = (struct bytes){pe->image.data, 0};
    return MU_OK;
}

enum mu_status pe_section(struct bytes image, const char *name, struct buffer *spare,
                          struct bytes *ret, struct mu_error *err)
{
    struct pe pe;

    MU_TRY(pe_parse(image, &pe, err));
    return pe_profile_section(&pe, 0, name, spare, ret, err);
}

enum mu_status pe_certificates(struct bytes image, struct bytes *ret, struct mu_error *err)
{
    struct pe pe;

    MU_TRY(pe_parse(image, &pe, err));
    *ret = (struct bytes){image.data + image.len - pe.certificates_size, pe.certificates_size};
    return MU_OK;
}
