/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef MU_VOLUME_ENROLL_H
#define MU_VOLUME_ENROLL_H

#include "base/secret.h"
#include "volume/record.h"

/* Seals the fresh key for the volume: fills in record->provider and record->provider_data. */
typedef enum mu_status (*enroll_seal)(struct bytes key, struct record *record, void *context,
                                      struct mu_error *err);

struct enroll_request {
    const char *device;
    const struct secret *passphrase; /* of an existing key slot; or... */
    const struct secret *volume_key; /* ...the volume key itself */
    int64_t record_version;          /* 0: one more than the present record's, or 1... */
    int64_t minimum_version;         /* ...but not below this */
    const struct pcr_values *baseline;
    size_t baselines;
    EVP_PKEY *signing_key;
    enroll_seal seal;
    void *seal_context;
};

/* Adds a key slot for a fresh random key (PBKDF2, 1000 iterations) and writes the enrolment record.
 * The number of working key slots never goes down, and an interruption at any point leaves the old
 * record or the new one in force; what it left behind is removed by the next run. The record
 * replaced loses its slot last. */
enum mu_status enroll(const struct enroll_request *request, struct record *ret,
                      struct mu_error *err) MU_MUST_CHECK;

/* The present record with the request's baselines, the next version and a new signature; its key
 * slot and sealed key stay. It must have been signed with the same key. `seal` gets no key, and
 * adjusts what the provider keeps for the baselines. */
enum mu_status enroll_resign(const struct enroll_request *request, struct record *ret,
                             struct mu_error *err) MU_MUST_CHECK;

#endif
