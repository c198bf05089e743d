/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "appraise/verify_json.h"

bool verify_add_checks(json_object *object, const struct verify_report *report)
{
    json_object *checks = json_object_new_array();

    if (!json_add(object, "checks", checks))
        return false;
    for (size_t i = 0; i < VERIFY_CHECKS; i++) {
        const struct verify_check *check = &report->check[i];
        json_object *item = json_object_new_object();

        if (!json_append(checks, item) || !json_add_text(item, "name", check->name) ||
            !json_add_text(item, "result", verify_result_name(check->result)) ||
            !json_add_text(item, "detail", check->detail))
            return false;
    }
    return true;
}
