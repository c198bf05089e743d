/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "base/defaults.h"
#include "ctl/ctl.h"

#include <stdio.h>
#include <stdlib.h>

#include "policy/policy.h"

static const char help[] =
    "Names each statement of a KMS key policy that defeats attestation, and the fix.\n"
    "Exit code 2 when there is a finding, 4 when FILE is not a policy; warnings do not count.\n"
    "FILE is a policy, or what 'aws kms get-key-policy' prints.\n"
    "\n"
    "  --fence-pcr N  the fence PCR of the image's configuration (default 15)\n"
    "  --without-pcr LIST\n"
    "                 these of 2, 3, 13 and 14 are left out of the baselines knowingly\n"
    "  --json         report {\"ok\", \"findings\": [{\"rule\", \"statement\", \"detail\", "
    "\"fix\"}]},\n"
    "                 and \"warnings\" of the same form\n"
    "\n"
    "Example: muctl policy lint policy.json\n";

static bool add_list(json_object *object, const char *name, const struct policy_report *report,
                     bool warnings)
{
    json_object *list = json_object_new_array();

    if (!json_add(object, name, list))
        return false;
    for (size_t i = 0; i < report->count; i++) {
        const struct policy_finding *f = &report->finding[i];
        json_object *item;

        if (f->warning != warnings)
            continue;
        item = json_object_new_object();
        if (!json_append(list, item) || !json_add_text(item, "rule", f->rule) ||
            !json_add_text(item, "statement", f->statement) ||
            !json_add_text(item, "detail", f->detail) || !json_add_text(item, "fix", f->fix))
            return false;
    }
    return true;
}

static enum mu_status print_json(const struct policy_report *report, struct mu_error *err)
{
    MU_CLEANUP(json_free) json_object *object = json_object_new_object();

    if (!json_add(object, "ok", json_object_new_boolean(report->findings == 0)) ||
        !add_list(object, "findings", report, false) || !add_list(object, "warnings", report, true))
        return mu_oom(err);
    return cli_print_json("-", object, err);
}

static void print_text(const struct policy_report *report)
{
    for (size_t i = 0; i < report->count; i++) {
        const struct policy_finding *f = &report->finding[i];

        (void)printf("%s %s%s%s: %s\n       fix: %s\n", f->warning ? "warn  " : cli_mark(false),
                     f->rule, f->statement[0] != '\0' ? ", statement " : "", f->statement,
                     f->detail, f->fix);
    }
    if (report->findings == 0)
        (void)printf("%s no statement defeats attestation\n", cli_mark(true));
}

static enum mu_status lint(const char *path, unsigned fence_pcr, uint32_t without, bool json,
                           struct mu_error *err)
{
    MU_CLEANUP(json_free) json_object *policy = NULL;
    MU_CLEANUP(memory_free) struct policy_report *report = calloc(1, sizeof(*report));
    enum mu_status status;

    if (report == NULL)
        return mu_oom(err);
    MU_TRY(policy_load(path, &policy, err));
    status = policy_lint(policy, fence_pcr, without, report, err);
    if (status != MU_OK && status != MU_REFUSE) {
        (void)mu_context(err, "%s", path);
        return status;
    }
    if (!json)
        print_text(report);
    else
        MU_TRY(print_json(report, err));
    return status;
}

static enum mu_status policy_lint_run(int argc, char **argv, struct mu_error *err)
{
    unsigned fence_pcr = FENCE_DEFAULT;
    const char *fence = NULL, *without_pcrs = NULL;
    uint32_t without = 0;
    bool json = false;
    const struct cli_option options[] = {{"json", 'j', .flag = &json},
                                         {"fence-pcr", 'f', .text = &fence},
                                         {"without-pcr", 0, .text = &without_pcrs},
                                         {0}};

    MU_TRY(cli_options(argc, argv, options, 1, 1, err));
    MU_TRY(ctl_fence_pcr(fence, &fence_pcr, err));
    if (without_pcrs != NULL)
        MU_TRY(ctl_pcr_list(without_pcrs, &without, err));
    return lint(argv[optind], fence_pcr, without, json, err);
}

const struct verb verb_policy_lint = {
    .name = "policy lint",
    .synopsis = "FILE [--fence-pcr N] [--without-pcr LIST] [--json]",
    .summary = "names each statement of a key policy that defeats attestation",
    .help = help,
    .run = policy_lint_run,
};
