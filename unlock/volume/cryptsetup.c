/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "volume/cryptsetup.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#define SECTOR 512u

static void keep_message(int level, const char *message, void *session)
{
    struct crypt_session *s = session;

    if (level == CRYPT_LOG_ERROR)
        (void)snprintf(s->message, sizeof(s->message), "%.*s", (int)strcspn(message, "\n"),
                       message);
}

enum mu_status crypt_session_fail(const struct crypt_session *session, int result,
                                  enum mu_status status, const char *what, struct mu_error *err)
{
    const char *why = session->message[0] != '\0' ? session->message
                      : result < 0                ? strerror(-result)
                                                  : "unexpected result";

    return mu_fail(err, result == -ENOMEM ? MU_INTERNAL : status, "%s: %s", what, why);
}

enum mu_status crypt_session_begin(struct crypt_session *session, const char *header,
                                   const char *data, struct mu_error *err)
{
    int r;

    *session = (struct crypt_session){0};
    r = data != NULL ? crypt_init_data_device(&session->cd, header, data)
                     : crypt_init(&session->cd, header);
    if (r < 0)
        return crypt_session_fail(session, r, MU_CONFIG, header, err);
    crypt_set_log_callback(session->cd, keep_message, session);
    return MU_OK;
}

enum mu_status crypt_session_open(struct crypt_session *session, const char *header,
                                  const char *data, struct mu_error *err)
{
    int r;

    MU_TRY(crypt_session_begin(session, header, data, err));
    r = crypt_load(session->cd, CRYPT_LUKS2, NULL);
    if (r < 0)
        return crypt_session_fail(session, r, MU_REFUSE, "libcryptsetup refuses the LUKS2 header",
                                  err);
    return MU_OK;
}

void crypt_session_close(struct crypt_session *session)
{
    crypt_free(session->cd);
    session->cd = NULL;
}

/* libcryptsetup must have read the same header: the few values that matter, as it reports them. */
static enum mu_status second_opinion(const struct luks_header *header, struct crypt_device *cd,
                                     struct mu_error *err)
{
    const char *uuid = crypt_get_uuid(cd);
    const char *cipher = crypt_get_cipher(cd);
    const char *mode = crypt_get_cipher_mode(cd);

    if (uuid == NULL || strcmp(uuid, header->uuid) != 0 || cipher == NULL ||
        strcmp(cipher, "aes") != 0 || mode == NULL || strcmp(mode, "xts-plain64") != 0 ||
        crypt_get_volume_key_size(cd) != LUKS_VOLUME_KEY_SIZE ||
        crypt_get_data_offset(cd) * SECTOR != header->geometry.data_offset)
        return mu_fail(err, MU_REFUSE, "%s: libcryptsetup reads the LUKS2 header differently",
                       header->device);
    return MU_OK;
}

enum mu_status crypt_session_open_copy(struct crypt_session *session,
                                       const struct luks_header *header, const char *data,
                                       struct mu_error *err)
{
    char path[32];

    (void)snprintf(path, sizeof(path), "/proc/self/fd/%d", header->memfd);
    MU_TRY(crypt_session_open(session, path, data, err));
    return second_opinion(header, session->cd, err);
}
