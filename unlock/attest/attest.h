/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef MU_ATTEST_ATTEST_H
#define MU_ATTEST_ATTEST_H

#include "tpm/tpm.h"

#define NSM_FIELD_MAX 1024

/* What the document should carry; a view with data == NULL is CBOR null. Each at most NSM_FIELD_MAX
 * bytes. */
struct nsm_fields {
    struct bytes user_data;
    struct bytes nonce;
    struct bytes public_key;
};

/* {"Attestation": {"user_data", "nonce", "public_key"}}, in that order. */
enum mu_status nsm_encode_request(const struct nsm_fields *fields, struct buffer *ret,
                                  struct mu_error *err) MU_MUST_CHECK;
/* One CBOR item, {"Attestation": {"document": bytes}} or {"Error": code}; what follows the item is
 * ignored. */
enum mu_status nsm_decode_response(struct bytes response, struct buffer *ret_document,
                                   struct mu_error *err) MU_MUST_CHECK;

/* A fresh attestation document from the TPM, checked to carry these fields (document_parse). Its
 * time is the host's: this process catches up with it (time_catch_up). */
enum mu_status nsm_attest(struct tpm *tpm, const struct nsm_fields *fields,
                          struct buffer *ret_document, struct mu_error *err) MU_MUST_CHECK;

#endif
