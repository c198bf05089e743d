/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef MU_RELEASE_PROVIDER_H
#define MU_RELEASE_PROVIDER_H

#include "base/config.h"
#include "base/secret.h"
#include "tpm/tpm.h"
#include "volume/record.h"

#define RELEASE_KEY_SIZE 32

/* A way to get a volume's key released. One session serves all volumes of a boot. */
struct provider_session;

struct provider {
    const char *name; /* as in the enrolment record */

    /* Begins what depends on nothing but the configuration and the time: key pair, credentials.
     * Does not wait. */
    enum mu_status (*start)(const struct config *config, struct deadline deadline,
                            struct provider_session **ret, struct mu_error *err);
    /* Begins what needs the (verified) record: name lookup, TLS connection. Does not wait, may be
     * called once a volume. */
    enum mu_status (*prepare)(struct provider_session *session, const struct record *record,
                              struct mu_error *err);
    /* Proves the boot chain; may use the TPM and wait. Called once, after the measurements matched.
     */
    enum mu_status (*attest)(struct provider_session *session, struct tpm *tpm,
                             struct mu_error *err);
    /* Waits for what was begun, until the deadline, and returns the volume's key: RELEASE_KEY_SIZE
     * bytes. */
    enum mu_status (*release)(struct provider_session *session, const struct record *record,
                              struct secret *ret_key, struct mu_error *err);
    /* The same for a volume that is being made: has a key made and kept under key_arn for the
     * volume that the record describes, and fills in its provider and provider_data. NULL: this
     * provider cannot. */
    enum mu_status (*generate)(struct provider_session *session, const char *key_arn,
                               struct record *record, struct secret *ret_key, struct mu_error *err);
    /* Stops everything, waits for its threads, wipes. NULL is fine. */
    void (*finish)(struct provider_session **session);
};

extern const struct provider provider_aws_kms, provider_tpm2, provider_vault;

/* By the name in the record; MU_CONFIG for an unknown one. */
enum mu_status provider_find(const char *name, const struct provider **ret,
                             struct mu_error *err) MU_MUST_CHECK;

#endif
