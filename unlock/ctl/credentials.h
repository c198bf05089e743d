/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef MU_CTL_CREDENTIALS_H
#define MU_CTL_CREDENTIALS_H

#include "base/retry.h"
#include "build/signer.h"

/* What `aws configure export-credentials` prints, out of a file ("-": standard input): the JSON
 * object of --format process, or the lines of env and env-no-export. MU_CONFIG if the file holds
 * something else, or the credentials have expired. */
enum mu_status ctl_read_credentials(const char *path, struct aws_credentials *ret,
                                    struct mu_error *err) MU_MUST_CHECK;

/* Of the environment, else of the instance's role. imds: base URL. */
enum mu_status ctl_find_credentials(const char *imds, struct deadline deadline,
                                    struct aws_credentials *ret,
                                    struct mu_error *err) MU_MUST_CHECK;

/* --sign-key, --builder-key and what --credentials named; NULL: not given. */
struct signer_arguments {
    const char *key, *public_key;
    const struct aws_credentials *credentials;
    const struct aws_options *aws;
};
/* The signer with all that it needs; KMS's credentials are found if none are given. ret borrows
 * what `a` points to. */
enum mu_status ctl_open_signer(const struct signer_arguments *a, struct signer *ret,
                               struct mu_error *err) MU_MUST_CHECK;

#endif
