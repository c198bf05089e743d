/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef MU_VOLUME_PROVISION_H
#define MU_VOLUME_PROVISION_H

#include "volume/blank_check.h"
#include "volume/record.h"

/* Makes the key and the identity of the new volume [volume NAME] on a blank device: fills in an
 * instance's record, except provider and provider_data. */
enum mu_status provision_record(const char *name, const struct blank *blank, struct record *ret,
                                struct secret *ret_volume_key, struct mu_error *err) MU_MUST_CHECK;

/* Writes the header of that volume, with `key` for key slot 0 and the record, to the device that
 * blank_open() found blank; closes it. If interrupted at any point, it leaves either a device that
 * blank_open() finds BLANK_CLAIMED (or still BLANK_EMPTY), or the complete volume. */
enum mu_status provision_volume(struct blank *blank, const struct record *record,
                                const struct secret *volume_key, const struct secret *key,
                                struct mu_error *err) MU_MUST_CHECK;

#endif
