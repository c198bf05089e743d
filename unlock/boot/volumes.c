/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "base/log.h"
#include "base/trace.h"
#include "boot/state.h"
#include "volume/activate.h"
#include "volume/device.h"
#include "volume/provision.h"
#include "volume/record_admission.h"

/* ---- loading ---- */

static enum mu_status try_device(struct boot *boot, const struct volume_config *config,
                                 struct volume *volume, struct mu_error *err)
{
    MU_CLEANUP(string_free) char *device = NULL;

    MU_TRY(volume_find_device(config->device, boot->deadline, &device, err));
    if (config->create == CREATE_BLANK)
        MU_TRY(blank_open(device, boot->deadline, &volume->blank, err));
    return blank_is_open(&volume->blank) ? MU_OK : luks_header_load(device, &volume->header, err);
}

static enum mu_status load_volume(struct boot *boot, const struct volume_config *config,
                                  struct volume *volume, struct mu_error *err)
{
    const struct session *session = volume->session;

    MU_TRY(MU_STEP(
        "device", MU_AGAIN(&retry_machine, boot->deadline, try_device(boot, config, volume, err))));
    if (blank_is_open(&volume->blank))
        return MU_OK;
    MU_TRY(MU_STEP("header", luks_header_check(&volume->header, NULL, err)));
    MU_TRY(MU_STEP("record", volume_admit(&boot->config, config, &boot->builder, &volume->header,
                                          &volume->record, err)));
    MU_TRY(session->provider->volume(session->state, &volume->record, &volume->at_provider, err));
    return MU_AGAIN(&retry_machine, boot->deadline,
                    luks_header_load_keyslot(&volume->header, volume->record.keyslot, err));
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

enum mu_status volumes_start_loader(struct boot *boot, struct mu_error *err)
{
    return task_start(&boot->loader, loader_main, boot, err);
}

/* ---- provisioning ---- */

static enum mu_status note_release(struct volume *volume, struct mu_error *err)
{
    const struct provider *provider = volume->session->provider;
    const char *by =
        provider->released_by != NULL ? provider->released_by(volume->at_provider) : NULL;

    return by != NULL ? string_set(&volume->released_by, by, err) : MU_OK;
}

/* Asks now for what the next boot will ask for: a key that cannot be released again is not used. */
static enum mu_status check_release(struct volume *volume, struct tpm *tpm,
                                    const struct record *record, const struct secret *key,
                                    struct mu_error *err)
{
    const struct session *session = volume->session;
    MU_CLEANUP(secret_free) struct secret again = {0};

    if (session->provider->volume(session->state, record, &volume->at_provider, err) != MU_OK ||
        session->provider->release(volume->at_provider, tpm, &again, err) != MU_OK)
        return mu_context(err, "the new key would not be released at the next boot");
    if (!bytes_equal(secret_view(&again), secret_view(key)))
        return mu_fail(err, MU_REFUSE, "%s made one key and released another",
                       session->provider->name);
    return note_release(volume, err);
}

/* As for any volume that existed before. */
static enum mu_status load_header(struct volume *volume, struct mu_error *err)
{
    MU_TRY(luks_header_load(volume->blank.device, &volume->header, err));
    MU_TRY(luks_header_check(&volume->header, NULL, err));
    return luks_header_load_keyslot(&volume->header, volume->record.keyslot, err);
}

/* docs/guide/data-volumes.md. Has the provider make a key, proves that the provider releases it
 * again, and only then makes the volume on the blank device. */
static enum mu_status provision(const struct volume_config *config, struct volume *volume,
                                struct tpm *tpm, struct secret *ret_key, struct mu_error *err)
{
    const struct provider *provider = volume->session->provider;
    struct blank *blank = &volume->blank;
    MU_CLEANUP(record_free) struct record record = {0};
    MU_CLEANUP(secret_free) struct secret volume_key = {0};
    MU_CLEANUP(secret_free) struct secret key = {0};

    if (provider->provision == NULL)
        return mu_fail(err, MU_CONFIG, "the provider %s makes no keys", provider->name);
    log_line("volume '%s': %s is blank%s; it becomes a new volume", config->name, blank->device,
             blank->state == BLANK_CLAIMED ? " except for an interrupted attempt" : "");
    MU_TRY(provision_record(config->name, blank, &record, &volume_key, err));
    MU_TRY(provider->provision(volume->session->state, config->key_arn, &record, &key, err));
    MU_TRY(check_release(volume, tpm, &record, &key, err));
    MU_TRY(MU_STEP("create", provision_volume(blank, &record, &volume_key, &key, err)));
    log_line("volume '%s' made, its key by %s%s%s", config->name, provider->name,
             volume->released_by != NULL ? ", " : "",
             volume->released_by != NULL ? volume->released_by : "");
    volume->record = MU_TAKE(record);
    volume->provisioned = true;
    MU_TRY(load_header(volume, err));
    *ret_key = MU_TAKE(key);
    return MU_OK;
}

/* ---- opening ---- */

static enum mu_status get_key(const struct volume_config *config, struct volume *volume,
                              struct tpm *tpm, struct secret *ret_key, struct mu_error *err)
{
    if (blank_is_open(&volume->blank))
        return provision(config, volume, tpm, ret_key, err);
    MU_TRY(volume->session->provider->release(volume->at_provider, tpm, ret_key, err));
    MU_TRY(note_release(volume, err));
    log_line("key of volume '%s' released by %s%s%s", config->name, config->provider,
             volume->released_by != NULL ? ", " : "",
             volume->released_by != NULL ? volume->released_by : "");
    return volume->record.by_instance ? record_check_mac(&volume->record, ret_key, err) : MU_OK;
}

static enum mu_status open_volume(const struct volume_config *config, struct volume *volume,
                                  struct tpm *tpm, struct mu_error *err)
{
    MU_CLEANUP(secret_free) struct secret key = {0};

    MU_TRY(get_key(config, volume, tpm, &key, err));
    MU_TRY(MU_STEP("keyslot", volume_open_keyslot(&volume->header, volume->record.keyslot, &key,
                                                  &volume->volume_key, err)));
    MU_TRY(MU_STEP("identity",
                   volume_check_identity(&volume->volume_key, volume->header.uuid,
                                         volume->record.volume_identity, volume->identity, err)));
    log_line("identity of volume '%s' is the enrolled one", config->name);
    return MU_OK;
}

static enum mu_status open_those(struct boot *boot, bool blank, struct mu_error *err)
{
    for (size_t i = 0; i < boot->config.volumes; i++) {
        if (blank_is_open(&boot->volume[i].blank) == blank &&
            boot->volume[i].volume_key.data == NULL &&
            open_volume(&boot->config.volume[i], &boot->volume[i], boot->tpm, err) != MU_OK)
            return mu_context(err, "volume '%s'", boot->config.volume[i].name);
    }
    return MU_OK;
}

/* Nothing is written before all existing volumes are open. */
enum mu_status volumes_open(struct boot *boot, struct mu_error *err)
{
    MU_TRY(open_those(boot, false, err));
    return open_those(boot, true, err);
}

enum mu_status volumes_activate(struct boot *boot, struct mu_error *err)
{
    for (size_t i = 0; i < boot->config.volumes; i++) {
        const struct volume_config *config = &boot->config.volume[i];
        const struct volume *volume = &boot->volume[i];

        if (MU_STEP("activate", volume_activate(&volume->header, config->mapping, config->discard,
                                                &volume->volume_key, err)) != MU_OK)
            return mu_context(err, "volume '%s'", config->name);
        log_line("volume '%s' mapped as /dev/mapper/%s", config->name, config->mapping);
    }
    return MU_OK;
}
