/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef MU_BUILD_SECUREBOOT_H
#define MU_BUILD_SECUREBOOT_H

#include "measure/signature_list.h"

#define SECUREBOOT_VARIABLE_MAX_BYTES (1u << 20)

/* EFI_GLOBAL_VARIABLE, of PK and KEK; EFI_IMAGE_SECURITY_DATABASE_GUID, of db and dbx. */
extern const uint8_t secureboot_global_guid[EFI_GUID_BYTES];
extern const uint8_t secureboot_database_guid[EFI_GUID_BYTES];

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
 * (UEFI 2.10, 32.5.3.3). MU_REFUSE if there is none, or if dbx forbids the image: by its digest, by
 * a certificate, or by the digest of one between the signature and db, whatever the time of
 * revocation, since there is no dbt by which firmware would believe a time stamp. */
enum mu_status secureboot_authority(const struct secure_boot *keys, struct bytes image,
                                    struct bytes *ret, struct mu_error *err) MU_MUST_CHECK;

#endif
