/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef MU_DOCTOR_DOCTOR_H
#define MU_DOCTOR_DOCTOR_H

#include "base/config.h"
#include "build/initramfs.h"
#include "ctl/ctl.h"
#include "tpm/tpm.h"
#include "volume/luks_header.h"

#define DOCTOR_IMAGES_MAX 16
#define DOCTOR_PATH_MAX 4096
/* What the dracut module and `make install` put on a machine. */
#define DOCTOR_MODULE "/usr/lib/dracut/modules.d/55measured-unlock"
#define DOCTOR_PROGRAM "/usr/lib/measured-unlock/measured-unlock"
#define DOCTOR_ROOTS "/usr/share/measured-unlock/amazon-roots.pem"

enum doctor_role { ROLE_GUESS, ROLE_BUILD, ROLE_INSTANCE };

struct doctor_volume {
    const struct volume_config *config;
    struct luks_header header; /* memfd < 0: not loaded, or invalid */
    struct record record;
    bool verified; /* the record, by the builder's key and for this volume */
    bool is_blank; /* create = blank, and the device is: the next boot makes the volume */
};

/* A unified kernel image that was examined. Secure Boot decides whether the kernel in it is
 * measured by itself. */
struct doctor_uki {
    char path[DOCTOR_PATH_MAX];
    char loader[DOCTOR_PATH_MAX]; /* the boot loader that starts it; "": firmware does */
    bool predicted;
    struct pcr_values pcr4, pcr4_secure_boot;
};

struct doctor {
    /* what was asked */
    const char *config_path; /* NULL: the default below root */
    const char *tcti;
    const char *root; /* "": this machine; else the directory of another root file system */
    const char *policy;
    const char *credentials_file; /* the builder's; NULL: in the environment, or of the role */
    const char *image[DOCTOR_IMAGES_MAX];
    size_t images;
    enum doctor_role role;
    bool online, json;
    /* what was found out so far */
    struct config config;
    bool configured;
    struct public_keys builder;
    struct tpm *tpm;
    struct pcr_values baked, found; /* mask 0: none */
    struct doctor_volume volume[CONFIG_VOLUMES_MAX];
    struct doctor_uki uki[DOCTOR_IMAGES_MAX];
    size_t ukis;
    size_t initramfs;  /* plain ones that hold measured-unlock */
    bool credentials;  /* IMDS gave some */
    unsigned compared; /* records with images */
    /* what was said */
    const char *volume_now; /* examined now: its name begins the text */
    const char *image_now;  /* examined now; in the text, its lines follow the line that names it */
    json_object *findings;
    bool incomplete; /* some findings are missing: out of memory */
    unsigned warnings, failures;
    enum mu_status worst;
};

/* One line of the report. A fix says what to do, as a command where there is one. */
#define DOCTOR_WARNING (-1)
void doctor_find(struct doctor *doctor, int result, const char *name, const char *fix,
                 const char *format, ...) MU_PRINTF(5, 6);
#define doctor_ok(doctor, name, ...) doctor_find((doctor), MU_OK, (name), NULL, __VA_ARGS__)
#define doctor_warn(doctor, name, fix, ...)                                                        \
    doctor_find((doctor), DOCTOR_WARNING, (name), (fix), __VA_ARGS__)
#define doctor_fail(doctor, status, name, fix, ...)                                                \
    doctor_find((doctor), (int)(status), (name), (fix), __VA_ARGS__)

/* A path of the configuration, below the root that was given. */
void doctor_path(const struct doctor *doctor, const char *path, char ret[static DOCTOR_PATH_MAX]);
/* True if the key of some volume comes from KMS, or if this is not known yet. */
bool doctor_uses_kms(const struct doctor *doctor);
/* "4, 7, 12" */
void doctor_pcrs(uint32_t mask, char ret[static 96]);

/* The checks; each reports something, whatever it finds. */
void doctor_check_configuration(struct doctor *doctor); /* the first one */
void doctor_check_fallback(struct doctor *doctor);
void doctor_check_builder_key(struct doctor *doctor);
void doctor_check_ca(struct doctor *doctor);
void doctor_check_module(struct doctor *doctor);
void doctor_check_images(struct doctor *doctor);
void doctor_check_baseline(struct doctor *doctor); /* after the images */
void doctor_check_firmware(struct doctor *doctor);
void doctor_check_tpm(struct doctor *doctor);
void doctor_check_banks(struct doctor *doctor);
void doctor_check_nitrotpm(struct doctor *doctor);
void doctor_check_eventlog(struct doctor *doctor);
void doctor_check_cmdline(struct doctor *doctor);
void doctor_check_running_doors(struct doctor *doctor);
void doctor_check_measured(struct doctor *doctor);
void doctor_check_policy(struct doctor *doctor);

void doctor_check_blanks(struct doctor *doctor);
void doctor_check_compared(struct doctor *doctor);
/* For each volume, in the order of the table; the first three before those that need them. */
typedef void doctor_each(struct doctor *doctor, struct doctor_volume *volume);
doctor_each doctor_check_blank, doctor_check_header, doctor_check_record, doctor_check_signed,
    doctor_check_enrolled, doctor_check_running, doctor_check_connection, doctor_check_key;

/* monitor.c */
void doctor_check_monitor(struct doctor *doctor);
void doctor_check_credentials(struct doctor *doctor);
void doctor_check_kms(struct doctor *doctor);

/* vault.c: whether the verifier and the Vault of the record of the present volume answer. */
void doctor_ask_vault(struct doctor *doctor, const struct record *record);

/* search.c: the images on the EFI system partition and in /boot. */
struct doctor_found {
    char *path[DOCTOR_IMAGES_MAX];
    size_t count;
    bool more;
};
void doctor_find_images(const struct doctor *doctor, struct doctor_found *ret);
void doctor_found_free(struct doctor_found *found);
/* What lies beside a UKI and is added to it. */
void doctor_check_companions(struct doctor *doctor, const char *image);

/* doors.c: what dracut-module/doors demands of an image; systemd: it is in the image. */
void doctor_check_doors(struct doctor *doctor, const struct initramfs *image, bool systemd);

/* cmdline.c: what on a kernel command line opens a door, or leads to another root. */
void doctor_command_line(struct doctor *doctor, const char *name, const char *where,
                         struct bytes line, bool needs_root);

#endif
