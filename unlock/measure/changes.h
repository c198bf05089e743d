/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef MU_MEASURE_CHANGES_H
#define MU_MEASURE_CHANGES_H

#include "measure/eventlog.h"

/* One line of explanation, shorter than 100 bytes, valid UTF-8, without control characters. */
typedef void changes_line(const char *text, void *context);

/* Says why PCRs differ. For each PCR of the mask `differing`: whether the log leads to the value
 * found (otherwise its events prove nothing); against `reference`, a log of the expected boot, real
 * or predicted (NULL if there is none), which event is new, missing or changed; else which events
 * would have to be left out to get the expected value; else what can have changed. */
void changes_describe(const struct eventlog *log, const struct eventlog *reference,
                      const struct pcr_values *expected, const struct pcr_values *found,
                      uint32_t differing, changes_line *line, void *context);

#endif
