/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>

#include "base/harden.h"
#include "base/log.h"
#include "base/sandbox.h"
#include "base/secret.h"
#include "base/signals.h"
#include "boot/sequence.h"

static const char usage[] =
    "Usage: measured-unlock unlock [--config FILE] [--no-activate]\n"
    "       measured-unlock fence  [--config FILE] [--reason TEXT]\n"
    "       measured-unlock --version | --help\n"
    "\n"
    "Unlocks the configured volumes of this boot if, and only if, the boot chain is the enrolled "
    "one.\n"
    "\n"
    "  unlock           compare the PCRs with the baseline, attest, have the keys released, open,\n"
    "                   close the fence, map\n"
    "  fence            close the fence PCR: no key can be had in this boot any more; idempotent\n"
    "\n"
    "  --config FILE    default " CONFIG_DEFAULT_PATH "\n"
    "  --no-activate    everything but the mapping, the fence included\n"
    "  --reason TEXT    what is extended into the fence PCR\n"
    "\n"
    "Exit codes: 0 done, 1 usage, 2 refused (something was altered), 3 not ready (retrying may\n"
    "help), 4 configuration or machine unusable, 5 internal error. See measured-unlock(8).\n";

struct arguments {
    const char *verb;
    const char *config;
    const char *reason;
    bool activate;
};

static enum mu_status main_parse(int argc, char **argv, struct arguments *ret, struct mu_error *err)
{
    static const struct option options[] = {
        {"config", required_argument, NULL, 'c'}, {"reason", required_argument, NULL, 'r'},
        {"no-activate", no_argument, NULL, 'n'},  {"help", no_argument, NULL, 'h'},
        {"version", no_argument, NULL, 'V'},      {0}};
    struct arguments args = {NULL, CONFIG_DEFAULT_PATH, "closed by hand", true};
    int option;

    opterr = 0;
    while ((option = getopt_long(argc, argv, "h", options, NULL)) != -1) {
        switch (option) {
        case 'c':
            args.config = optarg;
            break;
        case 'r':
            args.reason = optarg;
            break;
        case 'n':
            args.activate = false;
            break;
        case 'h':
            args.verb = "help";
            break;
        case 'V':
            args.verb = "version";
            break;
        default:
            return mu_fail(err, MU_USAGE, "unknown or incomplete option '%s'; see --help",
                           argv[optind - 1]);
        }
    }
    if (args.verb == NULL) {
        if (argc - optind != 1)
            return mu_fail(err, MU_USAGE, "one of 'unlock' and 'fence' is needed; see --help");
        args.verb = argv[optind];
    }
    *ret = args;
    return MU_OK;
}

static enum mu_status main_run(const struct arguments *args, struct mu_error *err)
{
    if (strcmp(args->verb, "help") == 0) {
        (void)fputs(usage, stdout);
        return MU_OK;
    }
    if (strcmp(args->verb, "version") == 0) {
        (void)puts("measured-unlock " MU_VERSION);
        return MU_OK;
    }
    if (strcmp(args->verb, "unlock") == 0)
        return boot_unlock(args->config, args->activate, err);
    if (strcmp(args->verb, "fence") == 0)
        return boot_fence(args->config, args->reason, err);
    return mu_fail(err, MU_USAGE, "unknown verb '%s'; see --help", args->verb);
}

/* An interpreter was needed, as in `make STATIC=0`: name lookup then loads libraries, too. */
static bool is_dynamic(void)
{
    return getauxval(AT_BASE) != 0;
}

int main(int argc, char **argv)
{
    struct mu_error err = {0};
    struct arguments args = {0};
    enum mu_status status;

    log_init("measured-unlock");
    status = process_harden(PROCESS_BOOT, &err);
    if (status == MU_OK)
        status = signals_install(&err);
    if (status == MU_OK)
        status = sandbox_enter(is_dynamic(), &err);
    if (status == MU_OK)
        status = main_parse(argc, argv, &args, &err);
    if (status == MU_OK)
        status = main_run(&args, &err);
    /* boot_unlock has logged its failure already, before the fence. */
    if (status != MU_OK && (args.verb == NULL || strcmp(args.verb, "unlock") != 0))
        log_error(&err);
    return (int)status;
}
