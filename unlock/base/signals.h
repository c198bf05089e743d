/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef MU_BASE_SIGNALS_H
#define MU_BASE_SIGNALS_H

#include <stdatomic.h>

#include "base/error.h"

/* Secrets are wiped if a signal ends the program. TERM, INT, HUP and QUIT set *signals_stop(), so
 * that the program ends as at its deadline. After a crash (SEGV, BUS, ILL, FPE, ABRT, SYS) the
 * handler wipes every struct secret, and the program ends as it would have without the handler.
 * PIPE is ignored. */
enum mu_status signals_install(struct mu_error *err) MU_MUST_CHECK MU_NONNULL;

/* For struct deadline. Code that wants everything to stop sets it, too. */
atomic_bool *signals_stop(void);

#endif
