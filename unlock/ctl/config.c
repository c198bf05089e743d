/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "base/config.h"

#include <stdio.h>
#include <string.h>

#include "base/doors.h"
#include "ctl/ctl.h"
#include "release/provider.h"

static const char help[] =
    "Reads measured-unlock.conf as a boot would, and prints what the scripts around the program\n"
    "need to know of it, as assignments for a shell: mu_action='poweroff', and so on. dracut\n"
    "writes them into the image. mu_volumes is a line \"MAPPING DEVICE\" for each volume; the "
    "last\n"
    "lists are of what shuts the doors that are not left open. Exit code 4 if it is unusable.\n"
    "\n"
    "  --json   the same as an object\n"
    "  FILE     default: " CONFIG_DEFAULT_PATH "\n"
    "\n"
    "Example: muctl config ./measured-unlock.conf\n";

static const struct {
    const char *name;
    enum door_kind kind;
} door_lists[] = {
    {"words", DOOR_WORD}, {"forbidden", DOOR_FORBIDDEN}, {"generators", DOOR_GENERATOR},
    {"units", DOOR_UNIT}, {"modules", DOOR_MODULE},
};

static bool add_doors(json_object *report, const struct config *config)
{
    for (size_t i = 0; i < MU_COUNT(door_lists); i++) {
        json_object *list = json_object_new_array();

        if (!json_add(report, door_lists[i].name, list))
            return false;
        for (size_t j = 0; j < doors_count; j++)
            if (doors[j].kind == door_lists[i].kind && !config_opens(config, doors[j].name) &&
                !json_append(list, json_object_new_string(doors[j].value)))
                return false;
    }
    return true;
}

static bool add_volumes(json_object *report, const struct config *config)
{
    json_object *volumes = json_object_new_array();

    if (!json_add(report, "volumes", volumes))
        return false;
    for (size_t i = 0; i < config->volumes; i++) {
        const struct volume_config *volume = &config->volume[i];
        json_object *item = json_object_new_object();

        if (!json_append(volumes, item) || !json_add_text(item, "mapping", volume->mapping) ||
            !json_add_text(item, "device", volume->device) ||
            !json_add_text(item, "provider", volume->provider))
            return false;
    }
    return true;
}

static bool has_provider(const struct config *config, const char *name, bool wanted)
{
    for (size_t i = 0; i < config->volumes; i++)
        if ((strcmp(config->volume[i].provider, name) == 0) == wanted)
            return true;
    return false;
}

static bool fill(json_object *report, const struct config *config)
{
    const bool vault = has_provider(config, provider_vault.name, true);
    const bool network = has_provider(config, provider_tpm2.name, false);

    return json_add_text(report, "action", config_actions[config->action]) &&
           json_add_text(report, "fallback", config_fallbacks[config->fallback]) &&
           json_add(report, "timeout", json_object_new_int64(config->timeout)) &&
           json_add(report, "network", json_object_new_boolean(network)) &&
           json_add_text(report, "baseline", config->baseline) &&
           json_add_text(report, "builder_key", config->builder_key) &&
           json_add_text(report, "ca_file", config->aws.ca_file) &&
           json_add_text(report, "vault_ca_file", vault ? config->vault.ca_file : "") &&
           json_add_text(report, "verifier_ca_file", vault ? config->vault.verifier_ca_file : "") &&
           add_volumes(report, config) && add_doors(report, config);
}

/* Inside of '...'. */
static void print_quoted(const char *text)
{
    for (; *text != '\0'; text++)
        if (*text == '\'')
            (void)fputs("'\\''", stdout);
        else
            (void)putchar(*text);
}

static void print_item(json_object *item, bool first)
{
    if (!json_object_is_type(item, json_type_object)) {
        (void)fputs(first ? "" : " ", stdout);
        print_quoted(json_object_get_string(item));
        return;
    }
    (void)fputs(first ? "" : "\n", stdout);
    print_quoted(json_object_get_string(json_object_object_get(item, "mapping")));
    (void)putchar(' ');
    print_quoted(json_object_get_string(json_object_object_get(item, "device")));
}

static enum mu_status print_shell(json_object *report, struct mu_error *err)
{
    json_object_object_foreach(report, name, value)
    {
        (void)printf("mu_%s='", name);
        if (!json_object_is_type(value, json_type_array))
            print_quoted(json_object_get_string(value));
        else
            for (size_t i = 0; i < json_object_array_length(value); i++)
                print_item(json_object_array_get_idx(value, i), i == 0);
        (void)puts("'");
    }
    if (fflush(stdout) != 0 || ferror(stdout))
        return mu_fail(err, MU_CONFIG, "standard output: cannot write");
    return MU_OK;
}

static enum mu_status config_run(int argc, char **argv, struct mu_error *err)
{
    MU_CLEANUP(config_free) struct config config = {0};
    MU_CLEANUP(json_free) json_object *report = json_object_new_object();
    bool json = false;
    const struct cli_option options[] = {{"json", 'j', .flag = &json}, {0}};
    const struct provider *provider;

    MU_TRY(cli_options(argc, argv, options, 0, 1, err));
    MU_TRY(config_load(argc > optind ? argv[optind] : CONFIG_DEFAULT_PATH, &config, err));
    for (size_t i = 0; i < config.volumes; i++)
        MU_TRY(provider_find(config.volume[i].provider, &provider, err));
    if (!fill(report, &config))
        return mu_oom(err);
    return json ? cli_print_json("-", report, err) : print_shell(report, err);
}

const struct verb verb_config = {
    .name = "config",
    .synopsis = "[FILE] [--json]",
    .summary = "validate measured-unlock.conf; what scripts need of it",
    .help = help,
    .run = config_run,
};
