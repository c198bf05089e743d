/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef MU_BUILD_VARSTORE_H
#define MU_BUILD_VARSTORE_H

#include "build/secureboot.h"

/* What EC2 takes (API reference, RegisterImage, UefiData), in characters of base64. */
#define VARSTORE_EC2_MAX 64000

/* The UEFI variable store of a new EC2 instance with these variables alone, in base64: UefiData of
 * RegisterImage, in the format that GetInstanceUefiData answers in. An empty variable is left out.
 * The same keys give the same text. MU_CONFIG if EC2 would not take it because it is too long. */
enum mu_status varstore_for_ec2(const struct secure_boot *keys, char **ret,
                                struct mu_error *err) MU_MUST_CHECK;

#endif
