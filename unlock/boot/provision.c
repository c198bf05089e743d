/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "volume/provision.h"

#include <string.h>

#include "base/log.h"
#include "base/trace.h"
#include "boot/state.h"

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
    return volume_note_release(volume, err);
}

/* As for any volume that existed before. */
static enum mu_status load_header(struct volume *volume, struct mu_error *err)
{
    MU_TRY(luks_header_load(volume->blank.device, &volume->header, err));
    MU_TRY(luks_header_check(&volume->header, NULL, err));
    return luks_header_load_keyslot(&volume->header, volume->record.keyslot, err);
}

enum mu_status boot_provision(const struct volume_config *config, struct volume *volume,
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
