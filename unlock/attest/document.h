/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef MU_ATTEST_DOCUMENT_H
#define MU_ATTEST_DOCUMENT_H

#include "tpm/tpm.h"

#define DOCUMENT_MAX_BYTES 16384
#define DOCUMENT_PCRS_MAX 32
#define DOCUMENT_CABUNDLE_MAX 16

/* A NitroTPM attestation document: COSE_Sign1 (RFC 9052, 4.2) with or without tag 18 over a CBOR
 * map. The views point into `raw`. Optional fields that were null or absent have data == NULL. */
struct document {
    struct buffer raw;
    struct bytes protected_header, payload, signature;
    char module_id[128];
    uint64_t timestamp_ms;
    uint32_t pcr_mask;
    struct bytes pcr[DOCUMENT_PCRS_MAX];
    struct bytes certificate;
    size_t cabundle_count;
    struct bytes cabundle[DOCUMENT_CABUNDLE_MAX];
    struct bytes public_key, user_data, nonce;
};

/* Structure, types, sizes, duplicates and trailing bytes are checked; nothing is verified yet.
 * MU_REFUSE names the field and the rule, also for the document of an enclave ("pcrs"). Definite
 * and indefinite maps. */
enum mu_status document_parse(struct bytes raw, struct document *ret,
                              struct mu_error *err) MU_MUST_CHECK;
void document_free(struct document *document);

#endif
