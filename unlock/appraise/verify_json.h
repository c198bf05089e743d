/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef MU_APPRAISE_VERIFY_JSON_H
#define MU_APPRAISE_VERIFY_JSON_H

#include "appraise/verify.h"
#include "base/json.h"

/* "checks": [{"name", "result", "detail"}, ...]. False: out of memory. */
bool verify_add_checks(json_object *object, const struct verify_report *report);

#endif
