/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef MU_CTL_ENROLL_H
#define MU_CTL_ENROLL_H

#include "base/options.h"
#include "build/enroll.h"
#include "release/kms.h"

/* The options of the provider vault, as they were given; NULL: not given. */
struct enroll_vault {
    const char *verifier, *address, *role;
    const char *kv, *transit; /* MOUNT/PATH[#FIELD], MOUNT/KEY */
    const char *scope;        /* namespace */
    const char *auth_mount, *wrap_ttl, *cas;
};
/* MU_USAGE if the provider is wanted and an option is missing, or is not wanted and one is
 * given. */
enum mu_status enroll_vault_check(const struct enroll_vault *v, bool wanted, bool resign,
                                  struct mu_error *err) MU_MUST_CHECK;

/* What seals a volume's key, by provider; all are of type enroll_seal, with this as context. */
struct enroll_context {
    const struct provider_options *options;
    const char *const *key_arn; /* aws-kms, in order */
    size_t key_arns;
    const struct aws_credentials *credentials; /* aws-kms; NULL: of the environment or the role */
    const char *tcti;                          /* tpm2; NULL: the machine's */
    EVP_PKEY *authority;                       /* tpm2; NULL: the baselines are sealed in */
    const char *counter; /* tpm2; an NV index; NULL: as in the present record; "none" */
    const struct enroll_vault *vault;
};

/* MU_REFUSE if these cannot be the keys of one volume. */
enum mu_status enroll_check_keys(const struct enroll_context *aws,
                                 struct mu_error *err) MU_MUST_CHECK;
enum mu_status enroll_with_aws_kms(struct bytes key, const struct record *old,
                                   struct record *record, void *context,
                                   struct mu_error *err) MU_MUST_CHECK;
enum mu_status enroll_with_tpm2(struct bytes key, const struct record *old, struct record *record,
                                void *context, struct mu_error *err) MU_MUST_CHECK;
enum mu_status enroll_with_vault(struct bytes key, const struct record *old, struct record *record,
                                 void *context, struct mu_error *err) MU_MUST_CHECK;
/* The provider's data for other baselines, and with aws-kms for another list of keys that have the
 * same material. The key itself is not needed, and stays sealed as it was. */
enum mu_status enroll_resigned(struct bytes key, const struct record *old, struct record *record,
                               void *context, struct mu_error *err) MU_MUST_CHECK;

#endif
