/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "ctl/ctl.h"

#include <limits.h>

#define OPTIONS_MAX 32

static enum mu_status give(const struct ctl_option *option, const char *value, struct mu_error *err)
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

enum mu_status ctl_options(int argc, char **argv, const struct ctl_option *options, int min,
                           int max, struct mu_error *err)
{
    struct option all[OPTIONS_MAX + 1] = {0};
    size_t count = 0;

    for (; options[count].name != NULL; count++) {
        const struct ctl_option *option = &options[count];

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

        MU_TRY(ctl_next_option(argc, argv, all, &found, err));
        if (found == -1)
            return ctl_operands(argc, min, max, err);
        while (all[i].val != found)
            i++;
        MU_TRY(give(&options[i], optarg, err));
    }
}
