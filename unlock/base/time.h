/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef MU_BASE_TIME_H
#define MU_BASE_TIME_H

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"

/* The wall clock and RFC 3339. Waiting uses base/clock.h. */

#define TIME_TEXT 32

/* Milliseconds since 1970, by the machine's clock and what time_catch_up() added; 0 if the clock
 * cannot be read or shows an earlier time. */
uint64_t time_now_ms(void);

/* A machine without a real-time clock starts in the past. From here on the time of this process
 * goes on from `ms`, if that is more than a minute ahead of it; it never goes back. The machine's
 * clock stays as it is. */
void time_catch_up(uint64_t ms);
/* Seconds that time_now_ms() is ahead of the machine's clock, which OpenSSL and libcurl read. */
int64_t time_ahead_s(void);

/* "2026-11-28T01:02:03Z" of seconds since 1970, "2026-11-28T01:02:03.456Z" of milliseconds. False
 * and an empty text if the year is not 1970 to 9999. */
bool time_text(int64_t seconds, char ret[static TIME_TEXT]) MU_NONNULL;
bool time_text_ms(uint64_t ms, char ret[static TIME_TEXT]) MU_NONNULL;
/* The present moment, in seconds. */
bool time_text_now(char ret[static TIME_TEXT]) MU_NONNULL;

/* RFC 3339, 5.6, any offset; digits after the third of a fraction are dropped. Leap seconds are
 * refused; no certificate has them either. */
bool time_parse(const char *text, uint64_t *ret_ms) MU_NONNULL;

#endif
