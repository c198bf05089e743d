/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef MU_BOOT_DOORS_H
#define MU_BOOT_DOORS_H

#include "base/config.h"

/*
 * MU_REFUSE if this boot used an input that is not measured. The words and masks of
 * dracut-module/doors shut the doors; this looks for traces of an open one: a cached
 * SystemdOptions, imported credentials, a mount that no initramfs makes by itself. The text says
 * what was seen and which word shuts the door. A door that [boot] leaves open (`open = NAME`) is
 * not looked at.
 *
 * Outside an initramfs nothing is looked at: MU_OK. The type of "/" tells an initramfs; no later
 * mount can change that type.
 */
enum mu_status doors_check(const struct config *config, struct mu_error *err) MU_MUST_CHECK;

#endif
