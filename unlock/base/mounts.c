/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "base/mounts.h"

#include <stdlib.h>
#include <string.h>

void mounts_free(struct mounts *mounts)
{
    free(mounts->mount);
    free(mounts->text);
    *mounts = (struct mounts){0};
}

static bool is_octal(const char *text)
{
    for (size_t i = 0; i < 3; i++)
        if (text[i] < '0' || text[i] > '7')
            return false;
    return text[0] <= '3';
}

static void unescape(char *field)
{
    char *to = field;

    while (*field != '\0') {
        if (field[0] == '\\' && is_octal(field + 1)) {
            *to++ = (char)((field[1] - '0') * 64 + (field[2] - '0') * 8 + (field[3] - '0'));
            field += 4;
        } else {
            *to++ = *field++;
        }
    }
    *to = '\0';
}

/* The next field, at *at; *at then points behind it. NULL at the end. */
static char *take_field(char **at)
{
    char *field = *at, *end;

    if (field == NULL || *field == '\0')
        return NULL;
    end = strchr(field, ' ');
    if (end != NULL)
        *end++ = '\0';
    *at = end;
    return field;
}

static bool parse_line(char *line, struct mount *ret)
{
    const char *field;

    (void)take_field(&line);
    (void)take_field(&line);
    ret->device = take_field(&line);
    ret->root = take_field(&line);
    ret->point = take_field(&line);
    do
        field = take_field(&line);
    while (field != NULL && strcmp(field, "-") != 0);
    ret->type = take_field(&line);
    ret->source = take_field(&line);
    if (ret->point == NULL || ret->source == NULL)
        return false;
    unescape(ret->root);
    unescape(ret->point);
    unescape(ret->type);
    unescape(ret->source);
    return true;
}

static size_t count_lines(const char *text)
{
    size_t lines = 1;

    for (; (text = strchr(text, '\n')) != NULL; text++)
        lines++;
    return lines;
}

enum mu_status mounts_parse(struct bytes content, struct mounts *ret, struct mu_error *err)
{
    MU_CLEANUP(mounts_free) struct mounts made = {0};
    char *line;

    made.text = calloc(1, content.len + 1);
    if (made.text == NULL)
        return mu_oom(err);
    if (content.len > 0)
        memcpy(made.text, content.data, content.len);
    made.mount = calloc(count_lines(made.text), sizeof(*made.mount));
    if (made.mount == NULL)
        return mu_oom(err);
    for (line = made.text; line != NULL && *line != '\0';) {
        char *end = strchr(line, '\n');

        if (end != NULL)
            *end++ = '\0';
        if (!parse_line(line, &made.mount[made.count++]))
            return mu_fail(err, MU_INTERNAL, "line %zu of mountinfo is malformed", made.count);
        line = end;
    }
    *ret = MU_TAKE(made);
    return MU_OK;
}
