/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "page/html.h"

#include <inttypes.h>
#include <string.h>

#include "base/text.h"
#include "base/time.h"

#define TEXT_MAX 8192

void html_text(FILE *to, const char *text)
{
    char line[TEXT_MAX];
    struct text printable = text_into(line, sizeof(line));

    text_utf8(&printable, text_view(text));
    for (const char *at = line; *at != '\0'; at++) {
        switch (*at) {
        case '&':
            (void)fputs("&amp;", to);
            break;
        case '<':
            (void)fputs("&lt;", to);
            break;
        case '>':
            (void)fputs("&gt;", to);
            break;
        case '"':
            (void)fputs("&quot;", to);
            break;
        case '\'':
            (void)fputs("&#39;", to);
            break;
        default:
            (void)fputc(*at, to);
        }
    }
}

/* RFC 3986, 2.3: all but what is unreserved as %XX. */
void html_argument(FILE *to, const char *name, const char *value)
{
    static const char unreserved[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
                                     "0123456789-._~";

    (void)fprintf(to, "%s=", name);
    for (; *value != '\0'; value++)
        (void)fprintf(to, strchr(unreserved, *value) != NULL ? "%c" : "%%%02X",
                      (unsigned char)*value);
}

void html_link(FILE *to, const char *path, const char *name, const char *value, const char *text)
{
    (void)fprintf(to, "<a href=\"%s?", path);
    html_argument(to, name, value);
    (void)fputs("\">", to);
    html_text(to, text != NULL ? text : value);
    (void)fputs("</a>", to);
}

static void put_ago(FILE *to, int64_t ms)
{
    static const struct {
        int64_t ms;
        const char *unit;
    } units[] = {{86400000, "d"}, {3600000, "h"}, {60000, "min"}, {1000, "s"}};

    for (size_t i = 0; i < MU_COUNT(units); i++) {
        if (ms >= 2 * units[i].ms || (ms >= 1000 && units[i].ms == 1000)) {
            (void)fprintf(to, "%" PRId64 " %s ago", ms / units[i].ms, units[i].unit);
            return;
        }
    }
    (void)fputs("now", to);
}

static void put_time(FILE *to, int64_t at_ms, int64_t now_ms, bool whole)
{
    char text[TIME_TEXT];

    if (at_ms <= 0 || !time_text(at_ms / 1000, text)) {
        (void)fputs("never", to);
        return;
    }
    (void)fprintf(to, "<time datetime=\"%s\" title=\"%s\">", text, text);
    if (whole)
        (void)fprintf(to, "%.10s %.8s UTC (", text, text + 11);
    put_ago(to, now_ms - at_ms);
    (void)fputs(whole ? ")</time>" : "</time>", to);
}

void html_time(FILE *to, int64_t at_ms, int64_t now_ms)
{
    put_time(to, at_ms, now_ms, true);
}

void html_date(FILE *to, int64_t at_ms)
{
    char text[TIME_TEXT];

    if (time_text(at_ms / 1000, text))
        (void)fprintf(to, "<time datetime=\"%s\">%.10s %.5s UTC</time>", text, text, text + 11);
}

void html_age(FILE *to, int64_t at_ms, int64_t now_ms)
{
    put_time(to, at_ms, now_ms, false);
}

void html_table_begin(FILE *to, const char *caption, const char *const *columns, size_t count)
{
    (void)fprintf(to, "<table>\n<caption>%s</caption>\n<thead><tr>", caption);
    for (size_t i = 0; i < count; i++)
        (void)fprintf(to, "<th scope=\"col\">%s", columns[i]);
    (void)fputs("</thead>\n<tbody>\n", to);
}

void html_table_end(FILE *to)
{
    (void)fputs("</tbody>\n</table>\n", to);
}

void html_row(FILE *to)
{
    (void)fputs("<tr>\n", to);
}

void html_head_cell(FILE *to, const char *column)
{
    (void)fprintf(to, "<th scope=\"row\" data-column=\"%s\">", column);
}

void html_cell(FILE *to, const char *column)
{
    (void)fprintf(to, "<td data-column=\"%s\">", column);
}

void html_name(FILE *to, const char *name)
{
    (void)fprintf(to, "\n<dt>%s<dd>", name);
}

void html_item(FILE *to, const char *name, const char *text)
{
    html_name(to, name);
    html_text(to, text[0] != '\0' ? text : "none");
}
