/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef MU_VERIFIER_SERVICE_H
#define MU_VERIFIER_SERVICE_H

#include "base/error.h"

/* Answers by HTTPS until TERM or INT; HUP reads the file and all that it names anew, and keeps what
 * there was if that is unusable. Says on the log where it listens. */
enum mu_status service_run(const char *path, struct mu_error *err) MU_MUST_CHECK;

#endif
