/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef MU_FLEET_CLOUDTRAIL_H
#define MU_FLEET_CLOUDTRAIL_H

#include "base/json.h"
#include "tpm/tpm.h"

#define KMS_FILTER_MAX 64

/* What CloudTrail recorded about a call to KMS. Source: AWS KMS Developer Guide, "Monitoring
 * requests for NitroTPM" and "Logging AWS KMS API calls"; CloudTrail User Guide, "CloudTrail record
 * contents". Texts are borrowed from the record; "" if the record lacks them. */
struct kms_call {
    const char *time;      /* RFC 3339, UTC */
    const char *name;      /* "Decrypt" */
    const char *principal; /* ARN, or the service or account that called */
    const char *id;        /* eventID */
    const char *error;     /* of a call that was refused or failed */
    const char *module_id; /* of the document */
    bool attested;         /* it came with a document */
    struct pcr_values shown;
};

/* Calls `each` for every record of a log file as CloudTrail delivers it ({"Records": [...]}), of
 * what 'aws cloudtrail lookup-events' prints ({"Events": [{"CloudTrailEvent": "..."}]}), or of
 * several such objects or records, one after the other. MU_CONFIG: the text is none of these, or a
 * record lacks what every record has. A failure of `each` ends the reading and is returned. */
enum mu_status cloudtrail_read(struct bytes text, const char *what,
                               enum mu_status (*each)(json_object *record, void *context,
                                                      struct mu_error *err),
                               void *context, struct mu_error *err) MU_MUST_CHECK;

/* The keys that are of interest, by ARN; none: any. */
struct kms_filter {
    const char *key[KMS_FILTER_MAX];
    size_t count;
};

/* *ret_is_kms is false for another service's call, and for one that names only other keys than
 * those of the filter. One that names no key, or an alias, may be about them. MU_CONFIG: a member
 * of the record is not what it should be. */
enum mu_status cloudtrail_kms_call(json_object *record, const struct kms_filter *filter,
                                   bool *ret_is_kms, struct kms_call *ret,
                                   struct mu_error *err) MU_MUST_CHECK;

#endif
