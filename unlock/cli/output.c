/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "cli/cli.h"

const char *cli_mark(bool ok)
{
    const char *no_color = getenv("NO_COLOR");

    if (!isatty(STDOUT_FILENO) || (no_color != NULL && no_color[0] != '\0'))
        return ok ? "ok    " : "FAILED";
    return ok ? "\033[32mok    \033[0m" : "\033[31mFAILED\033[0m";
}

enum mu_status cli_print_json(const char *path, json_object *object, struct mu_error *err)
{
    const char *text = json_object_to_json_string_ext(
        object, JSON_C_TO_STRING_PRETTY | JSON_C_TO_STRING_SPACED | JSON_C_TO_STRING_NOSLASHESCAPE);
    MU_CLEANUP(buffer_free) struct buffer line = {0};

    if (text == NULL)
        return mu_oom(err);
    MU_TRY(buffer_alloc(&line, strlen(text) + 1, err));
    memcpy(line.data, text, strlen(text));
    line.data[line.len - 1] = '\n';
    return file_write(path, buffer_view(&line), 0644, err);
}
