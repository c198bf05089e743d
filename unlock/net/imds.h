/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef MU_NET_IMDS_H
#define MU_NET_IMDS_H

#include "base/clock.h"
#include "net/aws_credentials.h"

/* The JSON that IMDS gives for a role; MU_RETRY for anything but usable credentials. */
enum mu_status imds_parse_credentials(struct bytes json, struct aws_credentials *ret,
                                      struct mu_error *err) MU_MUST_CHECK;

/* IMDSv2, retried until the deadline (AWS EC2 User Guide, "Use IMDSv2"). */
enum mu_status aws_credentials_from_imds(const char *imds, struct deadline deadline,
                                         struct aws_credentials *ret,
                                         struct mu_error *err) MU_MUST_CHECK;

/* The region that this instance is in, as "eu-west-1"; given up after a few attempts, and at the
 * deadline. MU_RETRY. */
#define IMDS_REGION_MAX 64
enum mu_status imds_region(const char *base, struct deadline deadline,
                           char ret[static IMDS_REGION_MAX], struct mu_error *err) MU_MUST_CHECK;

/* The instance identity document with AWS's signature, as IMDS gives it: PKCS7 in base64 (EC2 User
 * Guide, "Use the RSA-2048 signature to verify the instance identity document"). MU_RETRY. */
enum mu_status imds_identity(const char *base, struct deadline deadline, struct buffer *ret,
                             struct mu_error *err) MU_MUST_CHECK;

#endif
