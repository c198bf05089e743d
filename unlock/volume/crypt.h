/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef MU_VOLUME_CRYPT_H
#define MU_VOLUME_CRYPT_H

#include <libcryptsetup.h>

#include "base/error.h"

/* libcryptsetup with its last words kept for our own messages. Not to be copied once opened. */
struct crypt_session {
    struct crypt_device *cd;
    char message[256];
};

/* Loads the LUKS2 header of `header`, with the data on `data` (NULL: no data device needed). The
 * library's own validation is the second opinion on the header: MU_REFUSE if it finds fault. */
enum mu_status crypt_session_open(struct crypt_session *session, const char *header,
                                  const char *data, struct mu_error *err) MU_MUST_CHECK;
void crypt_session_close(struct crypt_session *session);

/* "what: what libcryptsetup said", or what errno says for a result below zero. MU_INTERNAL
 * instead of `status` where memory was short. */
enum mu_status crypt_session_fail(const struct crypt_session *session, int result,
                                  enum mu_status status, const char *what, struct mu_error *err);

#endif
