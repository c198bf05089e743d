/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef MU_JOSE_TOKEN_PARTS_H
#define MU_JOSE_TOKEN_PARTS_H

#include "base/json.h"

/* The parts of a compact token, within token.c and token_jwe.c. */

/* Exactly `count` parts between dots. MU_REFUSE. */
enum mu_status token_split(const char *token, struct bytes *ret, size_t count,
                           struct mu_error *err) MU_MUST_CHECK;
/* The header: a JSON object with no other members than these. */
enum mu_status token_header(struct bytes part, const char *const *members, json_object **ret,
                            struct mu_error *err) MU_MUST_CHECK;
/* The member must be exactly this text; an optional one may be missing. */
enum mu_status token_header_is(json_object *header, const char *name, const char *value,
                               bool optional, struct mu_error *err) MU_MUST_CHECK;
/* An object without white space, as base64url. */
enum mu_status token_encode_json(json_object *object, char **ret,
                                 struct mu_error *err) MU_MUST_CHECK;

#endif
