/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "fleet/watch.h"

#include <stdlib.h>
#include <string.h>

#include "appraise/authorities.h"
#include "base/ini.h"

#define IN(field) offsetof(struct watch_settings, field)
#define DAYS_MAX 36500

static const struct ini_key keys[] = {
    {"watch", "store", KIND_TEXT, .offset = IN(store)},
    {"watch", "silence", KIND_NUMBER, IN(silence), 1, 604800, .preset = WATCH_DEFAULT_SILENCE},
    {"watch", "boot_limit", KIND_NUMBER, IN(boot_limit), 1, 604800,
     .preset = WATCH_DEFAULT_BOOT_LIMIT},
    {"watch", "interval", KIND_NUMBER, IN(interval), 1, 3600, .preset = 10},
    {"watch", "forget_days", KIND_NUMBER, IN(forget_days), 1, DAYS_MAX, .preset = 0},
    {"watch", "history_days", KIND_NUMBER, IN(history_days), 1, DAYS_MAX, .preset = 30},
    {"watch", "metrics", KIND_TEXT, .offset = IN(metrics)},
    {"command", "path", KIND_PATH, .offset = IN(sink[SINK_COMMAND].to)},
    {"command", "timeout", KIND_NUMBER, IN(sink[SINK_COMMAND].timeout), 1, 3600, .preset = 60},
    {"command", "give_up", KIND_NUMBER, IN(sink[SINK_COMMAND].give_up), 1, 604800, .preset = 3600},
    {"webhook", "url", KIND_URL, .offset = IN(sink[SINK_WEBHOOK].to)},
    {"webhook", "ca_file", KIND_PATH, .offset = IN(sink[SINK_WEBHOOK].ca_file)},
    {"webhook", "key_file", KIND_PATH, .offset = IN(sink[SINK_WEBHOOK].key_file)},
    {"webhook", "timeout", KIND_NUMBER, IN(sink[SINK_WEBHOOK].timeout), 1, 600, .preset = 10},
    {"webhook", "give_up", KIND_NUMBER, IN(sink[SINK_WEBHOOK].give_up), 1, 604800, .preset = 3600},
};

static const struct ini_section sections[] = {
    {"watch", 0, 0, 0, 0, false}, {"command", 0, 0, 0, 0, false}, {"webhook", 0, 0, 0, 0, false}};

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
    *ret = (struct watch_settings){0};
    MU_TRY(ini_load(source->path, &schema, ret, err));
    if (source->store != NULL)
        MU_TRY(string_set(&ret->store, source->store, err));
    return check(ret, source->path != NULL ? source->path : "--store", err);
}
