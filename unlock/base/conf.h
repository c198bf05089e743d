/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef MU_BASE_CONF_H
#define MU_BASE_CONF_H

#include <stdbool.h>
#include <stddef.h>

#include "base/error.h"

/* A configuration file: "[section]" or "[section NAME]" lines, "key = value" lines, "#" comments.
 * What may stand there is told by two tables. Unknown sections and keys, duplicates and values out
 * of range are MU_CONFIG with the line number. */

enum conf_kind {
    KIND_PATH, /* these are strings, char * */
    KIND_URL,
    KIND_TCTI,
    KIND_DEVICE,
    KIND_NAME,
    KIND_ARN,
    KIND_TEXT,
    KIND_NUMBER,  /* unsigned */
    KIND_VERSION, /* int64_t */
    KIND_FLAG,    /* bool */
    KIND_WORD,    /* an enum */
};

/* A key: where its value goes (offset from the section's structure) and what it may be. */
struct conf_key {
    const char *section, *name;
    enum conf_kind kind;
    size_t offset;
    unsigned min, max;
    const char *const *words; /* of KIND_WORD, in the order of its enum */
};

/* A section. One with a `size` is "[section NAME]", may be there up to `max` times, and is an
 * element of an array of such structures, which begin with `char *name`; `count` is the offset of a
 * size_t. */
struct conf_section {
    const char *name;
    size_t offset; /* of the structure or the array */
    size_t size, max, count;
};

#define CONF_KEYS_MAX 64

struct conf_schema {
    const struct conf_section *sections;
    size_t section_count;
    const struct conf_key *keys;
    size_t key_count; /* at most CONF_KEYS_MAX */
};

extern const char *const conf_flags[]; /* for KIND_FLAG */

/* Into *target, which holds the defaults (strings from malloc). On failure what was read until then
 * is in it, too: conf_free in any case. */
enum mu_status conf_load(const char *path, const struct conf_schema *schema, void *target,
                         struct mu_error *err) MU_MUST_CHECK;
/* Every string of it; they are NULL then. */
void conf_free(const struct conf_schema *schema, void *target);

#endif
