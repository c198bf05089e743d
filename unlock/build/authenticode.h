/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef MU_BUILD_AUTHENTICODE_H
#define MU_BUILD_AUTHENTICODE_H

#include "tpm/hash.h"

/* The Authenticode digest of a PE/COFF image as UEFI firmware measures it (Windows Authenticode
 * Portable Executable Signature Format 1.0, "Calculating the PE Image Hash"). MU_CONFIG names what
 * is malformed. */
enum mu_status authenticode_hash(struct bytes image, enum hash_alg alg, struct digest *ret,
                                 struct mu_error *err) MU_MUST_CHECK;

#endif
