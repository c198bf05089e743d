/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "cli/cli.h"

#include <limits.h>

#define OPTIONS_MAX 32

/* ":" and each short name, with ":" if the option takes a value. */
static void short_options(const struct option *options, char *to, size_t cap)
{
    size_t len = 0;

    to[len++] = ':';
    for (; options->name != NULL && len + 2 < cap; options++) {
        if (options->val > UCHAR_MAX)
            continue;
        to[len++] = (char)options->val;
        if (options->has_arg == required_argument)
            to[len++] = ':';
    }
    to[len] = '\0';
}

enum mu_status cli_next_option(int argc, char **argv, const struct option *options, int *ret_option,
                               struct mu_error *err)
{
    char letters[64];
    int option;

    short_options(options, letters, sizeof(letters));
    opterr = 0;
    option = getopt_long(argc, argv, letters, options, NULL);
    if (option == ':')
        return mu_fail(err, MU_USAGE, "option '%s' needs a value; see '%s %s --help'",
                       argv[optind - 1], program_name(), argv[0]);
    if (option == '?')
        return mu_fail(err, MU_USAGE, "unknown option '%s'; see '%s %s --help'", argv[optind - 1],
                       program_name(), argv[0]);
    *ret_option = option;
    return MU_OK;
}

enum mu_status cli_operands(int argc, int min, int max, struct mu_error *err)
{
    int count = argc - optind;

    if (count < min)
        return mu_fail(err, MU_USAGE, "%d operand%s needed, %d given; see --help", min,
                       min == 1 ? " is" : "s are", count);
    if (count > max)
        return mu_fail(err, MU_USAGE, "at most %d operand%s, %d given; see --help", max,
                       max == 1 ? "" : "s", count);
    return MU_OK;
}

static enum mu_status give(const struct cli_option *option, const char *value, struct mu_error *err)
{
    if (option->flag != NULL) {
        *option->flag = true;
    } else if (option->count == NULL) {
        *option->text = value;
    } else {
        if (*option->count == option->max)
            return mu_fail(err, MU_USAGE, "--%s: at most %zu", option->name, option->max);
        option->text[(*option->count)++] = value;
    }
    return MU_OK;
}

enum mu_status cli_options(int argc, char **argv, const struct cli_option *options, int min,
                           int max, struct mu_error *err)
{
    struct option all[OPTIONS_MAX + 1] = {0};
    size_t count = 0;

    for (; options[count].name != NULL; count++) {
        const struct cli_option *option = &options[count];

        if (count == OPTIONS_MAX)
            return mu_fail(err, MU_INTERNAL, "too many options");
        all[count] = (struct option){
            .name = option->name,
            .has_arg = option->flag != NULL ? no_argument : required_argument,
            .val = option->letter != 0 ? option->letter : UCHAR_MAX + 1 + (int)count,
        };
    }
    for (;;) {
        size_t i = 0;
        int found;

        MU_TRY(cli_next_option(argc, argv, all, &found, err));
        if (found == -1)
            return cli_operands(argc, min, max, err);
        while (all[i].val != found)
            i++;
        MU_TRY(give(&options[i], optarg, err));
    }
}
