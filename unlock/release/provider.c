/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "release/provider.h"

#include <string.h>

static const struct provider *const providers[] = {
    &provider_aws_kms,
    &provider_tpm2,
    &provider_vault,
};

enum mu_status provider_find(const char *name, const struct provider **ret, struct mu_error *err)
{
    for (size_t i = 0; i < MU_COUNT(providers); i++) {
        if (strcmp(providers[i]->name, name) == 0) {
            *ret = providers[i];
            return MU_OK;
        }
    }
    return mu_fail(err, MU_CONFIG, "there is no key-release provider '%.64s'", name);
}
