/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "attest/verify_json.h"

bool verify_add_checks(json_object *object, const struct verify_report *report)
{
    json_object *checks = json_object_new_array();

    if (!json_add(object, "checks", checks))
        return false;
    for (size_t i = 0; i < VERIFY_CHECKS; i++) {
        const struct verify_check *check = &report->check[i];
        json_object *item = json_object_new_object();

        if (item == NULL || json_object_array_add(checks, item) != 0) {
            json_free(&item);
            return false;
        }
        if (!json_add(item, "name", json_object_new_string(check->name)) ||
            !json_add(item, "result", json_object_new_string(verify_result_name(check->result))) ||
            !json_add(item, "detail", json_object_new_string(check->detail)))
            return false;
    }
    return true;
}
