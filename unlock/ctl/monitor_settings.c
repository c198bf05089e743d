/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "base/defaults.h"
#include "ctl/monitor.h"

#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "appraise/authorities.h"
#include "base/ini.h"
#include "net/service.h"

#define IN(field) offsetof(struct monitor_settings, field)
static const struct ini_key keys[] = {
    {"monitor", "verifier", KIND_URL, .offset = IN(verifier)},
    {"monitor", "ca_file", KIND_PATH, .offset = IN(ca_file)},
    {"monitor", "timeout", KIND_NUMBER, IN(timeout), 1, 3600, .preset = 60},
    {"monitor", "identity", KIND_FLAG, IN(identity), .words = ini_flags},
    {"monitor", "imds", KIND_URL, IN(imds), .text = IMDS_DEFAULT_URL},
    {"monitor", "tcti", KIND_TCTI, .offset = IN(tcti)},
    {"monitor", "token", KIND_PATH, .offset = IN(token)},
    {"monitor", "audience", KIND_TEXT, .offset = IN(audience)},
};
static const struct ini_section sections[] = {{"monitor", 0, 0, 0, 0, false}};
static const struct ini_schema schema = {sections, 1, keys, MU_COUNT(keys)};

void monitor_settings_free(struct monitor_settings *settings)
{
    ini_free(&schema, settings);
}

enum mu_status monitor_settings_load(const char *path, struct monitor_settings *settings,
                                     struct mu_error *err)
{
    return ini_load(path, &schema, settings, err);
}

enum mu_status monitor_settings_check(struct monitor_settings *settings, const char *path,
                                      struct mu_error *err)
{
    const char *authorities = authorities_file();
    size_t len = settings->verifier == NULL ? 0 : strlen(settings->verifier);

    if (settings->audience != NULL && settings->token == NULL)
        return mu_fail(err, MU_CONFIG,
                       "an audience has a token: give --token FILE, or token = FILE in %s", path);
    if (len == 0)
        return mu_fail(err, MU_CONFIG, "no verifier: give --verifier URL, or verifier = URL in %s",
                       path);
    while (len > 0 && settings->verifier[len - 1] == '/')
        settings->verifier[--len] = '\0';
    if (!service_address_ok(settings->verifier))
        return mu_fail(err, MU_CONFIG, "verifier '%.80s' is not https://HOST[:PORT]",
                       settings->verifier);
    if (settings->ca_file == NULL && authorities == NULL)
        return mu_fail(err, MU_CONFIG,
                       "no list of authorities on this system: ca_file = FILE in %s, or --ca-file",
                       path);
    return settings->ca_file == NULL ? string_set(&settings->ca_file, authorities, err) : MU_OK;
}
