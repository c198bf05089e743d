/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef MU_BUILD_SIGNER_H
#define MU_BUILD_SIGNER_H

#include "build/signing.h"
#include "net/aws_credentials.h"
#include "release/kms.h"

/* Who signs for the image builder (base/signature.h): a private key in a PEM file, or one that
 * stays where it is and is sent nothing but the SHA-384 digest: arn:...:kms:...:key/...  AWS KMS,
 * Sign, ECDSA_SHA_384: a key of ECC_NIST_P384 pkcs11:...               RFC 7512; openssl pkeyutl
 * with its PKCS#11 provider or engine exec:COMMAND             sh -c COMMAND; the digest (48 bytes)
 * is its standard input, the signature (DER, RFC 3279 2.2.3, Ecdsa-Sig-Value) its standard output
 */
struct signer {
    const char *from;              /* as above; borrowed */
    EVP_PKEY *key;                 /* in a file: the private key; else the public half */
    const struct aws_options *aws; /* KMS; borrowed */
    const struct aws_credentials *credentials; /* KMS; borrowed; NULL: those that were found */
    struct aws_credentials found;
};
void signer_free(struct signer *signer);
bool signer_is_kms(const char *from);

/* public_key: PEM; needed for a key that is not a file, since whatever signed is verified with it.
 * The caller fills in what KMS needs. MU_USAGE without a public key that is needed; MU_CONFIG if it
 * is not the half of a key that can sign there. */
enum mu_status signer_open(const char *from, const char *public_key, struct signer *ret,
                           struct mu_error *err) MU_MUST_CHECK MU_NONNULL_AT(1, 3, 4);

/* What signature_verify() takes, for the same context; it was verified. MU_REFUSE if it was made by
 * another key than the public one that was given; MU_CONFIG if the key cannot be used. */
enum mu_status signer_sign(const struct signer *signer, const char *context, struct bytes data,
                           struct buffer *ret, struct mu_error *err) MU_MUST_CHECK
    MU_NONNULL_AT(1, 4, 5);

/* Signs the record: a JSON text for crypt_token_json_set(). */
enum mu_status signer_record_token(const struct signer *signer, const struct record *record,
                                   char **ret, struct mu_error *err) MU_MUST_CHECK;

#endif
