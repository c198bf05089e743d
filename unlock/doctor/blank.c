/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <string.h>

#include "doctor/doctor.h"
#include "release/kms_keys.h"
#include "volume/blank_check.h"
#include "volume/device.h"

#define PATIENCE_S 60

static const char finding[] = "data-volume";

/* A name in the volume's content cannot be used to find the device before the volume is made. */
static bool found_by_content(const char *device)
{
    return strncmp(device, "UUID=", 5) == 0 || strncmp(device, "LABEL=", 6) == 0;
}

static enum mu_status look(const struct volume_config *config, struct blank *ret,
                           struct mu_error *err)
{
    MU_CLEANUP(string_free) char *device = NULL;

    MU_TRY(volume_find_device(config->device, deadline_in(0), &device, err));
    return blank_open(device, deadline_in(PATIENCE_S), ret, err);
}

static void check_device(struct doctor *doctor, const struct volume_config *config,
                         struct doctor_volume *volume)
{
    MU_CLEANUP(blank_free) struct blank blank = {.fd = -1};
    struct mu_error err = {0};
    enum mu_status status = look(config, &blank, &err);

    if (status == MU_OK && blank.state == BLANK_LUKS) {
        doctor_ok(doctor, finding, "%s has a volume", config->device);
        return;
    }
    if (status == MU_OK) {
        volume->is_blank = true;
        doctor_ok(doctor, finding, "%s is blank%s: the next boot makes the volume", config->device,
                  blank.state == BLANK_CLAIMED ? " except for an interrupted attempt" : "");
        return;
    }
    if (status == MU_RETRY && doctor->role == ROLE_BUILD)
        doctor_warn(doctor, finding, "muctl doctor on the instance looks at it",
                    "not done: %s is not here", config->device);
    else
        doctor_fail(doctor, status, finding,
                    status == MU_RETRY
                        ? "attach the volume, or correct 'device'"
                        : "save what is on it; then blkdiscard -z DEVICE, or another "
                          "device",
                    "%s", err.text);
    volume->is_blank = status == MU_RETRY && doctor->role == ROLE_BUILD;
}

static void check_key(struct doctor *doctor, const struct volume_config *config)
{
    MU_CLEANUP(string_free) char *text = NULL;
    struct kms_keys keys = {0};
    struct mu_error err = {0};

    if (kms_keys_of_list(config->key_arn, &text, &keys, &err) != MU_OK)
        doctor_fail(doctor, MU_CONFIG, finding,
                    "give each key's own ARN once, not an alias, all in one partition", "%s",
                    err.text);
    if (found_by_content(config->device))
        doctor_warn(doctor, finding, "a path, a link below /dev/disk/by-id, or PARTLABEL=",
                    "a blank device is never found by %s", config->device);
}

void doctor_check_blank(struct doctor *doctor, struct doctor_volume *volume)
{
    if (volume->config->create != CREATE_BLANK)
        return;
    check_key(doctor, volume->config);
    check_device(doctor, volume->config, volume);
}

void doctor_check_blanks(struct doctor *doctor)
{
    size_t count = 0;

    for (size_t i = 0; i < doctor->config.volumes; i++)
        count += doctor->config.volume[i].create == CREATE_BLANK;
    if (count > 0 && count == doctor->config.volumes)
        doctor_warn(doctor, finding,
                    "have PCR 4 in the baked baseline, or a volume that the builder enrolls",
                    "no volume has a baseline signed by the builder: only KMS compares the PCRs "
                    "that the baked one does not have");
    if (count == 0)
        doctor_ok(doctor, finding, "none is configured");
}
