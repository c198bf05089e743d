/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef MU_MEASURE_SECUREBOOT_H
#define MU_MEASURE_SECUREBOOT_H

#include "measure/text.h"

#define SECUREBOOT_VARIABLE_MAX_BYTES (1u << 20)

/* The contents of the variables: EFI_SIGNATURE_LISTs (UEFI 2.10, 32.4.1). What is not there is
 * empty. */
struct secure_boot {
    struct bytes pk, kek, db, dbx;
};

/* The contents of a variable in a file: signature lists as they are (.esl), with the attributes
 * before them (efivarfs) or with the authentication descriptor before them (.auth). MU_CONFIG for
 * anything else; *ret points into the file. */
enum mu_status secureboot_variable(struct bytes file, struct bytes *ret,
                                   struct mu_error *err) MU_MUST_CHECK;

/* The entry of db (EFI_SIGNATURE_DATA: owner and certificate or digest) because of which firmware
 * starts the image: the first one that its Authenticode signatures verify against, else its digest
 * (UEFI 2.10, 32.5.3.3). MU_REFUSE if there is none, or if dbx forbids the image. */
enum mu_status secureboot_authority(const struct secure_boot *keys, struct bytes image,
                                    struct bytes *ret, struct mu_error *err) MU_MUST_CHECK;
/* "2 certificates, 77 digests" for signature lists; "certificate CN=..." for one entry, with its
 * owner before it or, as shim has it, without. False: neither, and nothing was appended. */
bool secureboot_describe(struct text *text, struct bytes lists);
bool secureboot_describe_entry(struct text *text, struct bytes entry);

#endif
