/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef MU_VOLUME_RECORD_ADMISSION_H
#define MU_VOLUME_RECORD_ADMISSION_H

#include "base/config.h"
#include "volume/luks_header.h"

/* What the boot, and doctor for it, demand of the record in a header before the key is asked for.
 * The record is the builder's, or, if `create = blank` allows that, an instance's under the image's
 * own KMS keys; its version is accepted; it was made for a volume of this name, UUID and geometry,
 * and for the configured provider. `header` has passed luks_header_check(). MU_REFUSE names what
 * differs. An instance's record is authentic only after record_check_mac(). */
enum mu_status volume_admit(const struct config *config, const struct volume_config *volume,
                            const struct public_keys *builder, const struct luks_header *header,
                            struct record *ret, struct mu_error *err) MU_MUST_CHECK;

/* The part of this that needs no configuration: UUID, version and geometry. A copy of a header (a
 * file of cryptsetup luksHeaderBackup) does not show the size of the device, which is then not
 * compared. */
enum mu_status volume_fits(const struct record *record, const struct luks_header *header,
                           int64_t minimum_version, struct mu_error *err) MU_MUST_CHECK;

#endif
