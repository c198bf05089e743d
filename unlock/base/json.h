/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef MU_BASE_JSON_H
#define MU_BASE_JSON_H

#include <json-c/json.h>

#include "base/bytes.h"

/* Strict RFC 8259: one value and nothing after it, UTF-8, at most 16 levels, no duplicate names
 * (json-c alone would keep the last). Failure has class `status`; `what` names the source. */
enum mu_status json_parse(struct bytes text, const char *what, enum mu_status status,
                          json_object **ret, struct mu_error *err) MU_MUST_CHECK;
void json_free(json_object **object);
/* The same for one that holds secrets, which nobody else holds too: its strings are wiped. What
 * json_parse itself needed to read them is wiped in any case. */
void json_wipe(json_object **object);

/* Takes over `value`, also on failure: false if it or the object is NULL, or memory is short. */
bool json_add(json_object *object, const char *name, json_object *value);
bool json_add_text(json_object *object, const char *name, const char *text);

/* A member that must be there and have that type; the failure has class `status` and names it. */
enum mu_status json_member(json_object *object, const char *name, enum json_type type,
                           enum mu_status status, json_object **ret,
                           struct mu_error *err) MU_MUST_CHECK;
/* The same for strings: borrowed from the object, without embedded zero bytes, 1..max long. */
enum mu_status json_string(json_object *object, const char *name, size_t max, enum mu_status status,
                           const char **ret, struct mu_error *err) MU_MUST_CHECK;
/* The same for integers in min..max. */
enum mu_status json_integer(json_object *object, const char *name, int64_t min, int64_t max,
                            enum mu_status status, int64_t *ret,
                            struct mu_error *err) MU_MUST_CHECK;
/* Refuses members that are not in the NULL-terminated list. */
enum mu_status json_only(json_object *object, const char *what, const char *const *names,
                         enum mu_status status, struct mu_error *err) MU_MUST_CHECK;

#endif
