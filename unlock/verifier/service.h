/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef MU_VERIFIER_SERVICE_H
#define MU_VERIFIER_SERVICE_H

#include "base/error.h"

/* Answers by HTTPS until TERM or INT; HUP reads the file and all files that it names again; if they
 * are unusable, the old settings stay in use. The log says on which address the service listens. */
enum mu_status verifier_run(const char *path, struct mu_error *err) MU_MUST_CHECK;

#endif
