/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <fcntl.h>
#include <unistd.h>

#include "ctl/monitor.h"
#include "doctor/doctor.h"

#define TIMER "measured-unlock-monitor.timer"
#define ENABLED "/etc/systemd/system/timers.target.wants/" TIMER
#define GUIDE "see docs/guide/monitoring.md"

/* No boot fails without it: at most a warning. */
void doctor_check_monitor(struct doctor *doctor)
{
    MU_CLEANUP(monitor_settings_free) struct monitor_settings settings = {0};
    char path[DOCTOR_PATH_MAX], link[DOCTOR_PATH_MAX];
    struct mu_error err = {0};
    bool configured, enabled;

    doctor_path(doctor, MONITOR_DEFAULT_PATH, path);
    doctor_path(doctor, ENABLED, link);
    configured = access(path, F_OK) == 0;
    enabled = faccessat(AT_FDCWD, link, F_OK, AT_SYMLINK_NOFOLLOW) == 0;
    if (!configured && !enabled)
        doctor_ok(doctor, "monitoring",
                  "not set up: nothing reports that this machine is altered "
                  "after boot (docs/guide/monitoring.md)");
    else if (!configured)
        doctor_warn(doctor, "monitoring", GUIDE, TIMER " is enabled, but there is no %s",
                    MONITOR_DEFAULT_PATH);
    else if (monitor_settings_load(path, &settings, &err) != MU_OK ||
             monitor_settings_check(&settings, path, &err) != MU_OK)
        doctor_warn(doctor, "monitoring", GUIDE, "%s", err.text);
    else if (!enabled)
        doctor_warn(doctor, "monitoring", "systemctl enable --now " TIMER,
                    "configured, but " TIMER " is not enabled");
    else
        doctor_ok(doctor, "monitoring", "enabled, reports to %s", settings.verifier);
}
