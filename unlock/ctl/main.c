/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "base/log.h"
#include "base/names.h"
#include "base/secret.h"
#include "ctl/ctl.h"
#include "tpm/tpm.h"

static const struct verb *const verbs[] = {
    &verb_pcr,           &verb_baseline_record, &verb_baseline_predict,
    &verb_baseline_diff, &verb_baseline_sign,   &verb_baseline_verify,
    &verb_eventlog,      &verb_attest,          &verb_verify,
    &verb_enroll,        &verb_record_show,     &verb_header_check,
    &verb_policy_kms,    &verb_policy_lint,     &verb_doctor,
    &verb_seal,          &verb_unseal,          &verb_monitor,
    &verb_verifier_init, &verb_verifier,        &verb_watch_list,
    &verb_watch_forget,  &verb_watch,
};
#define VERBS (sizeof(verbs) / sizeof(verbs[0]))

/* ":" and each short name, with ":" where it takes a value. */
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

enum mu_status ctl_next_option(int argc, char **argv, const struct option *options, int *ret_option,
                               struct mu_error *err)
{
    char letters[64];
    int option;

    short_options(options, letters, sizeof(letters));
    opterr = 0;
    option = getopt_long(argc, argv, letters, options, NULL);
    if (option == ':')
        return mu_fail(err, MU_USAGE, "option '%s' needs a value; see 'muctl %s --help'",
                       argv[optind - 1], argv[0]);
    if (option == '?')
        return mu_fail(err, MU_USAGE, "unknown option '%s'; see 'muctl %s --help'",
                       argv[optind - 1], argv[0]);
    *ret_option = option;
    return MU_OK;
}

enum mu_status ctl_operands(int argc, int min, int max, struct mu_error *err)
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

enum mu_status ctl_pcr_list(const char *text, uint32_t *ret_mask, struct mu_error *err)
{
    const char *pos = text;
    uint32_t mask = 0;

    while (true) {
        char *end;
        unsigned long pcr = strtoul(pos, &end, 10);

        if (*pos < '0' || *pos > '9' || pcr >= PCR_COUNT)
            break;
        mask |= PCR_BIT(pcr);
        if (*end == '\0') {
            *ret_mask = mask;
            return MU_OK;
        }
        if (*end != ',' && *end != '+')
            break;
        pos = end + 1;
    }
    return mu_fail(err, MU_USAGE, "'%s' is not a list of PCRs such as 4,7,12 (0 to %d)", text,
                   PCR_COUNT - 1);
}

const char *ctl_mark(bool ok)
{
    const char *no_color = getenv("NO_COLOR");

    if (!isatty(STDOUT_FILENO) || (no_color != NULL && no_color[0] != '\0'))
        return ok ? "ok    " : "FAILED";
    return ok ? "\033[32mok    \033[0m" : "\033[31mFAILED\033[0m";
}

enum mu_status ctl_print_json(const char *path, json_object *object, struct mu_error *err)
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

static void print_overview(FILE *to)
{
    (void)fprintf(to, "Usage: muctl VERB [OPTION...]\n\n"
                      "Builds, signs, enrolls and checks what measured-unlock relies on.\n\n");
    for (size_t i = 0; i < VERBS; i++)
        (void)fprintf(to, "  %-17s %s\n", verbs[i]->name, verbs[i]->summary);
    (void)fprintf(
        to, "\n'muctl VERB --help' explains a verb; 'muctl --version' tells the version.\n"
            "Exit codes: 0 ok, 1 usage, 2 refused, 3 not ready, 4 configuration, 5 internal.\n");
}

static void print_help(const struct verb *verb)
{
    size_t len = strlen(verb->help);
    bool ended = len > 0 && verb->help[len - 1] == '\n';

    (void)printf("Usage: muctl %s %s\n\n%s%s", verb->name, verb->synopsis, verb->help,
                 ended ? "" : "\n");
}

static bool asks_for_help(int argc, char **argv)
{
    for (int i = 1; i < argc && strcmp(argv[i], "--") != 0; i++)
        if (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0)
            return true;
    return false;
}

/* How many words of the command line name this verb: 0, 1 or 2. */
static int words_matched(const struct verb *verb, int argc, char **argv)
{
    const char *space = strchr(verb->name, ' ');
    size_t first = space ? (size_t)(space - verb->name) : strlen(verb->name);

    if (argc < 2 || strlen(argv[1]) != first || strncmp(argv[1], verb->name, first) != 0)
        return 0;
    if (space == NULL)
        return 1;
    return argc > 2 && strcmp(argv[2], space + 1) == 0 ? 2 : 0;
}

static enum mu_status list_group(const char *word, struct mu_error *err)
{
    char names[256] = "";
    size_t len = strlen(word);

    for (size_t i = 0; i < VERBS; i++) {
        const char *name = verbs[i]->name;
        size_t used = strlen(names);

        if (strncmp(name, word, len) == 0 && name[len] == ' ')
            (void)snprintf(names + used, sizeof(names) - used, "%s%s", used ? ", " : "", name);
    }
    if (names[0] != '\0')
        return mu_fail(err, MU_USAGE, "'%s' needs a second word: %s", word, names);
    return mu_fail(err, MU_USAGE, "unknown verb '%s'; 'muctl --help' lists them", word);
}

static enum mu_status run(int argc, char **argv, struct mu_error *err)
{
    if (argc < 2) {
        print_overview(stderr);
        return mu_fail(err, MU_USAGE, "a verb is needed");
    }
    if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0) {
        print_overview(stdout);
        return MU_OK;
    }
    if (strcmp(argv[1], "--version") == 0) {
        (void)puts("muctl " MU_VERSION);
        return MU_OK;
    }
    for (size_t i = 0; i < VERBS; i++) {
        int words = words_matched(verbs[i], argc, argv);

        if (words == 0)
            continue;
        if (asks_for_help(argc - words, argv + words)) {
            print_help(verbs[i]);
            return MU_OK;
        }
        return verbs[i]->run(argc - words, argv + words, err);
    }
    return list_group(argv[1], err);
}

int main(int argc, char **argv)
{
    struct mu_error err = {0};
    enum mu_status status;

    log_init("muctl");
    names_without_modules();
    status = process_harden(PROCESS_TOOL, &err);
    if (status == MU_OK)
        status = run(argc, argv, &err);
    if (status != MU_OK && err.text[0] != '\0')
        log_error(&err);
    if (fflush(stdout) != 0 && status == MU_OK)
        status = MU_INTERNAL;
    return (int)status;
}
