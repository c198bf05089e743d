/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef MU_APPRAISE_COSE_H
#define MU_APPRAISE_COSE_H

#include <openssl/evp.h>

#include "base/bytes.h"

#define COSE_ES384_SIZE 96 /* r || s (RFC 9053, 2.1) */

/* The signature of a COSE_Sign1 with empty external data (RFC 9052, 4.4), by ES384 whatever the
 * header says: the caller checks the header. MU_REFUSE if `key` is not on P-384 or did not sign
 * this. */
enum mu_status cose_verify_es384(EVP_PKEY *key, struct bytes protected_header, struct bytes payload,
                                 struct bytes signature, struct mu_error *err) MU_MUST_CHECK;

#endif
