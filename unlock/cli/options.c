/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "cli/cli.h"

#include <inttypes.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#define OPTIONS_MAX 32

static enum mu_status check_operands(int argc, int min, int max, struct mu_error *err)
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

static enum mu_status give_number(const struct cli_option *option, const char *value,
                                  struct mu_error *err)
{
    size_t len = strlen(value);
    uint64_t number = strtoull(value, NULL, 10);

    if (len == 0 || len > 19 || strspn(value, "0123456789") != len || number < option->from ||
        number > option->to)
        return mu_fail(err, MU_USAGE, "--%s '%.40s' is not a number from %" PRIu64 " to %" PRIu64,
                       option->name, value, option->from, option->to);
    *option->number = number;
    return MU_OK;
}

static enum mu_status give(const struct cli_option *option, const char *value, struct mu_error *err)
{
    if (option->flag != NULL) {
        *option->flag = true;
    } else if (option->number != NULL) {
        return give_number(option, value, err);
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
    char letters[2 * OPTIONS_MAX + 2] = ":";
    size_t count = 0, len = 1;
    int found;

    for (; options[count].name != NULL; count++) {
        const struct cli_option *option = &options[count];

        if (count == OPTIONS_MAX)
            return mu_fail(err, MU_INTERNAL, "too many options");
        all[count] = (struct option){
            .name = option->name,
            .has_arg = option->flag != NULL ? no_argument : required_argument,
            .val = option->letter != 0 ? option->letter : UCHAR_MAX + 1 + (int)count,
        };
        if (option->letter == 0)
            continue;
        letters[len++] = option->letter;
        if (option->flag == NULL)
            letters[len++] = ':';
    }
    opterr = 0;
    while ((found = getopt_long(argc, argv, letters, all, NULL)) != -1) {
        size_t i = 0;

        if (found == ':')
            return mu_fail(err, MU_USAGE, "option '%s' needs a value; see '%s %s --help'",
                           argv[optind - 1], program_name(), argv[0]);
        if (found == '?')
            return mu_fail(err, MU_USAGE, "unknown option '%s'; see '%s %s --help'",
                           argv[optind - 1], program_name(), argv[0]);
        while (all[i].val != found)
            i++;
        MU_TRY(give(&options[i], optarg, err));
    }
    return check_operands(argc, min, max, err);
}
