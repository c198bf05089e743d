/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef MU_CTL_CREDENTIALS_H
#define MU_CTL_CREDENTIALS_H

#include "release/kms.h"

/* What `aws configure export-credentials` prints, out of a file ("-": standard input): the JSON
 * object of --format process, or the lines of env and env-no-export. MU_CONFIG if the file holds
 * something else, or the credentials have expired. */
enum mu_status ctl_read_credentials(const char *path, struct aws_credentials *ret,
                                    struct mu_error *err) MU_MUST_CHECK;

#endif
