/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef MU_BASE_JSON_H
#define MU_BASE_JSON_H

#include <json-c/json.h>

#include "base/bytes.h"

/* Strict RFC 8259: one value and nothing after it, UTF-8, at most 16 levels, no duplicate names
 * (json-c alone would keep the last). Failure has class `status`; `what` names the source. */
enum mu_status json_parse(struct bytes text, const char *what, enum mu_status status,
                          json_object **ret, struct mu_error *err) MU_MUST_CHECK MU_NONNULL;
void json_free(json_object **object) MU_NONNULL;
/* Like json_free, for an object that holds secrets and has no other owner: its strings are wiped.
 * json_parse wipes its own working memory in any case. */
void json_wipe(json_object **object) MU_NONNULL;

/* Takes over `value`, also on failure. False if `value` or the object is NULL, or if out of
 * memory. */
bool json_add(json_object *object, const char *name, json_object *value) MU_NONNULL_AT(2);
bool json_add_text(json_object *object, const char *name, const char *text) MU_NONNULL_AT(2, 3);
bool json_add_null(json_object *object, const char *name) MU_NONNULL_AT(2);
/* The same for arrays. */
bool json_append(json_object *array, json_object *value);

/* On one line, borrowed from the object; NULL if out of memory. */
const char *json_text(json_object *object);

/* A member that must exist and have that type; the failure has class `status` and names the
 * member. */
enum mu_status json_member(json_object *object, const char *name, enum json_type type,
                           enum mu_status status, json_object **ret,
                           struct mu_error *err) MU_MUST_CHECK MU_NONNULL_AT(2, 5, 6);
/* The same for strings: borrowed from the object, without embedded zero bytes, 1..max long. */
enum mu_status json_string(json_object *object, const char *name, size_t max, enum mu_status status,
                           const char **ret, struct mu_error *err) MU_MUST_CHECK
    MU_NONNULL_AT(2, 5, 6);
/* The string of a member, also borrowed; "" if the member is missing or has another type. */
const char *json_text_of(json_object *object, const char *name) MU_NONNULL_AT(2);
/* The same for strings that are base64 of at most max bytes. */
enum mu_status json_base64(json_object *object, const char *name, size_t max, enum mu_status status,
                           struct buffer *ret, struct mu_error *err) MU_MUST_CHECK
    MU_NONNULL_AT(2, 5, 6);
/* The same for integers in min..max. */
enum mu_status json_integer(json_object *object, const char *name, int64_t min, int64_t max,
                            enum mu_status status, int64_t *ret, struct mu_error *err) MU_MUST_CHECK
    MU_NONNULL_AT(2, 6, 7);
/* Refuses members that are not in the NULL-terminated list. */
enum mu_status json_only(json_object *object, const char *what, const char *const *names,
                         enum mu_status status, struct mu_error *err) MU_MUST_CHECK
    MU_NONNULL_AT(2, 3, 5);

#endif
