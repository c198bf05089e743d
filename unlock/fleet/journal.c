/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "fleet/journal.h"

#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/time.h"

json_object *journal_begin(const char *event)
{
    json_object *line = json_object_new_object();
    char now[TIME_TEXT];

    (void)time_text_ms(time_now_ms(), now);
    journal_text(line, "time", now);
    journal_text(line, "event", event);
    return line;
}

void journal_text(json_object *line, const char *name, const char *text)
{
    if (text != NULL && text[0] != '\0')
        (void)json_add_text(line, name, text);
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
    const char *json = json_text(line);
    int len = json != NULL ? asprintf(&text, "%s\n", json) : -1;

    if (len > 0 && write(STDERR_FILENO, text, (size_t)len) < 0)
        len = 0; /* there is no other place to report it */
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
