/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef MU_APPRAISE_JWS_H
#define MU_APPRAISE_JWS_H

#include "jose/token.h"

/* Signed tokens (jose/token.h). */

/* ES384 or ES256, according to the private key's curve: {"alg","kid","typ":"JWT"}. */
enum mu_status token_sign(EVP_PKEY *key, json_object *claims, char **ret,
                          struct mu_error *err) MU_MUST_CHECK;

#endif
