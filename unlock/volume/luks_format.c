/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "volume/luks_format.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/file.h"
#include "volume/blank_check.h"
#include "volume/cryptsetup.h"

#define SECTOR 512u
#define ITERATIONS 1000

/* PBKDF2 hardens nothing here: both keys are random. */
static int format(struct crypt_device *cd, const struct luks_new *make)
{
    const struct crypt_pbkdf_type pbkdf = {.type = CRYPT_KDF_PBKDF2,
                                           .hash = "sha256",
                                           .iterations = ITERATIONS,
                                           .flags = CRYPT_PBKDF_NO_BENCHMARK};
    struct crypt_params_luks2 params = {.pbkdf = &pbkdf,
                                        .data_alignment = LUKS_DATA_OFFSET / SECTOR,
                                        .sector_size = make->sector_size};
    const char *volume_key = (const char *)make->volume_key->data;
    int r = crypt_set_metadata_size(cd, BLANK_HEADER_COPY, LUKS_KEYSLOTS_SIZE);

    if (r >= 0)
        r = crypt_format(cd, CRYPT_LUKS2, "aes", "xts-plain64", make->uuid, volume_key,
                         make->volume_key->len, &params);
    if (r >= 0)
        r = crypt_keyslot_add_by_volume_key(cd, 0, volume_key, make->volume_key->len,
                                            (const char *)make->key->data, make->key->len);
    return r < 0 ? r : crypt_token_json_set(cd, 0, make->token);
}

static enum mu_status format_file(const struct luks_new *make, int fd, struct mu_error *err)
{
    MU_CLEANUP(crypt_session_close) struct crypt_session session = {0};
    char path[32];
    int r;

    (void)snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
    MU_TRY(crypt_session_begin(&session, path, NULL, err));
    r = format(session.cd, make);
    return r < 0 ? crypt_session_fail(&session, r, MU_INTERNAL, "libcryptsetup", err) : MU_OK;
}

enum mu_status luks_format(const struct luks_new *make, int *ret_memfd, struct mu_error *err)
{
    MU_CLEANUP(fd_close) int fd = memfd_create("new-header", MFD_CLOEXEC);

    if (fd < 0 || ftruncate(fd, LUKS_DATA_OFFSET) != 0)
        return mu_fail(err, MU_INTERNAL, "new header: %s", strerror(errno));
    MU_TRY(format_file(make, fd, err));
    *ret_memfd = fd;
    fd = -1;
    return MU_OK;
}
