/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef MU_VOLUME_CRYPTSETUP_H
#define MU_VOLUME_CRYPTSETUP_H

#include <libcryptsetup.h>

#include "volume/luks_header.h"

/* A context of libcryptsetup, and the library's last message for use in our own. Do not copy it
 * once it is open. */
struct crypt_session {
    struct crypt_device *cd;
    char message[256];
};

/* For a new header. */
enum mu_status crypt_session_begin(struct crypt_session *session, const char *header,
                                   const char *data, struct mu_error *err) MU_MUST_CHECK;
/* Loads the LUKS2 header of `header`, with the data on `data` (NULL: no data device needed). The
 * library's own validation is the second opinion on the header: MU_REFUSE if it finds fault. */
enum mu_status crypt_session_open(struct crypt_session *session, const char *header,
                                  const char *data, struct mu_error *err) MU_MUST_CHECK;
/* The checked copy of a header. MU_REFUSE also if the library reads it differently: the few values
 * that matter, as it reports them. */
enum mu_status crypt_session_open_copy(struct crypt_session *session,
                                       const struct luks_header *header, const char *data,
                                       struct mu_error *err) MU_MUST_CHECK;
void crypt_session_close(struct crypt_session *session);

/* "what: what libcryptsetup said", or what errno says for a result below zero. MU_INTERNAL instead
 * of `status` if out of memory. */
enum mu_status crypt_session_fail(const struct crypt_session *session, int result,
                                  enum mu_status status, const char *what, struct mu_error *err);

#endif
