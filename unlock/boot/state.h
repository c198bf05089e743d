/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef MU_BOOT_STATE_H
#define MU_BOOT_STATE_H

#include "release/provider.h"
#include "release/task.h"
#include "volume/blank.h"
#include "volume/volume.h"

/* What the files of this folder share of one boot. */

#define PROVIDERS_MAX 4

struct volume {
    struct blank blank; /* open: the volume is to be made */
    bool created;
    struct luks_header header;
    struct record record;
    struct secret volume_key;
    uint8_t identity[VOLUME_IDENTITY_SIZE];
};

struct session {
    const struct provider *provider;
    struct provider_session *state;
};

struct boot {
    struct config config;
    struct deadline deadline;
    EVP_PKEY *builder_key;
    struct pcr_values baked;
    struct pcr_values found;
    struct tpm *tpm;
    struct volume volume[CONFIG_VOLUMES_MAX];
    struct session session[PROVIDERS_MAX];
    size_t sessions;
    struct task loader; /* finds the volumes while the TPM works */
};

/* boot.c. DESIGN, 3: transient trouble is waited out until the deadline. `do status = ...; while
 * (again(boot, status, &attempt));` with attempt = 0 before. */
bool again(const struct boot *boot, enum mu_status status, unsigned *attempt);

/* load.c: providers' sessions, one for all volumes of a provider; a thread that reads every
 * volume's header and record. */
enum mu_status start_sessions(struct boot *boot, struct mu_error *err) MU_MUST_CHECK;
enum mu_status session_of(struct boot *boot, const char *name, struct session **ret,
                          struct mu_error *err) MU_MUST_CHECK;
bool to_be_made(const struct volume *volume);
enum mu_status loader_start(struct boot *boot, struct mu_error *err) MU_MUST_CHECK;

/* open.c: released keys, volume keys, and after the fence the mappings. */
enum mu_status open_volumes(struct boot *boot, struct mu_error *err) MU_MUST_CHECK;
enum mu_status activate_volumes(struct boot *boot, struct mu_error *err) MU_MUST_CHECK;

#endif
