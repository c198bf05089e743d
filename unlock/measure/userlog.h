/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef MU_MEASURE_USERLOG_H
#define MU_MEASURE_USERLOG_H

#include "measure/eventlog.h"

/* systemd's own log of its extends: JSON text sequences (RFC 7464) of the TCG's Canonical Event
 * Log. The log is not authenticated: it explains PCR values, but proves nothing alone. */

#define USERLOG_DEFAULT_PATH "/run/log/systemd/tpm2-measure.log"
#define USERLOG_MAX_BYTES (256u << 10)
#define USERLOG_EVENTS_MAX 256

/* Appends the events to a log that eventlog_parse made, as EV_USERSPACE whose data say which unit
 * extended what. Records that are not about a PCR are skipped. MU_CONFIG, and nothing is appended,
 * if the text is not such a log or is too large. */
enum mu_status userlog_append(struct bytes text, struct eventlog *log,
                              struct mu_error *err) MU_MUST_CHECK;

/* The same from systemd's file. Appends nothing if the file is missing or unusable. */
void userlog_append_running(struct eventlog *log);

#endif
