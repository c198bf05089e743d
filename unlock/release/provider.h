/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef MU_RELEASE_PROVIDER_H
#define MU_RELEASE_PROVIDER_H

#include "base/clock.h"
#include "base/config.h"
#include "base/error.h"
#include "base/options.h"

#define RELEASE_KEY_SIZE 32

struct record;
struct secret;
struct tpm;

/* A way to get a volume's key released. One session serves all volumes of a boot; what it knows of
 * a volume lives as long as the session. */
struct provider_session;
struct provider_volume;

struct provider {
    const char *name; /* as in the enrolment record */

    /* Begins what depends on nothing but the options and the time: key pair, credentials. Does not
     * wait. */
    enum mu_status (*start)(const struct provider_options *options, struct deadline deadline,
                            struct provider_session **ret, struct mu_error *err);
    /* Reads the provider's data in a (verified) record and begins the work that needs them: name
     * lookup, TLS connection. Does not wait. */
    enum mu_status (*volume)(struct provider_session *session, const struct record *record,
                             struct provider_volume **ret, struct mu_error *err);
    /* Proves the boot chain before any record is known; may wait. Called once, after the
     * measurements matched. NULL: that is part of release. */
    enum mu_status (*attest)(struct provider_session *session, struct tpm *tpm,
                             struct mu_error *err);
    /* Waits for what was begun, until the deadline, and returns the volume's key: RELEASE_KEY_SIZE
     * bytes. After attest. */
    enum mu_status (*release)(struct provider_volume *volume, struct tpm *tpm,
                              struct secret *ret_key, struct mu_error *err);
    /* What released it, as the ARN of a KMS key; borrowed from the session. NULL, also as a result:
     * there is nothing more to say than the provider's name. */
    const char *(*released_by)(const struct provider_volume *volume);
    /* Release for a volume that is being provisioned: has a key made and kept under one of
     * key_arns, a list, for the volume that the record describes, and fills in its provider and
     * provider_data. NULL: this provider cannot. */
    enum mu_status (*provision)(struct provider_session *session, const char *key_arns,
                                struct record *record, struct secret *ret_key,
                                struct mu_error *err);
    /* Stops everything, waits for its threads, wipes. NULL is fine. */
    void (*finish)(struct provider_session **session);
};

extern const struct provider provider_aws_kms, provider_tpm2, provider_vault;

/* By the name in the record; MU_CONFIG for an unknown one. */
enum mu_status provider_find(const char *name, const struct provider **ret,
                             struct mu_error *err) MU_MUST_CHECK;

#endif
