/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef MU_PAGE_HTML_H
#define MU_PAGE_HTML_H

#include <stdint.h>
#include <stdio.h>

/* Whatever comes from a store or a request goes through html_text or html_link, also within
 * attributes, which have double quotes: control characters and those that reorder text are shown as
 * \x1b and \u202e, and what means something in HTML is escaped. */
void html_text(FILE *to, const char *text);
/* The beginning of an element's text: a link to `path` with one argument of its query. `text` NULL:
 * the value. */
void html_link(FILE *to, const char *path, const char *name, const char *value, const char *text);
/* What follows "?" or "&" of a link. */
void html_argument(FILE *to, const char *name, const char *value);

/* "<time>" with date and clock in UTC and how long ago that was; "never" for 0. */
void html_time(FILE *to, int64_t at_ms, int64_t now_ms);
/* How long ago alone; date and clock are for machines, and the pointer. */
void html_age(FILE *to, int64_t at_ms, int64_t now_ms);
/* Date and clock of a time that may be to come. */
void html_date(FILE *to, int64_t at_ms);

/* A table that becomes a list on a narrow screen, where each cell shows its column's name. */
void html_table_begin(FILE *to, const char *caption, const char *const *columns, size_t count);
void html_table_end(FILE *to);
/* The beginning of a row, of its first cell, which names it, and of another. A cell ends where the
 * next one begins (HTML, 13.1.2.4). */
void html_row(FILE *to);
void html_head_cell(FILE *to, const char *column);
void html_cell(FILE *to, const char *column);

/* An item of a list of names and values, up to its value; html_item with a text. */
void html_name(FILE *to, const char *name);
void html_item(FILE *to, const char *name, const char *text);

/* page.css */
extern const char page_style[];

#endif
