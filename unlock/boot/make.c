/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "boot/make.h"

#include <string.h>

#include "base/log.h"
#include "base/trace.h"
#include "volume/create.h"

/* What the next boot will ask for, asked for now: a key that cannot be had again is not used. */
static enum mu_status check_release(const struct provider *provider,
                                    struct provider_session *session, const struct record *record,
                                    const struct secret *key, struct mu_error *err)
{
    MU_CLEANUP(secret_free) struct secret again = {0};

    if (provider->release(session, record, &again, err) != MU_OK)
        return mu_context(err, "the new key would not be released at the next boot");
    if (!bytes_equal(secret_view(&again), secret_view(key)))
        return mu_fail(err, MU_REFUSE, "%s made one key and released another", provider->name);
    return MU_OK;
}

enum mu_status make_blank_volume(const struct volume_config *config,
                                 const struct provider *provider, struct provider_session *session,
                                 const char *device, struct blank *blank, struct record *ret_record,
                                 struct secret *ret_key, struct mu_error *err)
{
    MU_CLEANUP(record_free) struct record record = {0};
    MU_CLEANUP(secret_free) struct secret volume_key = {0};
    MU_CLEANUP(secret_free) struct secret key = {0};
    uint64_t start;

    if (provider->generate == NULL)
        return mu_fail(err, MU_CONFIG, "the provider %s makes no keys", provider->name);
    log_line("volume '%s': %s is blank%s; it becomes a new volume", config->name, device,
             blank->state == BLANK_CLAIMED ? " but for an interrupted attempt" : "");
    MU_TRY(create_identity(&record, &volume_key, err));
    MU_TRY(provider->generate(session, config->key_arn, &record, &key, err));
    MU_TRY(check_release(provider, session, &record, &key, err));
    start = now_us();
    MU_TRY(create_volume(device, blank, &record, &volume_key, &key, err));
    trace_step("create", start);
    log_line("volume '%s' made, its key by %s", config->name, provider->name);
    *ret_record = record;
    record = (struct record){0};
    *ret_key = key;
    key = (struct secret){0};
    return MU_OK;
}
