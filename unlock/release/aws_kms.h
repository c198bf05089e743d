/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef MU_RELEASE_AWS_KMS_H
#define MU_RELEASE_AWS_KMS_H

#include "base/task.h"
#include "net/imds.h"
#include "release/kms_client.h"
#include "release/provider.h"

/* What the two files of this provider share. aws_kms_key_and_credentials.c begins with what takes
 * long, while the TPM and the device are waited for; aws_kms.c does the rest. */

#define LINKS_MAX 16

/* The connection to one region's KMS. */
struct link {
    char region[KMS_REGION_MAX];
    struct kms *kms;
    const struct kms_patience *patience; /* of `connect` */
    struct task connect;
};

struct provider_volume {
    struct provider_session *session;
    json_object *json; /* what `keys` borrow from */
    struct kms_keys keys;
    const char *released_by; /* ARN; NULL: not yet */
};

struct provider_session {
    struct provider_options options;
    struct deadline deadline;
    atomic_bool stop;
    struct task make_key;
    EVP_PKEY *key;
    struct task get_credentials;
    struct aws_credentials credentials;
    bool expired; /* the credentials, as KMS said */
    bool asked_region;
    char region[IMDS_REGION_MAX]; /* this machine's; "": not known */
    struct link link[LINKS_MAX];
    size_t links;
    struct provider_volume volume[CONFIG_VOLUMES_MAX];
    size_t volumes;
    struct buffer document;
};

/* Of provider.h. The RSA key is made and the credentials are fetched by threads. */
enum mu_status aws_kms_start(const struct provider_options *options, struct deadline deadline,
                             struct provider_session **ret, struct mu_error *err) MU_MUST_CHECK;
void aws_kms_finish(struct provider_session **session);
/* The same for the connection to one region's KMS, with TLS. What fails is reported by the request
 * that needs it. */
enum mu_status aws_kms_connect(struct link *link, const struct kms_patience *patience,
                               struct mu_error *err) MU_MUST_CHECK;

#endif
