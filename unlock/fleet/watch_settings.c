/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "fleet/watch.h"

#include <stdlib.h>
#include <string.h>

#include "appraise/authorities.h"
#include "base/ini.h"

#define IN(field) offsetof(struct watch_settings, field)
#define DAYS_MAX 36500

static const struct ini_key keys[] = {
    {"watch", "store", KIND_TEXT, IN(store), 0, 0, NULL},
    {"watch", "silence", KIND_NUMBER, IN(silence), 1, 604800, NULL},
    {"watch", "boot_limit", KIND_NUMBER, IN(boot_limit), 1, 604800, NULL},
    {"watch", "interval", KIND_NUMBER, IN(interval), 1, 3600, NULL},
    {"watch", "forget_days", KIND_NUMBER, IN(forget_days), 1, DAYS_MAX, NULL},
    {"watch", "history_days", KIND_NUMBER, IN(history_days), 1, DAYS_MAX, NULL},
    {"watch", "metrics", KIND_TEXT, IN(metrics), 0, 0, NULL},
    {"command", "path", KIND_PATH, IN(sink[SINK_COMMAND].to), 0, 0, NULL},
    {"command", "timeout", KIND_NUMBER, IN(sink[SINK_COMMAND].timeout), 1, 3600, NULL},
    {"command", "give_up", KIND_NUMBER, IN(sink[SINK_COMMAND].give_up), 1, 604800, NULL},
    {"webhook", "url", KIND_URL, IN(sink[SINK_WEBHOOK].to), 0, 0, NULL},
    {"webhook", "ca_file", KIND_PATH, IN(sink[SINK_WEBHOOK].ca_file), 0, 0, NULL},
    {"webhook", "key_file", KIND_PATH, IN(sink[SINK_WEBHOOK].key_file), 0, 0, NULL},
    {"webhook", "timeout", KIND_NUMBER, IN(sink[SINK_WEBHOOK].timeout), 1, 600, NULL},
    {"webhook", "give_up", KIND_NUMBER, IN(sink[SINK_WEBHOOK].give_up), 1, 604800, NULL},
};

static const struct ini_section sections[] = {
    {"watch", 0, 0, 0, 0}, {"command", 0, 0, 0, 0}, {"webhook", 0, 0, 0, 0}};

static const struct ini_schema schema = {sections, MU_COUNT(sections), keys, MU_COUNT(keys)};

void watch_settings_free(struct watch_settings *settings)
{
    ini_free(&schema, settings);
}

static enum mu_status check(struct watch_settings *settings, const char *path, struct mu_error *err)
{
    struct watch_to *webhook = &settings->sink[SINK_WEBHOOK];

    if (settings->store == NULL)
        return mu_fail(err, MU_CONFIG, "%s: no store: sqlite:PATH or postgresql:CONNINFO", path);
    if (webhook->to == NULL && (webhook->ca_file != NULL || webhook->key_file != NULL))
        return mu_fail(err, MU_CONFIG, "%s: [webhook] has no url", path);
    if (webhook->to == NULL || strncmp(webhook->to, "https:", 6) != 0 || webhook->ca_file != NULL)
        return MU_OK;
    if (authorities_file() != NULL)
        return string_set(&webhook->ca_file, authorities_file(), err);
    return mu_fail(err, MU_CONFIG,
                   "%s: [webhook] has no ca_file, and this system has no list of authorities: "
                   "install ca-certificates",
                   path);
}

struct watch_limits watch_limits_of(const struct watch_settings *settings)
{
    return (struct watch_limits){.silence_ms = (int64_t)settings->silence * 1000,
                                 .boot_ms = (int64_t)settings->boot_limit * 1000};
}

enum mu_status watch_settings_load(const struct watch_source *source, struct watch_settings *ret,
                                   struct mu_error *err)
{
    *ret = (struct watch_settings){.silence = WATCH_DEFAULT_SILENCE,
                                   .boot_limit = WATCH_DEFAULT_BOOT_LIMIT,
                                   .interval = 10,
                                   .history_days = 30,
                                   .sink = {[SINK_COMMAND] = {.timeout = 60, .give_up = 3600},
                                            [SINK_WEBHOOK] = {.timeout = 10, .give_up = 3600}}};
    if (source->path != NULL)
        MU_TRY(ini_load(source->path, &schema, ret, err));
    if (source->store != NULL)
        MU_TRY(string_set(&ret->store, source->store, err));
    return check(ret, source->path != NULL ? source->path : "--store", err);
}
