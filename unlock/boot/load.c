/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <string.h>

#include "base/log.h"
#include "base/trace.h"
#include "boot/state.h"
#include "volume/create.h"

enum mu_status session_of(struct boot *boot, const char *name, struct session **ret,
                          struct mu_error *err)
{
    const struct provider *provider;

    MU_TRY(provider_find(name, &provider, err));
    for (size_t i = 0; i < boot->sessions; i++) {
        if (boot->session[i].provider == provider) {
            *ret = &boot->session[i];
            return MU_OK;
        }
    }
    if (boot->sessions == PROVIDERS_MAX)
        return mu_fail(err, MU_CONFIG, "more than %d providers are configured", PROVIDERS_MAX);
    *ret = &boot->session[boot->sessions];
    MU_TRY(provider->start(&boot->config, boot->deadline, &(*ret)->state, err));
    (*ret)->provider = provider;
    boot->sessions++;
    return MU_OK;
}

enum mu_status start_sessions(struct boot *boot, struct mu_error *err)
{
    struct session *session;

    for (size_t i = 0; i < boot->config.volumes; i++)
        MU_TRY(session_of(boot, boot->config.volume[i].provider, &session, err));
    return MU_OK;
}

bool to_be_made(const struct volume *volume)
{
    return volume->blank.fd >= 0;
}

static enum mu_status read_header(struct boot *boot, const struct volume_config *config,
                                  struct volume *volume, struct mu_error *err)
{
    MU_CLEANUP(string_free) char *device = NULL;

    MU_TRY(volume_find_device(config->device, boot->deadline, &device, err));
    if (config->create == CREATE_BLANK)
        MU_TRY(blank_open(device, boot->deadline, &volume->blank, err));
    if (!to_be_made(volume))
        return luks_header_load(device, &volume->header, err);
    volume->header.device = device; /* the only member that is known */
    device = NULL;
    return MU_OK;
}

/* Who signed it, or may have made it; that it is this volume's. */
static enum mu_status read_record(const struct boot *boot, const struct volume_config *config,
                                  struct volume *volume, struct mu_error *err)
{
    int64_t minimum = boot->config.minimum_record_version;
    json_object *token;

    MU_TRY(luks_header_record_token(&volume->header, &token, err));
    if (config->create == CREATE_BLANK && record_token_by_instance(token)) {
        MU_TRY(create_parse_record(config, token, &volume->record, err));
        minimum = volume->record.version; /* it counts the builder's records */
    } else {
        MU_TRY(record_parse_token(token, boot->builder_key, &volume->record, err));
    }
    MU_TRY(record_check(&volume->record, volume->header.uuid, minimum, err));
    if (strcmp(volume->record.provider, config->provider) != 0)
        return mu_fail(err, MU_REFUSE, "the record's provider is '%s', this image allows '%s'",
                       volume->record.provider, config->provider);
    return MU_OK;
}

static enum mu_status load_volume(struct boot *boot, const struct volume_config *config,
                                  struct volume *volume, struct mu_error *err)
{
    struct session *session;
    enum mu_status status;
    unsigned attempt = 0;
    uint64_t start = now_us();

    do
        status = read_header(boot, config, volume, err);
    while (again(boot, status, &attempt));
    MU_TRY(status);
    trace_step("device", start);
    if (to_be_made(volume))
        return MU_OK;

    start = now_us();
    MU_TRY(luks_header_check(&volume->header, NULL, err));
    trace_step("header", start);

    start = now_us();
    MU_TRY(read_record(boot, config, volume, err));
    trace_step("record", start);

    MU_TRY(session_of(boot, config->provider, &session, err));
    MU_TRY(session->provider->prepare(session->state, &volume->record, err));
    attempt = 0;
    do
        status = luks_header_load_keyslot(&volume->header, volume->record.keyslot, err);
    while (again(boot, status, &attempt));
    return status;
}

static void *loader_main(void *argument)
{
    struct boot *boot = argument;
    struct task *task = &boot->loader;

    for (size_t i = 0; task->status == MU_OK && i < boot->config.volumes; i++) {
        const struct volume_config *config = &boot->config.volume[i];

        task->status = load_volume(boot, config, &boot->volume[i], &task->error);
        if (task->status != MU_OK)
            mu_context(&task->error, "volume '%s'", config->name);
    }
    return NULL;
}

enum mu_status loader_start(struct boot *boot, struct mu_error *err)
{
    return task_start(&boot->loader, loader_main, boot, err);
}
