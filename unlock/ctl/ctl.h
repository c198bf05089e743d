/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef MU_CTL_CTL_H
#define MU_CTL_CTL_H

#include <getopt.h>

#include "base/error.h"
#include <stdbool.h>

#include "base/json.h"
#include "base/secret.h"

/* One verb of muctl. `name` is one word or two ("baseline record"). main() prints `help` for --help
 * and -h, and turns the status into the exit code and the message. argv[0] is the name, so that
 * getopt_long can be used on it. */
struct verb {
    const char *name;
    const char *synopsis; /* "[--bank sha384] [PCR...]" */
    const char *summary;  /* one line, lower-case, for the overview */
    const char *help;     /* what follows the usage line: options, one a line, and an example */
    enum mu_status (*run)(int argc, char **argv, struct mu_error *err);
};

/* One file per group of verbs: ctl/pcr.c holds verb_pcr, and so on; the table in main.c lists them.
 */
extern const struct verb verb_pcr;
extern const struct verb verb_baseline_record, verb_baseline_predict, verb_baseline_diff,
    verb_baseline_sign, verb_baseline_verify;
extern const struct verb verb_eventlog;
extern const struct verb verb_attest;
extern const struct verb verb_verify;
extern const struct verb verb_enroll;
extern const struct verb verb_record_show;
extern const struct verb verb_header_check;
extern const struct verb verb_policy_kms, verb_policy_lint;
extern const struct verb verb_doctor;
extern const struct verb verb_seal, verb_unseal;
extern const struct verb verb_verifier, verb_verifier_init;
extern const struct verb verb_monitor;
extern const struct verb verb_watch, verb_watch_list, verb_watch_forget;

/* getopt_long over `options` (NULL-terminated; `val` is the short name or a number > 255), quiet:
 * an unknown option or a missing argument is MU_USAGE and quotes it. Returns MU_OK with *ret_option
 * = -1 at the end. */
enum mu_status ctl_next_option(int argc, char **argv, const struct option *options, int *ret_option,
                               struct mu_error *err) MU_MUST_CHECK;
/* One option, and where it is kept: a flag, the last value given, or each of at most `max` values.
 */
struct ctl_option {
    const char *name;
    char letter; /* 0: none */
    bool *flag;
    const char **text;
    size_t *count, max;
};
/* Takes all options and wants min to max operands, which begin at argv[optind]. The list ends with
 * a name that is NULL. MU_USAGE. */
enum mu_status ctl_options(int argc, char **argv, const struct ctl_option *options, int min,
                           int max, struct mu_error *err) MU_MUST_CHECK;
/* MU_USAGE unless min <= argc - optind <= max. */
enum mu_status ctl_operands(int argc, int min, int max, struct mu_error *err) MU_MUST_CHECK;

/* "4,7,12" (also "4+7+12") -> mask. */
enum mu_status ctl_pcr_list(const char *text, uint32_t *ret_mask,
                            struct mu_error *err) MU_MUST_CHECK;

/* A whole file ("-": standard input) of 1 to max bytes. */
enum mu_status ctl_read_secret(const char *path, size_t max, struct secret *ret,
                               struct mu_error *err) MU_MUST_CHECK;

/* Text on a terminal gets colour unless NO_COLOR is set. `ok` picks green or red. */
const char *ctl_mark(bool ok);

/* Writes the object as one pretty-printed JSON text to standard output (or `path`; "-" too). */
enum mu_status ctl_print_json(const char *path, json_object *object,
                              struct mu_error *err) MU_MUST_CHECK;

#endif
