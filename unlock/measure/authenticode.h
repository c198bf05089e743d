/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef MU_MEASURE_AUTHENTICODE_H
#define MU_MEASURE_AUTHENTICODE_H

#include "tpm/hash.h"

#define PE_MAX_BYTES (512u << 20)

/* The Authenticode digest of a PE/COFF image as UEFI firmware measures it (Windows Authenticode
 * Portable Executable Signature Format 1.0, "Calculating the PE Image Hash"). MU_CONFIG names what
 * is malformed. */
enum mu_status authenticode_hash(struct bytes image, enum hash_alg alg, struct digest *ret,
                                 struct mu_error *err) MU_MUST_CHECK;

/* A section by name (".linux", ".cmdline", ...); *ret is empty and MU_OK when there is none. */
enum mu_status pe_section(struct bytes image, const char *name, struct bytes *ret,
                          struct mu_error *err) MU_MUST_CHECK;

/* The attribute certificate table (WIN_CERTIFICATEs); *ret is empty for an image without one. */
enum mu_status pe_certificates(struct bytes image, struct bytes *ret,
                               struct mu_error *err) MU_MUST_CHECK;

#endif
