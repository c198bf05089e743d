/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "volume/volume.h"

#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include <libdevmapper.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>

#include "volume/cryptsetup.h"

#define IDENTITY_CONTEXT "measured-unlock volume identity 1"
#define SECTOR 512u
#define POLL_MS 25u

/* ---- finding the device ---- */

/* As udev names its links: what is not in its list, and not UTF-8 of more than one byte, is \xNN
 * (udev(7), "String substitutions"; ENV{ID_FS_LABEL_ENC}). */
static enum mu_status escape(const char *text, char *to, size_t cap, struct mu_error *err)
{
    static const char plain[] = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
                                "#+-.:=@_";
    size_t len = 0;

    for (; *text != '\0' && len + 5 < cap; text++) {
        unsigned char c = (unsigned char)*text;

        if (c >= 0x80 || strchr(plain, c) != NULL)
            to[len++] = (char)c;
        else
            len += (size_t)snprintf(to + len, cap - len, "\\x%02x", c);
    }
    if (*text != '\0')
        return mu_fail(err, MU_CONFIG, "device name is too long");
    to[len] = '\0';
    return MU_OK;
}

static enum mu_status link_of(const char *spec, char *ret, size_t cap, struct mu_error *err)
{
    static const struct {
        const char *prefix, *folder;
    } kinds[] = {{"UUID=", "by-uuid"},
                 {"PARTUUID=", "by-partuuid"},
                 {"PARTLABEL=", "by-partlabel"},
                 {"LABEL=", "by-label"}};
    char name[NAME_MAX + 1];

    if (spec[0] == '/') {
        if ((size_t)snprintf(ret, cap, "%s", spec) >= cap)
            return mu_fail(err, MU_CONFIG, "device name is too long");
        return MU_OK;
    }
    for (size_t i = 0; i < MU_COUNT(kinds); i++) {
        size_t len = strlen(kinds[i].prefix);

        if (strncmp(spec, kinds[i].prefix, len) != 0 || spec[len] == '\0')
            continue;
        MU_TRY(escape(spec + len, name, sizeof(name), err));
        (void)snprintf(ret, cap, "/dev/disk/%s/%s", kinds[i].folder, name);
        return MU_OK;
    }
    return mu_fail(err, MU_CONFIG,
                   "device '%.64s': give /dev/..., UUID=, PARTUUID=, PARTLABEL= or LABEL=", spec);
}

/* The node and not the link: a second disk of that name may move the link meanwhile. Record and
 * identity decide whether the present one is right. */
enum mu_status volume_find_device(const char *spec, struct deadline deadline, char **ret,
                                  struct mu_error *err)
{
    char link[PATH_MAX];
    struct stat st;

    MU_TRY(link_of(spec, link, sizeof(link), err));
    do {
        char *path = realpath(link, NULL);

        if (path != NULL && stat(path, &st) == 0 && (S_ISBLK(st.st_mode) || S_ISREG(st.st_mode))) {
            *ret = path;
            return MU_OK;
        }
        free(path);
    } while (clock_pause_ms(POLL_MS, deadline));
    return mu_fail(err, MU_RETRY, "device %s did not appear in time", spec);
}

/* ---- opening ---- */

static void memfd_path(const struct luks_header *header, char ret[static 32])
{
    (void)snprintf(ret, 32, "/proc/self/fd/%d", header->memfd);
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

enum mu_status volume_open_keyslot(const struct luks_header *header, int keyslot,
                                   const struct secret *key, struct secret *ret_volume_key,
                                   struct mu_error *err)
{
    MU_CLEANUP(crypt_session_close) struct crypt_session session = {0};
    MU_CLEANUP(secret_free) struct secret volume_key = {0};
    char path[32];
    int r;

    memfd_path(header, path);
    MU_TRY(crypt_session_open(&session, path, NULL, err));
    MU_TRY(second_opinion(header, session.cd, err));
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

/* ---- activating ---- */

static void free_task(struct dm_task **task)
{
    if (*task != NULL)
        dm_task_destroy(*task);
}

/* What the kernel has, in its own words: "<cipher> <key> <iv offset> <device> <start> ..."
 * (Documentation/admin-guide/device-mapper/dm-crypt.rst), one target from the first sector on. */
static enum mu_status check_table(const struct luks_header *header, const char *mapping,
                                  struct mu_error *err)
{
    MU_CLEANUP(free_task) struct dm_task *task = dm_task_create(DM_DEVICE_TABLE);
    uint64_t start = 0;
    uint64_t length = 0;
    char *type = NULL;
    char *params = NULL;
    char cipher[32] = "";
    char device[32] = "";
    char expected[32];
    uint64_t iv = 1;
    uint64_t offset = 0;
    struct stat st;

    if (task == NULL || !dm_task_secure_data(task) || !dm_task_set_name(task, mapping) ||
        !dm_task_run(task) || stat(header->device, &st) != 0)
        return mu_fail(err, MU_REFUSE, "%s: cannot be read back", mapping);
    (void)snprintf(expected, sizeof(expected), "%u:%u", major(st.st_rdev), minor(st.st_rdev));
    if (dm_get_next_target(task, NULL, &start, &length, &type, &params) != NULL || type == NULL ||
        params == NULL || strcmp(type, "crypt") != 0 || start != 0 ||
        length != (header->geometry.device_size - header->geometry.data_offset) / SECTOR)
        return mu_fail(err, MU_REFUSE, "%s: the mapping is not one dm-crypt target of the whole %s",
                       mapping, header->device);
    /* NOLINTNEXTLINE(cert-err34-c): the kernel wrote it, and no other value is taken for ours */
    if (sscanf(params, "%31s %*s %" SCNu64 " %31s %" SCNu64, cipher, &iv, device, &offset) != 4 ||
        strcmp(cipher, "aes-xts-plain64") != 0 || iv != 0 || strcmp(device, expected) != 0 ||
        offset != header->geometry.data_offset / SECTOR)
        return mu_fail(err, MU_REFUSE, "%s: the mapping is not aes-xts-plain64 on %s at %" PRIu64,
                       mapping, header->device, header->geometry.data_offset);
    return MU_OK;
}

/* The volume key goes through the kernel's key ring if the kernel can do that (libcryptsetup's own
 * choice): the key then shows in no table, and our thread's ring ends with us. */
enum mu_status volume_activate(const struct luks_header *header, const char *mapping, bool discard,
                               const struct secret *volume_key, struct mu_error *err)
{
    MU_CLEANUP(crypt_session_close) struct crypt_session session = {0};
    uint32_t flags = discard ? CRYPT_ACTIVATE_ALLOW_DISCARDS : 0;
    char path[32];
    int r;

    memfd_path(header, path);
    MU_TRY(crypt_session_open(&session, path, header->device, err));
    MU_TRY(second_opinion(header, session.cd, err));
    if (crypt_status(session.cd, mapping) != CRYPT_INACTIVE)
        return mu_fail(err, MU_REFUSE, "/dev/mapper/%s exists already and is not ours", mapping);
    r = crypt_activate_by_volume_key(session.cd, mapping, (const char *)volume_key->data,
                                     volume_key->len, flags);
    if (r < 0)
        return crypt_session_fail(&session, r, MU_REFUSE, mapping, err);
    if (check_table(header, mapping, err) != MU_OK) {
        (void)crypt_deactivate(session.cd, mapping);
        return MU_REFUSE;
    }
    return MU_OK;
}
