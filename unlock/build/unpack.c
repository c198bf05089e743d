/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "build/unpack.h"

#include <stdlib.h>
#include <string.h>

#include "build/child.h"

#define TRIES_MAX 16
#define OWN_ZEROS_MAX 12 /* a block of lz4 ends in at least five bytes as they are */

static const struct tool {
    const char *magic;
    size_t len;
    const char *package;
    char *program, *argument[3]; /* not const: execve's prototype */
} tools[] = {
    {"\x28\xb5\x2f\xfd", 4, "zstd", "zstd", {"-dcq"}},
    {"\x1f\x8b", 2, "gzip", "gzip", {"-dcq"}},
    {"\xfd"
     "7zXZ",
     5,
     "xz-utils",
     "xz",
     {"-dcq"}},
    {"\x5d\0\0", 3, "xz-utils", "xz", {"-dcq", "--format=lzma"}},
    {"\x02\x21\x4c\x18", 4, "lz4", "lz4", {"-dcq"}},
    {"\x04\x22\x4d\x18", 4, "lz4", "lz4", {"-dcq"}},
    {"BZh", 3, "bzip2", "bzip2", {"-dcq"}},
    {"\x89LZO", 4, "lzop", "lzop", {"-dcq"}},
};

static const struct tool *tool_of(struct bytes data)
{
    for (size_t i = 0; i < MU_COUNT(tools); i++)
        if (data.len >= tools[i].len && memcmp(data.data, tools[i].magic, tools[i].len) == 0)
            return &tools[i];
    return NULL;
}

bool unpack_knows(struct bytes data)
{
    return tool_of(data) != NULL;
}

static enum mu_status unpack(struct bytes data, size_t max, struct buffer *ret, bool *ret_whole,
                             struct mu_error *err)
{
    char *environment[] = {(char[]){"PATH=" CHILD_PATH}, (char[]){"LC_ALL=C"}, NULL};
    const struct tool *tool = tool_of(data);

    if (tool == NULL)
        return mu_fail(err, MU_CONFIG, "it is not compressed in a way that is known");

    char *argv[] = {tool->program, tool->argument[0], tool->argument[1], NULL};
    const struct child_program program = {argv, environment, tool->package, .quiet = true};

    if (child_run(&program, data, max, ret, ret_whole, err) != MU_OK)
        return mu_context(err, "it is compressed");
    return MU_OK;
}

/* The formats have no length in front, and the programs do not tell how far they read: at each
 * place where another archive may begin, the data before it are tried alone. */
struct attempt {
    struct bytes data;
    size_t max;
    struct buffer *ret;
    size_t *ret_used;
    bool *ret_whole;
};

/* zstd and lz4 do not allow zeros behind an archive; some of them may be its own. */
static enum mu_status try_end(const struct attempt *attempt, size_t end, struct mu_error *err)
{
    size_t last = end;

    while (last > 0 && attempt->data.data[last - 1] == 0)
        last--;
    for (size_t zeros = 0; zeros <= OWN_ZEROS_MAX && last + zeros <= end; zeros++) {
        MU_CLEANUP(buffer_free) struct buffer out = {0};
        struct bytes part = {attempt->data.data, last + zeros};

        if (part.len == attempt->data.len)
            continue; /* was the first attempt */
        MU_TRY(unpack(part, attempt->max, &out, attempt->ret_whole, err));
        if (!*attempt->ret_whole)
            continue;
        buffer_free(attempt->ret);
        *attempt->ret = MU_TAKE(out);
        *attempt->ret_used = end;
        return MU_OK;
    }
    return MU_OK;
}

bool cpio_header(struct bytes data, uint32_t ret[static CPIO_FIELDS])
{
    if (data.len < CPIO_HEADER_BYTES ||
        (memcmp(data.data, "070701", 6) != 0 && memcmp(data.data, "070702", 6) != 0))
        return false;
    for (size_t i = 0; i < CPIO_FIELDS; i++) {
        char digits[9] = "";

        memcpy(digits, data.data + 6 + 8 * i, 8);
        if (strspn(digits, "0123456789abcdefABCDEF") != 8)
            return false;
        ret[i] = (uint32_t)strtoul(digits, NULL, 16);
    }
    return true;
}

/* A cpio archive ("newc"): lz4 leaves many a header readable, but none that leads to the next. */
static bool is_cpio(struct bytes data)
{
    uint32_t field[CPIO_FIELDS];
    size_t name, next;

    if (!cpio_header(data, field))
        return false;
    name = field[11];
    next = ((CPIO_HEADER_BYTES + name + 3) & ~(size_t)3) + (((size_t)field[6] + 3) & ~(size_t)3);
    if (name == 0 || name > data.len - CPIO_HEADER_BYTES ||
        data.data[CPIO_HEADER_BYTES + name - 1] != 0)
        return false;
    if (strcmp((const char *)data.data + CPIO_HEADER_BYTES, "TRAILER!!!") == 0)
        return true;
    return next < data.len && cpio_header((struct bytes){data.data + next, data.len - next}, field);
}

/* Some of the magic numbers are short enough to be met by chance: gzip says "deflate", lzma a size
 * of less than 2^40 or none, bzip2 begins a block. */
static bool is_compressed(struct bytes data)
{
    if (data.len < 18 || !unpack_knows(data))
        return false;
    switch (data.data[0]) {
    case 0x1f:
        return data.data[2] == 8;
    case 0x5d:
        return memcmp(data.data + 10, "\0\0\0", 3) == 0 ||
               memcmp(data.data + 10, "\xff\xff\xff", 3) == 0;
    case 'B':
        return memcmp(data.data + 4, "1AY&SY", 6) == 0;
    default:
        return true;
    }
}

static enum mu_status try_ends(const struct attempt *attempt, bool (*begins)(struct bytes data),
                               struct mu_error *err)
{
    const struct bytes data = attempt->data;
    unsigned tries = 0;

    for (size_t i = 1; i < data.len && tries < TRIES_MAX && !*attempt->ret_whole; i++) {
        if (!begins((struct bytes){data.data + i, data.len - i}))
            continue;
        tries++;
        MU_TRY(try_end(attempt, i, err));
    }
    return MU_OK;
}

/* bzip2 finds no fault with what follows, whatever that is; then it does not need the last byte. */
static enum mu_status needs_all(struct bytes data, size_t max, bool *ret, struct mu_error *err)
{
    MU_CLEANUP(buffer_free) struct buffer out = {0};
    size_t len = data.len;
    bool whole = false;

    while (len > 0 && data.data[len - 1] == 0)
        len--;
    MU_TRY(unpack((struct bytes){data.data, len - (len > 0)}, max, &out, &whole, err));
    *ret = !whole;
    return MU_OK;
}

enum mu_status unpack_first(struct bytes data, size_t max, struct buffer *ret, size_t *ret_used,
                            bool *ret_whole, struct mu_error *err)
{
    const struct attempt attempt = {data, max, ret, ret_used, ret_whole};

    *ret_used = data.len;
    MU_TRY(unpack(data, max, ret, ret_whole, err));
    if (!*ret_whole)
        MU_TRY(try_end(&attempt, data.len, err));
    else if (strcmp(tool_of(data)->program, "bzip2") == 0)
        MU_TRY(needs_all(data, max, ret_whole, err));
    MU_TRY(try_ends(&attempt, is_cpio, err));
    return try_ends(&attempt, is_compressed, err);
}
