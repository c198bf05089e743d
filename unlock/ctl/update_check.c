/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <string.h>

#include "base/file.h"
#include "build/pe.h"
#include "build/predict.h"
#include "ctl/update.h"
#include "measure/baseline.h"
#include "volume/record_admission.h"
#include "volume/device.h"

/* What firmware measured of Secure Boot in this boot is what it will find in the next one. */
static void read_keys(struct update_machine *machine)
{
    struct {
        const char *name;
        struct bytes *to;
    } lists[] = {{"PK", &machine->keys.pk},
                 {"KEK", &machine->keys.kek},
                 {"db", &machine->keys.db},
                 {"dbx", &machine->keys.dbx}};

    for (size_t i = 0; i < machine->log.count; i++) {
        const struct event *event = &machine->log.event[i];
        struct bytes name, content;

        if (event->pcr != 7 || event->type != EV_EFI_VARIABLE_DRIVER_CONFIG ||
            !event_variable(event, &name, &content))
            continue;
        for (size_t k = 0; k < MU_COUNT(lists); k++)
            if (event_variable_is(name, lists[k].name))
                *lists[k].to = content;
        if (event_variable_is(name, "SecureBoot"))
            machine->secure_boot = content.len > 0 && content.data[0] == 1;
    }
}

enum mu_status update_machine_load(const char *config, const char *eventlog,
                                   struct update_machine *ret, struct mu_error *err)
{
    *ret = (struct update_machine){0};
    MU_TRY(config_load(config, &ret->config, err));
    if (eventlog == NULL)
        eventlog = ret->config.eventlog;
    if (eventlog_load(eventlog, &ret->log, err) != MU_OK)
        return mu_context(err,
                          "the event log of this boot, which says what Secure Boot is and with "
                          "which keys (--eventlog names another)");
    read_keys(ret);
    return MU_OK;
}

static enum mu_status load_record(const struct update_machine *machine,
                                  struct update_volume *volume, struct mu_error *err)
{
    MU_CLEANUP(string_free) char *device = NULL;

    MU_TRY(volume_find_device(volume->config->device, deadline_in(0), &device, err));
    MU_TRY(luks_header_load(device, &volume->header, err));
    MU_TRY(luks_header_check(&volume->header, NULL, err));
    return volume_admit(&machine->config, volume->config, &machine->builder, &volume->header,
                        &volume->record, err);
}

enum mu_status update_machine_records(struct update_machine *machine, struct mu_error *err)
{
    MU_TRY(signature_load_keys(machine->config.builder_key, &machine->builder, err));
    for (size_t i = 0; i < machine->config.volumes; i++) {
        struct update_volume *volume = &machine->volume[i];

        volume->config = &machine->config.volume[i];
        if (load_record(machine, volume, err) != MU_OK)
            return mu_context(err, "volume '%s'", volume->config->name);
    }
    return MU_OK;
}

void update_machine_free(struct update_machine *machine)
{
    for (size_t i = 0; i < CONFIG_VOLUMES_MAX; i++) {
        if (machine->volume[i].header.device != NULL)
            luks_header_free(&machine->volume[i].header);
        record_free(&machine->volume[i].record);
    }
    eventlog_free(&machine->log);
    public_keys_free(&machine->builder);
    config_free(&machine->config);
}

enum mu_status update_forecast_load(const char *path, struct update_forecast *ret,
                                    struct mu_error *err)
{
    *ret = (struct update_forecast){0};
    return file_read(path, PE_MAX_BYTES, &ret->uki, err);
}

void update_forecast_free(struct update_forecast *forecast)
{
    buffer_free(&forecast->uki);
}

enum mu_status update_predict(const struct update_machine *machine, const struct update_esp *esp,
                              struct update_forecast *forecast, enum hash_alg bank,
                              const struct pcr_values **ret, struct mu_error *err)
{
    const struct bytes images[] = {buffer_view(&esp->loader), buffer_view(&forecast->uki)};
    const struct predict_request request = {.bank = bank,
                                            .mask = BASELINE_PCRS,
                                            .optional = ~PCR_BIT(4),
                                            .images = images,
                                            .count = MU_COUNT(images),
                                            .keys = &machine->keys,
                                            .setup_mode = !machine->secure_boot,
                                            .phases = ""};
    struct pcr_values *values = forecast->values;

    while (values < forecast->values + forecast->count && values->bank != bank)
        values++;
    if (values == forecast->values + MU_COUNT(forecast->values))
        return mu_fail(err, MU_CONFIG, "a baseline is of the bank %s", hash_name(bank));
    if (values == forecast->values + forecast->count) {
        MU_TRY(predict_values(&request, values, err));
        forecast->count++;
    }
    *ret = values;
    return MU_OK;
}

/* Of the nearest baseline, *err says what differs. */
static enum mu_status record_admits(const struct update_machine *machine,
                                    const struct update_esp *esp, const struct record *record,
                                    struct update_forecast *forecast, struct mu_error *err)
{
    int least = PCR_COUNT + 1;

    for (size_t i = 0; i < record->baselines; i++) {
        struct pcr_values baseline = record->baseline[i];
        const struct pcr_values *predicted;
        struct mu_error why = {0};
        uint32_t differ = 0;

        MU_TRY(update_predict(machine, esp, forecast, baseline.bank, &predicted, err));
        baseline.mask &= predicted->mask;
        if (baseline_compare(&baseline, predicted, &differ, &why) == MU_OK)
            return MU_OK;
        if (__builtin_popcount(differ) < least) {
            least = __builtin_popcount(differ);
            *err = why;
        }
    }
    if (record->baselines == 0)
        return MU_OK;
    return mu_context(err, "no baseline of its record has what this image will give");
}

enum mu_status update_records_admit(const struct update_machine *machine,
                                    const struct update_esp *esp, struct update_forecast *forecast,
                                    struct mu_error *err)
{
    for (size_t i = 0; i < machine->config.volumes; i++)
        if (record_admits(machine, esp, &machine->volume[i].record, forecast, err) != MU_OK)
            return mu_context(err, "volume '%s'", machine->config.volume[i].name);
    return MU_OK;
}
