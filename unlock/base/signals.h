/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef MU_BASE_SIGNALS_H
#define MU_BASE_SIGNALS_H

#include <stdatomic.h>

#include "base/error.h"

/* Every way out by a signal wipes. TERM, INT, HUP and QUIT set *signals_stop(), so that the program
 * ends as at its deadline; a crash (SEGV, BUS, ILL, FPE, ABRT, SYS) wipes every struct secret in
 * the handler and ends as it would have. PIPE is ignored. */
enum mu_status signals_install(struct mu_error *err) MU_MUST_CHECK;

/* For struct deadline; who wants everything to stop sets it, too. */
atomic_bool *signals_stop(void);

#endif
