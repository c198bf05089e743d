/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "verifier/journal.h"

#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

/* RFC 3339, in UTC, with milliseconds. */
static void now_text(char *to, size_t cap)
{
    struct timespec now = {0};
    struct tm tm = {0};
    size_t len;

    (void)clock_gettime(CLOCK_REALTIME, &now);
    (void)gmtime_r(&now.tv_sec, &tm);
    len = strftime(to, cap, "%Y-%m-%dT%H:%M:%S", &tm);
    (void)snprintf(to + len, cap - len, ".%03ldZ", now.tv_nsec / 1000000);
}

json_object *journal_begin(const char *event)
{
    json_object *line = json_object_new_object();
    char now[40];

    now_text(now, sizeof(now));
    journal_text(line, "time", now);
    journal_text(line, "event", event);
    return line;
}

void journal_text(json_object *line, const char *name, const char *text)
{
    if (text != NULL && text[0] != '\0')
        (void)json_add(line, name, json_object_new_string(text));
}

void journal_number(json_object *line, const char *name, double number)
{
    char text[32];

    (void)snprintf(text, sizeof(text), "%g", number);
    (void)json_add(line, name, json_object_new_double_s(number, text));
}

void journal_end(json_object *line)
{
    MU_CLEANUP(string_free) char *text = NULL;
    const char *json = json_object_to_json_string_ext(line, JSON_C_TO_STRING_PLAIN |
                                                                JSON_C_TO_STRING_NOSLASHESCAPE);
    int len = json != NULL ? asprintf(&text, "%s\n", json) : -1;

    if (len > 0 && write(STDERR_FILENO, text, (size_t)len) < 0)
        len = 0; /* there is no other place to say it */
    if (len < 0)
        text = NULL;
    json_free(&line);
}

void journal_note(const char *event, const char *detail)
{
    json_object *line = journal_begin(event);

    journal_text(line, "detail", detail);
    journal_end(line);
}
