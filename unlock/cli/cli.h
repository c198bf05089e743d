/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef MU_CLI_CLI_H
#define MU_CLI_CLI_H

#include <getopt.h> /* optind */
#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"
#include "base/json.h"

/* What all programs with verbs share: help, version, options, messages, exit codes. */

/* `name` is one word or two ("baseline record"). `help` is printed for --help and -h. argv[0] is
 * the name, so that getopt_long can be used on it; the status becomes the exit code and err the
 * message. */
struct verb {
    const char *name;
    const char *synopsis; /* "[--bank sha384] [PCR...]" */
    const char *summary;  /* one line, lower-case, for the overview */
    const char *help;     /* what follows the usage line: options, one a line, and an example */
    enum mu_status (*run)(int argc, char **argv, struct mu_error *err);
};

/* A word that is not a verb of this program: a verb of another program follows it. If none follows,
 * that program's `verb` is run. The other program must lie in the same folder. */
struct elsewhere {
    const char *word, *program, *verb;
};

#define PROGRAM_VERBS_MAX 64

struct program {
    const char *name;
    const char *purpose;               /* a sentence */
    const struct verb *const *verbs;   /* NULL after the last, PROGRAM_VERBS_MAX at most */
    const struct elsewhere *elsewhere; /* its last word is NULL */
};

/* Runs the verb that argv names. Returns the exit code; a message is on standard error. */
int program_main(const struct program *program, int argc, char **argv);
/* The name of the running program. */
const char *program_name(void);

/* One option, and where it is kept: a flag, a number from `from` to `to`, the last value given, or
 * each of at most `max` values. */
struct cli_option {
    const char *name;
    char letter; /* 0: none */
    bool *flag;
    uint64_t *number, from, to;
    const char **text;
    size_t *count, max;
};
/* Takes all options and wants min to max operands, which begin at argv[optind]. The list ends with
 * a name that is NULL. MU_USAGE. */
enum mu_status cli_options(int argc, char **argv, const struct cli_option *options, int min,
                           int max, struct mu_error *err) MU_MUST_CHECK;

/* Text on a terminal gets colour unless NO_COLOR is set. `ok` picks green or red. */
const char *cli_mark(bool ok);

/* Writes the object as one pretty-printed JSON text to standard output (or `path`; "-" too). */
enum mu_status cli_print_json(const char *path, json_object *object,
                              struct mu_error *err) MU_MUST_CHECK;

#endif
