/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "build/cmdline.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

/* What is being cut: bytes are read at `at` and written at `to`, which never overtakes it. */
struct cutter {
    enum cmdline_reader reader;
    char *at, *to;
};

void cmdline_free(struct cmdline *line)
{
    free(line->word);
    free(line->text);
    *line = (struct cmdline){0};
}

/* The kernel's table of characters has the no-break space of Latin-1 among the blanks. */
static bool is_blank(enum cmdline_reader reader, char c)
{
    if (c == ' ' || c == '\t' || c == '\n' || c == '\r')
        return true;
    return reader != CMDLINE_SYSTEMD && (c == '\v' || c == '\f' || c == '\xa0');
}

/* From the first byte of a word to the blank behind it, or the end. */
static char *end_of_kernel_word(const struct cutter *cut, char *word)
{
    bool quoted = false;

    for (; *word != '\0' && (quoted || !is_blank(cut->reader, *word)); word++)
        if (*word == '"')
            quoted = !quoted;
    return word;
}

/* A '=' that is the first byte of a word does not end its name. */
static char *equals_sign(char *word)
{
    return word[0] == '\0' ? NULL : strchr(word + 1, '=');
}

/* lib/cmdline.c, next_arg: a quote before the name and one around the whole value go, with the one
 * that ends the word; others stay. */
static void cut_kernel_word(struct cutter *cut, struct cmdline_word *word)
{
    char *start = cut->at, *end = end_of_kernel_word(cut, cut->at), *value;
    bool quoted = *start == '"';

    cut->at = *end == '\0' ? end : end + 1;
    *end = '\0';
    start += quoted;
    value = equals_sign(start);
    if (value != NULL) {
        *value++ = '\0';
        if (*value == '"') {
            quoted = true;
            value++;
        }
    }
    if (quoted && end > (value != NULL ? value : start) && end[-1] == '"')
        end[-1] = '\0';
    word->name = start;
    word->value = value;
}

/* extract_first_word of systemd. */
static void cut_systemd_word(struct cutter *cut, struct cmdline_word *word)
{
    char *start = cut->to, *value, quote = '\0';

    for (; *cut->at != '\0'; cut->at++) {
        char c = *cut->at;

        if (quote != '\0' ? c == quote : c == '"' || c == '\'')
            quote = (char)(quote != '\0' ? '\0' : c);
        else if (quote == '\0' && is_blank(cut->reader, c))
            break;
        else
            *cut->to++ = c;
    }
    if (*cut->at != '\0')
        cut->at++;
    *cut->to++ = '\0';
    value = strchr(start, '=');
    if (value != NULL)
        *value++ = '\0';
    word->name = start;
    word->value = value;
}

static size_t count_words_at_most(size_t len)
{
    return len / 2 + 1;
}

enum mu_status cmdline_parse(struct bytes line, enum cmdline_reader reader, struct cmdline *ret,
                             struct mu_error *err)
{
    MU_CLEANUP(cmdline_free) struct cmdline made = {.reader = reader};
    size_t len = line.len == 0 ? 0 : strnlen((const char *)line.data, line.len);
    struct cutter cut = {.reader = reader};
    bool to_init = false;

    made.word = calloc(count_words_at_most(len), sizeof(*made.word));
    made.text = calloc(1, len + 1);
    if (made.word == NULL || made.text == NULL)
        return mu_oom(err);
    if (len > 0)
        memcpy(made.text, line.data, len);
    cut.at = cut.to = made.text;
    for (;;) {
        struct cmdline_word *word = &made.word[made.count];

        while (is_blank(reader, *cut.at))
            cut.at++;
        if (*cut.at == '\0')
            break;
        word->position = (size_t)(cut.at - made.text);
        if (reader == CMDLINE_SYSTEMD)
            cut_systemd_word(&cut, word);
        else
            cut_kernel_word(&cut, word);
        to_init = to_init || (word->value == NULL && strcmp(word->name, "--") == 0);
        word->to_init = to_init;
        made.count++;
    }
    *ret = MU_TAKE(made);
    return MU_OK;
}

enum mu_status cmdlines_parse(struct bytes line, struct cmdlines *ret, struct mu_error *err)
{
    for (size_t i = 0; i < CMDLINE_READERS; i++)
        MU_TRY(cmdline_parse(line, (enum cmdline_reader)i, &ret->as[i], err));
    return MU_OK;
}

void cmdlines_free(struct cmdlines *lines)
{
    for (size_t i = 0; i < CMDLINE_READERS; i++)
        cmdline_free(&lines->as[i]);
}

const char *cmdline_without_rd(enum cmdline_reader reader, const char *name)
{
    return reader == CMDLINE_SYSTEMD && strncmp(name, "rd.", 3) == 0 ? name + 3 : name;
}

static bool same_letter(enum cmdline_reader reader, char a, char b)
{
    return a == b || (reader != CMDLINE_DRACUT && (a == '-' || a == '_') && (b == '-' || b == '_'));
}

bool cmdline_name_is(enum cmdline_reader reader, const char *name, const char *pattern)
{
    for (; *name != '\0' && same_letter(reader, *name, *pattern); name++, pattern++)
        ;
    if (*name == '\0')
        return *pattern == '\0';
    return pattern[0] == '*' && pattern[1] == '\0';
}

const struct cmdline_word *cmdline_last(const struct cmdline *line, const char *name)
{
    for (size_t i = line->count; i > 0; i--) {
        const struct cmdline_word *word = &line->word[i - 1];

        if (line->reader == CMDLINE_KERNEL && word->to_init)
            continue;
        if (cmdline_name_is(line->reader, word->name, name))
            return word;
    }
    return NULL;
}

/* kstrtobool of the kernel, parse_boolean of systemd, getargbool of dracut. */
bool cmdline_is_off(enum cmdline_reader reader, const struct cmdline_word *word)
{
    static const char *const off[] = {"0", "no", "off", "n", "false", "f"};
    size_t known = reader == CMDLINE_DRACUT ? 3 : MU_COUNT(off);

    if (word->value == NULL)
        return false;
    if (reader == CMDLINE_KERNEL && strchr("nNfF0", word->value[0]) != NULL)
        return word->value[0] != '\0';
    for (size_t i = 0; i < known; i++)
        if ((reader == CMDLINE_DRACUT ? strcmp : strcasecmp)(word->value, off[i]) == 0)
            return true;
    return false;
}

bool cmdline_lists(const struct cmdline_word *word, const char *item)
{
    const char *at = word->value;

    while (at != NULL) {
        size_t len = strcspn(at, ",");

        if (len == strlen(item) && strncmp(at, item, len) == 0)
            return true;
        at = at[len] == '\0' ? NULL : at + len + 1;
    }
    return false;
}
