/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef MU_VOLUME_DEVICE_H
#define MU_VOLUME_DEVICE_H

#include "base/clock.h"
#include "base/error.h"

/* "/dev/...", "UUID=...", "PARTUUID=...", "PARTLABEL=...", "LABEL=..." -> a path that exists now
 * (the udev links under /dev/disk/by-*). Waits in short steps until the deadline, then MU_RETRY. */
enum mu_status volume_find_device(const char *spec, struct deadline deadline, char **ret,
                                  struct mu_error *err) MU_MUST_CHECK;

#endif
