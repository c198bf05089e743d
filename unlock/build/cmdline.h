/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef MU_BUILD_CMDLINE_H
#define MU_BUILD_CMDLINE_H

#include <stdbool.h>
#include <stddef.h>

#include "base/bytes.h"

/* clang-format off */
/*
 * The kernel command line. Three programs read the same text, each by rules of its own:
 *
 *             kernel                      systemd                      dracut
 * words end   at white space, also        at space, tab, line feed,    as the kernel (its getarg is
 *             \v, \f and 0xa0             carriage return              the kernel's next_arg)
 * quotes      "double" ones, anywhere     "double" and 'single' ones,  as the kernel
 *             in a word; taken off at     anywhere; all are taken off
 *             its ends and around the
 *             whole value
 * backslash   is a character              is a character               is a character
 * open quote  ends with the line          ends with the line           ends with the line
 * - and _     equal in names              equal in names               differ
 * "--"        later words are             means nothing                means nothing
 *             arguments of init
 * repeated    the last one counts:        systemd.unit=, root=,        the last one: getarg;
 *             init=, root=; efi= item     switches: the last one;      all: getargs
 *             by item; all: console=      systemd.mask=, .wants=,
 *                                         .run=, .mount-extra=,
 *                                         .setenv=, .set_credential=:
 *                                         all
 * rd.NAME     a module's parameter        ignored outside the          a name like any other
 *                                         initramfs
 *
 * Sources: next_arg in lib/cmdline.c and parse_args in kernel/params.c; extract_first_word with
 * UNQUOTE, RELAX and RETAIN_ESCAPE, and proc_cmdline_key_streq, in src/basic of systemd 252 to 262;
 * dracut-util.c of dracut 054 to 112. What stands inside a quoted value is no word.
 */
/* clang-format on */
enum cmdline_reader { CMDLINE_KERNEL, CMDLINE_SYSTEMD, CMDLINE_DRACUT };
#define CMDLINE_READERS 3

struct cmdline_word {
    const char *name;
    const char *value; /* without its quotes; "" of "a="; NULL of "a" */
    size_t position;   /* of the word's first byte in the line */
    bool to_init;      /* stands after "--", or is the word "--" itself */
};

struct cmdline {
    enum cmdline_reader reader;
    struct cmdline_word *word;
    size_t count;
    char *text; /* the memory that the words point into */
};

/* The line ends at its first zero byte. Fails with MU_INTERNAL only, out of memory. */
enum mu_status cmdline_parse(struct bytes line, enum cmdline_reader reader, struct cmdline *ret,
                             struct mu_error *err) MU_MUST_CHECK;
void cmdline_free(struct cmdline *line);

/* The same line as each of its readers has it. cmdlines_free in any case. */
struct cmdlines {
    struct cmdline as[CMDLINE_READERS];
};
enum mu_status cmdlines_parse(struct bytes line, struct cmdlines *ret,
                              struct mu_error *err) MU_MUST_CHECK;
void cmdlines_free(struct cmdlines *lines);

/* True if the reader takes both for the same name. A '*' at the end of the pattern stands for one
 * or more characters. */
bool cmdline_name_is(enum cmdline_reader reader, const char *name, const char *pattern);

/* In the initramfs systemd takes "rd.NAME" for NAME: that NAME, or all of it. */
const char *cmdline_without_rd(enum cmdline_reader reader, const char *name);

/* The word of that name that counts, if only one counts; NULL if there is none. For the kernel,
 * words after "--" do not count. */
const struct cmdline_word *cmdline_last(const struct cmdline *line, const char *name);

/* True for "NAME=0" and the like, in the words of that reader. "NAME" alone is on. */
bool cmdline_is_off(enum cmdline_reader reader, const struct cmdline_word *word);

/* True if the value is a list with commas that has the item: efi=debug,noruntime. */
bool cmdline_lists(const struct cmdline_word *word, const char *item);

#endif
