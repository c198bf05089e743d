/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef MU_BASE_HARDEN_H
#define MU_BASE_HARDEN_H

#include "base/error.h"

enum process_kind {
    PROCESS_BOOT, /* measured-unlock: secrets must be locked */
    PROCESS_TOOL, /* muctl: secrets are locked where allowed */
};

/* First thing in main(), before any thread or other library call: no core dumps, not dumpable,
 * umask 077, all memory locked where allowed, and OpenSSL wipes what it frees. */
enum mu_status process_harden(enum process_kind kind,
                              struct mu_error *err) MU_MUST_CHECK MU_NONNULL;

#endif
