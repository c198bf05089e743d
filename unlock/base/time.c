/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "base/time.h"

#include <ctype.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#define YEAR_10000_S INT64_C(253402300800)
#define BEHIND_MIN_MS 60000 /* less than AWS's services and certificates take offence at */

static _Atomic uint64_t ahead_ms;

uint64_t time_now_ms(void)
{
    struct timespec now = {0};

    if (clock_gettime(CLOCK_REALTIME, &now) != 0 || now.tv_sec < 0)
        return 0;
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000 + atomic_load(&ahead_ms);
}

void time_catch_up(uint64_t ms)
{
    uint64_t now = time_now_ms();

    if (now != 0 && ms < (uint64_t)YEAR_10000_S * 1000 && ms > now && ms - now > BEHIND_MIN_MS)
        (void)atomic_fetch_add(&ahead_ms, ms - now);
}

int64_t time_ahead_s(void)
{
    return (int64_t)(atomic_load(&ahead_ms) / 1000);
}

static size_t date_text(int64_t seconds, char ret[static TIME_TEXT])
{
    time_t clock = (time_t)seconds;
    struct tm tm;

    ret[0] = '\0';
    if (seconds < 0 || seconds >= YEAR_10000_S || gmtime_r(&clock, &tm) == NULL)
        return 0;
    return strftime(ret, TIME_TEXT, "%Y-%m-%dT%H:%M:%S", &tm);
}

bool time_text(int64_t seconds, char ret[static TIME_TEXT])
{
    size_t len = date_text(seconds, ret);

    if (len > 0)
        (void)snprintf(ret + len, TIME_TEXT - len, "Z");
    return len > 0;
}

bool time_text_ms(uint64_t ms, char ret[static TIME_TEXT])
{
    size_t len = date_text((int64_t)(ms / 1000), ret);

    if (len > 0)
        (void)snprintf(ret + len, TIME_TEXT - len, ".%03uZ", (unsigned)(ms % 1000));
    return len > 0;
}

bool time_text_now(char ret[static TIME_TEXT])
{
    return time_text((int64_t)(time_now_ms() / 1000), ret);
}

/* Each 0 of `shape` is a digit; letters are of either case. */
static bool take_shape(const char **pos, const char *shape)
{
    for (; *shape != '\0'; shape++, (*pos)++)
        if (*shape == '0' ? !isdigit((unsigned char)**pos)
                          : toupper((unsigned char)**pos) != *shape)
            return false;
    return true;
}

static unsigned take_fraction(const char **pos)
{
    unsigned ms = 0;

    (*pos)++;
    for (unsigned weight = 100; isdigit((unsigned char)**pos); (*pos)++, weight /= 10)
        ms += weight * (unsigned)(**pos - '0');
    return ms;
}

static bool take_offset(const char **pos, int *ret_s)
{
    const char *start = *pos;
    int hours, minutes;

    *ret_s = 0;
    if (take_shape(pos, "Z"))
        return true;
    if ((*start != '+' && *start != '-') || !take_shape(pos, *start == '+' ? "+00:00" : "-00:00"))
        return false;
    hours = 10 * (start[1] - '0') + start[2] - '0';
    minutes = 10 * (start[4] - '0') + start[5] - '0';
    *ret_s = (*start == '-' ? -1 : 1) * (3600 * hours + 60 * minutes);
    return hours < 24 && minutes < 60;
}

bool time_parse(const char *text, uint64_t *ret_ms)
{
    char date[sizeof("0000-00-00T00:00:00")] = "";
    const char *pos = text;
    struct tm tm = {0};
    unsigned ms = 0;
    int offset, day;
    int64_t seconds;

    if (!take_shape(&pos, "0000-00-00T00:00:00"))
        return false;
    memcpy(date, text, sizeof(date) - 1);
    date[10] = 'T';
    if (strptime(date, "%Y-%m-%dT%H:%M:%S", &tm) == NULL || tm.tm_sec > 59)
        return false;
    if (*pos == '.' && isdigit((unsigned char)pos[1]))
        ms = take_fraction(&pos);
    if (!take_offset(&pos, &offset) || *pos != '\0')
        return false;
    day = tm.tm_mday;
    seconds = (int64_t)timegm(&tm) - offset;
    if (tm.tm_mday != day || seconds < 0)
        return false;
    *ret_ms = (uint64_t)seconds * 1000 + ms;
    return true;
}
