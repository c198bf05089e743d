/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "ctl/monitor.h"

#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "base/conf.h"
#include "verifier/authorities.h"

#define DEFAULT_IMDS "http://169.254.169.254"
#define ADDRESS_MAX 480u

#define IN(field) offsetof(struct monitor_settings, field)
static const struct conf_key keys[] = {
    {"monitor", "verifier", KIND_URL, IN(verifier), 0, 0, NULL},
    {"monitor", "ca_file", KIND_PATH, IN(ca_file), 0, 0, NULL},
    {"monitor", "timeout", KIND_NUMBER, IN(timeout), 1, 3600, NULL},
    {"monitor", "identity", KIND_FLAG, IN(identity), 0, 0, conf_flags},
    {"monitor", "imds", KIND_URL, IN(imds), 0, 0, NULL},
    {"monitor", "tcti", KIND_TCTI, IN(tcti), 0, 0, NULL},
};
static const struct conf_section sections[] = {{"monitor", 0, 0, 0, 0}};
static const struct conf_schema schema = {sections, 1, keys, sizeof(keys) / sizeof(keys[0])};

void monitor_settings_free(struct monitor_settings *settings)
{
    conf_free(&schema, settings);
}

enum mu_status monitor_settings_load(const char *path, struct monitor_settings *settings,
                                     struct mu_error *err)
{
    return conf_load(path, &schema, settings, err);
}

static enum mu_status set_default(char **field, const char *value, struct mu_error *err)
{
    if (*field == NULL)
        *field = strdup(value);
    return *field == NULL ? mu_oom(err) : MU_OK;
}

enum mu_status monitor_settings_check(struct monitor_settings *settings, const char *path,
                                      struct mu_error *err)
{
    const char *authorities = authorities_file();
    size_t len = settings->verifier == NULL ? 0 : strlen(settings->verifier);

    if (len == 0)
        return mu_fail(err, MU_CONFIG, "no verifier: give --verifier URL, or verifier = URL in %s",
                       path);
    if (strncmp(settings->verifier, "https://", 8) != 0 || len > ADDRESS_MAX)
        return mu_fail(err, MU_CONFIG, "verifier '%.80s' is not https://HOST[:PORT]",
                       settings->verifier);
    while (len > 0 && settings->verifier[len - 1] == '/')
        settings->verifier[--len] = '\0';
    if (settings->ca_file == NULL && authorities == NULL)
        return mu_fail(err, MU_CONFIG,
                       "no list of authorities on this system: ca_file = FILE in %s, or --ca-file",
                       path);
    MU_TRY(set_default(&settings->ca_file, authorities, err));
    return set_default(&settings->imds, DEFAULT_IMDS, err);
}
