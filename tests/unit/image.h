/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef MU_TESTS_IMAGE_H
#define MU_TESTS_IMAGE_H

/* Small LUKS2 images for the tests of unlock/volume. */

#include <fcntl.h>
#include <libcryptsetup.h>

#include "base/secret.h"
#include "test.h"

#define IMAGE_UUID "0b3a1c5e-7c1d-4d0f-9a52-5f0c8e6d1a77"
#define IMAGE_PASSPHRASE "correct horse"

static inline int image_pbkdf(struct crypt_device *cd)
{
    static const struct crypt_pbkdf_type quick = {.type = CRYPT_KDF_PBKDF2,
                                                  .hash = "sha512",
                                                  .iterations = 1001,
                                                  .flags = CRYPT_PBKDF_NO_BENCHMARK};

    return crypt_set_pbkdf_type(cd, &quick);
}

static inline void image_quiet(int level, const char *message, void *unused)
{
    (void)level;
    (void)message;
    (void)unused;
}

/* 16 KiB headers, room for four key slots, data from 2 MiB on; slot 0 has the passphrase. */
static inline int image_make(const char *path, const char *cipher_mode, size_t key_size)
{
    struct crypt_params_luks2 params = {.sector_size = 512, .data_alignment = 4096};
    struct crypt_device *cd = NULL;
    int fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    int r;

    if (fd < 0 || ftruncate(fd, 3 << 20) != 0 || close(fd) != 0)
        return -1;
    crypt_set_log_callback(NULL, image_quiet, NULL);
    r = crypt_init(&cd, path);
    if (r == 0)
        r = image_pbkdf(cd);
    if (r == 0)
        r = crypt_set_metadata_size(cd, 16384, 4 * 258048);
    if (r == 0)
        r = crypt_format(cd, CRYPT_LUKS2, "aes", cipher_mode, IMAGE_UUID, NULL, key_size, &params);
    if (r == 0)
        r = crypt_keyslot_add_by_volume_key(cd, 0, NULL, key_size, IMAGE_PASSPHRASE,
                                            strlen(IMAGE_PASSPHRASE));
    crypt_free(cd);
    return r;
}

static inline struct secret secret_text(const char *text)
{
    struct secret secret = {0};

    if (secret_alloc(&secret, strlen(text), &err) != MU_OK)
        abort();
    memcpy(secret.data, text, secret.len);
    return secret;
}

#endif
