/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef MU_APPRAISE_CHAIN_H
#define MU_APPRAISE_CHAIN_H

#include <openssl/x509.h>

#include "appraise/chain_cache.h"
#include "base/openssl.h"

/* One certificate and nothing after it. MU_REFUSE; `what` names it. */
enum mu_status certificate_from_der(struct bytes der, const char *what, X509 **ret,
                                    struct mu_error *err) MU_MUST_CHECK;
/* The only certificate in a PEM file. MU_CONFIG; `what` names it. */
enum mu_status certificate_from_pem(struct bytes pem, const char *what, X509 **ret,
                                    struct mu_error *err) MU_MUST_CHECK;
/* Reads such a PEM file. MU_CONFIG. */
enum mu_status certificate_file(const char *path, struct buffer *ret,
                                struct mu_error *err) MU_MUST_CHECK;
/* True if the certificate is encoded as exactly these bytes. */
bool certificate_is(X509 *certificate, struct bytes der);
/* Seconds since 1970, both inclusive (RFC 5280, 4.1.2.5). MU_REFUSE. */
enum mu_status certificate_validity(X509 *certificate, int64_t *ret_from, int64_t *ret_until,
                                    struct mu_error *err) MU_MUST_CHECK;
/* The only common name of the subject; data == NULL if there is none, or several. */
struct bytes certificate_common_name(X509 *certificate);

/* RFC 5280, 6.1 at the time `at` (seconds since 1970), with `root` as the only trust anchor. The
 * path must be leaf, cabundle[count - 1], ..., cabundle[1], root, neither longer nor shorter;
 * cabundle[0] is where AWS puts its root, and is not looked at. Each certificate is P-384 and
 * signed by ecdsa-with-SHA384, each CA has basicConstraints and keyCertSign, the leaf has
 * digitalSignature and is not a CA. MU_REFUSE says which certificate and why. With a cache (NULL:
 * none) the CA certificates are verified once and the leaf each time; the result is the same
 * (chain_cache.h says why). */
enum mu_status chain_verify(X509 *leaf, const struct bytes *cabundle, size_t count, X509 *root,
                            int64_t at, struct chain_cache *cache,
                            struct mu_error *err) MU_MUST_CHECK;

#endif
