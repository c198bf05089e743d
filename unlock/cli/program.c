/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/harden.h"
#include "base/log.h"
#include "base/names.h"
#include "base/secret.h"
#include "cli/cli.h"
#include "cli/suggest.h"

static const struct program *program;

const char *program_name(void)
{
    return program->name;
}

static void print_overview(FILE *to)
{
    (void)fprintf(to, "Usage: %s VERB [OPTION...]\n\n%s\n\n", program->name, program->purpose);
    for (const struct verb *const *verb = program->verbs; *verb != NULL; verb++)
        (void)fprintf(to, "  %-17s %s\n", (*verb)->name, (*verb)->summary);
    (void)fprintf(
        to,
        "\n'%s help VERB' explains a verb; '%s version' tells the version.\n"
        "Exit codes: 0 ok, 1 usage, 2 refused, 3 not ready, 4 configuration, 5 internal.\n",
        program->name, program->name);
}

static void print_help(const struct verb *verb)
{
    size_t len = strlen(verb->help);
    bool ended = len > 0 && verb->help[len - 1] == '\n';

    (void)printf("Usage: %s %s %s\n\n%s%s", program->name, verb->name, verb->synopsis, verb->help,
                 ended ? "" : "\n");
}

static bool asks_for_help(int argc, char **argv)
{
    for (int i = 1; i < argc && strcmp(argv[i], "--") != 0; i++)
        if (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0)
            return true;
    return false;
}

/* Length of the word that verbs of a group have in common, or of the whole name. */
static size_t first_word(const struct verb *verb)
{
    return strcspn(verb->name, " ");
}

static bool is_of_group(const struct verb *verb, const char *word)
{
    return verb->name[first_word(verb)] == ' ' && strlen(word) == first_word(verb) &&
           strncmp(verb->name, word, first_word(verb)) == 0;
}

/* How many words of the command line name this verb: 0, 1 or 2. */
static int words_matched(const struct verb *verb, int argc, char **argv)
{
    if (argc < 2)
        return 0;
    if (strcmp(verb->name, argv[1]) == 0)
        return 1;
    return argc > 2 && is_of_group(verb, argv[1]) &&
                   strcmp(verb->name + first_word(verb) + 1, argv[2]) == 0
               ? 2
               : 0;
}

/* How many words name a verb; *ret is that verb. 0 if no words name one. */
static int find_verb(int argc, char **argv, const struct verb **ret)
{
    for (const struct verb *const *verb = program->verbs; *verb != NULL; verb++) {
        int words = words_matched(*verb, argc, argv);

        if (words == 0)
            continue;
        *ret = *verb;
        return words;
    }
    return 0;
}

static bool is_group(const char *word)
{
    for (const struct verb *const *verb = program->verbs; *verb != NULL; verb++)
        if (is_of_group(*verb, word))
            return true;
    return false;
}

static void print_group(const char *word)
{
    (void)printf("Usage: %s %s VERB [OPTION...]\n\n", program->name, word);
    for (const struct verb *const *verb = program->verbs; *verb != NULL; verb++)
        if (is_of_group(*verb, word))
            (void)printf("  %-17s %s\n", (*verb)->name, (*verb)->summary);
    (void)printf("\n'%s help %s VERB' explains one.\n", program->name, word);
}

/* The name that argv[1], or argv[1] and argv[2] together, was meant to be; `typed` gets those
 * words. NULL: none. */
static const char *meant_by(int argc, char **argv, const char *typed)
{
    const char *names[PROGRAM_VERBS_MAX];
    const char *meant;
    size_t count = 0;

    for (; count < PROGRAM_VERBS_MAX && program->verbs[count] != NULL; count++)
        names[count] = program->verbs[count]->name;
    meant = cli_suggest(argv[1], names, count);
    return meant == NULL && argc > 2 ? cli_suggest(typed, names, count) : meant;
}

/* Beside this one. */
static bool find_program(const char *name, char *ret, size_t cap)
{
    ssize_t len = readlink("/proc/self/exe", ret, cap);
    char *slash = len > 0 && (size_t)len < cap ? memrchr(ret, '/', (size_t)len) : NULL;

    if (slash == NULL)
        return false;
    slash++;
    return (size_t)snprintf(slash, cap - (size_t)(slash - ret), "%s", name) <
               cap - (size_t)(slash - ret) &&
           access(ret, X_OK) == 0;
}

static const struct elsewhere *find_elsewhere(const char *word)
{
    for (const struct elsewhere *is = program->elsewhere; is != NULL && is->word != NULL; is++)
        if (strcmp(is->word, word) == 0)
            return is;
    return NULL;
}

/* args[0] is for the name of the program. */
static enum mu_status run_elsewhere(const struct elsewhere *is, char **args, struct mu_error *err)
{
    char path[4096];

    args[0] = (char *)is->program;
    if (find_program(is->program, path, sizeof(path)))
        (void)execv(path, args);
    return mu_fail(err, MU_USAGE,
                   "'%s' is for a program of its own, which is not beside this one: %s %s",
                   is->word, is->program, is->verb);
}

static enum mu_status no_such_verb(int argc, char **argv, struct mu_error *err)
{
    char typed[64];
    const char *meant;

    (void)snprintf(typed, sizeof(typed), "%s%s%s", argv[1], argc > 2 ? " " : "",
                   argc > 2 ? argv[2] : "");
    meant = meant_by(argc, argv, typed);
    if (meant != NULL)
        return mu_fail(err, MU_USAGE, "unknown verb '%s'; did you mean '%s %s'?",
                       strchr(meant, ' ') != NULL ? typed : argv[1], program->name, meant);
    if (is_group(argv[1]))
        return mu_fail(err, MU_USAGE, "'%s' needs another word after it; '%s help %s' lists them",
                       argv[1], program->name, argv[1]);
    return mu_fail(err, MU_USAGE, "unknown verb '%s'; '%s help' lists them", argv[1],
                   program->name);
}

/* help [VERB] */
static enum mu_status help(int argc, char **argv, struct mu_error *err)
{
    const struct verb *verb = NULL;
    int words = find_verb(argc, argv, &verb);

    if (argc < 2) {
        print_overview(stdout);
    } else if (words > 0) {
        print_help(verb);
    } else if (argc == 2 && is_group(argv[1])) {
        print_group(argv[1]);
    } else {
        const struct elsewhere *is = find_elsewhere(argv[1]);
        char *args[] = {NULL, "help", is != NULL ? (char *)is->verb : NULL, NULL};

        return is != NULL ? run_elsewhere(is, args, err) : no_such_verb(argc, argv, err);
    }
    return MU_OK;
}

static bool is_one_of(const char *word, const char *a, const char *b, const char *c)
{
    return strcmp(word, a) == 0 || strcmp(word, b) == 0 || strcmp(word, c) == 0;
}

static enum mu_status program_run(int argc, char **argv, struct mu_error *err)
{
    const struct elsewhere *is = argc > 1 ? find_elsewhere(argv[1]) : NULL;
    const struct verb *verb = NULL;
    int words;

    if (argc < 2) {
        print_overview(stderr);
        return mu_fail(err, MU_USAGE, "a verb is needed");
    }
    if (is_one_of(argv[1], "help", "--help", "-h"))
        return help(argc - 1, argv + 1, err);
    if (is_one_of(argv[1], "version", "--version", "-V")) {
        (void)printf("%s " MU_VERSION "\n", program->name);
        return MU_OK;
    }
    if (is != NULL) {
        bool has_verb = argc > 2 && argv[2][0] != '-';

        argv[1] = (char *)is->verb;
        return run_elsewhere(is, has_verb ? argv + 1 : argv, err);
    }
    words = find_verb(argc, argv, &verb);
    if (words == 0)
        return argc > 2 && is_group(argv[1]) && asks_for_help(argc - 1, argv + 1)
                   ? help(2, argv, err)
                   : no_such_verb(argc, argv, err);
    if (asks_for_help(argc - words, argv + words)) {
        print_help(verb);
        return MU_OK;
    }
    return verb->run(argc - words, argv + words, err);
}

int program_main(const struct program *which, int argc, char **argv)
{
    struct mu_error err = {0};
    enum mu_status status;

    program = which;
    log_init(program->name);
    names_without_modules();
    status = process_harden(PROCESS_TOOL, &err);
    if (status == MU_OK)
        status = program_run(argc, argv, &err);
    if ((fflush(stdout) != 0 || ferror(stdout)) && status == MU_OK)
        status = mu_fail(&err, MU_INTERNAL, "standard output: %s", strerror(errno));
    if (status != MU_OK && err.text[0] != '\0')
        log_error(&err);
    return (int)status;
}
