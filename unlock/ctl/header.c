/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "ctl/ctl.h"

#include <stdio.h>

#include "volume/luks_header.h"

static const char help[] =
    "Applies the LUKS2 header policy to a block device, an image file or a header backup, rule\n"
    "by rule. Exit code 2 when a rule fails.\n"
    "\n"
    "  --json   report {\"ok\", \"rules\": [{\"name\", \"result\", \"detail\"}]}\n"
    "\n"
    "Example: muctl header check /dev/nvme1n1p2\n";

static bool add_rule(json_object *rules, const struct header_rule *rule)
{
    json_object *item = json_object_new_object();

    return json_append(rules, item) && json_add_text(item, "name", rule->name) &&
           json_add_text(item, "result", rule->ok ? "ok" : "failed") &&
           json_add_text(item, "detail", rule->detail);
}

static enum mu_status print_json(const struct header_report *report, bool ok, struct mu_error *err)
{
    MU_CLEANUP(json_free) json_object *object = json_object_new_object();
    json_object *rules = json_object_new_array();

    if (!json_add(object, "rules", rules) || !json_add(object, "ok", json_object_new_boolean(ok)))
        return mu_oom(err);
    for (size_t i = 0; i < report->count; i++)
        if (!add_rule(rules, &report->rule[i]))
            return mu_oom(err);
    return cli_print_json("-", object, err);
}

static void print_text(const struct header_report *report)
{
    for (size_t i = 0; i < report->count; i++) {
        const struct header_rule *rule = &report->rule[i];

        (void)printf("%s %s%s%s\n", cli_mark(rule->ok), rule->name, rule->ok ? "" : ": ",
                     rule->detail);
    }
}

/* The rules apply to a header that could be read; being readable is the first of them. */
static enum mu_status check(const char *path, struct header_report *ret, struct mu_error *err)
{
    MU_CLEANUP(luks_header_free) struct luks_header header = {0};
    struct header_report all = {.count = 1, .rule = {{.name = "header-readable", .ok = true}}};
    struct header_report report = {0};
    MU_CLEANUP(string_free) char *device = NULL;
    enum mu_status status = ctl_device(path, &device, err);

    if (status == MU_OK)
        status = luks_header_load(device, &header, err);

    if (status == MU_OK)
        status = luks_header_check(&header, &report, err);
    else
        all.rule[0].ok = false;
    if (!all.rule[0].ok)
        (void)snprintf(all.rule[0].detail, sizeof(all.rule[0].detail), "%.*s",
                       (int)sizeof(all.rule[0].detail) - 1, err->text);
    for (size_t i = 0; i < report.count; i++)
        all.rule[all.count++] = report.rule[i];
    *ret = all;
    return status;
}

static enum mu_status header_run(int argc, char **argv, struct mu_error *err)
{
    struct header_report report = {0};
    bool json = false;
    const struct cli_option options[] = {{"json", 'j', .flag = &json}, {0}};
    enum mu_status status;

    MU_TRY(cli_options(argc, argv, options, 1, 1, err));
    status = check(argv[optind], &report, err);
    if (!json)
        print_text(&report);
    else
        MU_TRY(print_json(&report, status == MU_OK, err));
    return status;
}

const struct verb verb_header_check = {
    .name = "header check",
    .synopsis = "DEVICE|FILE [--json]",
    .summary = "the LUKS2 header policy, rule by rule",
    .help = help,
    .run = header_run,
};
