/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <string.h>

#include "boot/state.h"

static struct session *session_find(struct boot *boot, const char *name)
{
    for (size_t i = 0; i < boot->sessions; i++)
        if (strcmp(boot->session[i].provider->name, name) == 0)
            return &boot->session[i];
    return NULL;
}

static enum mu_status session_start(struct boot *boot, const char *name, struct mu_error *err)
{
    const struct config *config = &boot->config;
    struct provider_options options = config_provider_options(config);
    struct session *session = &boot->session[boot->sessions];

    if (boot->sessions == PROVIDERS_MAX)
        return mu_fail(err, MU_CONFIG, "more than %d providers are configured", PROVIDERS_MAX);
    MU_TRY(provider_find(name, &session->provider, err));
    MU_TRY(session->provider->start(&options, boot->deadline, &session->state, err));
    boot->sessions++;
    return MU_OK;
}

enum mu_status sessions_start(struct boot *boot, struct mu_error *err)
{
    for (size_t i = 0; i < boot->config.volumes; i++) {
        const char *name = boot->config.volume[i].provider;

        if (session_find(boot, name) == NULL)
            MU_TRY(session_start(boot, name, err));
        boot->volume[i].session = session_find(boot, name);
    }
    return MU_OK;
}

enum mu_status sessions_attest(struct boot *boot, struct mu_error *err)
{
    for (size_t i = 0; i < boot->sessions; i++) {
        const struct session *session = &boot->session[i];

        if (session->provider->attest != NULL)
            MU_TRY(session->provider->attest(session->state, boot->tpm, err));
    }
    return MU_OK;
}

void sessions_finish(struct boot *boot)
{
    for (size_t i = 0; i < boot->sessions; i++)
        boot->session[i].provider->finish(&boot->session[i].state);
}
