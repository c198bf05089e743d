/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "measure/authenticode.h"

#include <stdlib.h>
#include <string.h>

#define DOS_LFANEW 0x3c
#define COFF_HEADER_BYTES 24 /* with the "PE\0\0" before it */
#define SECTION_HEADER_BYTES 40
#define SECTIONS_MAX 96 /* PE/COFF specification, "Number Of Sections" */
#define OPTIONAL_CHECKSUM 64
#define DIRECTORY_SECURITY 4

struct section {
    char name[9];
    uint32_t virtual_size, raw_size, raw_offset;
};

/* Offsets into the file of what the digest leaves out, and the sections. */
struct pe {
    struct bytes image;
    size_t checksum;
    size_t security; /* the directory entry; 0 if the image has no room for one */
    size_t headers_size;
    uint32_t certificates_size;
    size_t sections;
    struct section section[SECTIONS_MAX];
};

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
        struct section *s = &pe->section[i];

        reader_copy(&r, s->name, 8);
        s->virtual_size = reader_le32(&r);
        (void)reader_le32(&r); /* virtual address */
        s->raw_size = reader_le32(&r);
        s->raw_offset = reader_le32(&r);
        (void)reader_take(&r, SECTION_HEADER_BYTES - 24);
        if (!r.failed && s->raw_size > 0 &&
            (s->raw_offset < pe->headers_size ||
             (uint64_t)s->raw_offset + s->raw_size > pe->image.len - pe->certificates_size))
            return mu_fail(err, MU_CONFIG, "PE image: section '%s' lies outside the file", s->name);
    }
    if (r.failed || reader_offset(&r) > pe->headers_size)
        return mu_fail(err, MU_CONFIG, "PE image: section table is truncated");
    return MU_OK;
}

static enum mu_status pe_parse(struct bytes image, struct pe *ret, struct mu_error *err)
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
    (void)reader_le16(&r); /* machine */
    ret->sections = reader_le16(&r);
    (void)reader_take(&r, 12); /* time stamp, symbol table */
    optional_size = reader_le16(&r);
    if (r.failed || ret->sections > SECTIONS_MAX)
        return mu_fail(err, MU_CONFIG, "PE image: more than %d sections, or truncated",
                       SECTIONS_MAX);
    optional = header + COFF_HEADER_BYTES;
    MU_TRY(parse_directories(ret, optional, optional_size, err));
    if (ret->headers_size > image.len)
        return mu_fail(err, MU_CONFIG, "PE image: truncated in its headers");
    return parse_sections(ret, optional + optional_size, err);
}

static int by_offset(const void *a, const void *b)
{
    const struct section *x = a, *y = b;

    return (x->raw_offset > y->raw_offset) - (x->raw_offset < y->raw_offset);
}

static bool update(EVP_MD_CTX *context, const struct pe *pe, size_t from, size_t to)
{
    return from <= to && to <= pe->image.len &&
           EVP_DigestUpdate(context, pe->image.data + from, to - from) == 1;
}

/* Steps 3 to 6: the headers without the check sum and the certificate directory entry. */
static bool update_headers(EVP_MD_CTX *context, const struct pe *pe)
{
    if (!update(context, pe, 0, pe->checksum))
        return false;
    if (pe->security == 0)
        return update(context, pe, pe->checksum + 4, pe->headers_size);
    return update(context, pe, pe->checksum + 4, pe->security) &&
           update(context, pe, pe->security + 8, pe->headers_size);
}

/* Steps 7 to 14: the sections by their place in the file, then what follows them. As EDK2 counts
 * it, "what follows" begins after as many bytes as have been hashed. */
static bool update_sections(EVP_MD_CTX *context, struct pe *pe)
{
    size_t hashed = pe->headers_size;
    size_t end = pe->image.len - pe->certificates_size;

    qsort(pe->section, pe->sections, sizeof(pe->section[0]), by_offset);
    for (size_t i = 0; i < pe->sections; i++) {
        const struct section *s = &pe->section[i];

        if (!update(context, pe, s->raw_offset, (size_t)s->raw_offset + s->raw_size))
            return false;
        hashed += s->raw_size;
    }
    return hashed == end || update(context, pe, hashed, end);
}

enum mu_status authenticode_hash(struct bytes image, enum hash_alg alg, struct digest *ret,
                                 struct mu_error *err)
{
    const EVP_MD *md = hash_md(alg);
    struct digest digest = {0};
    EVP_MD_CTX *context;
    struct pe pe;
    bool fits, done;

    if (md == NULL)
        return mu_fail(err, MU_CONFIG, "no Authenticode digest with that hash algorithm");
    MU_TRY(pe_parse(image, &pe, err));
    context = EVP_MD_CTX_new();
    if (context == NULL || EVP_DigestInit_ex(context, md, NULL) != 1) {
        EVP_MD_CTX_free(context);
        return mu_oom(err);
    }
    fits = update_headers(context, &pe) && update_sections(context, &pe);
    done = EVP_DigestFinal_ex(context, digest.bytes, NULL) == 1;
    EVP_MD_CTX_free(context);
    if (!fits)
        return mu_fail(err, MU_CONFIG, "PE image: headers or sections overlap");
    if (!done)
        return mu_fail(err, MU_INTERNAL, "hashing failed");
    *ret = digest;
    return MU_OK;
}

enum mu_status pe_section(struct bytes image, const char *name, struct bytes *ret,
                          struct mu_error *err)
{
    const struct section *found = NULL;
    struct pe pe;

    MU_TRY(pe_parse(image, &pe, err));
    for (size_t i = 0; i < pe.sections; i++) {
        if (strcmp(pe.section[i].name, name) != 0)
            continue;
        if (found != NULL)
            return mu_fail(err, MU_CONFIG, "PE image: two sections are named '%s'", name);
        found = &pe.section[i];
    }
    *ret = (struct bytes){image.data, 0};
    if (found == NULL)
        return MU_OK;
    if (found->virtual_size > found->raw_size)
        return mu_fail(err, MU_CONFIG, "PE image: section '%s' is not wholly in the file", name);
    *ret = (struct bytes){image.data + found->raw_offset, found->virtual_size};
    return MU_OK;
}

enum mu_status pe_certificates(struct bytes image, struct bytes *ret, struct mu_error *err)
{
    struct pe pe;

    MU_TRY(pe_parse(image, &pe, err));
    *ret = (struct bytes){image.data + image.len - pe.certificates_size, pe.certificates_size};
    return MU_OK;
}
