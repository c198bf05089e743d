/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "base/log.h"
#include "base/trace.h"
#include "boot/make.h"
#include "boot/state.h"

static enum mu_status make_volume(struct boot *boot, const struct volume_config *config,
                                  struct volume *volume, struct secret *ret_key,
                                  struct mu_error *err)
{
    MU_CLEANUP(string_free) char *device = volume->header.device;
    struct session *session;

    volume->header = (struct luks_header){.memfd = -1};
    MU_TRY(session_of(boot, config->provider, &session, err));
    MU_TRY(make_blank_volume(config, session->provider, session->state, device, &volume->blank,
                             &volume->record, ret_key, err));
    volume->created = true;
    MU_TRY(luks_header_load(device, &volume->header, err));
    MU_TRY(luks_header_check(&volume->header, NULL, err));
    return luks_header_load_keyslot(&volume->header, volume->record.keyslot, err);
}

static enum mu_status get_key(struct boot *boot, const struct volume_config *config,
                              struct volume *volume, struct secret *ret_key, struct mu_error *err)
{
    struct session *session;

    if (to_be_made(volume))
        return make_volume(boot, config, volume, ret_key, err);
    MU_TRY(session_of(boot, config->provider, &session, err));
    MU_TRY(session->provider->release(session->state, &volume->record, ret_key, err));
    log_line("key of volume '%s' released by %s", config->name, config->provider);
    return volume->record.by_instance ? record_check_mac(&volume->record, ret_key, err) : MU_OK;
}

static enum mu_status open_volume(struct boot *boot, const struct volume_config *config,
                                  struct volume *volume, struct mu_error *err)
{
    MU_CLEANUP(secret_free) struct secret key = {0};
    uint64_t start;

    MU_TRY(get_key(boot, config, volume, &key, err));
    start = now_us();
    MU_TRY(volume_open_keyslot(&volume->header, volume->record.keyslot, &key, &volume->volume_key,
                               err));
    trace_step("keyslot", start);

    start = now_us();
    MU_TRY(volume_identity(&volume->volume_key, volume->header.uuid, volume->identity, err));
    if (!bytes_equal((struct bytes){volume->identity, sizeof(volume->identity)},
                     (struct bytes){volume->record.volume_identity, VOLUME_IDENTITY_SIZE}))
        return mu_fail(err, MU_REFUSE,
                       "volume identity differs from the record: this is not the enrolled volume");
    trace_step("identity", start);
    log_line("identity of volume '%s' is the enrolled one", config->name);
    return MU_OK;
}

static enum mu_status open_those(struct boot *boot, bool made, struct mu_error *err)
{
    for (size_t i = 0; i < boot->config.volumes; i++) {
        if (to_be_made(&boot->volume[i]) == made && boot->volume[i].volume_key.data == NULL &&
            open_volume(boot, &boot->config.volume[i], &boot->volume[i], err) != MU_OK)
            return mu_context(err, "volume '%s'", boot->config.volume[i].name);
    }
    return MU_OK;
}

/* Nothing is written before all that is there has opened. */
enum mu_status open_volumes(struct boot *boot, struct mu_error *err)
{
    MU_TRY(open_those(boot, false, err));
    return open_those(boot, true, err);
}

enum mu_status activate_volumes(struct boot *boot, struct mu_error *err)
{
    for (size_t i = 0; i < boot->config.volumes; i++) {
        const struct volume_config *config = &boot->config.volume[i];
        uint64_t start = now_us();

        if (volume_activate(&boot->volume[i].header, config->mapping, config->discard,
                            &boot->volume[i].volume_key, err) != MU_OK)
            return mu_context(err, "volume '%s'", config->name);
        trace_step("activate", start);
        log_line("volume '%s' mapped as /dev/mapper/%s", config->name, config->mapping);
    }
    return MU_OK;
}
