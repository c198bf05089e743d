/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef MU_BUILD_ENROLL_H
#define MU_BUILD_ENROLL_H

#include "build/signer.h"
#include "volume/record.h"

/* The greatest step from one record version to the next. */
#define ENROLL_VERSION_STEP 1000000

/* Seals the fresh key for the volume: fills in record->provider and record->provider_data. `old` is
 * the record that will be replaced, if the present key signed it, else NULL. */
typedef enum mu_status (*enroll_seal)(struct bytes key, const struct record *old,
                                      struct record *record, void *context, struct mu_error *err);

struct enroll_request {
    const char *device; /* or a copy of its header */
    const char *volume; /* [volume NAME]; for a new signature: NULL, or the name it must have */
    const struct secret *passphrase; /* of an existing key slot; or... */
    const struct secret *volume_key; /* ...the volume key itself */
    uint64_t device_size;            /* 0: as found, or for a copy as in the present record */
    int64_t record_version;          /* 0: one more than the present record's... */
    int64_t minimum_version;         /* ...but not below this; 0: not known */
    const struct pcr_values *baseline;
    size_t baselines;
    const struct signer *signer;
    EVP_PKEY *present_key; /* that signed the present record; NULL: the signer's */
    enroll_seal seal;
    void *seal_context;
};

/* Adds a key slot for a fresh random key (PBKDF2, 1000 iterations) and writes the enrolment record.
 * The present record counts only if the present key signed it: anybody who can write the disk may
 * have written any other. If there is such a record, the request must give the version (MU_REFUSE).
 * The number of working key slots never goes down, and an interruption at any point leaves the old
 * record or the new one in force; the next run removes what it left behind. The record replaced
 * loses its slot last. */
enum mu_status enroll_volume(const struct enroll_request *request, struct record *ret,
                             struct mu_error *err) MU_MUST_CHECK;

/* The present record with the request's baselines (none: its own), the next version and a new
 * signature; its key slot and sealed key stay. It must have been signed with the present key.
 * `seal` gets no key, and adjusts what the provider keeps for the baselines and of the key. */
enum mu_status enroll_resign(const struct enroll_request *request, struct record *ret,
                             struct mu_error *err) MU_MUST_CHECK;

#endif
