/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "ctl/report.h"

#include <string.h>

#include "base/file.h"

#define REPORT_MAX 65536

enum mu_status ctl_report_load(const char *path, json_object **ret, struct mu_error *err)
{
    MU_CLEANUP(buffer_free) struct buffer text = {0};

    MU_TRY(file_read(path, REPORT_MAX, &text, err));
    return json_parse(buffer_view(&text), path, MU_CONFIG, ret, err);
}

bool ctl_report_unlocked(json_object *report)
{
    return strcmp(json_text_of(report, "result"), "unlocked") == 0;
}
