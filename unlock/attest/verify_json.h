/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef MU_ATTEST_VERIFY_JSON_H
#define MU_ATTEST_VERIFY_JSON_H

#include "attest/verify.h"
#include "base/json.h"

/* "checks": [{"name", "result", "detail"}, ...]. False: memory is short. */
bool verify_add_checks(json_object *object, const struct verify_report *report);

#endif
