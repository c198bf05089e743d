/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <stdio.h>
#include <time.h>

#include "relying/relying.h"
#include "verifier/service.h"
#include "verifier/verifier.h"

#define OPTIONS "  --config FILE    default: " SETTINGS_DEFAULT_PATH "\n"

/* ret_check NULL: the option does not exist. */
static enum mu_status serve_parse(int argc, char **argv, bool *ret_check, const char **ret_path,
                                  struct mu_error *err)
{
    const struct cli_option options[] = {
        {"config", 'c', .text = ret_path},
        {ret_check != NULL ? "check" : NULL, 0, .flag = ret_check},
        {0},
    };

    *ret_path = SETTINGS_DEFAULT_PATH;
    return cli_options(argc, argv, options, 0, 0, err);
}

static enum mu_status check(const char *path, struct mu_error *err)
{
    MU_CLEANUP(verifier_free) struct verifier *verifier = NULL;

    MU_TRY(verifier_load(path, &verifier, err));
    MU_TRY(verifier_check(verifier, time(NULL), err));
    if (verifier->settings.store != NULL && verifier->settings.accounts == NULL)
        (void)printf("note: a store and no accounts: instances of strangers are stored, too, and "
                     "watched; accounts = names yours\n");
    (void)printf("%s: %zu baselines, %zu signing keys, %zu challenge keys\n", path,
                 verifier->reference.count, verifier->signing_keys, verifier->challenge.count);
    return MU_OK;
}

static enum mu_status run_serve(int argc, char **argv, struct mu_error *err)
{
    bool only_check = false;
    const char *path;

    MU_TRY(serve_parse(argc, argv, &only_check, &path, err));
    return only_check ? check(path, err) : verifier_run(path, err);
}

const struct verb verb_serve = {
    .name = "serve",
    .synopsis = "[--config FILE] [--check]",
    .summary = "verify instances by HTTPS, and issue tokens to them",
    .help = OPTIONS
    "  --check          the same as 'mu-verifier check'\n\n"
    "Serves relying parties other than KMS by HTTPS: gives nonces, verifies attestation documents\n"
    "against baselines, and issues signed tokens that only the instance can open. HUP reloads.\n"
    "\n"
    "'mu-verifier init' makes its keys, 'mu-verifier check' looks at its configuration.\n"
    "Example: mu-verifier serve --config verifier.conf\n",
    .run = run_serve,
};

static enum mu_status run_check(int argc, char **argv, struct mu_error *err)
{
    const char *path;

    MU_TRY(serve_parse(argc, argv, NULL, &path, err));
    return check(path, err);
}

const struct verb verb_check = {
    .name = "check",
    .synopsis = "[--config FILE]",
    .summary = "check the configuration and all files that it names",
    .help = OPTIONS
    "\n"
    "Reads what 'mu-verifier serve' would, but does not serve. Exit code 4: it is unusable.\n"
    "\n"
    "Example: mu-verifier check --config verifier.conf\n",
    .run = run_check,
};
