/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "build/bootentry.h"

#include <ctype.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "base/text.h"
#include "build/pe.h"

#define SUFFIX ".efi"
#define SUFFIX_LEN (sizeof(SUFFIX) - 1)

/* Digits, at most INT_MAX as systemd-boot has it; NULL if there are none. */
static const char *number(const char *text, int64_t *ret)
{
    const char *at = text;
    int64_t value = 0;

    while (isdigit((unsigned char)*at) && value <= INT_MAX)
        value = 10 * value + (*at++ - '0');
    *ret = value;
    return at == text || value > INT_MAX ? NULL : at;
}

/* "+3.efi" or "+2-1.efi" */
static bool parse_counter(const char *text, int64_t *ret_left, int64_t *ret_done)
{
    const char *at = number(text + 1, ret_left);

    *ret_done = 0;
    if (at != NULL && *at == '-')
        at = number(at + 1, ret_done);
    return at != NULL && strcasecmp(at, SUFFIX) == 0;
}

bool boot_name_parse(const char *file, struct boot_name *ret)
{
    size_t len = strlen(file);
    const char *plus = strrchr(file, '+');
    int64_t left, done;

    *ret = (struct boot_name){.left = -1};
    if (len <= SUFFIX_LEN || len >= sizeof(ret->stem) ||
        strcasecmp(file + len - SUFFIX_LEN, SUFFIX) != 0)
        return false;
    len -= SUFFIX_LEN;
    if (plus != NULL && plus != file && parse_counter(plus, &left, &done)) {
        ret->left = left;
        ret->done = done;
        len = (size_t)(plus - file);
    }
    memcpy(ret->stem, file, len);
    return true;
}

/* FAT takes more, but not every firmware and shell does. */
static bool is_stem(const char *stem)
{
    static const char allowed[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
                                  "._-~^";

    return bytes_all_of(text_view(stem), allowed) && stem[0] != '.' &&
           strncasecmp(stem, "auto-", 5) != 0;
}

enum mu_status boot_name_make(const char *stem, int64_t left, char ret[static BOOT_FILE_MAX],
                              struct mu_error *err)
{
    char counter[24] = "";

    if (!is_stem(stem) || strlen(stem) + sizeof(counter) + SUFFIX_LEN >= BOOT_FILE_MAX)
        return mu_fail(err, MU_CONFIG,
                       "'%.64s' cannot be the name of an entry: letters, digits and ._-~^ can, at "
                       "most 200, not with a dot or 'auto-' first",
                       stem);
    if (left >= 0)
        (void)snprintf(counter, sizeof(counter), "+%" PRId64, left);
    (void)snprintf(ret, BOOT_FILE_MAX, "%s%s" SUFFIX, stem, counter);
    return MU_OK;
}

/* ---- what an image says of itself ---- */

static void unquote(struct bytes value, char ret[static BOOT_FIELD_MAX])
{
    if (value.len >= 2 && (value.data[0] == '"' || value.data[0] == '\'') &&
        value.data[value.len - 1] == value.data[0])
        value = (struct bytes){value.data + 1, value.len - 2};
    (void)snprintf(ret, BOOT_FIELD_MAX, "%.*s", (int)value.len, (const char *)value.data);
    text_make_printable(ret);
}

/* The last line NAME=VALUE of os-release(5); "" if there is none. */
static void os_release(struct bytes text, const char *name, char ret[static BOOT_FIELD_MAX])
{
    size_t len = strlen(name);

    ret[0] = '\0';
    while (text.len > 0) {
        const uint8_t *end = memchr(text.data, '\n', text.len);
        size_t line = end != NULL ? (size_t)(end - text.data) : text.len;
        size_t used = line + (end != NULL);

        if (line > len + 1 && memcmp(text.data, name, len) == 0 && text.data[len] == '=')
            unquote((struct bytes){text.data + len + 1, line - len - 1}, ret);
        text = (struct bytes){text.data + used, text.len - used};
    }
}

static void first_of(struct bytes text, const char *const *names, char ret[static BOOT_FIELD_MAX])
{
    ret[0] = '\0';
    for (size_t i = 0; ret[0] == '\0' && names[i] != NULL; i++)
        os_release(text, names[i], ret);
}

enum mu_status boot_entry_read(const char *file, struct bytes uki, struct boot_entry *ret,
                               struct mu_error *err)
{
    /* systemd-boot, bootspec_pick_name_version_sort_key() */
    static const char *const titles[] = {"PRETTY_NAME", "IMAGE_ID", "NAME", "ID", NULL};
    static const char *const keys[] = {"IMAGE_ID", "ID", NULL};
    static const char *const versions[] = {"IMAGE_VERSION", "VERSION", "VERSION_ID", "BUILD_ID",
                                           NULL};
    MU_CLEANUP(buffer_free) struct buffer spare = {0};
    MU_CLEANUP(buffer_free) struct buffer spare_release = {0};
    struct boot_entry entry = {0};
    struct bytes kernel, release;
    char title[BOOT_FIELD_MAX];

    if (!boot_name_parse(file, &entry.name))
        return mu_fail(err, MU_CONFIG, "its name does not end in " SUFFIX);
    (void)snprintf(entry.file, sizeof(entry.file), "%s", file);
    MU_TRY(pe_section(uki, ".linux", &spare, &kernel, err));
    if (kernel.len == 0)
        return mu_fail(err, MU_CONFIG,
                       "not a unified kernel image: it has no section .linux, which holds the "
                       "kernel; 'ukify build' or 'dracut --uefi' makes one");
    MU_TRY(pe_section(uki, ".osrel", &spare_release, &release, err));
    first_of(release, titles, title);
    if (title[0] == '\0')
        return mu_fail(err, MU_CONFIG,
                       "its section .osrel, which is os-release(5), names no system: systemd-boot "
                       "does not list such an image");
    first_of(release, keys, entry.sort_key);
    first_of(release, versions, entry.version);
    *ret = entry;
    return MU_OK;
}

/* ---- the order ---- */

static bool is_version_character(char c)
{
    return isalnum((unsigned char)c) || (c != '\0' && strchr("~-^.", c) != NULL);
}

static int sign(bool greater, bool less)
{
    return (int)greater - (int)less;
}

static size_t span(const char *text, int (*is)(int))
{
    size_t len = 0;

    while (is((unsigned char)text[len]) != 0)
        len++;
    return len;
}

/* Takes one run of digits, or of letters, from each. */
static int compare_runs(const char **a, const char **b)
{
    const bool digits = isdigit((unsigned char)**a) || isdigit((unsigned char)**b);
    size_t la, lb;
    int order;

    if (digits) {
        const char *from_a = *a, *from_b = *b;

        la = span(*a, isdigit);
        lb = span(*b, isdigit);
        if (la == 0 || lb == 0)
            return sign(la > 0, lb > 0);
        *a += strspn(*a, "0");
        *b += strspn(*b, "0");
        la -= (size_t)(*a - from_a);
        lb -= (size_t)(*b - from_b);
        if (la != lb)
            return sign(la > lb, la < lb);
    } else {
        la = span(*a, isalpha);
        lb = span(*b, isalpha);
    }
    order = memcmp(*a, *b, la < lb ? la : lb);
    *a += la;
    *b += lb;
    return order != 0 ? order : sign(la > lb, la < lb);
}

/* One after the other: a text that has the separator here is before one that goes on without. */
static int compare_separators(const char *separators, const char **a, const char **b)
{
    for (const char *c = separators; *c != '\0'; c++) {
        if (**a != *c && **b != *c)
            continue;
        if (**a != **b)
            return **a == *c ? -1 : 1;
        (*a)++;
        (*b)++;
    }
    return 0;
}

int version_compare(const char *a, const char *b)
{
    for (;;) {
        int order;

        while (*a != '\0' && !is_version_character(*a))
            a++;
        while (*b != '\0' && !is_version_character(*b))
            b++;
        order = compare_separators("~", &a, &b);
        if (order == 0 && (*a == '\0' || *b == '\0'))
            return sign(*a != '\0', *b != '\0');
        if (order == 0)
            order = compare_separators("-^.", &a, &b);
        if (order == 0)
            order = compare_runs(&a, &b);
        if (order != 0)
            return order;
    }
}

/* systemd-boot compares file names in lower case. */
static int compare_files(const char *a, const char *b)
{
    char lower[2][BOOT_FILE_MAX] = {"", ""};
    const char *const names[2] = {a, b};

    for (size_t k = 0; k < 2; k++)
        for (size_t i = 0; names[k][i] != '\0' && i + 1 < BOOT_FILE_MAX; i++)
            lower[k][i] = (char)tolower((unsigned char)names[k][i]);
    return -version_compare(lower[0], lower[1]);
}

/* boot_entry_compare() of systemd-boot: tries left at all, system, version (the newest first), file
 * name (the same), tries left, tries done. */
int boot_entry_compare(const struct boot_entry *a, const struct boot_entry *b)
{
    const bool keyed = a->sort_key[0] != '\0' && b->sort_key[0] != '\0';
    const int64_t left_a = a->name.left, left_b = b->name.left;
    int order = sign(left_a == 0, left_b == 0);

    if (order == 0)
        order = sign(a->sort_key[0] == '\0', b->sort_key[0] == '\0');
    if (order == 0 && keyed)
        order = strcmp(a->sort_key, b->sort_key);
    if (order == 0 && keyed)
        order = -version_compare(a->version, b->version);
    if (order == 0)
        order = compare_files(a->file, b->file);
    if (order == 0 && left_a >= 0 && left_b >= 0)
        order = sign(left_a<left_b, left_a> left_b);
    if (order == 0 && left_a >= 0 && left_b >= 0)
        order = sign(a->name.done > b->name.done, a->name.done < b->name.done);
    return order;
}
