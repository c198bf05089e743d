/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef MU_CTL_UPDATE_H
#define MU_CTL_UPDATE_H

#include "base/config.h"
#include "base/signature.h"
#include "build/bootentry.h"
#include "build/secureboot.h"
#include "ctl/ctl.h"
#include "measure/eventlog.h"
#include "volume/luks_header.h"
#include "volume/record.h"

#define UPDATE_ENTRIES_MAX 32

/* ---- update_esp.c: an EFI system partition with systemd-boot ---- */

struct update_entry {
    struct boot_entry entry;
    char *path;
};

struct update_esp {
    char *path;   /* the folder where it is mounted */
    bool is_ours; /* mounted by this program, in a mount namespace of its own */
    char *images; /* EFI/Linux, as it is spelt there; NULL if it is missing */
    char *loader_path;
    struct buffer loader;
    uint16_t machine; /* of the loader (pe.h) */
    size_t count;     /* in the order in which the loader takes them */
    struct update_entry entry[UPDATE_ENTRIES_MAX];
};

/* named: a folder, or a device as ctl_device() has it, which is mounted; NULL: what is mounted at
 * /boot, /efi or /boot/efi, else the partition with the label "esp". MU_CONFIG unless firmware
 * finds systemd-boot there. */
enum mu_status update_esp_open(const char *named, struct update_esp *ret,
                               struct mu_error *err) MU_MUST_CHECK;
void update_esp_close(struct update_esp *esp);
/* MU_CONFIG if something on it takes the choice from the order of the images, and so from their
 * counters: an entry of another kind, or a default in loader.conf. */
enum mu_status update_esp_counts(const struct update_esp *esp, struct mu_error *err) MU_MUST_CHECK;
/* "x86-64" */
const char *update_machine_name(uint16_t machine);

/* ---- update_check.c: what a boot would measure, and who allows that ---- */

struct update_volume {
    const struct volume_config *config;
    struct luks_header header;
    struct record record;
};

/* What this machine boots with. */
struct update_machine {
    struct config config;
    struct public_keys builder;
    struct eventlog log;     /* of the present boot, which the keys point into */
    struct secure_boot keys; /* the variables as firmware measured them */
    bool secure_boot;
    struct update_volume volume[CONFIG_VOLUMES_MAX];
};

/* eventlog NULL: that of the configuration. */
enum mu_status update_machine_load(const char *config, const char *eventlog,
                                   struct update_machine *ret, struct mu_error *err) MU_MUST_CHECK;
/* The records in force. */
enum mu_status update_machine_records(struct update_machine *machine,
                                      struct mu_error *err) MU_MUST_CHECK;
void update_machine_free(struct update_machine *machine);

/* An image, and what was predicted of it so far: hashing it is what takes long. */
struct update_forecast {
    struct buffer uki;
    size_t count;
    struct pcr_values values[2]; /* one of each bank that was asked for */
};

enum mu_status update_forecast_load(const char *path, struct update_forecast *ret,
                                    struct mu_error *err) MU_MUST_CHECK;
void update_forecast_free(struct update_forecast *forecast);
/* The PCRs after a boot of the image by the loader: those of BASELINE_PCRS that can be known, 4 at
 * least. MU_REFUSE if Secure Boot would not start it. *ret is borrowed. */
enum mu_status update_predict(const struct update_machine *machine, const struct update_esp *esp,
                              struct update_forecast *forecast, enum hash_alg bank,
                              const struct pcr_values **ret, struct mu_error *err) MU_MUST_CHECK;
/* MU_REFUSE unless a baseline of each record has these PCRs. A record without baselines, which an
 * instance made, allows all. */
enum mu_status update_records_admit(const struct update_machine *machine,
                                    const struct update_esp *esp, struct update_forecast *forecast,
                                    struct mu_error *err) MU_MUST_CHECK;

#endif
