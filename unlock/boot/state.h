/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef MU_BOOT_STATE_H
#define MU_BOOT_STATE_H

#include "base/config.h"
#include "base/retry.h"
#include "base/task.h"
#include "release/provider.h"
#include "volume/blank_check.h"
#include "volume/open.h"

/* What the files of this folder share of one boot. sequence.c calls them in their order; none of
 * them calls sequence.c or another one. */

#define PROVIDERS_MAX 4

struct session {
    const struct provider *provider;
    struct provider_session *state;
};

struct volume {
    struct session *session; /* of its provider */
    struct blank blank;      /* open: the volume is to be provisioned */
    bool provisioned;        /* in this boot */
    struct luks_header header;
    struct record record;
    struct provider_volume *at_provider;
    char *released_by; /* more about that than the provider's name; NULL: nothing */
    struct secret volume_key;
    uint8_t identity[VOLUME_IDENTITY_SIZE];
};

struct boot {
    struct config config;
    struct deadline deadline;
    struct public_keys builder;
    struct pcr_values baked;
    struct pcr_values found;
    struct tpm *tpm;
    struct volume volume[CONFIG_VOLUMES_MAX];
    struct session session[PROVIDERS_MAX];
    size_t sessions;
    struct task loader;
};

/* writable.c: from here on only devices, the volumes and the folder of the report can be written.
 * Called before any thread starts. */
enum mu_status writable_restrict(const struct config *config, struct mu_error *err) MU_MUST_CHECK;

/* sessions.c: one session for all volumes of a provider. */
enum mu_status sessions_start(struct boot *boot, struct mu_error *err) MU_MUST_CHECK;
enum mu_status sessions_attest(struct boot *boot, struct mu_error *err) MU_MUST_CHECK;
void sessions_finish(struct boot *boot);

/* check_pcrs.c: what is part of the image, and what the image builder signed (the record of each
 * volume that has one). A mismatch is explained in the log, by PCR and event. */
enum mu_status pcrs_check_baked(const struct boot *boot, struct mu_error *err) MU_MUST_CHECK;
enum mu_status pcrs_check_signed(const struct boot *boot, struct mu_error *err) MU_MUST_CHECK;

/* volumes.c. The loader is a thread that finds every volume and reads its header and record while
 * the TPM works; it is waited for before the volumes are opened. */
enum mu_status volumes_start_loader(struct boot *boot, struct mu_error *err) MU_MUST_CHECK;
enum mu_status volumes_open(struct boot *boot, struct mu_error *err) MU_MUST_CHECK;
enum mu_status volumes_activate(struct boot *boot, struct mu_error *err) MU_MUST_CHECK;

#endif
