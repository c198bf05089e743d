/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef MU_RELEASE_CMS_H
#define MU_RELEASE_CMS_H

#include <openssl/evp.h>

#include "base/secret.h"

/* KMS's CiphertextForRecipient: CMS EnvelopedData (RFC 5652, 6) in BER with exactly one recipient
 * by key transport, RSAES-OAEP with SHA-256 (RFC 4055, 4.1), content in AES-256-CBC. The content
 * must have `size` bytes. MU_REFUSE; everything that depends on the key or the decrypted bytes
 * fails with the same words. */
enum mu_status cms_decrypt(struct bytes ber, EVP_PKEY *key, size_t size, struct secret *ret,
                           struct mu_error *err) MU_MUST_CHECK;

#endif
