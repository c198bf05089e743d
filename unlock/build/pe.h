/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef MU_BUILD_PE_H
#define MU_BUILD_PE_H

#include "base/bytes.h"

/* PE/COFF images (Microsoft PE Format), as boot loaders and unified kernel images are. */

#define PE_MAX_BYTES (512u << 20)
/* Zeros behind a section; a kernel's SizeOfImage may be 45 MiB above what is in the file. */
#define PE_PADDING_MAX (60u << 20)
#define PE_SECTIONS_MAX 96 /* "Number Of Sections" */
/* "Machine Types" */
#define PE_MACHINE_X64 0x8664
#define PE_MACHINE_AA64 0xaa64

struct pe_section {
    char name[9];
    uint32_t virtual_size, raw_size, raw_offset;
};

/* Offsets into the file of what the Authenticode digest leaves out, and the sections in the order
 * of their table. */
struct pe {
    struct bytes image;
    uint16_t machine;
    size_t checksum;
    size_t security; /* the directory entry; 0 if the image has no room for one */
    size_t headers_size;
    uint32_t certificates_size;
    size_t sections;
    struct pe_section section[PE_SECTIONS_MAX];
};

/* All views are of `image`. MU_CONFIG names what is malformed, or not in the file. */
enum mu_status pe_parse(struct bytes image, struct pe *ret, struct mu_error *err) MU_MUST_CHECK;

/* A section by name (".linux", ".cmdline", ...) as it is loaded: VirtualSize bytes, of which those
 * that the file does not have are zeros (ukify 257.0 to 257.2 made .linux so). *ret borrows from
 * the image, or from *spare, which the caller frees; it is empty and MU_OK if there is none. In a
 * UKI with profiles: the section that systemd-stub takes by default. */
enum mu_status pe_section(struct bytes image, const char *name, struct buffer *spare,
                          struct bytes *ret, struct mu_error *err) MU_MUST_CHECK;

/* Profiles of a UKI (UAPI.5); 0 if it has none. */
size_t pe_profiles(const struct pe *pe);
/* The same section in one of them, from 0 on. */
enum mu_status pe_profile_section(const struct pe *pe, size_t profile, const char *name,
                                  struct buffer *spare, struct bytes *ret,
                                  struct mu_error *err) MU_MUST_CHECK;

/* The attribute certificate table (WIN_CERTIFICATEs); *ret is empty for an image without one. */
enum mu_status pe_certificates(struct bytes image, struct bytes *ret,
                               struct mu_error *err) MU_MUST_CHECK;

#endif
