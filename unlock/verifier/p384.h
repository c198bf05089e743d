/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef MU_VERIFIER_P384_H
#define MU_VERIFIER_P384_H

#include <openssl/ec.h>

/* What OpenSSL calls to multiply on P-384, in the static mu-verifier alone: r is scalar times the
 * generator, plus the sum of scalars[i] times points[i]. A verification, which is
 * scalar and one point, is done by s2n-bignum's assembly, in a time that depends on the numbers:
 * all of them are public. Everything else is secret, and is left to OpenSSL, and so is a
 * verification whose points meet on the way. 1, or 0 if out of memory. */
int p384_mul(const EC_GROUP *group, EC_POINT *r, const BIGNUM *scalar, size_t num,
             const EC_POINT *points[], const BIGNUM *scalars[], BN_CTX *context);

/* OpenSSL's own, which the Makefile gives this name. */
int p384_mul_openssl(const EC_GROUP *group, EC_POINT *r, const BIGNUM *scalar, size_t num,
                     const EC_POINT *points[], const BIGNUM *scalars[], BN_CTX *context);

#endif
