/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef MU_CTL_ENROLL_H
#define MU_CTL_ENROLL_H

#include "base/config.h"
#include "volume/enroll.h"

/* What seals a volume's key, by provider; all are of type enroll_seal, with this as context. */
struct enroll_context {
    const struct config *config;
    const char *key_arn; /* aws-kms */
    const char *tcti;    /* tpm2; NULL: as configured */
    EVP_PKEY *authority; /* tpm2; NULL: the baselines are sealed in */
};

enum mu_status enroll_with_aws_kms(struct bytes key, struct record *record, void *context,
                                   struct mu_error *err) MU_MUST_CHECK;
enum mu_status enroll_with_tpm2(struct bytes key, struct record *record, void *context,
                                struct mu_error *err) MU_MUST_CHECK;
/* The provider's data for other baselines; the key is not there, and stays as it was sealed. */
enum mu_status enroll_resigned(struct bytes key, struct record *record, void *context,
                               struct mu_error *err) MU_MUST_CHECK;

#endif
