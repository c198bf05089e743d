/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef MU_APPRAISE_DSSE_H
#define MU_APPRAISE_DSSE_H

#include "base/json.h"
#include "base/signature.h"

/* DSSE, Dead Simple Signing Envelope, v1.0 (secure-systems-lab/dsse: protocol.md, envelope.md):
 * {"payloadType", "payload", "signatures": [{"keyid", "sig"}]} with one signature, of
 * base/signature.h, over the pre-authentication encoding of type and payload. */

#define DSSE_MAX_BYTES ((size_t)256 << 10)

/* PAE: "DSSEv1" SP LEN(type) SP type SP LEN(payload) SP payload */
enum mu_status dsse_pae(const char *type, struct bytes payload, struct buffer *ret,
                        struct mu_error *err) MU_MUST_CHECK;

/* A new envelope. */
enum mu_status dsse_wrap(const char *type, struct bytes payload, struct bytes signature,
                         EVP_PKEY *key, json_object **ret, struct mu_error *err) MU_MUST_CHECK;

/* What is in the envelope, if one of the keys signed it. keyid is a hint, which is not used.
 * MU_CONFIG: not such an envelope, of another type, with another number of signatures than one;
 * MU_REFUSE: the signature is of none of the keys. */
enum mu_status dsse_open(struct bytes envelope, const char *what, const char *type,
                         const struct public_keys *keys, struct buffer *ret,
                         struct mu_error *err) MU_MUST_CHECK;

/* What is in the envelope, whoever signed it: for looking at it alone. */
enum mu_status dsse_payload(struct bytes envelope, struct buffer *ret,
                            struct mu_error *err) MU_MUST_CHECK;

#endif
