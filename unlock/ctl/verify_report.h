/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef MU_CTL_VERIFY_REPORT_H
#define MU_CTL_VERIFY_REPORT_H

#include "appraise/verify.h"

#define NONCE_MAX 1024
#define VERIFY_TIME_TEXT 40

/* What 'muctl verify' prints. A document that could not be read has raw.data == NULL. */
enum mu_status verify_print_json(const struct document *document,
                                 const struct verify_report *report,
                                 struct mu_error *err) MU_MUST_CHECK;
void verify_print_text(const struct document *document, const struct verify_report *report);

/* RFC 3339 with milliseconds. */
void verify_format_ms(uint64_t ms, char to[static VERIFY_TIME_TEXT]);

#endif
