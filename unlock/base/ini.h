/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef MU_BASE_INI_H
#define MU_BASE_INI_H

#include <stdbool.h>
#include <stddef.h>

#include "base/bytes.h"
#include "base/error.h"

/* A configuration file: "[section]" or "[section NAME]" lines, "key = value" lines, "#" comments.
 * Two tables say what a file may contain. Unknown sections and keys, duplicates and values out of
 * range are MU_CONFIG with the line number. */

enum ini_kind {
    KIND_PATH, /* these are strings, char * */
    KIND_URL,
    KIND_URLS, /* a list of URL and REGION=URL */
    KIND_TCTI,
    KIND_DEVICE,
    KIND_NAME,
    KIND_ARNS, /* a list */
    KIND_TEXT,
    KIND_NUMBER,  /* unsigned */
    KIND_VERSION, /* int64_t */
    KIND_FLAG,    /* bool */
    KIND_WORD,    /* an enum */
};

/* A key: where its value goes (offset from the section's structure), which values are valid, and
 * which it has if the file does not say. */
struct ini_key {
    const char *section, *name;
    enum ini_kind kind;
    size_t offset;
    unsigned min, max, preset; /* of a number */
    bool needed;               /* a string without which the file is unusable */
    const char *text;          /* the preset of a string; NULL: none */
    const char *const *words;  /* of KIND_WORD, in the order of its enum; the first is preset */
};

/* A section. A section with a `size` is "[section NAME]": it must occur unless it is optional, may
 * up to `max` times, and each one is an element of an array of structures that begin with `char
 * *name`; `count` is the offset of a size_t. */
struct ini_section {
    const char *name;
    size_t offset; /* of the structure or the array */
    size_t size, max, count;
    bool optional;
};

#define INI_KEYS_MAX 64

struct ini_schema {
    const struct ini_section *sections;
    size_t section_count;
    const struct ini_key *keys;
    size_t key_count; /* at most INI_KEYS_MAX */
};

extern const char *const ini_flags[]; /* for KIND_FLAG */

#define INI_NAME_MAX 64
/* True if the text is valid as a KIND_NAME value or as the name of a section. */
bool ini_is_name(const char *text) MU_NONNULL;

#define INI_LIST_BETWEEN ", \t" /* in KIND_URLS and KIND_ARNS */
/* For a value that is a list: the next item from *at on; *at then points behind the item. Empty at
 * the end of the list. */
struct bytes ini_next_item(const char **at, const char *between) MU_NONNULL;
bool ini_lists(const char *list, const char *between, const char *item) MU_NONNULL;

/* Reads the file (path NULL: only the presets) into *target, which is zeroed. After a failure
 * *target holds what was read until then: call ini_free in any case. */
enum mu_status ini_load(const char *path, const struct ini_schema *schema, void *target,
                        struct mu_error *err) MU_MUST_CHECK MU_NONNULL_AT(2, 3, 4);
/* Frees every string in *target and sets it to NULL. */
void ini_free(const struct ini_schema *schema, void *target) MU_NONNULL;

#endif
