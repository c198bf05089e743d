/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef MU_FLEET_EXPECTED_H
#define MU_FLEET_EXPECTED_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

/* The instances that an account has, and so those that should attest: what `aws ec2
 * describe-instances` prints, whole (shape: EC2 API, DescribeInstances), an array of such outputs,
 * or what --query makes of one: instances or their ids, in arrays of any depth. */
struct expected {
    struct expected_instance {
        char id[64];
        bool runs; /* or begins to; one that was stopped or terminated is silent rightly */
        uint64_t started_ms; /* LaunchTime; 0: not said */
        bool seen;           /* for the caller */
    } * instance;            /* in order of their ids, each once */
    size_t count;
};

/* "-": standard input. MU_CONFIG: it is something else, or not all of it (a NextToken). */
enum mu_status expected_read(const char *path, struct expected *ret,
                             struct mu_error *err) MU_MUST_CHECK;
/* NULL: it is not expected. */
struct expected_instance *expected_find(const struct expected *expected, const char *id);
void expected_free(struct expected *expected);

#endif
