/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef MU_CTL_SECUREBOOT_H
#define MU_CTL_SECUREBOOT_H

#include "build/secureboot.h"
#include "ctl/ctl.h"

/* What --PK, --KEK, --db and --dbx name, and the variables in these files. */
struct secureboot_files {
    const char *pk, *kek, *db, *dbx;
    struct buffer file[4];
    struct secure_boot keys;
};

#define SECUREBOOT_OPTIONS(files)                                                                  \
    {"PK", 0, .text = &(files)->pk}, {"KEK", 0, .text = &(files)->kek},                            \
        {"db", 0, .text = &(files)->db},                                                           \
    {                                                                                              \
        "dbx", 0, .text = &(files)->dbx                                                            \
    }

void secureboot_files_free(struct secureboot_files *files);
/* MU_USAGE for a PK without db: nothing would start. Keys without a PK: setup mode. */
enum mu_status secureboot_files_read(struct secureboot_files *files,
                                     struct mu_error *err) MU_MUST_CHECK;

#endif
