/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef MU_BASE_SANDBOX_H
#define MU_BASE_SANDBOX_H

#include <stdbool.h>

#include "base/error.h"

/* Gives up, for this process and for good, what one boot does not need: new privileges, all
 * capabilities but those for device-mapper, devices of other owners and locked memory, and every
 * system call that is not in its list (no other program is run, no memory becomes executable unless
 * it `loads_libraries`). A call that is not allowed raises SIGSYS (see signals.h). Call this before
 * any thread starts. landlock.h restricts which files may be written. -DMU_UNFILTERED, for
 * sanitizers and valgrind, leaves the system calls as they are. */
enum mu_status sandbox_enter(bool loads_libraries, struct mu_error *err) MU_MUST_CHECK MU_NONNULL;

#endif
