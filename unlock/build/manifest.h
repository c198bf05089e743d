/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef MU_BUILD_MANIFEST_H
#define MU_BUILD_MANIFEST_H

#include "appraise/manifest.h"
#include "build/secureboot.h"
#include "build/signer.h"

#define MANIFEST_AMIS_MAX 32

/* A file that a manifest names. */
struct manifest_file {
    const char *name;
    struct bytes content;
};

struct manifest_request {
    enum manifest_kind kind;
    const char *name, *version, *source, *builder;
    int64_t record_version;             /* 0: not said */
    const struct manifest_file *images; /* in load order */
    size_t count;
    const struct secure_boot *keys; /* without PK: Secure Boot is off */
    uint32_t without;               /* PCRs that are left out knowingly */
    struct manifest_file sbom;      /* name NULL: none */
    const char *const *amis;        /* REGION=AMI */
    size_t ami_count;
};

/* The statement, on one line; the same request gives the same bytes. MU_CONFIG: the images cannot
 * be predicted, or what is said of them is not what manifest_parse() takes. */
enum mu_status manifest_make(const struct manifest_request *request, struct buffer *ret,
                             struct mu_error *err) MU_MUST_CHECK;
/* The envelope of the statement. */
enum mu_status manifest_sign(const struct signer *signer, struct bytes statement, json_object **ret,
                             struct mu_error *err) MU_MUST_CHECK;

#endif
