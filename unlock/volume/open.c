/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "volume/open.h"

#include <errno.h>

#include <openssl/evp.h>
#include <openssl/hmac.h>

#include "volume/cryptsetup.h"

#define IDENTITY_CONTEXT "measured-unlock volume identity 1"

enum mu_status volume_open_keyslot(const struct luks_header *header, int keyslot,
                                   const struct secret *key, struct secret *ret_volume_key,
                                   struct mu_error *err)
{
    MU_CLEANUP(crypt_session_close) struct crypt_session session = {0};
    MU_CLEANUP(secret_free) struct secret volume_key = {0};
    int r;

    MU_TRY(crypt_session_open_copy(&session, header, NULL, err));
    MU_TRY(secret_alloc(&volume_key, LUKS_VOLUME_KEY_SIZE, err));
    r = crypt_volume_key_get(session.cd, keyslot, (char *)volume_key.data, &volume_key.len,
                             (const char *)key->data, key->len);
    if (r == -EPERM)
        return mu_fail(err, MU_REFUSE, "%s: the key does not open key slot %d", header->device,
                       keyslot);
    if (r != keyslot || volume_key.len != LUKS_VOLUME_KEY_SIZE)
        return crypt_session_fail(&session, r, MU_REFUSE, header->device, err);
    *ret_volume_key = MU_TAKE(volume_key);
    return MU_OK;
}

enum mu_status volume_identity(const struct secret *volume_key, const char *uuid,
                               uint8_t ret[static VOLUME_IDENTITY_SIZE], struct mu_error *err)
{
    uint8_t message[sizeof(IDENTITY_CONTEXT) + UUID_TEXT_SIZE];
    struct writer w = writer_into(message, sizeof(message));
    unsigned len = 0;

    writer_bytes(&w, (struct bytes){(const uint8_t *)IDENTITY_CONTEXT, sizeof(IDENTITY_CONTEXT)});
    writer_bytes(&w, text_view(uuid));
    if (w.failed || volume_key->len != LUKS_VOLUME_KEY_SIZE ||
        HMAC(EVP_sha384(), volume_key->data, (int)volume_key->len, message, w.len, ret, &len) ==
            NULL ||
        len != VOLUME_IDENTITY_SIZE)
        return mu_fail(err, MU_INTERNAL, "volume identity cannot be computed");
    return MU_OK;
}

enum mu_status volume_check_identity(const struct secret *volume_key, const char *uuid,
                                     const uint8_t enrolled[static VOLUME_IDENTITY_SIZE],
                                     uint8_t ret[static VOLUME_IDENTITY_SIZE], struct mu_error *err)
{
    MU_TRY(volume_identity(volume_key, uuid, ret, err));
    if (!bytes_equal((struct bytes){ret, VOLUME_IDENTITY_SIZE},
                     (struct bytes){enrolled, VOLUME_IDENTITY_SIZE}))
        return mu_fail(err, MU_REFUSE,
                       "volume identity differs from the record: this is not the enrolled volume");
    return MU_OK;
}
