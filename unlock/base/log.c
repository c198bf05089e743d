/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "base/log.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/bytes.h"

#define LINE_MAX_COLUMNS 99u
#define INDENT "  "

static const char *program = "measured-unlock";

void log_init(const char *name)
{
    program = name;
}

/* What came from outside must not move the cursor or forge a line: anything but printable ASCII
 * becomes \xNN. */
static void escape(const char *from, char *to, size_t cap)
{
    size_t len = 0;

    for (; *from != '\0' && len + 5 <= cap; from++) {
        uint8_t c = (uint8_t)*from;

        if (c >= 0x20 && c < 0x7f) {
            to[len++] = (char)c;
            continue;
        }
        to[len++] = '\\';
        to[len++] = 'x';
        hex_encode((struct bytes){&c, 1}, to + len);
        len += 2;
    }
    to[len] = '\0';
}

/* One write(2), so that lines of several processes are not mixed. */
static void put(const char *indent, const char *text, size_t len)
{
    char line[LINE_MAX_COLUMNS + 2];
    int n = snprintf(line, sizeof(line), "%.32s: %s%.*s\n", program, indent, (int)len, text);

    if (n > 0 && (size_t)n < sizeof(line) && write(STDERR_FILENO, line, (size_t)n) < 0)
        return; /* nothing is left to report it to */
}

size_t log_fold(const char *text, size_t room)
{
    size_t len = strlen(text);

    if (len <= room)
        return len;
    for (size_t at = room; at > 0; at--)
        if (text[at] == ' ')
            return at;
    return room;
}

void log_line(const char *format, ...)
{
    char raw[1024];
    char text[4 * sizeof(raw)];
    const char *indent = "";
    size_t name = strnlen(program, 32) + 2;
    va_list args;

    va_start(args, format);
    (void)vsnprintf(raw, sizeof(raw), format, args);
    va_end(args);
    escape(raw, text, sizeof(text));
    for (const char *at = text; *at != '\0' || at == text;) {
        size_t len = log_fold(at, LINE_MAX_COLUMNS - name - strlen(indent));

        put(indent, at, len);
        at += len;
        at += strspn(at, " ");
        indent = INDENT;
        if (*at == '\0')
            break;
    }
}

void log_error(const struct mu_error *err)
{
    static const char *const heading[] = {
        [MU_OK] = "ok",           [MU_USAGE] = "usage",          [MU_REFUSE] = "refused",
        [MU_RETRY] = "not ready", [MU_CONFIG] = "configuration", [MU_INTERNAL] = "internal error",
    };
    size_t status = (size_t)err->status;

    if (status >= MU_COUNT(heading))
        status = MU_INTERNAL;
    log_line("%s: %s", heading[status], err->text);
}
