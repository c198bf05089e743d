/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef MU_VOLUME_CREATE_H
#define MU_VOLUME_CREATE_H

#include "base/config.h"
#include "volume/blank.h"
#include "volume/record.h"

/* Makes key and identity of a new volume: fills in all of an instance's record but provider and
 * provider_data. */
enum mu_status create_identity(struct record *ret, struct secret *ret_volume_key,
                               struct mu_error *err) MU_MUST_CHECK;

/* The record of one that an instance made, under the key that the configuration names. */
enum mu_status create_parse_record(const struct volume_config *config, json_object *token,
                                   struct record *ret, struct mu_error *err) MU_MUST_CHECK;

/* Writes the header of that volume, with `key` for key slot 0 and the record, to the device that
 * blank_open() found blank; closes it. Interrupted at any point, the device is either one that
 * blank_open() finds BLANK_CLAIMED (or still BLANK_EMPTY), or the complete volume. */
enum mu_status create_volume(const char *device, struct blank *blank, const struct record *record,
                             const struct secret *volume_key, const struct secret *key,
                             struct mu_error *err) MU_MUST_CHECK;

#endif
