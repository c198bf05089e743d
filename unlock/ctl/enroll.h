/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef MU_CTL_ENROLL_H
#define MU_CTL_ENROLL_H

#include "base/config.h"
#include "volume/enroll.h"

/* The options of the provider vault, as they were given; NULL: not given. */
struct enroll_vault {
    const char *verifier, *address, *role;
    const char *kv, *transit; /* MOUNT/PATH[#FIELD], MOUNT/KEY */
    const char *scope;        /* namespace */
    const char *auth_mount, *wrap_ttl, *cas;
};
/* MU_USAGE unless all that is needed is there if the provider is wanted, and nothing if not. */
enum mu_status enroll_vault_check(const struct enroll_vault *v, bool wanted, bool resign,
                                  struct mu_error *err) MU_MUST_CHECK;

/* What seals a volume's key, by provider; all are of type enroll_seal, with this as context. */
struct enroll_context {
    const struct config *config;
    const char *key_arn; /* aws-kms */
    const char *tcti;    /* tpm2; NULL: as configured */
    EVP_PKEY *authority; /* tpm2; NULL: the baselines are sealed in */
    const struct enroll_vault *vault;
};

enum mu_status enroll_with_aws_kms(struct bytes key, struct record *record, void *context,
                                   struct mu_error *err) MU_MUST_CHECK;
enum mu_status enroll_with_tpm2(struct bytes key, struct record *record, void *context,
                                struct mu_error *err) MU_MUST_CHECK;
enum mu_status enroll_with_vault(struct bytes key, struct record *record, void *context,
                                 struct mu_error *err) MU_MUST_CHECK;
/* The provider's data for other baselines; the key is not there, and stays as it was sealed. */
enum mu_status enroll_resigned(struct bytes key, struct record *record, void *context,
                               struct mu_error *err) MU_MUST_CHECK;

#endif
