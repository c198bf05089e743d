/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef MU_RELEASE_IMDS_H
#define MU_RELEASE_IMDS_H

#include "release/kms.h"

/* The JSON that IMDS gives for a role; MU_RETRY for anything but usable credentials. */
enum mu_status imds_parse_credentials(struct bytes json, struct aws_credentials *ret,
                                      struct mu_error *err) MU_MUST_CHECK;

#endif
