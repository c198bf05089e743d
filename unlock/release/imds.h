/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef MU_RELEASE_IMDS_H
#define MU_RELEASE_IMDS_H

#include <stdatomic.h>

#include "release/kms.h"

/* aws_credentials_from_imds that another thread can stop by setting *cancel (may be NULL). */
enum mu_status imds_credentials(const char *imds, struct deadline deadline,
                                const atomic_bool *cancel, struct aws_credentials *ret,
                                struct mu_error *err) MU_MUST_CHECK;

/* The JSON that IMDS gives for a role; MU_RETRY for anything but usable credentials. */
enum mu_status imds_parse_credentials(struct bytes json, struct aws_credentials *ret,
                                      struct mu_error *err) MU_MUST_CHECK;

#endif
