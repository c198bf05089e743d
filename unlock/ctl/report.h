/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef MU_CTL_REPORT_H
#define MU_CTL_REPORT_H

#include "base/json.h"

/* The report of the present boot (boot/report.h). MU_CONFIG if there is none. */
enum mu_status ctl_report_load(const char *path, json_object **ret,
                               struct mu_error *err) MU_MUST_CHECK;
/* All volumes were unlocked in this boot. */
bool ctl_report_unlocked(json_object *report);

#endif
