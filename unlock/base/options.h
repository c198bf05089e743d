/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef MU_BASE_OPTIONS_H
#define MU_BASE_OPTIONS_H

#include <stdbool.h>

/* How to reach the services of the providers. struct config reads these options from its file;
 * doctor and enroll fill in their own. Texts are borrowed. */

struct aws_options {
    const char *imds;         /* base URL */
    const char *ca_file;      /* PEM; NULL: none, MU_CONFIG */
    const char *kms_endpoint; /* a list of URL and REGION=URL; what it has none for, and NULL:
                                 derived from the key ARN's region and partition */
    bool fips, dual_stack;    /* flavour of the derived endpoint */
};

struct vault_options {
    const char *ca_file, *verifier_ca_file; /* PEM */
};

struct provider_options {
    unsigned fence_pcr;
    struct aws_options aws;
    struct vault_options vault;
};

#endif
