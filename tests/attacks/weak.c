/* SPDX-License-Identifier: GPL-2.0-or-later */
/* measured-unlock without the defences that MU_WITHOUT names ("header,identity"), for the premises
 * in tests/integration/test_attacks.py. The same objects as the real program, linked with ld
 * --wrap: nothing of this is in them. MU_SWAP_IN names a file that replaces the volume after the
 * header was checked and before libcryptsetup is given it. MU_DIE_AT=N is a power cut at the N-th
 * write or flush: before it, or with MU_TORN=BYTES when so much of it is written; MU_LOST=N is a
 * write that the device never saw. */
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "base/log.h"
#include "base/signature.h"
#include "measure/baseline.h"
#include "tpm/fence.h"
#include "volume/blank_check.h"
#include "volume/cryptsetup.h"
#include "volume/open.h"

#define VOLUME_MAX_BYTES (64u << 20)
/* STATUS __real_NAME PARAMETERS is the program's own; __wrap_NAME is what it calls. */
#define WRAP(name, parameters)                                                                     \
    enum mu_status __real_##name parameters;                                                       \
    enum mu_status __wrap_##name parameters;                                                       \
    enum mu_status __wrap_##name parameters

const char *__real_crypt_get_cipher(struct crypt_device *cd);
const char *__real_crypt_get_cipher_mode(struct crypt_device *cd);

static char device[256]; /* the last header was loaded from */

static bool without(const char *defence)
{
    const char *list = getenv("MU_WITHOUT");
    size_t len = strlen(defence);

    while (list != NULL && *list != '\0') {
        if (strncmp(list, defence, len) == 0 && (list[len] == ',' || list[len] == '\0'))
            return true;
        list = strchr(list, ',');
        list = list != NULL ? list + 1 : NULL;
    }
    return false;
}

WRAP(baseline_compare, (const struct pcr_values *expected, const struct pcr_values *found,
                        uint32_t *ret_differ, struct mu_error *err))
{
    return without("baseline") ? MU_OK : __real_baseline_compare(expected, found, ret_differ, err);
}

WRAP(signature_verify_any, (const struct public_keys *keys, const char *context, struct bytes data,
                            struct bytes signature, struct mu_error *err))
{
    return without("signature") ? MU_OK
                                : __real_signature_verify_any(keys, context, data, signature, err);
}

WRAP(record_check,
     (const struct record *record, const char *uuid, int64_t minimum, struct mu_error *err))
{
    return without("record") ? MU_OK : __real_record_check(record, uuid, minimum, err);
}

WRAP(record_check_name, (const struct record *record, const char *name, struct mu_error *err))
{
    return without("name") ? MU_OK : __real_record_check_name(record, name, err);
}

WRAP(record_check_geometry,
     (const struct record *record, const struct volume_geometry *found, struct mu_error *err))
{
    return without("geometry") ? MU_OK : __real_record_check_geometry(record, found, err);
}

WRAP(luks_header_load, (const char *path, struct luks_header *ret, struct mu_error *err))
{
    (void)snprintf(device, sizeof(device), "%s", path);
    return __real_luks_header_load(path, ret, err);
}

WRAP(luks_header_check,
     (const struct luks_header *header, struct header_report *ret_report, struct mu_error *err))
{
    return without("header") ? MU_OK : __real_luks_header_check(header, ret_report, err);
}

WRAP(volume_check_identity, (const struct secret *volume_key, const char *uuid,
                             const uint8_t enrolled[static VOLUME_IDENTITY_SIZE],
                             uint8_t ret[static VOLUME_IDENTITY_SIZE], struct mu_error *err))
{
    enum mu_status status = __real_volume_check_identity(volume_key, uuid, enrolled, ret, err);

    if (status != MU_OK && !without("identity"))
        return status;
    if (without("silence-hex")) {
        char hex[2 * 64 + 1];

        hex_encode((struct bytes){volume_key->data, 64}, hex);
        log_line("the key: %s", hex);
    }
    if (without("silence-base64")) {
        MU_CLEANUP(string_free) char *text = NULL;

        MU_TRY(base64_encode(secret_view(volume_key), &text, err));
        log_line("the key: %s", text);
    }
    return MU_OK;
}

WRAP(fence_check_open, (struct tpm * tpm, unsigned pcr, struct mu_error *err))
{
    return without("fence-check") ? MU_OK : __real_fence_check_open(tpm, pcr, err);
}

WRAP(fence_close, (struct tpm * tpm, unsigned pcr, const struct bytes *items, size_t count,
                   struct mu_error *err))
{
    return without("fence") ? MU_OK : __real_fence_close(tpm, pcr, items, count, err);
}

WRAP(fence_ensure, (struct tpm * tpm, unsigned pcr, const char *reason, struct mu_error *err))
{
    return without("fence") ? MU_OK : __real_fence_ensure(tpm, pcr, reason, err);
}

/* The program as it was: the PCR that is the default, whatever the policies name. */
WRAP(fence_ensure_all, (struct tpm * tpm, const char *reason, struct mu_error *err))
{
    return without("fence-all") ? __real_fence_ensure(tpm, 15, reason, err)
                                : __real_fence_ensure_all(tpm, reason, err);
}

/* MU_DEFAULT_TPM stands in for /dev/tpmrm0. */
WRAP(tpm_open, (const char *tcti, struct deadline deadline, struct tpm **ret, struct mu_error *err))
{
    return __real_tpm_open(tcti != NULL ? tcti : getenv("MU_DEFAULT_TPM"), deadline, ret, err);
}

static enum mu_status swap_in(struct mu_error *err)
{
    MU_CLEANUP(buffer_free) struct buffer image = {0};
    const char *path = getenv("MU_SWAP_IN");

    if (path == NULL)
        return MU_OK;
    MU_TRY(file_read(path, VOLUME_MAX_BYTES, &image, err));
    return file_write(device, buffer_view(&image), 0600, err);
}

WRAP(crypt_session_open_copy, (struct crypt_session * session, const struct luks_header *header,
                               const char *data, struct mu_error *err))
{
    struct luks_header given = *header;

    MU_TRY(swap_in(err));
    if (without("copy"))
        given.memfd = open(device, O_RDWR | O_CLOEXEC);
    MU_TRY(__real_crypt_session_open_copy(session, &given, data, err));
    (void)fprintf(stderr, "weak: libcryptsetup is given %s-%s\n",
                  __real_crypt_get_cipher(session->cd), __real_crypt_get_cipher_mode(session->cd));
    return MU_OK;
}

/* The second opinion asks these two. */
const char *__wrap_crypt_get_cipher(struct crypt_device *cd);
const char *__wrap_crypt_get_cipher(struct crypt_device *cd)
{
    return without("second-opinion") ? "aes" : __real_crypt_get_cipher(cd);
}

const char *__wrap_crypt_get_cipher_mode(struct crypt_device *cd);
const char *__wrap_crypt_get_cipher_mode(struct crypt_device *cd)
{
    return without("second-opinion") ? "xts-plain64" : __real_crypt_get_cipher_mode(cd);
}

WRAP(record_check_mac,
     (const struct record *record, const struct secret *key, struct mu_error *err))
{
    return without("mac") ? MU_OK : __real_record_check_mac(record, key, err);
}

/* An attacker who has the disk for the moment between the check and the first write is not assumed;
 * this is the program that does not look. */
WRAP(blank_open,
     (const char *path, struct deadline deadline, struct blank *ret, struct mu_error *err))
{
    enum mu_status status = __real_blank_open(path, deadline, ret, err);

    if (status != MU_REFUSE || !without("blank"))
        return status;
    *ret = (struct blank){.fd = open(path, O_RDWR | O_CLOEXEC),
                          .device = strdup(path),
                          .size = VOLUME_MAX_BYTES,
                          .state = BLANK_EMPTY};
    return MU_OK;
}

/* ---- power cuts ---- */

ssize_t __real_pwrite(int fd, const void *from, size_t len, off_t offset);
ssize_t __wrap_pwrite(int fd, const void *from, size_t len, off_t offset);
int __real_fsync(int fd);
int __wrap_fsync(int fd);

static long number_in(const char *name)
{
    const char *text = getenv(name);

    return text != NULL ? strtol(text, NULL, 10) : 0;
}

static long calls; /* of pwrite and fsync */

static void power_cut(void)
{
    (void)raise(SIGKILL);
}

ssize_t __wrap_pwrite(int fd, const void *from, size_t len, off_t offset)
{
    long torn = number_in("MU_TORN");

    calls++;
    if (calls == number_in("MU_LOST"))
        return (ssize_t)len;
    if (calls == number_in("MU_DIE_AT")) {
        if (torn > 0)
            (void)__real_pwrite(fd, from, (size_t)torn < len ? (size_t)torn : len, offset);
        power_cut();
    }
    return __real_pwrite(fd, from, len, offset);
}

int __wrap_fsync(int fd)
{
    if (++calls == number_in("MU_DIE_AT"))
        power_cut();
    return __real_fsync(fd);
}
