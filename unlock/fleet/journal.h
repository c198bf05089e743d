/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef MU_FLEET_JOURNAL_H
#define MU_FLEET_JOURNAL_H

#include "base/json.h"

/* The log: one JSON object a line on standard error, {"time", "event", ...}. */

/* A new line, or NULL. */
json_object *journal_begin(const char *event);
/* Leaves out a member that is NULL or empty. */
void journal_text(json_object *line, const char *name, const char *text);
void journal_number(json_object *line, const char *name, double number);
/* Writes the line and frees it. */
void journal_end(json_object *line);
/* {"time", "event", "detail"} */
void journal_note(const char *event, const char *detail);

#endif
